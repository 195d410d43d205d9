"""The folders of a zip archive, listed like those of a disk."""

from __future__ import annotations

import stat
from pathlib import Path

from zoo.data.containers import Zip, open_container, stamp_of
from zoo.data.finding.name_tree import NameTree, is_hidden
from zoo.data.finding.split_words import read_level
from zoo.data.finding.walking import Tally
from zoo.data.kinds import Kind


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive that can be read in place."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


class ZipTree(NameTree):
    """Folders of an archive; the tally gets what is passed over. Raises DatasetError for a damaged one."""

    def __init__(self, tally: Tally, file: Path) -> None:
        archive = open_container(file, stamp_of(file))
        assert isinstance(archive, Zip)
        links = {
            name
            for name, info in archive.members.items()
            if stat.S_ISLNK(info.external_attr >> 16) and not is_hidden(name)
        }
        tally.special += [f"{file}/{name}" for name in archive.members if name in links]
        super().__init__(tally, str(file), (name for name in archive.members if name not in links))


def root_in_zip(file: Path, kind: Kind) -> Path:
    """The folder of an archive that holds the data: below single folders that everything is packed in."""
    tree = ZipTree(Tally(kind), file)
    root = str(file)
    while True:
        listing = tree.list(root)
        if len(listing.folders) != 1 or listing.files or read_level(listing.folders) is not None:
            return Path(root)
        inner = f"{root}/{listing.folders[0]}"
        if not tree.list(inner).folders and not kind.file_per_class:
            return Path(root)
        root = inner
