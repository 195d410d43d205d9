"""Files become vectors: what the head of a network sees of each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UsageError
from zoo.events import Report, silent

if TYPE_CHECKING:
    from zoo.data.batches import OnBad
    from zoo.runs.classifier import Classifier
    from zoo.store.store import Store


@dataclass(frozen=True)
class Embeddings:
    """paths: of the readable files, in the order given. features: (files, width) float32."""

    paths: tuple[Path, ...]
    features: np.ndarray


def embed_files(
    classifier: Classifier,
    paths: Sequence[Path],
    *,
    store: Store,
    batch_size: int = 32,
    device: str = "auto",
    on_bad: OnBad = "skip",
    report: Report = silent,
) -> Embeddings:
    """The feature vector of every readable file; those computed before come from the feature cache."""
    from zoo.data.scanning import list_images
    from zoo.features.extraction import extract_features
    from zoo.runs.prediction import tell_bad
    from zoo.training.device import pick_device

    files = list_images([Path(path) for path in paths])
    table = extract_features(
        classifier.network,
        files,
        classifier.entry.input,
        backbone_sha256=classifier.identity,
        store_home=store.home,
        batch_size=batch_size,
        device=pick_device(device),
        on_bad=on_bad,
        report=report,
    )
    tell_bad(table.bad, len(files), report)
    return Embeddings(tuple(files[row] for row in table.kept), table.features.numpy())


def write_npz(embeddings: Embeddings, out: Path) -> None:
    """numpy's own format: arrays `paths` and `features`; read with numpy.load, no pickle."""
    with out.open("wb") as file:
        np.savez(file, paths=np.array([str(path) for path in embeddings.paths]), features=embeddings.features)


def write_parquet(embeddings: Embeddings, out: Path) -> None:
    """Columns `path` and `features` (a list of float32 per row)."""
    import polars

    features = polars.Series(
        "features", embeddings.features, dtype=polars.Array(polars.Float32, embeddings.features.shape[1])
    )
    polars.DataFrame({"path": [str(path) for path in embeddings.paths], "features": features}).write_parquet(
        out
    )


WRITERS: dict[str, Callable[[Embeddings, Path], None]] = {".npz": write_npz, ".parquet": write_parquet}


def write_embeddings(embeddings: Embeddings, out: Path) -> None:
    """Write to `out` in the format of its suffix, beside and renamed. Raises UsageError for another one."""
    check_suffix(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.partial")
    try:
        WRITERS[out.suffix](embeddings, draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def check_suffix(out: Path) -> None:
    """Raise UsageError for a suffix that there is no writer for: before anything is computed."""
    if out.suffix not in WRITERS:
        raise UsageError(
            f"cannot write {out.name}: no such format", hint=f"End it in {' or '.join(WRITERS)}."
        )
