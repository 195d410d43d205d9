"""Folders that are known by the names of the files below them: in an archive, in the storage of a cloud."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.data.finding.walking import Listing, Tally, is_junk
from zoo.data.names import natural_key


class NameTree:
    """Folders below a root, listed like those of a disk; the tally gets what is passed over.

    names: below the root, with / between; those of folders end in /.
    """

    def __init__(self, tally: Tally, root: str, names: Iterable[str]) -> None:
        self.tally = tally
        self._folders: dict[str, set[str]] = {root: set()}
        self._files: dict[str, list[str]] = {}
        for name in names:
            *folders, last = name.split("/")
            if is_hidden(name):
                tally.hidden += 1
                continue
            above = root
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
            ("name", folder),
            tuple(sorted(self._folders.get(folder, ()), key=natural_key)),
            files,
            tuple(f"{folder}/{name}" for name in files),
            tuple(name for name in names if not self.tally.kind.matches(name)),
        )

    def is_second_name(self, path: str) -> bool:
        """Whether a file is one that was met under another name: never."""
        return False


def is_hidden(name: str) -> bool:
    """Whether a file below a root is hidden, or lies in a folder that is.

    >>> is_hidden("bees/.trash/1.jpg"), is_hidden("bees/Thumbs.db"), is_hidden("bees/")
    (True, True, False)
    """
    return any(part and is_junk(part) for part in name.split("/"))
