"""What may go from the store, and its going: decided first, so that a dry run is the same decision."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo.errors import LockTimeout
from zoo.store.disk.blobs import remove_file
from zoo.store.disk.locks import hold
from zoo.store.disk.partial_files import find_partials, is_free
from zoo.store.disk.records import Record
from zoo.store.disk.space import disk_errors

if TYPE_CHECKING:
    from zoo.store.store import Store

DAY = 86400.0
HOUR = 3600.0


@dataclass(frozen=True)
class Prunable:
    """Something that may go.

    name: of the model; None for files that no model needs. bytes: that are free when it is gone.
    idle: seconds since it was last used, never negative, whatever the clock says. why: `unused` models,
    `partial` downloads, `orphan` files.
    """

    name: str | None
    why: Literal["unused", "partial", "orphan"]
    paths: tuple[Path, ...]
    bytes: int
    idle: float


def find_prunable(
    store: Store, *, older_than: float | None = None, now: float | None = None
) -> list[Prunable]:
    """What prune would remove: models unused for `older_than` seconds, and leftovers of fetches that ended.

    Partial downloads count after a day, files without a record after an hour: a running fetch is neither.
    """
    now = time.time() if now is None else now
    found: list[Prunable] = []
    needed: set[str] = set()
    for _, record in store.records:
        needed |= set(record.blobs)
        paths = tuple(store.blobs.path(sha256) for sha256 in record.blobs)
        idle = max(now - last_use(record, paths), 0.0)
        if older_than is not None and idle >= older_than:
            found.append(Prunable(record.name, "unused", paths, size_of(paths), idle))
    for partial in find_partials(store.blobs.folder):
        idle = idle_time(partial.path, now)
        if is_free(partial) and idle >= min(DAY, DAY if older_than is None else older_than):
            found.append(Prunable(None, "partial", (partial.path,), partial.bytes, idle))
    for sha256 in set(store.blobs) - needed:
        path = store.blobs.path(sha256)
        idle = idle_time(path, now)
        if idle >= HOUR:
            found.append(Prunable(None, "orphan", (path,), size_of((path,)), idle))
    return count_freed(sorted(found, key=lambda item: (-item.idle, item.name or "")), store)


def count_freed(found: Sequence[Prunable], store: Store) -> list[Prunable]:
    """The same, each with the bytes that its going frees: not those that others need, or that went before."""
    needed = Counter(tuple(store.blobs.path(s) for s in record.blobs) for _, record in store.records)
    staying = needed - Counter(item.paths for item in found if item.why == "unused")
    counted = {path for paths in staying for path in paths}
    told = []
    for item in found:
        own = tuple(path for path in item.paths if path not in counted)
        counted.update(own)
        told.append(replace(item, bytes=size_of(own)))
    return told


def prune(store: Store, *, older_than: float | None = None, dry_run: bool = False) -> list[Prunable]:
    """Remove what find_prunable finds, and return it; with `dry_run`, only return it.

    What another process is using at the moment stays, and is not returned. Blobs that several models share
    stay until the last of them goes.
    """
    found = find_prunable(store, older_than=older_than)
    if dry_run:
        return found
    return [item for item in found if remove_pruned(store, item)]


def remove_pruned(store: Store, item: Prunable) -> bool:
    """Remove one thing; False if somebody began to use it."""
    with disk_errors(store.home, "prune"), suppress(LockTimeout):
        if item.why != "unused":
            key = item.paths[0].name.partition(".")[0].partition("-")[0]
            with hold(store.home / "locks" / f"{key}.lock", "prune", patience=0.0):
                if item.why == "orphan" and any(key in record.blobs for _, record in store.records):
                    return False
                remove_file(item.paths[0])
                return True
        for _, record in list(store.records):
            if record.name == item.name and set(item.paths) == {store.blobs.path(s) for s in record.blobs}:
                store.remove(record.entry(), patience=0.0)
        return True
    return False


def last_use(record: Record, paths: tuple[Path, ...]) -> float:
    """When a model was last fetched or read. File systems write down reading once a day, or not at all."""
    times = [record.fetched]
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_atime)
    return max(times)


def idle_time(path: Path, now: float) -> float:
    """Seconds since a file was written; 0 for one that is gone, or comes from the future."""
    try:
        return max(now - path.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return 0.0


def size_of(paths: tuple[Path, ...]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())
