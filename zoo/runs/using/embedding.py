"""Files and texts become vectors: what the head of a network sees of each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import msgspec
import numpy as np

from zoo.data.contents import read_contents
from zoo.data.finding.vector_table import holds_features
from zoo.data.kinds import IMAGES
from zoo.data.names import one_line, safe_text, shortened
from zoo.data.scanning import find_labels
from zoo.errors import DatasetError, UnreadableFile, UsageError
from zoo.events import Note, Report, silent
from zoo.features.engine import PLAIN, Engine, Precision, Way
from zoo.features.provenance import KEY, Provenance, Unreadable, provenance_of
from zoo.features.vectors import ROWS, FeatureFile, open_features
from zoo.runs.answers import refuse_unreadable
from zoo.runs.using.prediction_files import check_out
from zoo.store.disk.space import writing
from zoo.training.ranks import is_first

if TYPE_CHECKING:
    from zoo.data.texts import Text
    from zoo.features.rows import StoredRows
    from zoo.runs.answers import ItemSource
    from zoo.runs.classifier import Classifier
    from zoo.store.store import Store
    from zoo.words.vectors.word_vectors import WordVectors


@dataclass(frozen=True)
class Embeddings:
    """paths: of the readable files, or places of the texts, in the order given. features: (items, width)
    float32. words, known: (items,) of texts, how many words each has, and how many of them are known; where
    that is 0 the features mean nothing. labels, parts: of labelled images, None of an image that has
    none. contents: sha256 of each file. about: what the features depend on, of images. way: how those of
    images were computed; cosine: the least one to torch in fp32 that was measured; None where nothing was
    computed, or in that way. stored: the features, where they are in a file because they are more than the
    memory is to hold; (0, width) are in `features` then. written: what the items are called, if they are not
    files."""

    paths: tuple[Path, ...]
    features: np.ndarray
    words: np.ndarray | None = None
    known: np.ndarray | None = None
    labels: tuple[str | None, ...] | None = None
    parts: tuple[str | None, ...] | None = None
    contents: tuple[str | None, ...] | None = None
    about: Provenance | None = None
    way: Way = PLAIN
    cosine: float | None = None
    stored: StoredRows | None = None
    written: tuple[str, ...] | None = None

    @property
    def names(self) -> Sequence[str | Path]:
        """What the items are called in a file: what a path makes of s3://bucket/1.jpg is another name."""
        return self.paths if self.written is None else self.written

    @property
    def shape(self) -> tuple[int, int]:
        """(items, width) of the features, wherever they are."""
        return len(self.paths), self.features.shape[1]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The features in order, ROWS of them at a time, and which items these are of."""
        for start in range(0, len(self.paths), ROWS):
            some = slice(start, min(start + ROWS, len(self.paths)))
            if self.stored is None:
                yield some, self.features[some]
            else:
                yield some, self.stored.read(np.arange(some.start, some.stop)).numpy()

    @property
    def columns(self) -> dict[str, np.ndarray | tuple[str | None, ...]]:
        """What more is known of the items beside their features."""
        found = {
            "label": self.labels,
            "split": self.parts,
            "sha256": self.contents,
            "words": self.words,
            "known": self.known,
        }
        return {name: values for name, values in found.items() if values is not None}


def embed_items(
    classifier: Classifier,
    source: ItemSource,
    *,
    store: Store,
    device: str = "auto",
    backend: str = "torch",
    precision: Precision = "fp32",
    report: Report = silent,
) -> Embeddings:
    """What the head of the network sees of every item that can be read; those of images come from the cache
    where they were computed before. backend: what computes images on a CPU: see Engine; "auto" of a run: what
    computed those that it was trained on. precision: of images; bf16 where it agrees with fp32 on the first
    of them. Raises UsageError for what does not go together."""
    from zoo.training.device import pick_device

    if not source.places:
        raise UsageError(f"no {source.noun}s to embed")
    engine = Engine(backend, store.home / "onnx")
    engine.check(device, precision)
    if backend == "auto" and classifier.backend == "onnx":
        engine = classifier.engine(store)
    if precision != "fp32" and source.noun != IMAGES.noun:
        raise UsageError(f"precision {precision} is for images, and these are {source.noun}s")
    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=store.home,
        device=pick_device(device),
        precision=precision,
        engine=engine,
    )
    refuse_unreadable(source, report)
    columns: dict[str, Any] = {name: np.array(values) for name, values in source.columns.items()}
    paths = tuple(source.places[row] for row in table.kept)
    stored = table.stored[0] if table.stored else None
    features = table.features.numpy() if stored is None else np.empty((0, stored.shape[1]), np.float32)
    return Embeddings(paths, features, **columns, way=table.way, cosine=table.cosine, stored=stored)


def embed_for_training(
    classifier: Classifier,
    source: ItemSource,
    data: Path | None,
    *,
    store: Store,
    device: str = "auto",
    backend: str = "torch",
    precision: Precision = "fp32",
    report: Report = silent,
) -> Embeddings:
    """The same of images with what a head needs to be trained on them: what they depend on, the content of
    each and, where they are those of `data`, a labelled folder, its class, its part, and what has none. What
    is more than ZOO_FEATURES_MEMORY is in a file, but where several processes share the work."""
    from zoo.runs.classifier import image_model
    from zoo.training.device import pick_device

    _spill(classifier, source, store)
    found = embed_items(
        classifier, source, store=store, device=device, backend=backend, precision=precision, report=report
    )
    if source.noun != IMAGES.noun or not is_first():
        return found
    about = provenance_of(
        image_model(classifier.entry),
        classifier.network,
        values=classifier.values,
        device=pick_device(device).type,
        precision=found.way.precision,
        backend=found.way.backend,
    )
    labelled = None if data is None else find_labels(data, IMAGES)
    digests = read_contents(source.places, store.home).list_digests()
    contents = tuple(_as_hex(each) for row, each in enumerate(digests) if row not in source.failures)
    if labelled is None or data is None:
        return replace(found, contents=contents, about=about)
    known: dict[str, tuple[str, str | None]] = {}
    for part, files in labelled.parts.items():
        for name, paths in files.items():
            whereabouts = name, part
            known |= dict.fromkeys((os.fspath(Path(path)) for path in paths), whereabouts)
    unreadable = [
        Unreadable(
            path=safe_text(path),
            reason=safe_text(reason),
            label=known[path][0],
            split=known[path][1],
            sha256=_as_hex(digests[at]),
        )
        for at, reason in source.failures.items()
        if (path := os.fspath(source.places[at])) in known
    ]
    here = [known.get(os.fspath(path), (None, None)) for path in found.paths]
    divided = set(labelled.parts) != {None}
    return replace(
        found,
        labels=tuple(name for name, _ in here),
        parts=tuple(part for _, part in here) if divided else None,
        contents=contents,
        about=msgspec.structs.replace(about, root=safe_text(labelled.root), unreadable=tuple(unreadable)),
    )


def table_among(items: Sequence[object]) -> Path | None:
    """The Parquet file of features, or the folder of them, that is all there is to embed; None for others.
    Raises UsageError for features beside anything else, which would be read as images."""
    suspects = [
        Path(item)
        for item in items
        if isinstance(item, str | Path) and os.path.splitext(item)[1].lower() in ("", ".parquet")  # noqa: PTH122
    ]
    tables = [path for path in suspects if holds_features(path, IMAGES)]
    if tables and len(items) > 1:
        alone = len(tables) < len(items)
        raise UsageError(
            f"{one_line(tables[0])} has features, and they are read from one file or one folder alone",
            hint="Name either the features or the photographs."
            if alone
            else "Put all Parquet files of features into one folder, and name that.",
        )
    return tables[0] if tables else None


def refuse_beside_features(table: Path, **options: object) -> None:
    """Raise UsageError for an option of Python that was given, and would be passed over since nothing is
    computed."""
    if given := [name for name, value in options.items() if value is not None]:
        do = "do" if len(given) > 1 else "does"
        raise UsageError(
            f"{' and '.join(given)} {do} not go with {one_line(table)}, which has features already",
            hint="Leave it out.",
        )


def embed_from_features(
    classifier: Classifier,
    data: Path,
    name: str,
    *,
    store: Store,
    device: str = "auto",
    precision: Precision = "fp32",
    on_bad: str = "skip",
    spill: bool = False,
    report: Report = silent,
) -> Embeddings:
    """The same of items whose features are in Parquet files already, and nothing is computed: those of this
    network are taken, with what the files say of each item.

    name: of the model or run, as it was typed. precision: "fp32" takes either. spill: whether what is more
    than ZOO_FEATURES_MEMORY is to be in a file. Raises DatasetError for features of another network, input or
    precision, and UnreadableFile with on_bad="stop" for an item that has none.
    """
    import torch

    from adapters import feature_width
    from zoo.data.pixels.ranges import ValueRange
    from zoo.features.rows import StoredRows, most_held, new_rows
    from zoo.runs.classifier import image_model
    from zoo.training.device import pick_device

    file = open_features(data, IMAGES, name)
    theirs = file.about
    if precision not in ("fp32", theirs.precision):
        raise DatasetError(
            f"{one_line(data)} has features in {theirs.precision}, not in {precision}",
            hint="Leave --precision out to take them as they are.",
        )
    values = None if theirs.values is None else ValueRange.from_facts(theirs.values)
    own = provenance_of(
        image_model(classifier.entry),
        classifier.network,
        values=values,
        device=pick_device(device).type,
        precision=theirs.precision,
        backend=theirs.backend,
    )
    width = feature_width(classifier.network)
    remark, items = file.check(own, width), file.list_items()
    report(Note(f"features of {one_line(data)}: no photograph is read"))
    if remark is not None:
        report(remark)
    if more := [column for column in items.more if column not in classifier.licenses]:
        left = shortened(", ".join(more))
        report(Note(f"left out: what {one_line(data)} says in other columns ({left})", level="warning"))
    _tell_lacking(file, on_bad, report)
    shape = len(items.names), width
    spilled = spill and 4 * shape[0] * width > most_held()
    rows = new_rows(shape, store.home / "features") if spilled else torch.zeros(shape)
    file.read_into(rows, [Path(name) for name in items.names])
    stored = rows if isinstance(rows, StoredRows) else None
    labels, parts, contents = (
        cells if any(cells) else None for cells in (items.label, items.split, items.sha256)
    )
    return Embeddings(
        tuple(map(Path, items.names)),
        np.empty((0, width), np.float32) if isinstance(rows, StoredRows) else rows.numpy(),
        labels=labels,
        parts=parts,
        contents=contents,
        about=msgspec.structs.replace(theirs, unreadable=items.lacking),
        way=Way(theirs.backend, theirs.precision),
        stored=stored,
        written=items.written,
    )


def _tell_lacking(file: FeatureFile, on_bad: str, report: Report) -> None:
    """Say which items have no features, or stop at the first."""
    if not file.bad:
        return
    name, reason = next(iter(file.bad.items()))
    if on_bad == "stop":
        raise UnreadableFile(f"{shortened(name)} {reason}", reason=reason)
    count = len(file.bad)
    more = "" if count == 1 else f"; and {count - 1:,} more"
    report(Note(f"passed over, without features: {shortened(name)} {reason}{more}", level="warning"))


def _as_hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _spill(classifier: Classifier, source: ItemSource, store: Store) -> None:
    """Let features of images that are more than the memory is to hold go into a file."""
    from adapters import feature_width
    from zoo.features.rows import most_held
    from zoo.runs.modalities.image_items import ImageItems

    if isinstance(source, ImageItems) and source.processes.world == 1:
        size = 4 * len(source.places) * feature_width(classifier.network)
        source.spill = store.home / "features" if size > most_held() else None


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
    """Arrays `paths`, `features`, those of Embeddings.columns, and a text per fact; no pickle. What is not
    known is an empty text."""
    columns = {
        name: values if isinstance(values, np.ndarray) else np.array([value or "" for value in values])
        for name, values in embeddings.columns.items()
    }
    arrays: dict[str, Any] = {"paths": np.array([str(name) for name in embeddings.names]), "features": None}
    arrays |= columns | {name: np.array(fact) for name, fact in facts.items()}
    header = {"descr": "<f4", "fortran_order": False, "shape": embeddings.shape}
    with ZipFile(out, "w") as file:  # as numpy.savez does, which wants all features at once
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                if array is not None:
                    np.lib.format.write_array(member, array, allow_pickle=False)
                    continue
                np.lib.format.write_array_header_1_0(member, header)
                for _, block in embeddings.blocks():
                    member.write(np.ascontiguousarray(block, "<f4").data)


def write_parquet(embeddings: Embeddings, out: Path, facts: Mapping[str, str]) -> None:
    """Columns `path`, `features` (float32), those of Embeddings.columns; the facts are its metadata.

    A group of rows is made when it is written: a few of them are in memory.
    """
    import polars
    from polars.io.plugins import register_io_source

    vector = polars.Array(polars.Float32, embeddings.shape[1])

    def group(some: slice, features: np.ndarray) -> polars.DataFrame:
        columns = {
            name: values[some]
            if isinstance(values, np.ndarray)
            else polars.Series(values[some], dtype=polars.String)
            for name, values in embeddings.columns.items()
        }
        paths = polars.Series([safe_text(name) for name in embeddings.names[some]], dtype=polars.String)
        return polars.DataFrame({"path": paths, "features": polars.Series(features, dtype=vector), **columns})

    def groups(*_: object) -> Iterator[polars.DataFrame]:
        return (group(some, features) for some, features in embeddings.blocks())

    nothing = group(slice(0, 0), np.empty((0, embeddings.shape[1]), np.float32))
    table = register_io_source(groups, schema=nothing.schema)
    table.sink_parquet(out, row_group_size=ROWS, metadata=dict(facts))  # readers hold a group at once


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
        about = {} if embeddings.about is None else {KEY: embeddings.about.encoded()}
        with writing(out):
            WRITERS[out.suffix.lower()](embeddings, draft, {**(facts or {}), **about})
            draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
