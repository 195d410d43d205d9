"""A static embedding model of model2vec: a vector for each piece of a word, as the model makes it.

    model.safetensors   embeddings (rows, dimension) int8, float16, float32 or float64; where rows are shared:
                        mapping (pieces,), the row of each piece; weights (pieces,), the factor of each
    tokenizer.json      how texts are cut into pieces (https://huggingface.co/docs/tokenizers)
    config.json         normalize, max_length

https://github.com/MinishLab/model2vec/blob/main/model2vec/model.py: the vector of a text is the mean of
weights[id] * embeddings[mapping[id]] over its pieces, so one vector per piece is all that has to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import IntegrityError
from zoo.words.compiling.model2vec_header import CONFIG, FACTORS, MAPPING, TABLES, TOKENIZER
from zoo.words.compiling.parsing import Block, block_of_words
from zoo.words.vectors.faults import FaultCounter
from zoo.words.vectors.pieces import Pieces

PIECES_AT_ONCE = 8192
USUAL_LENGTH = 512  # pieces of a text that model2vec reads where its config names no max_length
FETCH = "Fetch it again; if its bytes are the published ones, the model is damaged there."


@dataclass(frozen=True)
class StaticModel:
    """A model whose files are open. words: its pieces in the order of their numbers. table: a tensor, or an
    open slice of one. rows: of the table, by piece; None where each piece has its own. factors: by piece, or
    None. normalize: a text's vector is scaled to length one."""

    words: list[str]
    table: Any
    rows: NDArray[np.int64] | None
    factors: NDArray[Any] | None
    pieces: Pieces
    normalize: bool
    dimension: int

    @property
    def settings(self) -> dict[str, str]:
        """What the metadata of a compiled file keep of it."""
        longest = self.pieces.longest
        return {
            "longest_text": "" if longest is None else str(longest),
            "normalize": "true" if self.normalize else "false",
        }

    def blocks(self, faults: FaultCounter) -> Iterator[Block]:
        """The pieces and their vectors."""
        for start in range(0, len(self.words), PIECES_AT_ONCE):
            stop = min(start + PIECES_AT_ONCE, len(self.words))
            found = self.table[start:stop] if self.rows is None else self.table[self.rows[start:stop]]
            if self.factors is not None:
                found = found * self.factors[start:stop, np.newaxis]
            words = [word.encode("utf-8", "replace") for word in self.words[start:stop]]
            with np.errstate(over="ignore"):
                yield block_of_words(words, found.astype(np.float32), start + 1, faults)


@contextmanager
def open_model2vec(weights: Path, companions: Mapping[str, Path], name: str) -> Iterator[StaticModel]:
    """The model of three files. companions: tokenizer.json and config.json. name: for messages.

    Raises IntegrityError where a file is damaged, or they do not belong together.
    """
    from safetensors import SafetensorError, safe_open

    longest, normalize = _read_config(companions[CONFIG], name)
    pieces = _read_pieces(companions[TOKENIZER], longest, name)
    try:
        with safe_open(weights, framework="numpy") as file:
            yield _put_together(file, pieces, normalize, name)
    except (SafetensorError, TypeError) as error:  # TypeError: of a number type that numpy lacks
        raise IntegrityError(f"{name}: its weights cannot be read: {error}", hint=FETCH) from error


def _put_together(file: Any, pieces: Pieces, normalize: bool, name: str) -> StaticModel:
    """The model of an open file of weights. Raises IntegrityError where they do not fit the tokenizer."""
    there = set(file.keys())
    table = file.get_slice(next(table for table in TABLES if table in there))
    height, dimension = table.get_shape()
    numbers = sorted(pieces.names)
    count = len(numbers)
    if numbers != list(range(count)):
        raise IntegrityError(f"{name}: the pieces of its tokenizer are not numbered from 0", hint=FETCH)
    rows = None
    if MAPPING in there:
        rows, table = file.get_tensor(MAPPING).astype(np.int64), table[:]
    elif count != height:
        raise _not_fitting(name, count, height, "vectors")
    factors = file.get_tensor(FACTORS) if FACTORS in there else None
    for values, what in ((rows, "rows"), (factors, "weights")):
        if values is not None and values.shape != (count,):
            raise _not_fitting(name, count, len(values), what)
    if rows is not None and not ((rows >= 0) & (rows < height)).all():
        raise IntegrityError(f"{name}: its mapping names rows beyond the {height:,} of its table", hint=FETCH)
    words = [pieces.names[number] for number in numbers]
    return StaticModel(words, table, rows, factors, pieces, normalize, dimension)


def _read_config(path: Path, name: str) -> tuple[int | None, bool]:
    """(how many pieces of a text are read, whether its vector is scaled to length one)."""
    try:
        config = json.loads(path.read_bytes())
        longest, normalize = config.get("max_length", USUAL_LENGTH), config.get("normalize", False)
    except (ValueError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{name}: its {CONFIG} is not a JSON object: {error}", hint=FETCH) from error
    if longest is not None and (type(longest) is not int or longest < 1):
        raise IntegrityError(f"{name}: its {CONFIG} has max_length {longest!r}", hint=FETCH)
    return longest, bool(normalize)


def _read_pieces(path: Path, longest: int | None, name: str) -> Pieces:
    try:
        pieces = Pieces(path.read_text("utf-8"), longest)
        pieces.cut("a word")
    except Exception as error:  # the library raises bare Exceptions on a bad definition
        raise IntegrityError(f"{name}: its {TOKENIZER} cannot be used: {error}", hint=FETCH) from error
    return pieces


def _not_fitting(name: str, pieces: int, count: int, what: str) -> IntegrityError:
    return IntegrityError(
        f"{name}: its tokenizer has {pieces:,} pieces, its weights have {count:,} {what}",
        hint=f"Its {TOKENIZER} and its weights are of different models.",
    )
