"""What lies in folders: every file once, nothing hidden, no link twice. No file is opened.

A folder is listed once, by os.scandir. Links are followed after everything real was walked, so that a link
never decides the class of a file that lies in a class folder of its own.
"""

# ruff: noqa: PTH116, PTH118, PTH119, PTH122
# Strings and os.path below: a Path for each of 100,000 files costs more than the whole walk.

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from zoo.data.kinds import IMAGES, KINDS, Kind
from zoo.data.names import natural_key, one_line, twin_key
from zoo.events import Note

_PHOTO_SUFFIXES = frozenset(
    {".heic", ".heif", ".jp2", ".jxl", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)
"""Photographs in formats that zoo does not read: worth more than a line in a count."""

_JUNK = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "__pycache__"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)
"""Names that operating systems and tools leave behind, besides everything that starts with a dot."""

_RUN_FILES = frozenset({"run.json", "adapter.safetensors"})

Identity = tuple[object, object]
"""Equal for two names of one file or folder: device and inode."""


@dataclass(frozen=True)
class Listing:
    """What one folder holds.

    identity: of the folder. folders, files: names, links apart; files are those with an ending that is looked
    for, with their inodes. others: names of other files. linked_folders, linked_files: names of links, by
    what they lead to.
    """

    identity: Identity
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    inodes: tuple[object, ...] = ()
    others: tuple[str, ...] = ()
    linked_folders: Mapping[str, Identity] = field(default_factory=dict)
    linked_files: Mapping[str, Identity] = field(default_factory=dict)

    @cached_property
    def all_folders(self) -> tuple[str, ...]:
        """Names of folders and of links to folders, in natural order."""
        return tuple(sorted((*self.folders, *self.linked_folders), key=natural_key))

    @cached_property
    def all_files(self) -> tuple[str, ...]:
        """Names of files and of links to files, in natural order."""
        return tuple(sorted((*self.files, *self.linked_files), key=natural_key))

    @property
    def is_run(self) -> bool:
        """Whether the folder is one that `zoo finetune` wrote."""
        return set(self.others) >= _RUN_FILES


@dataclass
class Tally:
    """What a walk met and passed over, on its search for files of one kind."""

    kind: Kind = IMAGES
    entered: set[Identity] = field(default_factory=set)
    files: set[Identity] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    special: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    looping: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)
    hidden: int = 0

    def enter(self, listing: Listing) -> bool:
        """Claim a folder; False where it was claimed before, under whatever name."""
        if listing.identity in self.entered:
            return False
        self.entered.add(listing.identity)
        return True

    def is_loop(self, listing: Listing, name: str) -> bool:
        """Whether a folder in a listing is a link to one that is claimed: it need not be listed."""
        return listing.linked_folders.get(name) in self.entered

    def notes(self) -> Iterator[Note]:
        """What the user should know of it, most important first."""
        if self.twins:
            first = " and ".join(map(one_line, self.twins[0]))
            yield Note(
                f"{count_things(len(self.twins), 'pair')} of names that differ only in capitals or in how "
                f"accents are encoded ({first}): one file on macOS and Windows",
                hint="Rename one of each pair before the folder is copied there.",
                level="warning",
            )
        if self.repeated:
            yield Note(
                f"{name_first(self.repeated, 'link')} to a file that is listed already: used once",
                level="warning",
            )
        if self.dangling:
            yield Note(f"{name_first(self.dangling, 'link')} to nowhere passed over", level="warning")
        if self.looping:
            yield Note(f"{name_first(self.looping, 'link')} back into the data not followed")
        if self.special:
            yield Note(
                f"{name_first(self.special, 'entry')} passed over: not a file (a pipe, socket or device)"
            )
        if self.runs:
            yield Note(f"{name_first(self.runs, 'run folder')} passed over: written by zoo, not data")
        if self.others:
            yield Note(f"passed over {describe_others(self.others)}", hint=conversion_hint(self.others))
        if self.hidden:
            yield Note(f"{count_things(self.hidden, 'hidden or system file')} or folders passed over")


class Tree(Protocol):
    """Folders in folders: of a disk, or in an archive."""

    tally: Tally

    def list(self, folder: str) -> Listing:
        """What the folder holds."""

    def is_second_name(self, path: str) -> bool:
        """Whether a file whose number was met before is that file."""


class Disk:
    """Folders of the disk, each listed once; the tally gets what is passed over."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._known: dict[str, Listing] = {}

    def list(self, folder: str) -> Listing:
        """What the folder holds."""
        if folder not in self._known:
            self._known[folder] = self._list(folder)
        return self._known[folder]

    def _list(self, folder: str) -> Listing:
        matches = self.tally.kind.matches
        found = os.stat(folder)
        folders: list[str] = []
        files: list[str] = []
        inodes: list[int] = []
        others: list[str] = []
        links: list[os.DirEntry[str]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if is_junk(name):
                    self.tally.hidden += 1
                elif entry.is_symlink():
                    links.append(entry)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif not entry.is_file(follow_symlinks=False):
                    self.tally.special.append(entry.path)
                elif matches(name):
                    files.append(name)
                    # The inode comes with the directory entry: no stat call for each of 100,000 files.
                    inodes.append(entry.inode())
                else:
                    others.append(name)
        linked_folders: dict[str, Identity] = {}
        linked_files: dict[str, Identity] = {}
        for entry in links:
            try:
                target = os.stat(entry.path)
            except OSError:  # gone, a loop of links, or in a folder that may not be entered
                self.tally.dangling.append(entry.path)
                continue
            if stat.S_ISDIR(target.st_mode):
                linked_folders[entry.name] = target.st_dev, target.st_ino
            elif not stat.S_ISREG(target.st_mode):
                self.tally.special.append(entry.path)
            elif matches(entry.name):
                linked_files[entry.name] = target.st_dev, target.st_ino
            else:
                others.append(entry.name)
        return Listing(
            (found.st_dev, found.st_ino),
            tuple(sorted(folders, key=natural_key)),
            tuple(files),
            tuple(inodes),
            tuple(others),
            linked_folders,
            linked_files,
        )

    def claim_parents(self, folder: str) -> None:
        """Claim all folders above: a link to one of them would lead around in a circle."""
        for above in Path(folder).resolve().parents:
            found = above.stat()
            self.tally.entered.add((found.st_dev, found.st_ino))

    def is_second_name(self, path: str) -> bool:
        """Whether a file whose inode was met before is that file: FUSE may give all entries one number, so
        only a file that has a second name is believed."""
        return os.stat(path, follow_symlinks=False).st_nlink > 1


def walk(top: str, tree: Tree, links: list[str]) -> Iterator[str]:
    """Paths of the files in and below a folder that is claimed already; links are collected in `links`."""
    tally = tree.tally
    pending = [top]
    while pending:
        folder = pending.pop()
        listing = tree.list(folder)
        for name in listing.folders:
            path = os.path.join(folder, name)
            below = tree.list(path)
            if below.is_run:
                tally.runs.append(path)
            elif tally.enter(below):
                pending.append(path)
        device = listing.identity[0]
        for name, inode in zip(listing.files, listing.inodes, strict=True):
            path = os.path.join(folder, name)
            if (device, inode) in tally.files and tree.is_second_name(path):
                tally.repeated.append(path)
                continue
            tally.files.add((device, inode))
            yield path
        tally.others.update(map(ending_of, listing.others))
        tally.twins.extend(find_twins(listing.files))
        links.extend(os.path.join(folder, name) for name in (*listing.linked_folders, *listing.linked_files))


def follow(links: list[str], tree: Tree) -> Iterator[str]:
    """Paths of the files that links lead to, each file and folder once."""
    tally = tree.tally
    for link in links:  # grows while folders behind links are walked
        folder, name = os.path.split(link)
        listing = tree.list(folder)
        if name in listing.linked_folders:
            if tally.is_loop(listing, name) or not tally.enter(tree.list(link)):
                tally.looping.append(link)
            else:
                yield from walk(link, tree, links)
        elif (identity := listing.linked_files[name]) in tally.files:
            tally.repeated.append(link)
        else:
            tally.files.add(identity)
            yield link


def is_junk(name: str) -> bool:
    """Whether the name is hidden, or one that an operating system leaves behind."""
    return name.startswith(".") or name.lower() in _JUNK


def ending_of(name: str) -> str:
    """The ending of a file's name, in lower case."""
    return os.path.splitext(name)[1].lower()


def find_twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that are one name on a disk that ignores capitals and Unicode form."""
    first: dict[str, str] = {}
    return [(first[k], n) for n in names if (k := twin_key(n)) in first or first.setdefault(k, n) != n]


def describe_others(others: Counter[str], most: int = 4) -> str:
    """Counts of files that are not looked for, by ending.

    >>> describe_others(Counter({".txt": 2, "": 1}))
    '2 .txt files, 1 without an ending'
    """
    ranked = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [
        f"{count} {ending} file{'s' * (count > 1)}" if ending else f"{count} without an ending"
        for ending, count in ranked[:most]
    ]
    rest = sum(count for _, count in ranked[most:])
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def conversion_hint(others: Counter[str]) -> str | None:
    """What to do about photographs in formats that are not read."""
    photos = [ending for ending in others if ending in _PHOTO_SUFFIXES]
    return f"Convert {' and '.join(photos)} to JPEG to use them." if photos else None


def other_kind_hint(others: Iterable[str], kind: Kind) -> str:
    """Which models take what is there instead, as the beginning of a hint.

    >>> from zoo.data.kinds import TEXTS
    >>> other_kind_hint([".jpg", ".jpg"], TEXTS)
    'These are images, for which there are: zoo list --task image-classification. '
    """
    endings = set(others)
    for other in KINDS:
        if other is not kind and endings & other.suffixes:
            return f"These are {other.noun}s, for which there are: zoo list --task {other.task}. "
    return ""


def count_things(number: int, noun: str) -> str:
    """A number of things, in words.

    >>> count_things(2, "entry")
    '2 entries'
    """
    ending = "ies" if noun.endswith("y") else "es" if noun.endswith("s") else "s"
    plural = noun.removesuffix("y") + ending
    return f"{number:,} {noun if number == 1 else plural}"


def name_first(paths: Sequence[str], noun: str) -> str:
    """How many paths, and the first of them by name."""
    more = ", …" if len(paths) > 1 else ""
    return f"{count_things(len(paths), noun)} ({one_line(os.path.basename(paths[0]))}{more})"
