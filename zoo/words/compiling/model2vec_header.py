"""Which files are a static embedding model as model2vec publishes it, by the header of its weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WEIGHTS, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.json"
COMPANIONS = (TOKENIZER, CONFIG)  # of the weights
TABLES = ("embeddings", "embedding.weight")  # as model2vec and as sentence-transformers name it
FACTORS, MAPPING = "weights", "mapping"  # of each piece: its factor, its row of the table
_LARGEST_HEADER = 1 << 16


def static_dimension(path: Path) -> int | None:
    """The dimension of a static embedding model; None where a file is something else.

    It has one table, and beside it at most a factor and a row for each piece.
    """
    header = _read_header(path)
    tables = [name for name in TABLES if name in header]
    if len(tables) != 1 or not header.keys() <= {tables[0], FACTORS, MAPPING}:
        return None
    shape = header[tables[0]].get("shape") if isinstance(header[tables[0]], dict) else None
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, int) for n in shape):
        return None
    return shape[1] if shape[1] > 0 else None


def is_static_folder(folder: Path) -> bool:
    """Whether a folder holds a static embedding model: its weights, its tokenizer and its settings."""
    return (
        all((folder / name).is_file() for name in COMPANIONS)
        and static_dimension(folder / WEIGHTS) is not None
    )


def _read_header(path: Path) -> dict[str, Any]:
    """The tensors that the header of a safetensors file names; none of a file of anything else."""
    import json  # not for `zoo show`, which imports this module and calls nothing of it

    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LARGEST_HEADER:
                return {}
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(header, dict):
        return {}
    header.pop("__metadata__", None)
    return header
