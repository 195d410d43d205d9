"""Files of hashes by stamp: immutable segments, of which a look-up reads the blocks that it needs.

A segment has a head, a table with the first inode and the checksum of each block, and the blocks: rows of 72
bytes, sorted by inode, one per inode. It opens in less than a millisecond whatever its size. It is written
beside its place and renamed, without fsync: what a crash tears fails its checksum, and is forgotten.

Nothing here raises OSError but `write_segment`, `merge_segments` and `limit_segments`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SUFFIX, TEMPORARY = ".hashes", ".partial"
LARGE = 2**26  # bytes from which on a segment is not merged again: 900,000 rows
STALE = 86_400  # seconds after which a temporary file counts as abandoned
FRESH = 3600  # seconds for which a use need not be noted again
BLOCK = 1024  # rows
CTIME, INODE = 2, 3  # places in a stamp

ROW = np.dtype([("stamp", "<i8", 4), ("digest", "u1", 32), ("plain", "<i8")])
"""plain: 1 where the first bytes are those of a photograph of 8 bit, see zoo/data/contents; else 0."""
_HEAD = np.dtype([("magic", "S16"), ("rows", "<i8"), ("sum", "<u8")])
_TABLE = np.dtype([("inode", "<i8"), ("sum", "<u8")])
_MAGIC = b"zoo hashes 2"  # a segment of another layout counts as damaged: its files are read once more

Rows = NDArray[np.void]
Stamps = NDArray[np.int64]
Digests = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Segment:
    """An open segment. seed: of its checksums, from the name of its folder: a segment that was moved to that
    of another file system is not believed. table: the first inode and the checksum of each block."""

    descriptor: int
    seed: int
    rows: int
    table: Rows

    def find(self, stamps: Stamps, digests: Digests, plain: Mask, known: Mask) -> None:
        """Fill in the digests (n, 32) of the stamps (n, 4) that are here, and which of these files are plain,
        and set their places in `known`."""
        blocks = np.searchsorted(self.table["inode"], stamps[:, INODE], "right") - 1
        blocks[known] = -1
        order = np.argsort(blocks, kind="stable")
        order = order[np.searchsorted(blocks[order], 0) :]
        ends = np.flatnonzero(np.diff(blocks[order])) + 1
        for mine in np.split(order, ends) if len(order) else ():
            block = self.read(int(blocks[mine[0]]))
            if block is None:
                continue
            inodes = block["stamp"][:, INODE]
            at = np.searchsorted(inodes, stamps[mine, INODE]) % len(inodes)
            same = (block["stamp"][at] == stamps[mine]).all(1)
            digests[mine[same]] = block["digest"][at[same]]
            plain[mine[same]] = block["plain"][at[same]] == 1
            known[mine[same]] = True

    def read(self, number: int) -> Rows | None:
        """One block; None if it is damaged. It is not mapped: a mapped file that is cut kills its reader."""
        count = min(BLOCK, self.rows - number * BLOCK)
        where = _HEAD.itemsize + self.table.nbytes + number * BLOCK * ROW.itemsize
        try:
            content = os.pread(self.descriptor, count * ROW.itemsize, where)
        except OSError:
            return None
        whole = len(content) == count * ROW.itemsize
        if not whole or zlib.crc32(content, self.seed) != self.table["sum"][number]:
            return None
        return np.frombuffer(content, ROW)

    def content(self) -> Rows:
        """Every row that is not damaged."""
        blocks = [self.read(number) for number in range(len(self.table))]
        return np.concatenate([np.empty(0, ROW), *(block for block in blocks if block is not None)])


@contextlib.contextmanager
def open_segment(path: Path) -> Iterator[Segment | None]:
    """A segment; None if it is damaged, or gone: merged by another process."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield _read_head(descriptor, _seed_of(path.parent))
    finally:
        os.close(descriptor)


def _read_head(descriptor: int, seed: int) -> Segment | None:
    try:
        head = os.pread(descriptor, _HEAD.itemsize, 0)
        if len(head) < _HEAD.itemsize:
            return None
        facts = np.frombuffer(head, _HEAD)[0]
        rows = int(facts["rows"])
        blocks = -(-rows // BLOCK)
        size = _HEAD.itemsize + blocks * _TABLE.itemsize + rows * ROW.itemsize
        if facts["magic"] != _MAGIC or rows < 1 or os.fstat(descriptor).st_size != size:
            return None
        table = os.pread(descriptor, blocks * _TABLE.itemsize, _HEAD.itemsize)
    except OSError:
        return None
    if zlib.crc32(table, zlib.crc32(head[:24], seed)) != facts["sum"]:
        return None
    return Segment(descriptor, seed, rows, np.frombuffer(table, _TABLE))


def _seed_of(folder: Path) -> int:
    return zlib.crc32(folder.name.encode())


def list_segments(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """The segments of one file system with their facts, the largest first."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                with contextlib.suppress(OSError):
                    found.append((Path(entry.path), entry.stat()))
    return sorted(found, key=lambda pair: (-pair[1].st_size, pair[0].name))


def note_use(path: Path, facts: os.stat_result) -> None:
    """Make the time of a segment that of its last use, by which the least used ones are deleted."""
    if not 0 <= time.time() - facts.st_mtime < FRESH:
        with contextlib.suppress(OSError):  # only read, or gone
            os.utime(path)


def write_segment(folder: Path, rows: Rows) -> Path:
    """Write rows as a segment; of one inode, the row with the latest ctime. Raises OSError."""
    inodes = rows["stamp"][:, INODE]
    order = np.lexsort((rows["stamp"][:, CTIME], inodes))
    last = np.diff(inodes[order], append=inodes[order[-1]] - 1) != 0
    content = np.ascontiguousarray(rows[order[last]])
    seed = _seed_of(folder)
    blocks = [content[start : start + BLOCK] for start in range(0, len(content), BLOCK)]
    table = np.array(
        [(block["stamp"][0, INODE], zlib.crc32(block.tobytes(), seed)) for block in blocks], _TABLE
    )
    head = np.array([(_MAGIC, len(content), 0)], _HEAD)
    head["sum"] = zlib.crc32(table.tobytes(), zlib.crc32(head.tobytes()[:24], seed))
    folder.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(8)
    temporary, target = folder / f"{name}{TEMPORARY}", folder / f"{name}{SUFFIX}"
    try:
        with temporary.open("xb") as file:
            for part in (head, table, content):
                file.write(part.tobytes())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def merge_segments(folder: Path, large: int | None = None) -> None:
    """Merge small segments, so that of each size there is about one. Raises OSError.

    Each row is written about as often as the rows have doubled. Only what is in the new segment is deleted:
    several processes that merge at once lose nothing.
    """
    small = [(path, facts.st_size) for path, facts in reversed(list_segments(folder))]
    small = [(path, size) for path, size in small if size < (LARGE if large is None else large)]
    merged: list[Path] = []
    total = 0
    for path, size in small:
        if merged and size > 2 * total:
            break
        merged.append(path)
        total += size
    if len(merged) < 2:
        return
    parts = []
    for path in merged:
        with open_segment(path) as segment:
            parts.append(np.empty(0, ROW) if segment is None else segment.content())
    rows = np.concatenate(parts)
    if len(rows):
        write_segment(folder, rows)
    for path in merged:
        path.unlink(missing_ok=True)


def limit_segments(home: Path, most: int) -> None:
    """Delete the least used segments, of all file systems, until they take at most so many bytes; and what
    processes that were killed were writing. Raises OSError."""
    folders = [folder for folder in home.glob("?" * 64) if folder.is_dir()]
    for torn in (path for folder in folders for path in folder.glob(f"*{TEMPORARY}")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - torn.stat().st_mtime > STALE:
                torn.unlink()
    found = [segment for folder in folders for segment in list_segments(folder)]
    total = sum(facts.st_size for _, facts in found)
    for path, facts in sorted(found, key=lambda pair: pair[1].st_mtime):
        if total <= most:
            break
        path.unlink(missing_ok=True)
        total -= facts.st_size
