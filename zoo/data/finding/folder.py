"""Class folders, with or without split folders above them: every file once, nothing hidden, no link twice.

One pass of os.scandir; no file is opened. Links are followed after everything real was listed, so that a
link never decides the class of a file that lies in a class folder of its own.
"""

# ruff: noqa: PTH110, PTH116, PTH118, PTH119, PTH122
# Strings and os.path below: a Path for each of 100,000 files costs more than the whole scan.

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.dataset import PARTS, Layout, Part
from zoo.data.finding.table_file import is_table
from zoo.data.kinds import IMAGES, KINDS, Kind
from zoo.data.names import natural_key, one_line, safe_text, same_form, twin_key
from zoo.errors import DatasetError
from zoo.events import Note

PHOTO_SUFFIXES = frozenset(
    {".heic", ".heif", ".jp2", ".jxl", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)
"""Photographs in formats that zoo does not read: worth more than a line in a count."""

JUNK = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "__pycache__"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)
"""Names that operating systems and tools leave behind, besides everything that starts with a dot."""

ABOUT = frozenset({"readme", "license", "licence", "notice", "changelog", "authors", "citation"})
"""Files of texts that lie beside the data in a repository."""

SPLIT_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

FileId = tuple[int, int]  # device and inode
ClassFiles = dict[str, list[str]]


@dataclass(frozen=True)
class Found:
    """Labelled files before any decision: sorted paths per class, per part; the only part is None where the
    data are not split. Every class is a key; `empty` says what lies in those without a file. texts: of files
    that were read already, by the name that stands for their path; by_line: files with an item per line;
    layout: how texts lie in their files."""

    root: Path
    parts: dict[Part | None, ClassFiles]
    notes: tuple[Note, ...]
    empty: dict[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    by_line: frozenset[str] = frozenset()
    layout: Layout | None = None


@dataclass(frozen=True)
class Listing:
    """What one folder holds: names of its folders and of files of the kind that is looked for, in natural
    order; other files by ending."""

    folders: tuple[str, ...]
    files: tuple[str, ...]
    others: Counter[str]


Step = tuple[Part | None, Path, Listing]  # one folder of class folders, and the part that it is


@dataclass
class Tally:
    """What a scan met and passed over, on its search for files of one kind."""

    kind: Kind = IMAGES
    files: set[FileId] = field(default_factory=set)
    folders: set[FileId] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    special: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    looping: list[str] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)
    hidden: int = 0

    def notes(self) -> Iterator[Note]:
        """What the user should know of it, most important first."""
        if self.twins:
            first = " and ".join(map(one_line, self.twins[0]))
            yield Note(
                f"{_count(len(self.twins), 'pair')} of names that differ only in capitals or in how accents "
                f"are encoded ({first}): one file on macOS and Windows",
                hint="Rename one of each pair before the folder is copied there.",
                level="warning",
            )
        if self.repeated:
            yield Note(
                f"{_named(self.repeated, 'link')} to a file that is listed already: used once",
                level="warning",
            )
        if self.dangling:
            yield Note(f"{_named(self.dangling, 'link')} to nowhere passed over", level="warning")
        if self.looping:
            yield Note(f"{_named(self.looping, 'link')} back into the data not followed")
        if self.special:
            yield Note(f"{_named(self.special, 'entry')} passed over: not a file (a pipe, socket or device)")
        if self.others:
            yield Note(f"passed over {_describe_others(self.others)}", hint=_conversion_hint(self.others))
        if self.hidden:
            yield Note(f"{_count(self.hidden, 'hidden or system file')} or folders passed over")


def find_in_folder(root: Path, kind: Kind = IMAGES) -> Found:
    """Every labelled file of a kind below `root`, by part and class.

    Raises DatasetError if there are no class folders; the message lists what is there instead.
    """
    tally = Tally(kind)
    enter_with_parents(root, tally)
    top = _list_folder(root, tally)
    split = _split_folders(root, top)
    plan: list[Step] = []
    notes: list[Note] = []
    if split is None:
        plan.append((None, root, top))
    else:
        notes.extend(_beside_the_split(root, top, split, kind))
    for part, folder in (split or {}).items():
        if not enter(folder, tally):
            raise DatasetError(
                f"{one_line(folder)} is a link to another part of the same data",
                hint=f"Training and validation need different {kind.noun}s.",
            )
        plan.append((part, folder, _list_folder(folder, tally)))
    for step in list(plan):
        part_or_all, folder, listing = step
        if listing.folders:
            notes.extend(_beside_the_classes(folder, listing, kind))
        elif kind.file_per_class and _class_files(listing):
            _refuse_split_files(folder, listing)
            if about := [name for name in listing.files if name not in _class_files(listing)]:
                notes.append(Note(f"{_named(about, 'file')} passed over: about the data, not of them"))
        elif part_or_all == "test" and listing.files:
            plan.remove(step)
            found = kind.count(len(listing.files))
            notes.append(Note(f"{found} in {one_line(folder)} passed over: no class folders"))
        else:
            raise _no_classes(folder, listing, kind)
    if split is None and any(SPLIT_NAMES.get(name.lower()) == "train" for name in top.folders):
        notes.append(Note("the folder 'train' is taken for a class: no val or test is beside it"))
    parts, empty = _walk_classes(plan, tally)
    if tally.others and not any(files for classes in parts.values() for files in classes.values()):
        raise DatasetError(
            f"{one_line(root)} holds no {kind.noun}: {_describe_others(tally.others)}",
            hint=f"{_other_kind_hint(tally.others, kind)}{kind.layouts}",
        )
    by_line = frozenset(
        os.path.join(folder, name)
        for _, folder, listing in plan
        if not listing.folders
        for name in _class_files(listing)
    )
    return Found(root, parts, (*notes, *tally.notes()), empty, by_line=by_line)


def _split_folders(root: Path, listing: Listing) -> dict[Part, Path] | None:
    """The folder of each part, or None where the folders are classes.

    `train` makes a split root when val or test is beside it, or nothing is. Raises DatasetError for a val or
    test without a train, and for two folders that are the same part.
    """
    found: dict[Part, list[str]] = {}
    for name in listing.folders:
        if part := SPLIT_NAMES.get(name.lower()):
            found.setdefault(part, []).append(name)
    named = [name for names in found.values() for name in names]
    alone = len(named) == len(listing.folders)
    if not found or (not alone and ("train" not in found or len(found) == 1)):
        return None
    for part, names in found.items():
        if len(names) > 1:
            raise DatasetError(
                f"{one_line(root)} has {len(names)} folders for the {part} part: "
                f"{', '.join(map(one_line, names))}",
                hint="Keep one of them.",
            )
    return {part: root / found[part][0] for part in PARTS if part in found}


def _list_folder(folder: Path, tally: Tally) -> Listing:
    """What lies directly in `folder`; links to folders count as folders. `tally` gets what is passed over."""
    folders: list[str] = []
    files: list[str] = []
    others: Counter[str] = Counter()
    for entry in visible_entries(folder, tally):
        if entry.is_dir():
            folders.append(entry.name)
        elif tally.kind.matches(entry.name):
            files.append(entry.name)
        else:
            others[_ending(entry.name)] += 1
    return Listing(tuple(sorted(folders, key=natural_key)), tuple(sorted(files, key=natural_key)), others)


def is_junk(name: str) -> bool:
    """Whether the name is hidden, or one that an operating system leaves behind."""
    return name.startswith(".") or name.lower() in JUNK


def _describe_others(others: Counter[str], most: int = 4) -> str:
    """Counts of files that are not looked for, by ending.

    >>> _describe_others(Counter({".txt": 2, "": 1}))
    '2 .txt files, 1 without an ending'
    """
    ranked = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [
        f"{count} {ending} file{'s' * (count > 1)}" if ending else f"{count} without an ending"
        for ending, count in ranked[:most]
    ]
    rest = sum(count for _, count in ranked[most:])
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def _conversion_hint(others: Counter[str]) -> str | None:
    """What to do about photographs in formats that are not read."""
    photos = [ending for ending in others if ending in PHOTO_SUFFIXES]
    return f"Convert {' and '.join(photos)} to JPEG to use them." if photos else None


def _other_kind_hint(others: Counter[str], kind: Kind) -> str:
    """Which models take what is there instead, as the beginning of a hint.

    >>> from zoo.data.kinds import TEXTS
    >>> _other_kind_hint(Counter({".jpg": 3}), TEXTS)
    'These are images, for which there are: zoo list --task image-classification. '
    """
    for other in KINDS:
        if other is not kind and any(ending in other.suffixes for ending in others):
            return f"These are {other.noun}s, for which there are: zoo list --task {other.task}. "
    return ""


def _walk_classes(plan: Sequence[Step], tally: Tally) -> tuple[dict[Part | None, ClassFiles], dict[str, str]]:
    """Files of every class of every part, and what the classes without any hold instead."""
    entered: list[tuple[str, list[str], str]] = []
    parts: dict[Part | None, ClassFiles] = {}
    for part, folder, listing in plan:
        tally.twins.extend(_twins(listing.folders))
        classes = parts.setdefault(part, {})
        for name in listing.folders:
            path = os.path.join(folder, name)
            if enter(path, tally):  # every class folder is claimed before the first is walked
                entered.append((class_name(name), classes.setdefault(class_name(name), []), path))
            else:
                tally.looping.append(path)
        if not listing.folders:
            for name in _class_files(listing):
                classes.setdefault(class_name(os.path.splitext(name)[0]), []).append(
                    os.path.join(folder, name)
                )
    links: list[list[str]] = []
    for _, files, path in entered:
        links.append([])
        files.extend(_walk(path, tally, links[-1]))
    for (_, files, _), found in zip(entered, links, strict=True):
        files.extend(_follow(found, tally))
        files.sort()
    return parts, {name: _contents(path) for name, files, path in reversed(entered) if not files}


def _walk(top: str, tally: Tally, links: list[str]) -> Iterator[str]:
    """Paths of the files in and below a folder that was entered already; links are only noted."""
    folders = [top]
    while folders:
        folder = folders.pop()
        device = os.stat(folder).st_dev
        names: list[str] = []
        for entry in visible_entries(folder, tally, links):
            if entry.is_dir(follow_symlinks=False):
                if enter(entry.path, tally):
                    folders.append(entry.path)
                continue
            if not tally.kind.matches(entry.name):
                tally.others[_ending(entry.name)] += 1
                continue
            names.append(entry.name)
            # The inode comes with the directory entry: no stat call for each of 100,000 files. FUSE may give
            # every entry the same number, so only a file that has a second name is believed.
            identity = device, entry.inode()
            if identity in tally.files and entry.stat(follow_symlinks=False).st_nlink > 1:
                tally.repeated.append(entry.path)
                continue
            tally.files.add(identity)
            yield entry.path
        tally.twins.extend(_twins(names))


def _follow(links: list[str], tally: Tally) -> Iterator[str]:
    """Paths of the files that links lead to, each file and folder once."""
    for link in links:  # grows while folders behind links are walked
        try:
            target = os.stat(link)
        except OSError:  # gone, a loop of links, or a folder that may not be entered
            tally.dangling.append(link)
            continue
        identity = target.st_dev, target.st_ino
        if stat.S_ISDIR(target.st_mode):
            if identity in tally.folders:
                tally.looping.append(link)
            else:
                tally.folders.add(identity)
                yield from _walk(link, tally, links)
        elif not stat.S_ISREG(target.st_mode):
            tally.special.append(link)
        elif not tally.kind.matches(link):
            tally.others[_ending(link)] += 1
        elif identity in tally.files:
            tally.repeated.append(link)
        else:
            tally.files.add(identity)
            yield link


def visible_entries(
    folder: Path | str, tally: Tally, links: list[str] | None = None
) -> Iterator[os.DirEntry[str]]:
    """Visible files and folders of one folder. Links go to `links`; without it they are what they lead to."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_junk(entry.name):
                tally.hidden += 1
            elif links is not None and entry.is_symlink():
                links.append(entry.path)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                tally.dangling.append(entry.path)
            elif entry.is_dir() or entry.is_file():
                yield entry
            else:
                tally.special.append(entry.path)


def enter(folder: Path | str, tally: Tally) -> bool:
    """Claim a folder; False where it was claimed before, under whatever name."""
    found = os.stat(folder)
    identity = found.st_dev, found.st_ino
    if identity in tally.folders:
        return False
    tally.folders.add(identity)
    return True


def enter_with_parents(folder: Path, tally: Tally) -> None:
    """Claim a folder and all above it: a link to one of them would lead around in a circle."""
    for claimed in (folder.resolve(), *folder.resolve().parents):
        enter(claimed, tally)


def class_name(folder: str) -> str:
    """The class that a folder or a cell stands for: text that JSON takes, in one Unicode form."""
    return safe_text(same_form(folder.strip()))


def _beside_the_split(root: Path, top: Listing, split: dict[Part, Path], kind: Kind) -> Iterator[Note]:
    """Notes on folders and files that lie beside train and val."""
    names = {folder.name for folder in split.values()}
    if extra := [name for name in top.folders if name not in names]:
        yield Note(f"{_named(extra, 'folder')} beside {', '.join(sorted(names))} passed over")
    if top.files:
        yield Note(f"{kind.count(len(top.files))} directly in {one_line(root)} passed over")


def _beside_the_classes(folder: Path, listing: Listing, kind: Kind) -> Iterator[Note]:
    """A warning about files beside class folders: they have no class."""
    if listing.files:
        yield Note(
            f"{kind.count(len(listing.files))} directly in {one_line(folder)} passed over: "
            f"the folder of {kind.article} {kind.noun} is its class",
            hint="Move them into class folders to use them.",
            level="warning",
        )


def _class_files(listing: Listing) -> list[str]:
    """The files that stand for a class each: not those that tell about the data."""
    return [
        name
        for name in listing.files
        if os.path.splitext(name)[0].lower() not in ABOUT and not name.lower().endswith(".md")
    ]


def _refuse_split_files(folder: Path, listing: Listing) -> None:
    """Raise DatasetError for files that are named as parts: without class folders, a file is a class."""
    named = [name for name in listing.files if os.path.splitext(name)[0].lower() in SPLIT_NAMES]
    if named:
        raise DatasetError(
            f"{one_line(folder)} holds {' and '.join(named)}: a file is a class, these are named as parts",
            hint=f"Make a folder {os.path.splitext(named[0])[0]} with a file or a folder per class in it.",
        )


def _no_classes(folder: Path, listing: Listing, kind: Kind) -> DatasetError:
    """The error for a folder that should hold class folders and does not."""
    if listing.files:
        found = f"holds {kind.count(len(listing.files))} but no class folders"
    elif listing.others:
        found = f"holds no class folders, only {_describe_others(listing.others)}"
    else:
        found = "is empty"
    hint = f"{_other_kind_hint(listing.others, kind)}{kind.layouts}"
    if any(is_table(Path(f"t{ending}"), kind) for ending in listing.others):
        hint = f"If a table there holds the {kind.noun}s and their labels, give the table itself. {hint}"
    return DatasetError(f"{one_line(folder)} {found}", hint=hint)


def _contents(folder: str) -> str:
    """What a folder holds instead of what is looked for, for a message."""
    others = Counter(
        _ending(name) for _, _, names in os.walk(folder) for name in names if not is_junk(name)
    )  # fmt: skip
    return f"only {_describe_others(others)}" if others else "nothing"


def _twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that are one name on a disk that ignores capitals and Unicode form."""
    first: dict[str, str] = {}
    return [(first[k], n) for n in names if (k := twin_key(n)) in first or first.setdefault(k, n) != n]


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def _named(paths: Sequence[str], noun: str) -> str:
    """How many, and the first of them by name."""
    more = ", …" if len(paths) > 1 else ""
    return f"{_count(len(paths), noun)} ({one_line(os.path.basename(paths[0]))}{more})"
