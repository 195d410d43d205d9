"""Blocks go to the disk here and are hashed in a second thread, so that a fetch is as fast as its hash."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from types import TracebackType

from zoo.store.hashing import Digests, Hasher, hash_file

WAITING = 4  # blocks that may wait for the hash: bounds the memory of a fetch


class Writer:
    """Appends to a file and knows the digests of everything in it, also of what was there before.

    A with-block: the thread ends with it.
    """

    def __init__(self, path: Path, *, md5: bool) -> None:
        self._path = path
        self._wants_md5 = md5
        self._hasher = Hasher(md5=md5)
        if path.stat().st_size:
            hash_file(path, hasher=self._hasher)
        self.bytes = self._hasher.bytes
        self._file = path.open("r+b", buffering=0)
        self._file.seek(self.bytes)
        self._queue: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._hash, name="hash", daemon=True)
        self._thread.start()

    def write(self, block: bytes) -> None:
        """Append a block. Raises OSError for what the disk says; the file may then hold a part of it."""
        view = memoryview(block)
        while view:
            view = view[self._file.write(view) :]
        self.bytes += len(block)
        self._queue.put(block)

    def restart(self) -> None:
        """Begin again with an empty file."""
        self._settle()
        self._file.seek(0)
        self._file.truncate()
        self._hasher = Hasher(md5=self._wants_md5)
        self.bytes = 0

    def digests(self) -> Digests:
        """The digests of the whole file as it is now."""
        self._settle()
        return self._hasher.digests()

    def _hash(self) -> None:
        while (block := self._queue.get()) is not None:
            self._hasher.update(block)
            self._queue.task_done()
        self._queue.task_done()

    def _settle(self) -> None:
        self._queue.join()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        self._file.close()
