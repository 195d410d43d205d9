"""A segment: rows of float32 in a file that never changes, found by the content they are of.

    magic | rows | keys | digests | places | checks | about, count, shape as JSON | its sha256 | its length

    rows      count x shape, float32, in the order in which they were computed: items that follow each other
              are read at once
    keys      count x 8 bytes, sorted: the beginnings of the digests as numbers
    digests   count x 32 bytes, in the order of the keys, like all that follows: the sha256 of each content
    places    count x 8 bytes: which of the rows it is
    checks    count x 8 bytes: a checksum of each row and its digest

All numbers are little-endian. The index is mapped, so that a file opens at once whatever its size and a
search reads a few pages of it; rows are read, not mapped, because a disk that fails is then an error and no
crash. A row is checked when it is read: a changed bit costs that row, not the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

SUFFIX, TEMPORARY = ".rows", ".partial"
TABLE = re.compile(r"[0-9a-f]{64}")  # the name of a table: nothing else in the folder of features is ours
MAGIC = b"zoo rows 2\n".ljust(64, b"\0")  # rows begin at a multiple of what a processor loads at once
AT_ONCE = 4 * 2**20  # bytes of rows that are read at a time
GAP = 8  # rows that nobody wants are read along where there are no more of them in between
_TAIL = 32 + 8  # bytes: the sha256 of the description and its length
_MOST_TEXT = 2**16  # bytes of a description: a damaged length reserves no memory

Array = npt.NDArray[Any]


class Damaged(Exception):
    """A file that is not a whole segment of these features."""


def join_digests(contents: Sequence[bytes | None] | Array) -> Array:
    """(n, 32) uint8, a digest per row; zeros, which nothing has, for what has none. Arrays are such rows."""
    if isinstance(contents, np.ndarray):
        return contents
    joined = b"".join(content or bytes(32) for content in contents)
    return np.frombuffer(joined, np.uint8).reshape(len(contents), 32)


def keys_of(digests: Array) -> Array:
    """(n,) uint64: the first 8 bytes of each digest (n, 32) uint8. Two contents have the same one by intent
    alone, and whoever finds one compares the whole digest."""
    first: Array = np.ascontiguousarray(digests[:, :8]).view(">u8")[:, 0].astype(np.uint64)
    return first


def checks_of(digests: Array, rows: Array) -> Array:
    """(n,) uint64: the crc32 of each digest (n, 32) uint8 and its row (n, …) float32, in 1.8 µs for 5 kB."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    named = np.ascontiguousarray(digests)
    found = (crc32(row.data, crc32(digest.data)) for digest, row in zip(named, flat, strict=True))
    return np.fromiter(found, np.uint64, len(flat))


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment. file: read at any place, by several threads. about: what the features are of. shape:
    of a row. The rest is mapped."""

    path: Path
    file: IO[bytes]
    about: str
    bytes: int
    count: int
    shape: tuple[int, ...]
    keys: Array
    digests: Array
    places: Array
    checks: Array

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return 4 * int(np.prod(self.shape))

    def look_up(self, keys: Array, digests: Array) -> tuple[Array, Array]:
        """Which of the keys (n,), sorted and each once, with their digests (n, 32), are here, and where.

        Returns two arrays of as many numbers as are found: of the key that was asked for, and in the index.
        """
        if self.count < len(keys):  # the fewer are looked for among the more
            asked = np.searchsorted(keys, self.keys)
            mine = np.flatnonzero(np.take(keys, asked, mode="clip") == self.keys)
            asked = asked[mine]
        else:
            mine = np.searchsorted(self.keys, keys)
            asked = np.flatnonzero(np.take(self.keys, mine, mode="clip") == keys)
            mine = mine[asked]
        same = (self.digests[mine] == digests[asked]).all(1)
        return asked[same], mine[same]

    def read(self, mine: Array) -> Iterator[tuple[Array, Array, Array]]:
        """The rows of some numbers in the index, in the order of the file, a few MB at a time.

        Yields which of `mine` they are, the rows (k, …), and whether each is as it was written. Raises
        OSError.
        """
        places = self.places[mine]
        inside = places < self.count  # a damaged number leads anywhere
        places = np.where(inside, places, 0).astype(np.int64)
        order = np.argsort(places, kind="stable")
        most = max(1, AT_ONCE // max(1, self.row_bytes))
        for part in spans(places[order], most):
            which = order[part]
            first, last = int(places[which[0]]), int(places[which[-1]])
            block = self._read_block(first, last - first + 1)
            rows = block if len(block) == len(which) else block[places[which] - first]
            index = mine[which]
            digests = self.digests[index]
            whole = inside[which] & (checks_of(digests, rows) == self.checks[index])
            yield which, rows, whole & (keys_of(digests) == self.keys[index])

    def _read_block(self, first: int, count: int) -> Array:
        """So many rows that follow each other."""
        block = np.empty((count, *self.shape), np.float32)
        read_at(self.file, bytes_of(block), len(MAGIC) + first * self.row_bytes)
        return block

    def close(self) -> None:
        """Close the file; what is mapped stays until nobody has it any more."""
        self.file.close()


def bytes_of(array: Array) -> memoryview:
    """The memory of an array that is in one piece."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


def spans(places: Array, most: int, gap: int = GAP) -> Iterator[slice]:
    """Sorted places, cut where one is more than `gap` after another, or where a part would span more than
    `most`."""
    cuts = np.flatnonzero(np.diff(places) > gap) + 1
    for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(places)], strict=True):
        at = start
        while at < end:
            upto = at + int(np.searchsorted(places[at:end], places[at] + most))
            yield slice(at, upto)
            at = upto


if hasattr(os, "preadv"):

    def _read_some(file: IO[bytes] | FileIO, into: memoryview, place: int) -> int:
        """Bytes read into memory from a place of the file; the file's own place does not move."""
        return os.preadv(file.fileno(), [into], place)
else:  # pragma: no cover  (Windows)

    def _read_some(file: IO[bytes] | FileIO, into: memoryview, place: int) -> int:
        """Bytes read into memory from a place of the file."""
        file.seek(place)
        return file.readinto(into)  # type: ignore[union-attr]


def read_at(file: IO[bytes] | FileIO, into: memoryview, place: int) -> None:
    """Fill the memory from a place of an unbuffered file. Raises OSError, also where the file is shorter."""
    done = 0
    while done < len(into):
        got = _read_some(file, into[done:], place + done)
        if not got:
            raise OSError(f"{file.name} has become shorter")
        done += got


def open_segment(path: Path, about: str | None) -> Segment:
    """A segment of these features. about: what they are of, as `write_segment` was given it; None: any.

    Raises Damaged for a file of another kind, of other features or not whole, and OSError.
    """
    file = path.open("rb", buffering=0)
    try:
        return _open(path, file, about)
    except BaseException:
        file.close()
        raise


def _open(path: Path, file: IO[bytes], about: str | None) -> Segment:
    size = os.fstat(file.fileno()).st_size
    if size < len(MAGIC) + _TAIL or file.read(len(MAGIC)) != MAGIC:
        raise Damaged(path)
    file.seek(size - _TAIL)
    tail = file.read(_TAIL)
    length = int.from_bytes(tail[32:], "little")
    if length > min(_MOST_TEXT, size - len(MAGIC) - _TAIL):
        raise Damaged(path)
    file.seek(size - _TAIL - length)
    text = file.read(length)
    if hashlib.sha256(text).digest() != tail[:32]:
        raise Damaged(path)
    try:
        known = json.loads(text)
        count, shape, written = int(known["count"]), tuple(map(int, known["shape"])), str(known["about"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Damaged(path) from None
    rows = 4 * count * math.prod(shape)  # numpy's product would begin again at 2**63
    whole = size == len(MAGIC) + rows + 56 * count + length + _TAIL
    if about not in (None, written) or not whole or count < 1 or min(shape, default=1) < 1:
        raise Damaged(path)
    index = len(MAGIC) + rows
    offset = index - index % mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(file.fileno(), size - offset, access=mmap.ACCESS_READ, offset=offset)
    data = np.frombuffer(mapped, np.uint8, 56 * count, index - offset)
    keys, digests, places, checks = np.split(data, [8 * count, 40 * count, 48 * count])
    keys, places, checks = (column.view("<u8") for column in (keys, places, checks))
    return Segment(path, file, written, size, count, shape, keys, digests.reshape(count, 32), places, checks)


def write_segment(
    target: IO[bytes], about: str, shape: tuple[int, ...], parts: Iterable[tuple[Array, Array]]
) -> int:
    """Write a segment from parts of it: digests (k, 32) uint8 and rows (k, …) float32, each content once.

    about: what the features are of. Only the index is held in memory. Returns how many rows it has; where
    that is 0, the file is not a segment. Raises OSError.
    """
    digests, checks = [], []
    target.write(MAGIC)
    for some, rows in parts:
        rows = np.ascontiguousarray(rows, np.float32)
        digests.append(some)
        checks.append(checks_of(some, rows))
        target.write(bytes_of(rows))
    if not digests:
        return 0
    joined, summed = np.concatenate(digests), np.concatenate(checks)
    keys = keys_of(joined)
    order = np.argsort(keys, kind="stable")
    for column in (keys[order], joined[order], order.astype(np.uint64), summed[order]):
        target.write(bytes_of(np.ascontiguousarray(column)))
    text = json.dumps({"about": about, "count": len(keys), "shape": list(shape)}).encode()
    target.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little"))
    return len(keys)


def save_segment(
    table: Path, named: bytes, about: str, shape: tuple[int, ...], parts: Iterable[tuple[Array, Array]]
) -> Path:
    """Write a segment to a temporary file, then give it its name, which depends on `named`; none where there
    are no rows. See `write_segment`. Raises OSError."""
    table.mkdir(parents=True, exist_ok=True)
    target = table / f"{hashlib.sha256(named).hexdigest()}{SUFFIX}"
    temporary = table / f"{secrets.token_hex(8)}{TEMPORARY}"
    try:
        # no fsync: rows of a torn file fail their check, which costs no more than an fsync
        with temporary.open("wb") as file:
            some = write_segment(file, about, shape, parts)
        if some:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def rows_once(segments: Sequence[Segment]) -> Iterator[tuple[Array, Array]]:
    """Every content of some segments once, with its row: that of the first segment that has it whole."""
    taken = np.empty(0, np.uint64)
    for segment in segments:
        new = np.flatnonzero(~np.isin(segment.keys, taken))
        fresh = []
        for which, rows, whole in segment.read(new):
            index = new[which[whole]]
            fresh.append(segment.keys[index])
            yield segment.digests[index], rows[whole]
        taken = np.concatenate([taken, *fresh])
