"""Hash every byte of the store again, with a verdict for each file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import structs

from zoo.catalogue.entry import ModelEntry
from zoo.errors import Interrupted, StorageError, ZooError
from zoo.events import Progress, Report, silent
from zoo.store.disk.blobs import Blobs
from zoo.store.disk.records import Record, source_key
from zoo.store.fetching import check_offline
from zoo.store.trust.hashing import hash_file

if TYPE_CHECKING:
    from zoo.store.store import Store

SHARED = "it is in a shared folder, which zoo never changes"
State = Literal["whole", "damaged", "missing", "fixed", "deleted", "absent"]


@dataclass(frozen=True)
class Verdict:
    """The result of checking one file.

    name: of the model; None for a file that no record needs. kind: "published" or the kind of a derived file.
    state: `missing`: fetched once, but gone; `absent`: never fetched; `fixed`: was damaged or missing, and is
    whole again; `deleted`: was damaged, and is not needed, or is derived again at the next use. bytes: on the
    disk. detail: what is wrong.
    """

    name: str | None
    kind: str
    sha256: str | None
    path: Path | None
    state: State
    bytes: int = 0
    detail: str | None = None

    @property
    def good(self) -> bool:
        return self.state in ("whole", "fixed", "deleted")


def verify_store(
    store: Store, entries: Iterable[ModelEntry] | None = None, *, fix: bool = False, report: Report = silent
) -> list[Verdict]:
    """A verdict for every file of some models, or of the whole store, each hashed again.

    fix: delete damaged files and fetch them again; shared ones are only checked.
    """
    verdicts: list[Verdict] = []
    if entries is None:
        for blobs, records in store.places:
            for _, record in list(records):
                verdicts += _check_record(store, blobs, record, record.entry(), fix=fix, report=report)
            needed = {sha256 for _, record in records for sha256 in record.blobs}  # as they are after a fix
            for sha256 in sorted(set(blobs) - needed):
                verdicts.append(_check_orphan(store, blobs, sha256, fix=fix, report=report))
        return list(dict.fromkeys(verdicts))  # a source that moved has two records of one file
    for entry in entries:
        found = [(blobs, records.read(source_key(entry.weights))) for blobs, records in store.places]
        kept = [(blobs, record) for blobs, record in found if record is not None]
        if not kept:
            verdicts.append(Verdict(entry.name, "published", entry.weights.sha256, None, "absent"))
        for blobs, record in kept:
            verdicts += _check_record(store, blobs, record, entry, fix=fix, report=report)
    return list(dict.fromkeys(verdicts))


def _check_record(
    store: Store, blobs: Blobs, record: Record, entry: ModelEntry, *, fix: bool, report: Report
) -> list[Verdict]:
    """A verdict for each file that a record needs; with `fix`, bad ones are deleted and fetched again."""
    kinds = {record.sha256: "published"} | {made.sha256: kind for kind, made in record.derived.items()}
    verdicts = [_check_blob(blobs, record.name, kinds[sha256], sha256, report) for sha256 in record.blobs]
    bad = [verdict for verdict in verdicts if not verdict.good]
    if not bad or not fix:
        return verdicts
    if blobs is not store.blobs:
        return [v if v.good else replace(v, detail=f"{v.detail}; {SHARED}") for v in verdicts]
    try:
        if not any(verdict.kind == "published" and verdict.good for verdict in verdicts):
            store.check_license(entry)
            if store.offline:
                check_offline(store, entry)  # nothing is deleted that could not be fetched again
    except ZooError as error:
        return [v if v.good else replace(v, detail=error.message) for v in verdicts]
    fetch = store.fetch_again if any(verdict.kind == "published" for verdict in bad) else store.fetch
    try:
        for verdict in bad:
            assert verdict.sha256 is not None
            blobs.remove(verdict.sha256)
        fetch(entry, report=report)
    except Interrupted:
        raise
    except ZooError as error:
        return [v if v.good else replace(v, state="missing", detail=error.message) for v in verdicts]
    _forget_derived(store, entry, {verdict.kind for verdict in bad})
    return [v if v.good else _fixed(v) for v in verdicts]


def _forget_derived(store: Store, entry: ModelEntry, kinds: set[str]) -> None:
    """Remove derived files from the record: the next use derives them again."""
    key = source_key(entry.weights)
    record = store.records.read(key)
    if record is not None:
        left = {kind: made for kind, made in record.derived.items() if kind not in kinds}
        store.records.write(key, structs.replace(record, derived=left))


def _fixed(verdict: Verdict) -> Verdict:
    """The verdict on a bad file after a fetch: a published one is whole, a derived one was deleted."""
    if verdict.kind == "published":
        return replace(verdict, state="fixed")
    return replace(verdict, state="deleted", detail="it is derived again at the next use")


def _check_orphan(store: Store, blobs: Blobs, sha256: str, *, fix: bool, report: Report) -> Verdict:
    """A verdict for a file that no record needs; with `fix`, a bad one is deleted."""
    verdict = _check_blob(blobs, None, "published", sha256, report)
    if verdict.good or not fix or blobs is not store.blobs:
        return verdict
    try:
        blobs.remove(sha256)
    except StorageError as error:
        return replace(verdict, detail=str(error))
    return replace(verdict, state="deleted")


def _check_blob(blobs: Blobs, name: str | None, kind: str, sha256: str, report: Report) -> Verdict:
    """Hash one file."""
    path = blobs.path(sha256)
    if path.is_dir():
        return Verdict(name, kind, sha256, path, "damaged", detail="it is a folder, where a file belongs")
    if not path.is_file():
        return Verdict(name, kind, sha256, path, "missing", detail="the file is gone")
    got = hash_file(path)
    report(Progress(f"verify {name or sha256[:12]}", got.bytes, got.bytes, "bytes"))
    if got.sha256 != sha256:
        detail = f"expected {sha256}, got {got.sha256} ({got.bytes:,} bytes)"
        return Verdict(name, kind, sha256, path, "damaged", got.bytes, detail)
    return Verdict(name, kind, sha256, path, "whole", got.bytes)
