"""The cache of features, keyed by the content of each item, so that files may be renamed or moved.

`$ZOO_HOME/features/<key>/<name>.rows`; the key is the sha256 of everything that a feature depends on besides
the item itself. Each file is a segment (zoo/features/segments.py), named by the contents in it. A search
reads the index of each and the rows that are wanted, nothing else, and checks those rows. There are no locks:
segments are never changed, only added and merged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.events import Note, Report, silent
from zoo.features.rows import Rows, read_rows
from zoo.features.segments import (
    SUFFIX,
    TABLE,
    TEMPORARY,
    Array,
    Damaged,
    Segment,
    join_digests,
    keys_of,
    open_segment,
    rows_once,
    save_segment,
)
from zoo.store.upkeep.pruning import most_features

MANY = 8  # segments of about one size in a table, merged when there are more: each costs an open and a search
LARGE = (
    64 * 2**20
)  # bytes of the smallest size; each other is MANY times the one before: a row is merged seldom
LARGEST = 8 * 2**30  # bytes from which on a segment is not merged again: as many are needed while it is
STALE = 86_400  # seconds after which a temporary file counts as abandoned
LAYOUT = 2  # of the files of a table; another one has tables of its own, and older ones are pruned unused


class FeatureCache:
    """The features of one network at one layer, with one preprocessing: content hash -> row.

    folder: `home/features`; its size is limited by `most_features`. about: everything that decides a
    feature's value, as plain JSON. If the folder cannot be written, the features are computed again next
    time; this run is not affected.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], *, report: Report = silent) -> None:
        self.about = json.dumps({**about, "layout": LAYOUT}, sort_keys=True)
        self.folder = folder
        self.table = folder / hashlib.sha256(self.about.encode()).hexdigest()
        self.report = report
        self.most = most_features()

    def find(
        self, contents: Sequence[bytes | None] | Array, new: Callable[[tuple[int, ...]], Rows] = torch.zeros
    ) -> tuple[Tensor, Rows]:
        """Which of the contents are cached, and their features in the same order.

        contents: sha256 digests; None, and a row of zeros, is not there. new: makes the rows, of zeros, by
        their shape. Returns found (n,) bool and rows (n, …) float32, zeros for what is missing; (0,) where
        all is. What is damaged is reported, and its items count as missing.
        """
        search = Search(join_digests(contents))
        rows: Rows | None = None
        for segment in self.open():
            with closing(segment):
                if rows is None:  # pages that are never written cost nothing
                    rows = new((len(contents), *segment.shape))
                if segment.shape == tuple(rows.shape[1:]):
                    for positions, _, some in search.among(segment):
                        rows[torch.from_numpy(positions)] = torch.from_numpy(some)
        if search.damaged:
            self.report(Note(f"{search.damaged:,} damaged features, computed again", level="warning"))
        there, first = search.answer()
        if rows is None or not there.any():
            return torch.from_numpy(there), torch.empty(0)
        with contextlib.suppress(OSError):  # the cache may be read-only
            os.utime(self.table)
        again = np.flatnonzero(there & (first != np.arange(len(first))))
        if len(again):
            rows[torch.from_numpy(again)] = read_rows(rows, first[again])
        return torch.from_numpy(there), rows

    def add(self, contents: Sequence[bytes | None] | Array, features: Tensor) -> None:
        """Store the features (n, …) of n items. Safe if killed at any moment and with other processes."""
        digests = join_digests(contents)
        first = np.sort(Search(digests).first)  # rows stay in the order of the items
        if not len(first):
            return
        try:
            chosen, rows = digests[first], features.numpy()[first]
            self.write(chosen.tobytes(), rows.shape[1:], iter([(chosen, rows)]))
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

    def write(self, named: bytes, shape: tuple[int, ...], parts: Iterator[tuple[Array, Array]]) -> Path:
        """Write a segment; its name depends on `named`."""
        return save_segment(self.table, named, self.about, shape, parts)

    def open(self) -> list[Segment]:
        """The open segments of the table, newest first. A file of another kind is deleted and reported."""
        for _ in range(MANY):
            found: list[Segment] = []
            try:
                for path in _newest_first(self.table):
                    segment = self._open_one(path)
                    found += [] if segment is None else [segment]
                return found
            except FileNotFoundError:  # another process merged or pruned it: its rows are elsewhere now
                for segment in found:
                    segment.close()
        return []

    def _open_one(self, path: Path) -> Segment | None:
        try:
            return open_segment(path, self.about)
        except FileNotFoundError:
            raise
        except Damaged:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            self.report(Note(f"{path.name}: damaged features, computed again", level="warning"))
        except OSError as error:  # not ours to read, or the disk fails
            self.report(Note(f"{path.name}: {error}; its features are computed again", level="warning"))
        return None

    def merge(self) -> None:
        """Merge segments of about one size, where there are many. Only merged ones are deleted: concurrent
        merges are harmless. Two segments with one content keep the newer row."""
        sized = [(size, path) for path, size in _list_files(self.table) if path.suffix == SUFFIX]
        for _, those in groupby(
            sorted(each for each in sized if each[0] < LARGEST), key=lambda each: _tier(each[0])
        ):
            paths = [path for _, path in those]
            if len(paths) > MANY:
                self._merge(paths)

    def _merge(self, paths: Sequence[Path]) -> None:
        names = "".join(sorted(path.name for path in paths)).encode()
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(closing(each)) for each in self.open()]
            opened = [each for each in opened if each.path in paths]
            opened = [each for each in opened if each.shape == opened[0].shape]
            if len(opened) > 1:
                merged = self.write(names, opened[0].shape, rows_once(opened))
                for segment in opened:
                    if segment.path != merged:
                        segment.path.unlink(missing_ok=True)


class Search:
    """The contents that are looked for in one segment after the other.

    digests: (n, 32) uint8; zeros are nothing. first: the position of each content, where it comes first, by
    its key; left: those of them that were not found yet. damaged: how many rows were not as they were
    written.
    """

    def __init__(self, digests: Array) -> None:
        self.digests = digests
        self.keys, self.first, self.number = np.unique(
            keys_of(digests), return_index=True, return_inverse=True
        )
        some = digests[self.first].any(1)
        if not some.all():  # the one key of what has no digest: it comes first, if it is there
            self.number = self.number - (np.cumsum(~some)[self.number])
            self.keys, self.first = self.keys[some], self.first[some]
        self.left = np.ones(len(self.keys), np.bool_)
        self.damaged = 0

    def among(self, segment: Segment) -> Iterator[tuple[Array, Array, Array]]:
        """What is left and in this segment: positions, numbers in its index, and rows, a few MB at a time.

        A row that is damaged is left: another segment may have it.
        """
        left = np.flatnonzero(self.left)
        asked, mine = segment.look_up(self.keys[left], self.digests[self.first[left]])
        try:
            for which, rows, whole in segment.read(mine):
                if not whole.all():
                    self.damaged += int((~whole).sum())
                    which, rows = which[whole], rows[whole]
                found = left[asked[which]]
                self.left[found] = False
                yield self.first[found], mine[which], rows
        except OSError:  # the disk fails here; what was not read is computed again
            self.damaged += int(self.left[left[asked]].sum())

    def answer(self) -> tuple[Array, Array]:
        """Which of the contents (n,) were found, and where each content comes first."""
        there = np.zeros(len(self.digests), np.bool_)
        first = np.arange(len(self.digests))
        known = self.number >= 0
        first[known] = self.first[self.number[known]]
        there[known] = ~self.left[self.number[known]]
        there &= (self.digests == self.digests[first]).all(1)
        return there, first


def _tier(size: int) -> int:
    """Which sizes of segments are merged with each other."""
    tier = 0
    while size >= LARGE * MANY**tier:
        tier += 1
    return tier


def _newest_first(table: Path) -> list[Path]:
    """The segments of a table: where two have the same content, the newer row is the whole one."""
    if not table.is_dir():
        return []
    dated = [(path.stat().st_mtime_ns, path) for path in table.glob(f"*{SUFFIX}")]
    return [path for _, path in sorted(dated, reverse=True)]


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
