"""Free space on the disk, and the errors of the operating system as errors of zoo."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import DiskFull, StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SPARE = 1 << 20  # bytes reserved for records, locks and the folder itself
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


def _disk_full(folder: Path, what: str, *, needed: int | None, free: int | None = None) -> DiskFull:
    """The error that states how much is needed, how much is free, and where."""
    free = free_bytes(folder) if free is None else free
    need = "needs more space" if needed is None else f"needs {size_text(needed)}"
    return DiskFull(
        f"{what} {need}, {size_text(free)} free in {folder}",
        hint="Free some space (zoo cache lists the models), or set ZOO_HOME to a folder on a larger disk.",
    )
