"""Free space on the disk, and the errors of the operating system as errors of zoo.

Libraries that write by Rust (polars, safetensors) raise errors of their own where the disk is full; the error
of the system is in the text alone. `system_error` finds it there, `system_errors` raises it as Python does.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import DiskFull, StorageError, ZooError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SPARE = 1 << 20  # bytes reserved for records, locks and the folder itself
_OF_RUST = r"\(os error (\d+)\)"  # how its standard library ends every error of the system
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def size_text(count: float | None) -> str:
    """A readable number of bytes (1 MB = 10**6 bytes); empty if unknown.

    >>> size_text(42), size_text(98_000_000), size_text(14_262_987), size_text(1_743_563_840), size_text(None)
    ('42 bytes', '98 MB', '14.3 MB', '1.7 GB', '')
    """
    if count is None:
        return ""
    unit = 0
    while count >= 999.95 and unit < len(UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.1f}".removesuffix(".0") + f" {UNITS[unit]}"


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest parent that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def free_bytes(folder: Path) -> int:
    """Free space of the disk that a folder is on, or will be on."""
    import shutil  # 2 ms, with the archive formats that it knows

    return shutil.disk_usage(nearest_folder(folder)).free


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise DiskFull unless `needed` bytes, and a little more, are free on the disk of `folder`."""
    free = free_bytes(folder)
    if needed + SPARE > free:
        raise _disk_full(folder, what, needed=needed, free=free)


@contextmanager
def disk_errors(folder: Path, what: str) -> Iterator[None]:
    """Turn an OSError about `folder` into a StorageError with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _disk_full(folder, what, needed=None) from error
        place = error.filename or folder
        raise StorageError(
            f"{what}: cannot write in {folder}: {error.strerror or error} ({place})",
            hint="Set ZOO_HOME to a folder that you can write to.",
        ) from error


def system_error(error: BaseException) -> OSError | None:
    """The error of the operating system that an error of a library is about; None for any other.

    >>> system_error(RuntimeError("parquet: underlying IO error: No space left on device (os error 28)"))
    OSError(28, 'No space left on device')
    """
    if isinstance(error, ZooError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error
    found = re.search(_OF_RUST, str(error))
    return None if found is None else OSError(int(found[1]), os.strerror(int(found[1])))


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise the error of the system that a library wraps in its own as the OSError that it is."""
    try:
        yield
    except Exception as error:
        found = system_error(error)
        if found is None or found is error:
            raise
        raise found from error


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn a full disk, while a file that the user named is written, into a DiskFull that names it."""
    try:
        with system_errors():
            yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(
            f"no room for {out}: {size_text(free_bytes(out.parent))} free in {out.absolute().parent}",
            hint="Free some space, or name a file on a larger disk.",
        ) from error


def _disk_full(folder: Path, what: str, *, needed: int | None, free: int | None = None) -> DiskFull:
    """The error that states how much is needed, how much is free, and where."""
    free = free_bytes(folder) if free is None else free
    need = "needs more space" if needed is None else f"needs {size_text(needed)}"
    return DiskFull(
        f"{what} {need}, {size_text(free)} free in {folder}",
        hint="Free some space (zoo cache lists the models), or set ZOO_HOME to a folder on a larger disk.",
    )
