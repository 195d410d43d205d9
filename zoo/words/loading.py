"""Word vectors of the registry: a verified file becomes an open object, compiled at the first use."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from zoo.catalogue.entry import WordModel
from zoo.errors import IntegrityError, UnknownName, UsageError
from zoo.events import Note, Report, silent
from zoo.store.local import LocalModel
from zoo.store.store import Store
from zoo.words.compiling import compile_into
from zoo.words.layout import HEADER_BYTES, PRECISIONS, is_compiled
from zoo.words.vectors import WordVectors, open_vectors


def load_words(
    local: LocalModel,
    store: Store,
    *,
    precision: str = "float32",
    strict: bool = False,
    member: str | None = None,
    keep_source: bool = True,
    report: Report = silent,
) -> WordVectors:
    """The vectors of a registry entry, in milliseconds once they are compiled.

    The compiled file lies in the store under its own sha256, one per precision. keep_source: False deletes
    the published file once the compiled one is safe. The other options are those of `compile_vectors`.

    Raises what `compile_vectors` raises; UsageError for an entry that is no word vectors; IntegrityError
    where the entry states another dimension than the file has, while `strict` (else a Note tells).
    """
    entry = local.entry
    if not isinstance(entry, WordModel):
        raise UsageError(f"{entry.name} is no word vectors: it is {entry.task}")
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)

    def write(path: Path) -> None:
        with path.open("r+b" if path.exists() else "w+b") as file:
            compile_into(
                file,
                local.path,
                name=published_name(entry),
                format=entry.architecture,
                precision=precision,
                strict=strict,
                member=member,
                source_sha256=local.sha256,
                report=report,
            )

    kind = "-".join(["words", precision, *([member] if member else [])])
    path = store.derived(local, kind)
    if path is None and already_compiled(local.path):
        path = local.path
    elif path is None:
        path = store.derive(local, kind, write, keep_source=keep_source)
    vectors = open_vectors(path)
    if strict and vectors.faults:
        listed = "\n".join(f"  {fault}" for fault in vectors.faults)
        raise IntegrityError(f"{entry.name}: refused, because strict:\n{listed}")
    if vectors.vector_size != entry.input.dimension:
        message = f"{entry.name}: {vectors.vector_size} dimensions, its entry says {entry.input.dimension}"
        if strict:
            raise IntegrityError(message)
        report(Note(message, hint="Correct `input: dimension` in the registry.", level="warning"))
    return vectors


def published_name(entry: WordModel) -> str:
    """The file name in the entry's first URL, for messages and to tell a pickle by its suffix."""
    parts = urlsplit(entry.weights.urls[0])
    return Path(parts.path).name or parts.netloc or entry.name


def already_compiled(path: Path) -> bool:
    """Whether the store gave the compiled file itself: it keeps that alone where nobody wanted the source."""
    with path.open("rb") as file:
        return is_compiled(file.read(HEADER_BYTES))
