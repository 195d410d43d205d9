"""The folders of a zip archive, listed like those of a disk."""

from __future__ import annotations

import stat
from pathlib import Path

from zoo.data.containers import Zip, open_container, stamp_of
from zoo.data.finding.split_words import read_level
from zoo.data.finding.walking import Listing, Tally, is_junk
from zoo.data.kinds import Kind
from zoo.data.names import natural_key


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive that can be read in place."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


class ZipTree:
    """Folders of an archive; the tally gets what is passed over. Raises DatasetError for a damaged one."""

    def __init__(self, tally: Tally, file: Path) -> None:
        self.tally = tally
        archive = open_container(file, stamp_of(file))
        assert isinstance(archive, Zip)
        self._folders: dict[str, set[str]] = {str(file): set()}
        self._files: dict[str, list[str]] = {}
        for name, info in archive.members.items():
            *folders, last = name.split("/")
            if any(map(is_junk, folders)) or (last and is_junk(last)):
                tally.hidden += 1
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                tally.special.append(f"{file}/{name}")
                continue
            above = str(file)
            for folder in folders:
                self._folders.setdefault(above, set()).add(folder)
                above = f"{above}/{folder}"
                self._folders.setdefault(above, set())
            if last:
                self._files.setdefault(above, []).append(last)

    def list(self, folder: str) -> Listing:
        """What the folder holds."""
        names = self._files.get(folder, [])
        files = tuple(name for name in names if self.tally.kind.matches(name))
        return Listing(
            ("zip", folder),
            tuple(sorted(self._folders.get(folder, ()), key=natural_key)),
            files,
            tuple(f"{folder}/{name}" for name in files),
            tuple(name for name in names if not self.tally.kind.matches(name)),
        )

    def is_second_name(self, path: str) -> bool:
        """Whether a file is one that was met under another name: never."""
        return False


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
