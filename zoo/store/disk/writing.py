"""One thread receives and writes blocks, another hashes them: a fetch takes as long as the slower of the two,
not as both together."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

from zoo.store.disk.space import disk_errors
from zoo.store.trust.hashing import Block, Digests, Hasher, hash_file

HELD = 4  # blocks that may wait for the hash when `Writer.write` returns: bounds the memory
STRIDE = 8 << 20  # bytes between early flushes: else everything waits for the flush at the end


class Writer:
    """Appends to a file and computes the digests of its whole content, including what it had before.

    bytes: of the whole file. Use it in a with-block, which ends its thread. Every method may raise DiskFull
    or StorageError; the file then has the first bytes of its content.
    """

    def __init__(self, path: Path, *, what: str, md5: bool) -> None:
        self._path = path
        self._what = what
        self._wants_md5 = md5
        self._hasher = Hasher(md5=md5)
        with disk_errors(path.parent, what):
            if path.stat().st_size:
                hash_file(path, hasher=self._hasher)
            self._file = path.open("r+b", buffering=0)
        self.bytes = self._begun = self._file.seek(self._hasher.bytes)
        self._places: SimpleQueue[None] = SimpleQueue()  # one per block that may wait
        self._waiting: SimpleQueue[Block | None] = SimpleQueue()
        for _ in range(HELD):
            self._places.put(None)
        self._thread = threading.Thread(target=self._hash, name="hash", daemon=True)
        self._thread.start()

    def write(self, block: Block) -> None:
        """Append a block. Its memory may be reused after HELD further blocks."""
        self._places.get()
        self._waiting.put(block)
        with disk_errors(self._path.parent, self._what):
            view = memoryview(block)
            while view:  # an unbuffered write may be partial
                view = view[self._file.write(view) :]
        self.bytes += len(block)
        if self.bytes - self._begun >= STRIDE:
            self._begin_flush()

    def restart(self) -> None:
        """Start again with an empty file."""
        self._drain()
        with disk_errors(self._path.parent, self._what):
            self._file.seek(0)
            self._file.truncate()
        self._hasher = Hasher(md5=self._wants_md5)
        self.bytes = self._begun = 0

    def digests(self) -> Digests:
        """The digests of the whole file so far."""
        self._drain()
        return self._hasher.digests()

    def _begin_flush(self) -> None:
        """Start to flush the new bytes to the disk, without waiting.

        Linux does so for pages that are declared unneeded; it keeps them until they are written.
        """
        if sys.platform == "linux":
            length = self.bytes - self._begun
            os.posix_fadvise(self._file.fileno(), self._begun, length, os.POSIX_FADV_DONTNEED)
        self._begun = self.bytes

    def _drain(self) -> None:
        for _ in range(HELD):
            self._places.get()
        for _ in range(HELD):
            self._places.put(None)

    def _hash(self) -> None:
        while (block := self._waiting.get()) is not None:
            self._hasher.update(block)
            self._places.put(None)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._file.close()
