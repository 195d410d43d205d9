"""Blocks go to the disk in one thread and through the hash in another, so that a fetch is as fast as the
slowest of network, disk and hash, and not as all of them together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from zoo.store.disk import disk_errors
from zoo.store.hashing import Digests, Hasher, hash_file

WAITING = 4  # blocks that may wait for each thread: bounds the memory of a fetch


class Consumer:
    """A thread that does something with one block after another. `put` raises the error that ended it."""

    def __init__(self, consume: Callable[[bytes], object], name: str) -> None:
        self._consume = consume
        self._queue: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, block: bytes) -> None:
        """Hand over a block, as soon as there is room."""
        self._queue.put(block)
        self._raise()

    def settle(self) -> None:
        """Wait until everything that was handed over is done."""
        self._queue.join()
        self._raise()

    def end(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (block := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._consume(block)
                except BaseException as error:
                    self._error = error
            self._queue.task_done()


class Writer:
    """Appends to a file and knows the digests of everything in it, also of what was there before.

    bytes: how many were taken in. A with-block: the threads end with it. Every method may raise DiskFull or
    StorageError; the file then holds the beginning of what it should.
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
        self.bytes = self._file.seek(self._hasher.bytes)
        self._disk = Consumer(self._append, "disk")
        self._hash = Consumer(lambda block: self._hasher.update(block), "hash")

    def write(self, block: bytes) -> None:
        """Append a block."""
        with disk_errors(self._path.parent, self._what):
            self._disk.put(block)
        self._hash.put(block)
        self.bytes += len(block)

    def restart(self) -> None:
        """Begin again with an empty file."""
        self._settle()
        with disk_errors(self._path.parent, self._what):
            self._file.seek(0)
            self._file.truncate()
        self._hasher = Hasher(md5=self._wants_md5)
        self.bytes = 0

    def digests(self) -> Digests:
        """The digests of the whole file as it is now."""
        self._settle()
        return self._hasher.digests()

    def _append(self, block: bytes) -> None:
        view = memoryview(block)
        while view:  # an unbuffered write may take a part
            view = view[self._file.write(view) :]

    def _settle(self) -> None:
        self._hash.settle()
        with disk_errors(self._path.parent, self._what):
            self._disk.settle()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hash.end()
        self._disk.end()
        self._file.close()
