"""Files named by the sha256 of their bytes, and stamps to detect changes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoo.store.trust.hashing import hash_file


class Stamp(NamedTuple):
    """The cheap facts of a file: if they changed, its bytes are hashed again.

    A change in place keeps the stamp if the old times are restored: no pickle is opened on a stamp alone.
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
    """Whether the file still has the bytes of its name: by an unchanged stamp, else by hashing it."""
    now = stamp_of(path)
    if now is None:
        return False
    return now == stamp or hash_file(path).sha256 == sha256


class Blobs:
    """The folder in which every file is named by its sha256 (besides partial files, which have a suffix)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError(f"not a sha256: {sha256!r}")  # a name from outside never becomes a path
        return self.folder / sha256

    def publish(self, finished: Path, sha256: str) -> Path:
        """Give verified bytes their name: flush them to the disk, then rename within the folder."""
        flush(finished)
        target = self.path(sha256)
        finished.replace(target)
        flush(self.folder)
        return target

    def remove(self, sha256: str) -> int:
        """Delete one blob; returns the bytes freed."""
        return remove_file(self.path(sha256))

    def __iter__(self) -> Iterator[str]:
        """The sha256 of every blob."""
        return (path.name for path in sorted(self.folder.glob("?" * 64)) if "." not in path.name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file atomically: a reader sees the new content or the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        flush(temporary)
        temporary.replace(path)
    finally:
        remove_file(temporary)


def remove_file(path: Path) -> int:
    """Delete a file if it exists; returns the bytes freed."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
