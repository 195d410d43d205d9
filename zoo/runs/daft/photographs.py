"""The photographs of a folder, or below an address, with the labels and parts that `zoo embed` gives them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.finding.folder import find_in_tree
from zoo.data.finding.found import Found
from zoo.data.finding.name_tree import NameTree
from zoo.data.finding.walking import Tally, conversion_hint, describe_others
from zoo.data.kinds import IMAGES, Kind
from zoo.data.listing import address_of, files_in_tree, list_images
from zoo.data.names import one_line, safe_text, shortened
from zoo.data.scanning import find_labels
from zoo.errors import DatasetError, UsageError
from zoo.events import Note, Progress, Report, silent
from zoo.runs.daft.faults import answered
from zoo.runs.daft.places import is_utf8

if TYPE_CHECKING:
    import pyarrow

_TRIES = 4
NAMED = 20
"""Photographs without features that are named; the files say it of all."""


@dataclass(frozen=True)
class Photographs:
    """Photographs to read. addresses: where each lies. paths: what it is called in a table. labels, parts:
    None where none has one."""

    addresses: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str | None, ...] | None = None
    parts: tuple[str | None, ...] | None = None

    @property
    def table(self) -> pyarrow.Table:
        """A row for each."""
        import pyarrow

        columns = {"address": self.addresses, "path": self.paths, "label": self.labels, "split": self.parts}
        return pyarrow.table(
            {
                name: pyarrow.array(cells, pyarrow.string())
                for name, cells in columns.items()
                if cells is not None
            }
        )


def list_photographs(data: str | Path, report: Report = silent) -> Photographs:
    """The photographs in and below a folder, or below an address. Raises DatasetError where there are none,
    and NetworkError where nobody answers."""
    address = address_of(data)
    if address is not None:
        report(Progress("list", 0, None, "images"))
        return list_names(address, _names_below(address), report)
    paths = _readable(list_images([Path(data)]), report)
    names = tuple(map(safe_text, paths))
    places = tuple(safe_text(path.absolute()) for path in paths)
    return Photographs(places, names, *_labels_of(map(os.fspath, paths), find_labels(Path(data), IMAGES)))


def _readable(paths: Sequence[Path], report: Report) -> list[Path]:
    """Those whose names Daft takes; the others are named, some of many. Raises DatasetError where there are
    only others. Text made of the bytes of a name may be the name of another photograph."""
    good = [path for path in paths if is_utf8(path)]
    if len(good) == len(paths):
        return good
    odd = [path for path in paths if not is_utf8(path)]
    why = "has a name that is not UTF-8, and Daft takes no other names"
    for path in odd[:NAMED]:
        report(Note(f"skipped: {shortened(safe_text(path), 300)} {why}", level="warning"))
    hint = "Rename them, or leave out --engine: zoo embed takes such names."
    if not good:
        raise DatasetError("no photograph has a name that is UTF-8", hint=hint)
    more = f"; {NAMED} of them are named" if len(odd) > NAMED else ""
    count = f"{len(odd):,} of {len(paths):,} files"
    report(Note(f"passed over, by their names: {count}{more}. {hint}", level="warning"))
    return good


def list_names(address: str, names: Sequence[str], report: Report = silent) -> Photographs:
    """The photographs among the names of files below an address, with the labels and parts that a folder with
    these names would have. Raises DatasetError where there are none.

    >>> found = list_names("s3://b/p", ["train/bee/1.jpg", "train/ant/1.jpg", "val/ant/2.jpg", "list.txt"])
    >>> found.paths[0], found.labels, found.parts
    ('s3://b/p/train/ant/1.jpg', ('ant', 'bee', 'ant'), ('train', 'train', 'val'))
    """
    root, tally, count = ".", Tally(IMAGES), len(names)
    names = [name for name in names if "//" not in f"/{name}"]
    if count > len(names):
        report(Note(f"passed over, with // in their names: {count - len(names):,} files", level="warning"))
    paths = [*files_in_tree(NameTree(tally, root, names), root)]
    if not paths:
        held = describe_others(tally.others) or "nothing"
        raise DatasetError(
            f"no image below {one_line(address)}: it holds {held}", hint=conversion_hint(tally.others)
        )

    def tree(kind: Kind) -> NameTree:
        return NameTree(Tally(kind), root, names)

    found: Found | None = None
    with suppress(DatasetError):
        found = find_in_tree(Path(root), tree, IMAGES)
    places = tuple(f"{address.rstrip('/')}/{path.removeprefix('./')}" for path in paths)
    return Photographs(places, places, *_labels_of(paths, found))


def _labels_of(
    paths: Iterable[str], found: Found | None
) -> tuple[tuple[str | None, ...] | None, tuple[str | None, ...] | None]:
    """The class and the part of each photograph, where they lie as labelled data do."""
    if found is None:
        return None, None
    known: dict[str, tuple[str, str | None]] = {}
    for part, classes in found.parts.items():
        for name, files in classes.items():
            known |= dict.fromkeys((os.fspath(Path(file)) for file in files), (name, part))
    here = [known.get(os.fspath(Path(path)), (None, None)) for path in paths]
    divided = set(found.parts) != {None}
    return tuple(name for name, _ in here), tuple(part for _, part in here) if divided else None


def _names_below(address: str) -> list[str]:
    """The names of all files below an address."""
    import daft

    prefix = f"{address.rstrip('/')}/"
    with answered(address):
        listed = daft.from_glob_path(f"{prefix}**", io_config=_impatient(address)).select("path")
        return [place.removeprefix(prefix) for place in listed.to_arrow()["path"].to_pylist()]


def _impatient(address: str) -> Any:
    """How to ask storage for the first time: Daft by itself knocks for three minutes where nobody is."""
    from daft.exceptions import DaftCoreException
    from daft.io import IOConfig, S3Config

    with suppress(DaftCoreException):  # nobody says who asks: what Daft does then is its own affair
        if address.lower().startswith(("s3:", "s3a:")):
            return IOConfig(s3=S3Config.from_env().replace(num_tries=_TRIES))
    return None


def check_free(out: str | Path) -> None:
    """Raise UsageError where features are to be written below an address that has files already."""
    address = address_of(out)
    if address is not None and _names_below(address):
        raise UsageError(
            f"{one_line(address)} has files already, and nothing is overwritten",
            hint="Name another folder of the storage, or remove what is there.",
        )
