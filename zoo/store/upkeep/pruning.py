"""Deleting unused files of the store: first a plan, then its execution; a dry run shows the plan."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo.catalogue.search import size_setting
from zoo.errors import LockTimeout
from zoo.store.disk.blobs import is_linked, remove_file
from zoo.store.disk.locks import hold
from zoo.store.disk.partial_files import find_partials, is_free
from zoo.store.disk.records import Record
from zoo.store.disk.space import disk_errors

if TYPE_CHECKING:
    from zoo.store.store import Store

FEATURES = 4 * 2**30  # bytes of features that are kept by default
COMPUTED = "features", "onnx", "hashes"
_KEY = re.compile(r"[0-9a-f]{64}")
_OURS = ".rows", ".safetensors", ".onnx", ".hashes", ".partial", ".txt"
DAY = 86400.0
HOUR = 3600.0


@dataclass(frozen=True)
class Prunable:
    """An item that can be deleted.

    name: of the model; None for files that no model needs. bytes: freed by deleting it. idle: seconds since
    it was last used, never negative, even if the clock was wrong. why: `unused` models, `partial` downloads,
    `orphan` files, `computed` features, exports and hashes that nobody read for so long, or features that are
    more than the store keeps.
    """

    name: str | None
    why: Literal["unused", "partial", "orphan", "computed"]
    paths: tuple[Path, ...]
    bytes: int
    idle: float


@dataclass(frozen=True)
class PrunePlan:
    """The items that pruning deletes. bytes: freed by all of them."""

    store: Store
    items: tuple[Prunable, ...]

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)

    def execute(self) -> PrunePlan:
        """Delete the items. Returns the plan without items that another process uses meanwhile.

        Blobs that several models share stay until the last of them is deleted.
        """
        return replace(self, items=tuple(item for item in self.items if _remove(self.store, item)))


def plan_prune(store: Store, *, older_than: float | None = None, now: float | None = None) -> PrunePlan:
    """The plan to delete models, features, exports and hashes unused for `older_than` seconds, features
    beyond `most_features`, and leftovers of fetches that ended.

    Partial downloads count after a day, files without a record after an hour: a running fetch is neither.
    Raises UsageError for a limit of features that is not a size.
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
        idle = _idle_time(partial.path, now)
        if is_free(partial) and idle >= min(DAY, DAY if older_than is None else older_than):
            found.append(Prunable(None, "partial", (partial.path,), partial.bytes, idle))
    for sha256 in set(store.blobs) - needed:
        path = store.blobs.path(sha256)
        idle = _idle_time(path, now)
        if idle >= HOUR and path.is_file():
            found.append(Prunable(None, "orphan", (path,), size_of((path,)), idle))
    computed = [*_computed(store.home, now)]
    unused = [item for item in computed if older_than is not None and item.idle >= older_than]
    found += unused
    found += _too_many(store, [item for item in computed if item not in unused])
    items = _count_freed(sorted(found, key=lambda item: (-item.idle, item.name or "")), store)
    return PrunePlan(store, items)


def _computed(home: Path, now: float) -> Iterator[Prunable]:
    """What can be computed again: each table of features, the exports of each network, the hashes of each
    file system; nothing else that lies there."""
    for kind in COMPUTED:
        for folder in sorted((home / kind).glob("*/")):
            if not _KEY.fullmatch(folder.name) or folder.is_symlink():
                continue
            files = tuple(path for path in folder.iterdir() if path.is_file() and path.suffix in _OURS)
            idle = min((_idle_time(path, now) for path in (folder, *files)), default=0.0)
            if files:
                yield Prunable(None, "computed", files, size_of(files), idle)


def _too_many(store: Store, staying: Sequence[Prunable]) -> Iterator[Prunable]:
    """The tables of features that were not used for the longest time, until the others are few enough."""
    tables = [item for item in staying if item.paths[0].is_relative_to(store.home / "features")]
    total, most = sum(item.bytes for item in tables), most_features()
    for item in sorted(tables, key=lambda item: -item.idle):
        if total <= most:
            return
        total -= item.bytes
        yield item


def most_features() -> int:
    """The bytes that features of all networks may take: ZOO_FEATURES_SIZE, as 20GB, or 4 GiB.

    Raises UsageError for what is not a size.
    """
    return size_setting("ZOO_FEATURES_SIZE", FEATURES)


def last_use(record: Record, paths: tuple[Path, ...]) -> float:
    """The time of a model's last fetch or read. File systems record reads once a day, or not at all."""
    times = [record.fetched]
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_atime)
    return max(times)


def size_of(paths: tuple[Path, ...]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def _count_freed(found: Sequence[Prunable], store: Store) -> tuple[Prunable, ...]:
    """The items with `bytes` set to what deleting them frees; files that other models share do not count."""
    needed = Counter(tuple(store.blobs.path(s) for s in record.blobs) for _, record in store.records)
    staying = needed - Counter(item.paths for item in found if item.why == "unused")
    counted = {path for paths in staying for path in paths}
    items = []
    for item in found:
        own = tuple(path for path in item.paths if path not in counted)
        counted.update(own)
        items.append(replace(item, bytes=size_of(tuple(path for path in own if not _stays(path)))))
    return tuple(items)


def _stays(path: Path) -> bool:
    """Whether the bytes of a file stay on the disk when this name of it is deleted."""
    try:
        return is_linked(path)
    except FileNotFoundError:
        return False


def _remove(store: Store, item: Prunable) -> bool:
    """Delete one item; False if another process uses it."""
    with disk_errors(store.home, "prune"), suppress(LockTimeout):
        if item.why == "computed":
            for path in item.paths:
                path.unlink(missing_ok=True)  # who reads it keeps what is open
            with suppress(OSError):  # something new was put there meanwhile
                item.paths[0].parent.rmdir()
            return True
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


def _idle_time(path: Path, now: float) -> float:
    """Seconds since a file was written; 0 if it is gone, or its time is in the future."""
    try:
        return max(now - path.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return 0.0
