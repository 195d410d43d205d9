"""Class folders, with folders of parts above or below them, become labelled files.

train/CLASS/…  val/CLASS/…      parts above the classes; training_set, seg_train, test1: see split_words
CLASS/train/…  CLASS/val/…      parts below them
fold_1/CLASS/…  fold_2/CLASS/…  the first fold is kept for validation
CLASS/…                         no parts
train/CLASS.txt                 a file is a class, with a text per line
"""

# ruff: noqa: PTH118, PTH119, PTH120, PTH122
# Strings and os.path below: a Path for each of 100,000 files costs more than the whole scan.

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.data.dataset import PARTS, Part
from zoo.data.finding.found import ClassFiles, Found, class_name
from zoo.data.finding.split_words import NEVER_CLASSES, Ambiguous, Level, Role, read_level, read_part
from zoo.data.finding.table_file import AGAIN, is_table
from zoo.data.finding.vector_table import parquet_files, schema_of
from zoo.data.finding.walking import (
    Disk,
    Listing,
    Tally,
    Tree,
    conversion_hint,
    count_things,
    describe_others,
    ending_of,
    find_twins,
    follow,
    name_first,
    other_kind_hint,
    walk,
)
from zoo.data.kinds import Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note

_ABOUT = frozenset({"readme", "license", "licence", "notice", "changelog", "authors", "citation"})
"""Files of texts that lie beside the data in a repository."""

_USUAL = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Names of parts that need no word of explanation."""

_LABEL_ENDINGS = frozenset({".pos", ".neg", ".neu", ".positive", ".negative", ".neutral", ".spam", ".ham"})
"""Endings that are labels: rt-polarity.pos beside rt-polarity.neg."""


def find_in_folder(root: Path, kind: Kind, *, class_level: int = 1) -> Found:
    """Every labelled file of a kind below `root`, by part and class.

    class_level: which level of folders is the classes, below that of the parts. Raises DatasetError if there
    are no class folders, or if names may be those of parts or of classes; the message lists what is there.
    """

    def disk(kind: Kind) -> Tree:
        tree = Disk(Tally(kind))
        tree.claim_parents(os.fspath(root))
        return tree

    return find_in_tree(root, disk, kind, class_level=class_level)


def find_in_tree(root: Path, open_tree: Callable[[Kind], Tree], kind: Kind, *, class_level: int = 1) -> Found:
    """As `find_in_folder`, in folders of any tree."""
    search = _Search(os.fspath(root), open_tree(kind), kind, class_level)
    found = search.run()
    others = search.tree.tally.others
    if any(files for classes in found.parts.values() for files in classes.values()):
        return found
    if others[""] and "" not in kind.suffixes:  # as 20 newsgroups: nothing has an ending
        return find_in_tree(
            root, open_tree, replace(kind, suffixes=kind.suffixes | {""}), class_level=class_level
        )
    if others:
        raise DatasetError(
            f"{one_line(root)} holds no {kind.noun}: {describe_others(others)}",
            hint=" ".join(
                filter(None, (conversion_hint(others), f"{other_kind_hint(others, kind)}{kind.layouts}"))
            ),
        )
    return found


@dataclass(frozen=True)
class _Base:
    """The folders whose folders are the classes of one part. without: names of folders to leave out."""

    part: Part | None
    folders: tuple[str, ...]
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Class:
    """A folder or a file of a class, in one part; None while it may have parts below."""

    part: Part | None
    name: str
    path: str


@dataclass
class _Sorted:
    """Files by part and class; None is what may still be in any part. deeper: of classes with folders inside
    that are not parts, the first of those."""

    files: dict[Role | None, ClassFiles] = field(default_factory=dict)
    deeper: dict[str, str] = field(default_factory=dict)


@dataclass
class _Search:
    """One search for labelled files below a folder; `run` does it."""

    root: str
    tree: Tree
    kind: Kind
    class_level: int
    notes: list[Note] = field(default_factory=list)
    by_line: set[str] = field(default_factory=set)
    _roles: dict[str, Role | None] = field(default_factory=dict)
    _below: dict[Role, str] = field(default_factory=dict)  # a name of each part below a class

    def run(self) -> Found:
        """Decide which folders are parts and classes, then walk the classes."""
        self.tree.tally.enter(self.tree.list(self.root))
        bases = self._find_bases()
        folders: list[_Class] = []
        files: list[_Class] = []
        for base in bases:
            for folder in base.folders:
                if folder != self.root and not self.tree.tally.enter(self.tree.list(folder)):
                    raise DatasetError(
                        f"{one_line(folder)} is a link to another part of the same data",
                        hint=f"Training and validation need different {self.kind.noun}s.",
                    )
        for base in bases:
            for folder in base.folders:
                below, alone = self._find_classes(base, folder)
                folders += below
                files += alone
        parts, empty = self._walk_classes(folders)
        for file in files:
            parts.setdefault(file.part, {}).setdefault(file.name, []).append(file.path)
        return Found(
            Path(self.root),
            parts,
            (*self.notes, *self.tree.tally.notes()),
            empty,
            by_line=frozenset(self.by_line),
        )

    # --- parts

    def _find_bases(self) -> list[_Base]:
        """The folders of each part; the root alone where its folders are classes."""
        top = self.tree.list(self.root)
        level = read_level(top.all_folders)
        if isinstance(level, Ambiguous):
            raise self._ambiguous(level.names)
        if level is None:
            return self._train_alone(top) or [_Base(None, (self.root,))]
        if level.others and "train" not in level.parts:
            return [self._classes_beside(level), *self._bases_of(level)]
        if level.chunks:
            folders = tuple(os.path.join(self.root, name) for name in level.chunks)
            if not all(self.tree.list(folder).all_folders for folder in folders):
                raise self._ambiguous(level.chunks)
            self.notes.append(Note(f"{_list(level.chunks)} are taken together: pieces of one set"))
            return [_Base("train" if level.parts else None, folders), *self._bases_of(level)]
        if level.folds:
            held_out, *rest = (os.path.join(self.root, name) for name in level.folds)
            self.notes.append(
                Note(
                    f"{len(level.folds)} folds ({_list(level.folds)}): {one_line(level.folds[0])} is kept "
                    "for validation, the others are trained on"
                )
            )
            return [_Base("train", tuple(rest)), _Base("val", (held_out,)), *self._bases_of(level)]
        self._note_what_lies_beside(top, level)
        return self._bases_of(level)

    def _bases_of(self, level: Level) -> list[_Base]:
        """A base for each part that a level has; notes on what was taken for what."""
        for part, names in level.parts.items():
            if len(names) > 1:
                raise DatasetError(
                    f"{one_line(self.root)} has {len(names)} folders for the {part} part: {_list(names)}",
                    hint="Keep one of them.",
                )
        self._note_what_was_taken(level)
        return [_Base(part, (os.path.join(self.root, name),)) for part, (name,) in level.parts.items()]

    def _train_alone(self, top: Listing) -> list[_Base] | None:
        """The base of a training part beside folders that cannot be classes; None if train is a class."""
        name = next(
            (n for n in top.all_folders if (w := read_part(n)) and w.role == "train" and not w.rest), None
        )
        if name is None:
            return None
        inner = self._listing_in(self.root, name)
        neighbours = [n for n in top.all_folders if n != name]
        listings = [self._listing_in(self.root, n) for n in neighbours]
        if len(inner.all_folders) < 2 or any(below.all_folders for below in listings):
            self.notes.append(
                Note(f"the folder '{one_line(name)}' is taken for a class: no val or test is beside it")
            )
            return None
        if any(below.all_files for below in listings):
            raise self._ambiguous((name, *neighbours))
        level = Level({"train": (name,)}, others=tuple(neighbours))
        self._note_what_lies_beside(top, level)
        return self._bases_of(level)

    def _classes_beside(self, level: Level) -> _Base:
        """The base of classes that lie beside a val or test folder, if that has folders of their names."""
        named = [name for names in level.parts.values() for name in names]
        inner = {n for name in named for n in self._listing_in(self.root, name).all_folders}
        if not inner & set(level.others):
            raise self._ambiguous((*named, *level.unlabelled, *level.others))
        self.notes.append(Note(f"the class folders beside {_list(named)} are taken for the train part"))
        return _Base("train", (self.root,), frozenset((*named, *level.unlabelled)))

    def _ambiguous(self, names: Sequence[str]) -> DatasetError:
        """The error for names that may be those of parts or of classes."""
        return DatasetError(
            f"it is not clear which folders of {one_line(self.root)} are parts of the data and which are "
            f"classes: {_list(names)}",
            hint="Put the classes into folders train and val (and test), or rename a class that is called "
            "like a part.",
        )

    def _note_what_was_taken(self, level: Level) -> None:
        """Add a note on names of parts that are not the usual ones, and on parts without labels."""
        taken = [
            f"{one_line(name)} for {part}"
            for part, names in level.parts.items()
            for name in names
            if name.lower() not in _USUAL
        ]
        if taken:
            self.notes.append(Note(f"taken as parts: {', '.join(taken)}"))
        if level.unlabelled:
            self.notes.append(Note(f"{name_first(level.unlabelled, 'folder')} passed over: it has no labels"))

    def _note_what_lies_beside(self, top: Listing, level: Level) -> None:
        """Add notes on folders and files that lie beside the parts."""
        if level.others:
            parts = sorted(name for names in level.parts.values() for name in names)
            self.notes.append(
                Note(f"{name_first(level.others, 'folder')} beside {', '.join(parts)} passed over")
            )
        if top.all_files:
            count = self.kind.count(len(top.all_files))
            self.notes.append(Note(f"{count} directly in {one_line(self.root)} passed over"))

    # --- classes

    def _find_classes(self, base: _Base, folder: str) -> tuple[list[_Class], list[_Class]]:
        """The class folders, or else the class files, of one folder of a part."""
        listing = self.tree.list(folder)
        names = self._class_folders(base, folder, listing)
        if names:
            self._note_files_beside(folder, listing.all_files)
            self.tree.tally.twins.extend(find_twins(names))
            return list(self._descend(base.part, folder, names, self.class_level)), []
        if self.kind.file_per_class and (files := self._class_files(folder, listing)):
            return [], [replace(file, part=base.part) for file in files]
        if base.part == "test" and listing.all_files:
            found = self.kind.count(len(listing.all_files))
            self.notes.append(Note(f"{found} in {one_line(folder)} passed over: no class folders"))
            return [], []
        raise self._no_classes(folder, listing)

    def _class_folders(self, base: _Base, folder: str, listing: Listing) -> list[str]:
        """Names of the folders that are classes: without those that say "no labels", and without runs."""
        names = [name for name in listing.all_folders if name not in base.without]
        bare = [n for n in names if (word := read_part(n)) and not word.rest and word.word in NEVER_CLASSES]
        loops = [name for name in names if self.tree.tally.is_loop(listing, name)]
        runs = [name for name in names if name not in loops and self._listing_in(folder, name).is_run]
        self.tree.tally.looping.extend(os.path.join(folder, name) for name in loops)
        self.tree.tally.runs.extend(os.path.join(folder, name) for name in runs)
        if bare:
            self.notes.append(Note(f"{name_first(bare, 'folder')} passed over: it has no labels"))
        return [name for name in names if name not in (*bare, *loops, *runs)]

    def _listing_in(self, folder: str, name: str) -> Listing:
        """What a folder in a folder holds; nothing where it is a link back."""
        above = self.tree.list(folder)
        if self.tree.tally.is_loop(above, name):
            return Listing(above.linked_folders[name])
        return self.tree.list(os.path.join(folder, name))

    def _descend(self, part: Part | None, folder: str, names: Sequence[str], depth: int) -> Iterator[_Class]:
        """The class folders `depth` levels below a folder; parts may lie between the levels."""
        for name in names:
            path = os.path.join(folder, name)
            listing = self.tree.list(path)
            if depth == 1:
                yield _Class(part, class_name(name), path)
                continue
            if not self.tree.tally.enter(listing):
                self.tree.tally.looping.append(path)
                continue
            self._note_files_beside(path, listing.all_files)
            level = read_level(listing.all_folders) if part is None else None
            if isinstance(level, Level) and "train" in level.parts:
                for below, inner in level.parts.items():
                    for one in inner:
                        inside = os.path.join(path, one)
                        yield from self._descend(below, inside, self.tree.list(inside).all_folders, depth - 1)
            else:
                yield from self._descend(part, path, listing.all_folders, depth - 1)

    def _class_files(self, folder: str, listing: Listing) -> list[_Class]:
        """The files that stand for a class each, or for a text of the class that their ending names."""
        named = [name for name in listing.all_files if _is_class_file(name)]
        if named:
            if parts := [name for name in named if _is_part_file(name)]:
                raise DatasetError(
                    f"{one_line(folder)} holds {' and '.join(parts)}: a file is a class, and these are named "
                    "like parts",
                    hint=f"Make a folder {os.path.splitext(parts[0])[0]} with a file or a folder per class "
                    "in it.",
                )
            if about := [name for name in listing.all_files if name not in named]:
                self.notes.append(
                    Note(f"{name_first(about, 'file')} passed over: about the data, not of them")
                )
            found = [_Class(None, class_name(os.path.splitext(n)[0]), os.path.join(folder, n)) for n in named]
            self.by_line.update(file.path for file in found)
            return found
        endings = Counter(ending for name in listing.others if (ending := ending_of(name)) in _LABEL_ENDINGS)
        if len(endings) < 2:
            return []
        found = [
            _Class(None, ending_of(name)[1:], os.path.join(folder, name))
            for name in sorted(listing.others)
            if ending_of(name) in endings
        ]
        if max(endings.values()) == 1:
            self.by_line.update(file.path for file in found)
        return found

    def _note_files_beside(self, folder: str, files: Sequence[str]) -> None:
        """Add a warning about files beside class folders: they have no class."""
        if files:
            kind = self.kind
            self.notes.append(
                Note(
                    f"{kind.count(len(files))} directly in {one_line(folder)} passed over: "
                    f"the folder of {kind.article} {kind.noun} is its class",
                    hint="Move them into class folders to use them.",
                    level="warning",
                )
            )

    def _no_classes(self, folder: str, listing: Listing) -> DatasetError:
        """The error for a folder that should hold class folders and does not."""
        others = Counter(map(ending_of, listing.others))
        if listing.all_files:
            found = f"holds {self.kind.count(len(listing.all_files))} but no class folders"
        elif others:
            found = f"holds no class folders, only {describe_others(others)}"
        else:
            found = "is empty"
        tables = parquet_files(Path(folder))
        if tables and not listing.all_files and all(schema_of(table) is None for table in tables):
            names = _list([table.name for table in tables])
            return DatasetError(f"{one_line(folder)} {found}, which cannot be read: {names}", hint=AGAIN)
        hint = f"{other_kind_hint(others, self.kind)}{self.kind.layouts}"
        if any(is_table(Path(name), self.kind) for name in listing.others):
            items = f"{self.kind.noun}s and their labels"
            hint = f"If a table there holds the {items}, give the table itself. {hint}"
        if not listing.all_files and (photos := conversion_hint(others)):
            hint = f"{photos} {hint}"
        if folder != self.root:
            hint = f"{one_line(os.path.basename(folder))} is taken for a part of the data. {hint}"
        return DatasetError(f"{one_line(folder)} {found}", hint=hint)

    # --- files

    def _walk_classes(
        self, folders: Sequence[_Class]
    ) -> tuple[dict[Part | None, ClassFiles], dict[str, str]]:
        """Files of every class of every part, and what lies in the classes without any."""
        tally = self.tree.tally
        claimed: list[_Class] = []
        for one in folders:  # every class folder is claimed before the first is walked
            if tally.enter(self.tree.list(one.path)):
                claimed.append(one)
            else:
                tally.looping.append(one.path)
        links: list[list[str]] = [[] for _ in claimed]
        files = [list(walk(one.path, self.tree, found)) for one, found in zip(claimed, links, strict=True)]
        for found, later in zip(files, links, strict=True):
            found.extend(follow(later, self.tree))
        empty = {
            one.name: self._contents(one.path)
            for one, found in zip(reversed(claimed), reversed(files), strict=True)
            if not found
        }
        sorted_by = _Sorted()
        for one, found in zip(claimed, files, strict=True):
            self._sort_files(one, sorted(found), sorted_by)
        self._note_deeper_folders(sorted_by)
        return self._join_roles(sorted_by, {one.part: {} for one in folders}), empty

    def _sort_files(self, one: _Class, files: Sequence[str], into: _Sorted) -> None:
        """Sort the files of a class by part: that above the class, or that of a folder below it."""
        flat = not self.tree.list(one.path).all_folders
        for path in files:
            folder = one.path if flat else os.path.dirname(path)
            role = one.part or self._role_below(folder, one.path)
            into.files.setdefault(role, {}).setdefault(one.name, []).append(path)
            if folder != one.path and role == one.part:
                into.deeper.setdefault(one.name, folder[len(one.path) + 1 :].partition(os.sep)[0])
        if not files:
            into.files.setdefault(one.part, {}).setdefault(one.name, [])

    def _role_below(self, folder: str, top: str) -> Role | None:
        """The part that a folder below a class folder is in, by its name or by one above it."""
        if folder == top:
            return None
        if folder not in self._roles:
            parent, name = os.path.split(folder)
            self._roles[folder] = self._role_below(parent, top) or self._role_of(parent, name)
        return self._roles[folder]

    def _role_of(self, parent: str, name: str) -> Role | None:
        """The part that a name stands for among those beside it."""
        level = read_level(self.tree.list(parent).all_folders)
        if isinstance(level, Ambiguous):
            raise self._ambiguous(level.names)
        role: Role | None = None
        if (word := read_part(name)) and word.word in NEVER_CLASSES and not word.rest:
            role = "unlabelled"
        elif level is not None and not (level.others and "train" not in level.parts):
            roles: dict[str, Role] = {n: part for part, names in level.parts.items() for n in names}
            roles |= dict.fromkeys(level.unlabelled, "unlabelled")
            roles |= dict.fromkeys(level.folds, "train")
            roles |= dict.fromkeys(level.folds[:1], "val")
            role = roles.get(name)
        if role is not None:
            self._below.setdefault(role, name)
        return role

    def _join_roles(
        self, found: _Sorted, parts: dict[Part | None, ClassFiles]
    ) -> dict[Part | None, ClassFiles]:
        """The files by part. Where parts lie below the classes, files beside them are passed over if there is
        a training part; where no class has one, such files are the training part."""
        for part in PARTS:
            if part in found.files:
                parts.setdefault(part, {}).update(found.files[part])
        unsorted = found.files.get(None, {})
        if bare := sum(map(len, found.files.get("unlabelled", {}).values())):
            count = self.kind.count(bare)
            self.notes.append(
                Note(f"{count} passed over: in folders of no labels ({one_line(self._below['unlabelled'])})")
            )
        if None not in parts or not set(found.files) & set(PARTS):
            parts |= {None: unsorted} if None in parts else {}
            return parts
        words = ", ".join(f"{one_line(name)} for {part}" for part in PARTS if (name := self._below.get(part)))
        self.notes.append(Note(f"folders inside the class folders are taken as parts: {words}"))
        del parts[None]
        if "train" not in parts:
            parts = {"train": unsorted, **parts} if any(unsorted.values()) else parts
            return parts
        if lacking := [name for name in unsorted if name not in parts["train"]]:
            have = next(iter(parts["train"]))
            raise DatasetError(
                f"no folder for training in {_list(lacking)} of {one_line(self.root)}, and there is one in "
                f"{one_line(have)}: {one_line(self._below['train'])}",
                hint="Sort the files of every class into the same parts, or of none.",
            )
        if loose := sum(map(len, unsorted.values())):
            self.notes.append(
                Note(
                    f"{self.kind.count(loose)} beside the parts in the class folders passed over",
                    level="warning",
                )
            )
        return parts

    def _note_deeper_folders(self, found: _Sorted) -> None:
        """Add a note on folders inside class folders that are not parts: they may be meant as classes."""
        if found.deeper:
            name, inner = next(iter(found.deeper.items()))
            self.notes.append(
                Note(
                    f"folders inside {count_things(len(found.deeper), 'class folder')} "
                    f"({one_line(name)}/{one_line(inner)}, …): all that is in them is of the class above",
                    hint=f"To make those folders the classes: --class-level {self.class_level + 1}.",
                )
            )

    def _contents(self, folder: str) -> str:
        """What a folder holds instead of what is looked for, for a message."""
        others: Counter[str] = Counter()
        pending = [folder]
        while pending:
            listing = self.tree.list(path := pending.pop())
            others.update(map(ending_of, listing.others))
            pending.extend(os.path.join(path, name) for name in listing.folders)
        return f"only {describe_others(others)}" if others else "nothing"


def _is_class_file(name: str) -> bool:
    """Whether a file of texts stands for a class: not one about the data."""
    return os.path.splitext(name)[0].lower() not in _ABOUT and not name.lower().endswith(".md")


def _is_part_file(name: str) -> bool:
    """Whether a file is named like a part."""
    word = read_part(os.path.splitext(name)[0])
    return word is not None and word.role in (*PARTS, "unlabelled") and not word.rest


def _list(names: Sequence[str], most: int = 8) -> str:
    """Names for a message, at most so many of them."""
    shown = ", ".join(map(one_line, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
