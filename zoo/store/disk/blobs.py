"""Files named by the sha256 of their bytes, and the stamps that tell whether they were touched since."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoo.store.trust.hashing import hash_file


class Stamp(NamedTuple):
    """What a file system says about a file for free: where it changed, the bytes are hashed again.

    Bytes changed in place keep it if the old times are put back: nothing is unpickled on a stamp alone.
    """

    bytes: int
    mtime_ns: int
    inode: int


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a regular file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def is_whole(path: Path, sha256: str, stamp: Stamp | None) -> bool:
    """Whether the file still holds the bytes of its name: at once by its stamp, else by hashing it."""
    now = stamp_of(path)
    if now is None:
        return False
    return now == stamp or hash_file(path).sha256 == sha256


class Blobs:
    """The folder that never holds a file whose sha256 is not its name (and partial files, which say so)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError(f"not a sha256: {sha256!r}")  # a name from outside never becomes a path
        return self.folder / sha256

    def publish(self, finished: Path, sha256: str) -> Path:
        """Give verified bytes their name: flushed to the disk first, then renamed within the folder."""
        flush(finished)
        target = self.path(sha256)
        finished.replace(target)
        flush(self.folder)
        return target

    def remove(self, sha256: str) -> int:
        """Delete one blob; returns the bytes that are free now."""
        return remove_file(self.path(sha256))

    def __iter__(self) -> Iterator[str]:
        """The sha256 of every blob."""
        return (path.name for path in sorted(self.folder.glob("?" * 64)) if "." not in path.name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees all of it or the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        flush(temporary)
        temporary.replace(path)
    finally:
        remove_file(temporary)


def remove_file(path: Path) -> int:
    """Delete a file if it is there; returns the bytes that are free now."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
