"""Files named by the sha256 of their bytes, and stamps to detect changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoo.errors import StorageError
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
    if not stat.S_ISREG(found.st_mode):
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
        target = self.clear_place(sha256)
        finished.replace(target)
        flush(self.folder)
        return target

    def clear_place(self, sha256: str) -> Path:
        """The path of a blob, without the empty folder that a container's mount may have left there.

        Raises StorageError if the folder cannot be deleted: it is not empty, or is mounted.
        """
        path = self.path(sha256)
        if path.is_dir() and not path.is_symlink():
            from shlex import quote

            try:
                path.rmdir()
            except OSError as error:
                raise StorageError(
                    f"{path} is a folder, where a file belongs: {error.strerror or error}",
                    hint=f"Move it away: mv {quote(str(path))} {quote(str(path.parent.parent))}",
                ) from error
        return path

    def remove(self, sha256: str) -> int:
        """Delete one blob; returns the bytes freed. Raises as `clear_place` does."""
        return remove_file(self.clear_place(sha256))

    def __iter__(self) -> Iterator[str]:
        """The sha256 of every blob."""
        return (path.name for path in sorted(self.folder.glob("?" * 64)) if "." not in path.name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file atomically: a reader sees the new content or the old one."""
    import secrets  # 2 ms that reading does not need

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        flush(temporary)
        temporary.replace(path)
    finally:
        remove_file(temporary)


def remove_file(path: Path) -> int:
    """Delete a file if it exists; returns the bytes freed: none if its bytes have another name."""
    try:
        size = 0 if is_linked(path) else path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def is_linked(path: Path) -> bool:
    """Whether the bytes stay when this name is deleted: a symbolic link, or one of several hard links."""
    found = path.lstat()
    return stat.S_ISLNK(found.st_mode) or found.st_nlink > 1


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
