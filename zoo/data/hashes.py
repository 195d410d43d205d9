"""The hashes of files that were read before: a file with the stamp of then is not read again.

They lie in `$ZOO_HOME/hashes/<file system>/`, see zoo/data/hash_segments. A stamp is a file's size, mtime,
ctime, inode and device. The kernel sets the ctime whenever the bytes or the times of a file change, and no
program can set it back: where the stamp is that of then, so are the bytes. Two things are never remembered:

- a file that changed less than GRAIN before it was read, or in the future: it may change once more within one
  tick of the clock that stamps it (git's "racy" files);
- a file on a file system whose stamps this machine's kernel does not give, see zoo/data/file_systems.

Who writes through a memory map for a longer time can change a page without another ctime, until the kernel
writes it to the disk, after 30 s: nobody writes photographs like that, and git has the same gap.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.catalogue.search import size_setting
from zoo.data.containers import Stamp
from zoo.data.file_systems import identify

if TYPE_CHECKING:
    from zoo.data.hash_segments import Digests, Mask, Stamps

MOST = 2**30  # bytes in all by default: 14 million files
GRAIN = 2_000_000_000  # ns: the coarsest clock of a trusted file system counts seconds
_CTIME, _DEVICE = 2, 4  # places in a stamp


def most_bytes() -> int:
    """The bytes that hashes may take: ZOO_HASHES, as 4GB, or MOST. With 0 none is kept, and none believed.

    Raises UsageError for what is not a size.
    """
    return size_setting("ZOO_HASHES", MOST, "A size, as 4GB; 0: every file is read, every time.")


class Hashes:
    """Digests by stamp, kept in a folder. folder: `home/hashes`; None keeps none. most: bytes in it.

    Nothing here raises OSError: where the folder cannot be read or written, files are read again.
    """

    def __init__(self, folder: Path | None, *, most: int | None = None) -> None:
        self.most = most_bytes() if most is None else most
        self.folder = folder if self.most else None
        self._systems: dict[int, str | None] = {}

    def find(self, paths: Sequence[str | Path], stamps: Stamps) -> tuple[Digests, Mask, Mask]:
        """(n, 32) the sha256 of each file that is remembered, zeros of the others; (n,) which of these files
        are plain; (n,) which are remembered. stamps: (n, 5), of the same files."""
        import numpy as np  # 0.1 s

        from zoo.data.hash_segments import list_segments, note_use, open_segment

        digests = np.zeros((len(stamps), 32), np.uint8)
        plain, known = np.zeros(len(stamps), bool), np.zeros(len(stamps), bool)
        if self.folder is None or not len(stamps) or not self.folder.is_dir():
            return digests, plain, known
        for place, part in self._systems_of(stamps, paths):
            own = digests[part], plain[part], known[part]
            for path, facts in list_segments(place):
                with open_segment(path) as segment:
                    if segment is not None:
                        segment.find(stamps[part, :_DEVICE], *own)
                        note_use(path, facts)
            digests[part], plain[part], known[part] = own
        return digests, plain, known

    def add(
        self, paths: Sequence[str | Path], stamps: Stamps, digests: Digests, plain: Mask, *, began: int
    ) -> None:
        """Remember what files hold. began: time.time_ns(), before any of them was read."""
        import numpy as np

        from zoo.data.hash_segments import ROW, limit_segments, merge_segments, write_segment

        settled = np.flatnonzero(stamps[:, _CTIME] < began - GRAIN)
        if self.folder is None or not len(settled):
            return
        rows = np.empty(len(settled), ROW)
        rows["stamp"] = stamps[settled, :_DEVICE]
        rows["digest"], rows["plain"] = digests[settled], plain[settled]
        with contextlib.suppress(OSError):  # a full disk, or a home that is only read
            for place, part in self._systems_of(stamps[settled], [paths[row] for row in settled.tolist()]):
                write_segment(place, rows[part])
                merge_segments(place)
            limit_segments(self.folder, self.most)

    def _systems_of(self, rows: Stamps, paths: Sequence[str | Path]) -> Iterator[tuple[Path, Stamps]]:
        """The folder of each file system that can be trusted, and which of the rows are on it."""
        import numpy as np

        assert self.folder is not None
        for device in np.unique(rows[:, _DEVICE]).tolist():
            part = np.flatnonzero(rows[:, _DEVICE] == device)
            if device not in self._systems:
                self._systems[device] = identify(os.fspath(paths[int(part[0])]), device)
            name = self._systems[device]
            if name is not None:
                yield self.folder / name, part


def stamp_rows(stamps: Sequence[Stamp]) -> Stamps:
    """Stamps as rows (n, 5); numbers of more than 63 bits, as times after 2262, are wrapped."""
    import numpy as np

    flat = chain.from_iterable(stamps)
    try:
        numbers = np.fromiter(flat, np.int64, 5 * len(stamps))
    except OverflowError:
        wrapped = [(number + 2**63) % 2**64 - 2**63 for number in chain.from_iterable(stamps)]
        numbers = np.array(wrapped, np.int64)
    return numbers.reshape(-1, 5)
