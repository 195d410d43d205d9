"""Files inside a file: members of a zip, pictures in a Parquet table. They are read in place, never unpacked.

Their paths go on behind that of the file: photos.zip/ants/1.jpg is a member, photos.parquet/image/17 the
picture in row 17 of the column image. Every read is bounded, whatever the file says of its size.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path
from threading import Lock
from typing import Protocol

from zoo.data.names import one_line
from zoo.errors import DatasetError

MOST_MEMBERS = 1_000_000
_ROWS = 64  # of a Parquet file that are read at a time: pictures are wanted in order, more or less
_BLOCKS = 32  # of rows that are kept

Stamp = tuple[int, ...]
"""Another one shows a change: size, mtime, ctime, inode and device of a file."""


class Container(Protocol):
    """A file with files in it."""

    def size(self, inner: str) -> int:
        """Bytes of one of its files. Raises OSError if there is none of that name."""

    def read(self, inner: str, most: int) -> bytes:
        """One of its files. Raises OSError if it is damaged, or larger than `most` bytes."""


def _find_container(path: Path) -> tuple[Path, str] | None:
    """The file that a path goes on behind, and the rest of the path; None for a path that does not."""
    for above in path.parents:
        if above.suffix.lower() in _OPENERS and above.is_file():
            return above, path.relative_to(above).as_posix()
    return None


def exists(path: Path) -> bool:
    """Whether a path leads to a file or folder, or into a container."""
    return path.exists() or _find_container(path) is not None


def size_of(path: Path) -> int:
    """Bytes of a file, also of one in a container. Raises OSError."""
    try:
        return path.stat().st_size
    except NotADirectoryError:
        container, inner = _open(path)
        return container.size(inner)


def open_file(path: Path, most: int = 1 << 30) -> BufferedReader | BytesIO:
    """A file opened for reading, also one in a container. Raises OSError."""
    try:
        return path.open("rb")
    except NotADirectoryError:
        return BytesIO(read_inside(path, most))


def read_inside(path: Path, most: int) -> bytes:
    """A file in a container. Raises OSError, also for one of more than `most` bytes."""
    container, inner = _open(path)
    return container.read(inner, most)


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a regular file, or of the container that a path leads into; None for anything else."""
    try:
        found = path.stat()
    except NotADirectoryError:
        outer = _find_container(path)
        return None if outer is None else stamp_of(outer[0])
    except (OSError, ValueError):
        return None
    return stamp_from(found)


def stamp_from(found: os.stat_result) -> Stamp | None:
    """The stamp of a regular file; None for a folder, a pipe or a device."""
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _open(path: Path) -> tuple[Container, str]:
    outer = _find_container(path)
    if outer is None:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path))
    file, inner = outer
    return open_container(file, stamp_of(file)), inner


@lru_cache(maxsize=8)
def open_container(file: Path, _stamp: Stamp | None) -> Container:
    """The container in a file; kept open, because its directory is read once for all its members."""
    return _OPENERS[file.suffix.lower()](file)


class Zip:
    """A zip archive. members: by name, with folders but without those whose names lead out of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DatasetError(
                f"cannot read {one_line(file)}: {error}", hint="Fetch or pack it again."
            ) from error
        found = self._archive.infolist()
        if len(found) > MOST_MEMBERS:
            raise DatasetError(
                f"{one_line(file)} has {len(found):,} members, more than {MOST_MEMBERS:,}", hint="Unpack it."
            )
        names = [(_member_name(info), info) for info in found]
        self.members: Mapping[str, zipfile.ZipInfo] = {
            name: info for name, info in names if name and ".." not in name.split("/")
        }

    def size(self, inner: str) -> int:
        """As `Container.size`."""
        return self._find(inner).file_size

    def read(self, inner: str, most: int) -> bytes:
        """As `Container.read`."""
        info = self._find(inner)
        if info.flag_bits & 1:
            raise OSError(errno.EACCES, "is encrypted")
        try:
            with self._archive.open(info) as member:
                data = member.read(most + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise OSError(errno.EIO, f"is damaged in the archive ({error})") from error
        if len(data) > most:
            raise OSError(errno.EFBIG, f"unpacks to more than {most / 1e6:,.0f} MB")
        return data

    def _find(self, inner: str) -> zipfile.ZipInfo:
        if inner not in self.members:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.file}/{inner}")
        return self.members[inner]


def _member_name(info: zipfile.ZipInfo) -> str:
    """The name with forward slashes; UTF-8 without the flag that says so is read as that."""
    name = info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").lstrip("/")


class Parquet:
    """A Parquet table with columns of pictures: image{bytes, path} of Hugging Face, or plain bytes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._blocks: OrderedDict[tuple[str, int], list[bytes | None]] = OrderedDict()
        self._lock = Lock()

    def size(self, inner: str) -> int:
        """As `Container.size`."""
        return len(self._cell(inner))

    def read(self, inner: str, most: int) -> bytes:
        """As `Container.read`."""
        data = self._cell(inner)
        if len(data) > most:
            raise OSError(errno.EFBIG, f"has more than {most / 1e6:,.0f} MB")
        return data

    def _cell(self, inner: str) -> bytes:
        column, _, row = inner.rpartition("/")
        place = int(row) - 1 if row.isdecimal() else -1
        block = self._block(column, place // _ROWS) if place >= 0 else []
        if place < 0 or place % _ROWS >= len(block):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.file}/{inner}")
        cell = block[place % _ROWS]
        if cell is None:
            raise OSError(errno.ENODATA, "is an empty cell of the table")
        return cell

    def _block(self, column: str, number: int) -> list[bytes | None]:
        with self._lock:
            if (column, number) not in self._blocks:
                self._blocks[column, number] = self._read(column, number)
                if len(self._blocks) > _BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end((column, number))
            return self._blocks[column, number]

    def _read(self, column: str, number: int) -> list[bytes | None]:
        import polars as pl

        try:
            wanted = pl.col(column)
            if isinstance(pl.read_parquet_schema(self.file).get(column), pl.Struct):
                wanted = wanted.struct.field("bytes")
            rows = (
                pl.scan_parquet(self.file)
                .select(wanted.alias("bytes"))
                .slice(number * _ROWS, _ROWS)
                .collect()
            )
        except pl.exceptions.PolarsError as error:
            raise OSError(
                errno.EIO, f"cannot be read from the table ({str(error).partition(chr(10))[0][:200]})"
            ) from error
        found: list[bytes | None] = rows["bytes"].to_list()
        return found


_OPENERS: dict[str, Callable[[Path], Container]] = {".zip": Zip, ".parquet": Parquet}
