"""The cache of features, keyed by the content of each item, so that files may be renamed or moved.

`$ZOO_HOME/features/<key>/<digest>.safetensors`; the key is the sha256 of everything that a feature depends on
besides the item itself. Each file is a shard: the content hashes of some items and their features. Its name
is its digest, which is checked at every read. There are no locks: shards are never changed, only added and
merged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from zoo.catalogue.search import parse_size
from zoo.errors import UsageError
from zoo.events import Note, Report, silent

CAP = 4 * 2**30  # bytes kept in total by default; the least recently used tables are deleted first
MANY = 8  # small shards of one table, merged when there are more: each costs an open
LARGE = 64 * 2**20  # bytes from which on a shard is not merged again: else the cost would be quadratic
STALE = 86_400  # seconds after which a temporary file counts as abandoned
SUFFIX, TEMPORARY = ".safetensors", ".partial"
TABLE = re.compile(r"[0-9a-f]{64}")  # nothing else in the folder may be deleted


def most_bytes() -> int:
    """The bytes that features of all networks may take: ZOO_FEATURES_SIZE, as 20GB, or CAP.

    Raises UsageError for what is not a size.
    """
    given = os.environ.get("ZOO_FEATURES_SIZE")
    try:
        return parse_size(given) if given else CAP
    except UsageError as error:
        raise UsageError(f"ZOO_FEATURES_SIZE: {error.message}", hint=error.hint) from None


class FeatureCache:
    """The features of one network at one layer, with one preprocessing: content hash -> row.

    folder: `home/features`; its size is limited by `most_bytes`. about: everything that decides a feature's
    value, as plain JSON. If the folder cannot be written, the features are computed again next time; this run
    is not affected.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, report: Report = silent) -> None:
        self.about = json.dumps(about, sort_keys=True)
        self.folder = folder
        self.table = folder / hashlib.sha256(self.about.encode()).hexdigest()
        self.report = report
        self.most = most_bytes()

    def find(self, contents: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Which of the contents are cached, and their features in the same order.

        contents: sha256 digests. Returns found (n,) bool and rows (found, …) float32. Damaged shards are
        deleted and reported; their items count as missing.
        """
        shards = [
            shard for shard in map(self.read, sorted(self.table.glob(f"*{SUFFIX}"))) if shard is not None
        ]
        place = {
            content: (s, row) for s, shard in enumerate(shards) for row, content in enumerate(shard.contents)
        }
        found = torch.tensor([content in place for content in contents], dtype=torch.bool)
        hits = [place[content] for content in contents if content in place]
        if not hits:
            return found, torch.empty(0)
        with contextlib.suppress(OSError):  # the cache may be read-only
            os.utime(self.table)
        rows = torch.empty(len(hits), *shards[0].features.shape[1:])
        for s, shard in enumerate(shards):
            mine = [(at, row) for at, (of, row) in enumerate(hits) if of == s]
            if mine:
                at, row = torch.tensor(mine).T
                rows[at] = shard.features[row]
        return found, rows

    def add(self, contents: Sequence[bytes], features: Tensor) -> None:
        """Store the features (n, …) of n items. Safe if killed at any moment and with other processes."""
        if not contents:
            return
        try:
            self.write(_Shard(tuple(contents), features))
            self.merge()
            _prune_features(self.folder, most=self.most, keep=self.table)
        except OSError as error:
            self.report(
                Note(
                    f"the features could not be stored: {error}",
                    "They are computed again next time.",
                    "warning",
                )
            )

    def write(self, shard: _Shard) -> Path:
        """Write a shard to a temporary file, then rename it to its digest."""
        digest = shard.digest(self.about)
        self.table.mkdir(parents=True, exist_ok=True)
        target = self.table / f"{digest}{SUFFIX}"
        temporary = self.table / f"{secrets.token_hex(8)}{TEMPORARY}"
        tensors = {
            "contents": torch.frombuffer(bytearray(b"".join(shard.contents)), dtype=torch.uint8).view(-1, 32),
            "features": shard.features.contiguous(),
        }
        try:
            # no fsync: a torn file fails its digest check, which costs no more than an fsync
            temporary.write_bytes(save(tensors, metadata={"about": self.about}))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def read(self, path: Path) -> _Shard | None:
        """One shard; None if it was deleted meanwhile or is damaged. A damaged one is deleted."""
        try:
            # read, not mapped: every byte is hashed now, and a mapping breaks if the file is truncated later
            tensors = load(path.read_bytes())
            contents = tensors["contents"].numpy().tobytes()
            features = tensors["features"]
            shard = _Shard(tuple(contents[i : i + 32] for i in range(0, len(contents), 32)), features)
            if path.stem == shard.digest(self.about):
                return shard
        except (FileNotFoundError, PermissionError):  # another process merged or pruned it, or owns it
            return None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            pass
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        self.report(Note(f"{path.name}: damaged features, computed again", level="warning"))
        return None

    def merge(self) -> None:
        """Merge many small shards into one. Only merged ones are deleted: concurrent merges are harmless."""
        small = [path for path, size in _list_files(self.table) if path.suffix == SUFFIX and size < LARGE]
        if len(small) <= MANY:
            return
        shards = [(path, shard) for path in small if (shard := self.read(path)) is not None]
        contents = [content for _, shard in shards for content in shard.contents]
        features = torch.cat([shard.features for _, shard in shards])
        once = {content: row for row, content in enumerate(contents)}
        merged = self.write(_Shard(tuple(once), features[list(once.values())]))
        for path, _ in shards:
            if path != merged:
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Shard:
    """Some items. contents: the sha256 of each. features: (n, …) float32, one row per item."""

    contents: tuple[bytes, ...]
    features: Tensor

    def digest(self, about: str) -> str:
        """The sha256 of the shard's key, contents and features."""
        total = hashlib.sha256(about.encode())
        total.update(b"".join(self.contents))
        total.update(str(tuple(self.features.shape)).encode())
        total.update(self.features.contiguous().numpy().data)
        return total.hexdigest()


def _prune_features(folder: Path, *, most: int, keep: Path | None = None) -> int:
    """Delete the least recently used tables until at most `most` bytes are left; returns the bytes freed.

    folder: `home/features`. keep: a table that always stays. Incomplete files of killed processes are deleted
    as well, after a day.
    """
    now = time.time()
    tables = [path for path in folder.glob("*") if TABLE.fullmatch(path.name) and path.is_dir()]
    torn = [
        p for table in tables for p, _ in _list_files(table) if p.suffix == TEMPORARY and _is_stale(p, now)
    ]
    freed = sum(map(_remove, torn))
    sizes = {table: sum(size for _, size in _list_files(table)) for table in tables}
    total = sum(sizes.values())
    for table in sorted(sizes.keys() - {keep}, key=lambda table: _last_use(table, now)):
        if total - freed <= most:
            break
        freed += sum(_remove(path) for path, _ in _list_files(table))
        with contextlib.suppress(OSError):  # another process writes into it, or deleted it
            table.rmdir()
    return freed


def _list_files(folder: Path) -> list[tuple[Path, int]]:
    """The files of a folder, by name, with their bytes; empty if it does not exist."""
    found = []
    for path in sorted(folder.glob("*")):
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat().st_size))
    return found


def _remove(path: Path) -> int:
    """Delete a file; returns the bytes freed, 0 if it is gone already."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _last_use(table: Path, now: float) -> float:
    """The time of a table's last read or write; a time in the future counts as now."""
    try:
        return min(table.stat().st_mtime, now)
    except FileNotFoundError:
        return now


def _is_stale(path: Path, now: float) -> bool:
    """Whether a temporary file is abandoned."""
    return now - _last_use(path, now) > STALE
