"""Files and texts become vectors: what the head of a network sees of each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import UsageError
from zoo.events import Note, Report, silent
from zoo.runs.answers import refuse_unreadable
from zoo.runs.using.prediction_files import check_out

if TYPE_CHECKING:
    from zoo.data.texts import Text
    from zoo.runs.answers import ItemSource
    from zoo.runs.classifier import Classifier
    from zoo.store.store import Store
    from zoo.words.vectors.word_vectors import WordVectors


@dataclass(frozen=True)
class Embeddings:
    """paths: of the readable files, or places of the texts, in the order given. features: (items, width)
    float32. words, known: (items,) of texts, how many words each has, and how many of them are known; where
    that is 0 the features mean nothing."""

    paths: tuple[Path, ...]
    features: np.ndarray
    words: np.ndarray | None = None
    known: np.ndarray | None = None

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What more is known of texts beside their features; nothing of images."""
        return {} if self.words is None or self.known is None else {"words": self.words, "known": self.known}


def embed_items(
    classifier: Classifier, source: ItemSource, *, store: Store, device: str = "auto", report: Report = silent
) -> Embeddings:
    """What the head of the network sees of every item that can be read; those of images come from the cache
    where they were computed before."""
    from zoo.training.device import pick_device

    if not source.places:
        raise UsageError(f"no {source.noun}s to embed")
    table = source.features(
        classifier.network, identity=classifier.identity, store_home=store.home, device=pick_device(device)
    )
    refuse_unreadable(source, report)
    columns = {name: np.array(values) for name, values in source.columns.items()}
    return Embeddings(tuple(source.places[row] for row in table.kept), table.features.numpy(), **columns)


def embed_by_vectors(
    vectors: WordVectors,
    texts: Sequence[Text],
    *,
    pooling: str = "mean",
    policy: str | None = None,
    report: Report = silent,
) -> Embeddings:
    """The weighted mean of the vectors of each text's words: see zoo.words.texts.pooling. Needs no torch."""
    from zoo.words.texts.pooling import embed_texts as pool

    found = pool(vectors, [text.text for text in texts], pooling=pooling, policy=policy, report=report)
    report(Note(str(found), level="warning" if found.without_vector.any() else "info"))
    return Embeddings(tuple(text.place for text in texts), found.matrix, found.tokens, found.used)


def _write_npz(embeddings: Embeddings, out: Path, facts: Mapping[str, str]) -> None:
    """Arrays `paths`, `features`, for texts `words` and `known`, and a text per fact; no pickle."""
    paths = np.array([str(path) for path in embeddings.paths])
    arrays: dict[str, Any] = {"paths": paths, "features": embeddings.features, **embeddings.columns}
    arrays |= {name: np.array(fact) for name, fact in facts.items()}
    with out.open("wb") as file:
        np.savez(file, **arrays)


def write_parquet(embeddings: Embeddings, out: Path, facts: Mapping[str, str]) -> None:
    """Columns `path`, `features` (float32), for texts `words` and `known`; the facts are its metadata."""
    import polars

    features = polars.Series(
        "features", embeddings.features, dtype=polars.Array(polars.Float32, embeddings.features.shape[1])
    )
    paths = [str(path) for path in embeddings.paths]
    table = polars.DataFrame({"path": paths, "features": features, **embeddings.columns})
    table.write_parquet(out, metadata=dict(facts))


WRITERS: dict[str, Callable[[Embeddings, Path, Mapping[str, str]], None]] = {
    ".npz": _write_npz,
    ".parquet": write_parquet,
}


def write_embeddings(embeddings: Embeddings, out: Path, facts: Mapping[str, str] | None = None) -> None:
    """Write to `out` in the format of its suffix, beside and renamed. Raises UsageError for another one, and
    for a file that is there already.

    facts: what goes in beside the vectors: the model, its licence, that of the data (Classifier.licenses).
    """
    check_out(out, WRITERS)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.partial")
    try:
        WRITERS[out.suffix.lower()](embeddings, draft, facts or {})
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
