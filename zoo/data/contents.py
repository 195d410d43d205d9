"""What is in a file, by hash: a feature belongs to the picture, not to its name.

1.6 GB/s where the processor has SHA instructions: 0.12 ms per photograph of 120 kB, a hundredth of its
forward pass. The hashes of files that did not change since are remembered, see zoo/data/hashes: what a second
run on a million photographs would wait for most. Who must prove what is in a file gives no home.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast, overload

from zoo.data.containers import Stamp, open_file, size_of, stamp_from, stamp_of
from zoo.data.hashes import Hashes, stamp_rows

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from zoo.data.hash_segments import Digests, Mask, Stamps

MOST_BYTES = 200_000_000
"""Of one image: a larger file is not read."""
CHUNK = 65_536
"""Files after which their hashes are remembered: an interrupted run goes on from there."""
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_BEGINNING = 32  # bytes by which `is_plain` judges


class Content(NamedTuple):
    """digest: sha256 of the file; None if it cannot be an image. stamp: another one shows a change. plain:
    see `is_plain`."""

    digest: bytes | None
    stamp: Stamp | None
    plain: bool = False


@dataclass(frozen=True)
class Contents(Sequence[Content]):
    """What is in each of some files: 75 bytes for each. digests: (n, 32), zeros where there is none. stamps:
    (n, 5), zeros where there is none. plain: (n,)."""

    digests: Digests
    stamps: Stamps
    plain: Mask

    def __len__(self) -> int:
        return len(self.digests)

    @overload
    def __getitem__(self, at: int) -> Content: ...
    @overload
    def __getitem__(self, at: slice) -> Contents: ...
    def __getitem__(self, at: int | slice) -> Content | Contents:
        if isinstance(at, slice):
            return Contents(self.digests[at], self.stamps[at], self.plain[at])
        digest, stamp = self.digests[at].tobytes(), tuple(self.stamps[at].tolist())
        return Content(digest if any(digest) else None, stamp if any(stamp) else None, bool(self.plain[at]))

    @property
    def known(self) -> Mask:
        """(n,) which have a digest."""
        return cast("Mask", self.digests.any(1))

    def select(self, rows: Sequence[int]) -> Contents:
        """Those of some files, in this order."""
        import numpy as np

        at = np.asarray(rows, dtype=np.int64)
        return Contents(self.digests[at], self.stamps[at], self.plain[at])

    def list_digests(self, count: int = 32) -> list[bytes | None]:
        """The first bytes of each digest, None where there is none."""
        joined = self.digests[:, :count].tobytes()
        return [
            joined[count * row : count * row + count] if known else None
            for row, known in enumerate(self.known.tolist())
        ]


def is_plain(start: bytes) -> bool:
    """Whether a file begins, by its first 32 bytes, as a JPEG, or as a PNG that is not grey of 16 bit: what
    many files are, of which only their pixels are still to be looked at.

    >>> is_plain(b"\\xff\\xd8\\xff"), is_plain(b"<!doctype html>")
    (True, False)
    """
    return start.startswith(JPEG) or (start.startswith(PNG) and start[24:26] != b"\x10\0")


def read_contents(paths: Sequence[Path | None], home: Path | None = None) -> Contents:
    """The content of each file, in order; nothing is raised: whoever decodes the file says what is wrong.

    None stands for what is not in a file. home: of the store, where the hashes of files are remembered; None
    reads every file. Members of zips and tables are always read.
    """
    from concurrent.futures import ThreadPoolExecutor  # 6 ms, with logging

    import numpy as np

    hashes = Hashes(None if home is None else home / "hashes")
    count = len(paths)
    found = Contents(
        np.zeros((count, 32), np.uint8), np.zeros((count, 5), np.int64), np.zeros(count, np.bool_)
    )
    with ThreadPoolExecutor(count_cpus(), thread_name_prefix="zoo-contents") as pool:
        for start in range(0, count, CHUNK):
            _read_chunk(paths[start : start + CHUNK], found[start : start + CHUNK], hashes, pool)
    return found


def digest_files(paths: Sequence[Path], home: Path | None = None) -> dict[Path, bytes]:
    """The sha256 of each file that can be read, by its path. home: see `read_contents`."""
    return know_files(paths, home).digests


class Known(NamedTuple):
    """digests: of each file that can be read. unusual: the files that are not plain, or cannot be read.
    contents: of each file, in order."""

    digests: dict[Path, bytes]
    unusual: frozenset[Path]
    contents: Contents


def know_files(paths: Sequence[Path], home: Path | None = None) -> Known:
    """What is in some files, by their paths. home: see `read_contents`."""
    contents = read_contents(paths, home)
    found = zip(paths, contents.list_digests(), strict=True)
    usual = zip(paths, contents.plain.tolist(), strict=True)
    return Known(
        {path: digest for path, digest in found if digest is not None},
        frozenset(path for path, plain in usual if not plain),
        contents,
    )


def _read_chunk(paths: Sequence[Path | None], found: Contents, hashes: Hashes, pool: Executor) -> None:
    """Fill in the content of some files: remembered ones by their stamp, the others by reading."""
    import numpy as np

    began = time.time_ns()
    stamps = [None if path is None else _stamp_of_file(path) for path in paths]
    there = [row for row, stamp in enumerate(stamps) if stamp is not None]
    found.stamps[there] = stamp_rows([stamp for stamp in stamps if stamp is not None])
    named = paths if len(there) == len(paths) else [paths[row] for row in there]
    digests, plain, known = hashes.find(cast("Sequence[Path]", named), found.stamps[there])
    found.digests[there], found.plain[there] = digests, plain
    remembered = np.zeros(len(paths), np.bool_)
    remembered[there] = known
    fresh: list[int] = []
    missing = np.flatnonzero(~remembered).tolist()
    for row, content in zip(missing, pool.map(_read_content, [paths[row] for row in missing]), strict=True):
        if content.digest is None:
            continue
        found.digests[row] = np.frombuffer(content.digest, np.uint8)
        found.plain[row] = content.plain
        if content.stamp is not None:
            found.stamps[row] = stamp_rows([content.stamp])[0]
        if stamps[row] is not None:
            fresh.append(row)
    hashes.add(
        [path for row in fresh if (path := paths[row]) is not None],
        found.stamps[fresh],
        found.digests[fresh],
        found.plain[fresh],
        began=began,
    )


def count_cpus() -> int:
    """CPUs that this process may use: fewer than the machine has in a container or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def number_contents(contents: Contents) -> tuple[list[int], list[int]]:
    """Which files are the same: for each its slot, and for each slot the position of its first file.

    Slots are in the order of these. A file without a digest has a slot of its own.

    >>> import numpy as np
    >>> digests = np.array([[1] * 32, [0] * 32, [1] * 32, [0] * 32], np.uint8)
    >>> number_contents(Contents(digests, np.zeros((4, 5), np.int64), np.zeros(4, np.bool_)))
    ([0, 1, 0, 2], [0, 1, 3])
    """
    import numpy as np

    whole = np.ascontiguousarray(contents.digests).view("V32")[:, 0]
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    firsts = first[group]  # of each file, the first that is the same
    firsts = np.where(contents.known, firsts, np.arange(len(firsts)))
    distinct, slots = np.unique(firsts, return_inverse=True)
    return slots.tolist(), distinct.tolist()


def _stamp_of_file(path: Path) -> Stamp | None:
    """The stamp of a regular file; None for anything else, a member of a zip or a table too."""
    try:
        return stamp_from(os.stat(path))  # noqa: PTH116 - 0.5 us less than its method, a million times
    except (OSError, ValueError):
        return None


def _read_content(path: Path | None) -> Content:
    """The content of one file. Devices, pipes and files too large for an image are not opened."""
    if path is None:
        return Content(None, None)
    stamp = stamp_of(path)
    if stamp is None:
        return Content(None, None)
    try:
        if size_of(path) > MOST_BYTES:
            return Content(None, None)
        with open_file(path, MOST_BYTES) as file:
            if isinstance(file, BufferedReader):  # the name may be that of another file by now
                stamp = stamp_from(os.fstat(file.fileno()))
            start = file.read(_BEGINNING)
            file.seek(0)
            return Content(hashlib.file_digest(file, "sha256").digest(), stamp, is_plain(start))
    except OSError:
        return Content(None, stamp)
