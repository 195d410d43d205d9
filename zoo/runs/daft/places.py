"""Where photographs come from and features go: what cannot be is refused before Daft is imported."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from zoo.data.finding.vector_table import holds_features
from zoo.data.kinds import IMAGES
from zoo.data.listing import address_of, is_of_web, no_such_path
from zoo.data.names import one_line, safe_text
from zoo.errors import StorageError, UsageError
from zoo.store.disk.space import FULL, nearest_folder

_PATTERN = "*?[]{}\\"
_OF_FILES = (".parquet", ".npz")


def check_places(data: str | Path, out: str | Path) -> None:
    """Raise UsageError where nothing could be read or nothing may be written, before anything heavy is
    imported."""
    source = address_of(data)
    if source is None:
        _check_folder(Path(data))
    elif is_of_web(source):
        raise UsageError(
            f"{one_line(source)} is an address of the web, which has no list of its files",
            hint="Daft reads folders and storage: s3://BUCKET/FOLDER, gs://…, az://…",
        )
    for place in filter(None, (source, address_of(out))):
        if odd := next((character for character in place if character in _PATTERN), None):
            raise UsageError(
                f"{one_line(place)} has a {odd} in it, which Daft would take for a pattern",
                hint="Name a folder of the storage, without a pattern.",
            )
    _check_name(out)
    for folder in (Path(place).absolute() for place in (data, out) if address_of(place) is None):
        if not is_utf8(folder):
            raise UsageError(
                f"{one_line(safe_text(folder))} is not UTF-8, and Daft takes no other names",
                hint="Name another folder, or leave out --engine.",
            )
    if address_of(out) is None:
        refuse_existing(Path(out))
    here, inside = (_absolute(place) for place in (data, out))
    if inside == here or inside.startswith(f"{here}/"):
        raise UsageError(
            f"{one_line(str(out))} lies in {one_line(str(data))}: features among photographs would be taken "
            "for a class of them",
            hint="Name a folder beside it.",
        )
    if address_of(out) is None:
        _check_writable(Path(out))


def _check_name(out: str | Path) -> None:
    """Raise UsageError for a name that the other writers take for that of a file."""
    if str(out) == "-" or str(out).lower().rstrip("/").endswith(_OF_FILES):
        raise UsageError(
            f"{one_line(str(out))} is what a file is called, and workers write a folder of files",
            hint="Name a folder, --out features/, or leave out --engine.",
        )


def is_utf8(path: Path) -> bool:
    """Whether Daft takes the name: Python keeps other bytes as what no text in UTF-8 has."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_writable(out: Path) -> None:
    """Raise StorageError where no folder of that name can be made."""
    try:
        folder = nearest_folder(out.absolute().parent)
        blocked = next((each for each in out.absolute().parents if os.path.lexists(each)), folder)
        if blocked != folder:
            raise NotADirectoryError(f"{blocked} is not a folder")
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=folder):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise
        raise StorageError(
            f"the features cannot be written in {one_line(str(out.parent))}: {error.strerror or error}",
            hint="Name another folder.",
        ) from error


def _check_folder(data: Path) -> None:
    """Raise UsageError or DatasetError unless it is a folder of photographs."""
    if not data.exists():
        raise no_such_path(data)
    if not data.is_dir():
        raise UsageError(
            f"{one_line(data)} is a file, and workers read a folder or storage: s3://BUCKET/FOLDER",
            hint="Leave out --engine: zoo embed takes files, archives and tables.",
        )
    if holds_features(data, IMAGES):
        raise UsageError(
            f"{one_line(data)} has features already, and workers compute them",
            hint="Leave out --engine: zoo embed makes one file of them, --out FILE.parquet.",
        )


def _absolute(place: str | Path) -> str:
    """A folder or an address in one form."""
    address = address_of(place)
    return (str(Path(place).resolve()) if address is None else address).rstrip("/")


def refuse_existing(out: Path) -> None:
    """Raise UsageError if there is anything at `out`."""
    if os.path.lexists(out):
        raise UsageError(
            f"{one_line(out)} exists already, and is never overwritten", hint="Name another folder."
        )
