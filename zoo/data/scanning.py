"""A folder or a table becomes a Dataset, before torch is imported and without opening an image.

photos/train/CLASS/…  photos/val/CLASS/…  [photos/test/CLASS/…]     the split is yours
photos/train/CLASS/…  photos/test/CLASS/…                           val is drawn from train, test stays
photos/CLASS/…                                                      val is drawn, stratified, seeded
photos.csv with path, label [, split]                               paths relative to the table

Texts lie in the same ways, and in some more: see zoo/data/texts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data.dataset import (
    PARTS,
    SINGLE,
    Dataset,
    EvaluationSet,
    Item,
    Origin,
    Part,
    Split,
    describe_draw,
)
from zoo.data.finding.folder import find_in_folder, find_in_tree
from zoo.data.finding.found import ClassFiles, Found, class_name
from zoo.data.finding.part_tables import join_tables, part_tables
from zoo.data.finding.table import Named, find_in_table
from zoo.data.finding.table_file import is_table, may_be_table
from zoo.data.finding.targets import MULTI
from zoo.data.finding.vector_table import holds_features
from zoo.data.finding.walking import Tally, is_junk
from zoo.data.finding.zip_tree import ZipTree, is_zip, root_in_zip
from zoo.data.grouping import describe_groups, match_groups, split_off_groups
from zoo.data.kinds import IMAGES, Kind
from zoo.data.listing import no_such_path
from zoo.data.names import natural_key, one_line, shortened, twin_key
from zoo.data.once import once
from zoo.data.splits import split_off
from zoo.data.targets import check_targets, output_names, target_items
from zoo.data.texts import read_texts
from zoo.data.trained import leave_out_trained
from zoo.errors import DatasetError, StorageError, UsageError, close_names, join_names
from zoo.events import Note

_ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})


def scan_dataset(
    path: Path,
    kind: Kind = IMAGES,
    *,
    seed: int = 0,
    val_fraction: float = 0.2,
    item_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    group_by: str | None = None,
    task: str = SINGLE,
    classes: Sequence[str] | None = None,
    find: Callable[[Named], Found] | None = None,
) -> Dataset:
    """Every image or text below a folder, or in a table, with its class and its part.

    Classes are those of the training part in natural order (1, 2, 10), or `classes` in that order; other
    parts are matched by name. Where there is no validation part, `val_fraction` of every class is drawn for
    it; texts that are equal stay together. item_column, label_column, split_column: of a table, by name or
    number; split_column "none" draws a split in spite of one. class_level: which level of folders is the
    classes, the first by default. group_by: a column, or a regular expression that is matched with paths:
    items with equal cells, or equal matches, are drawn together. task: what is learned; of others than one
    class per item, label_column may name several, with commas between. find: reads the items of what is
    neither a folder of them nor a table of their paths. Raises DatasetError with what was
    found and what is expected; UsageError for an option that the data cannot have.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
    columns = Named(item_column, label_column, split_column, group_by, task, tuple(classes or ()))
    asked = _Asked(Path(path), kind, columns, class_level, seed, val_fraction, classes is not None)
    if find is not None:
        return _decide(asked, find(columns))
    reading = _Reading(columns, class_level)
    return once(asked, lambda: _decide(asked, _find(asked.path, kind, reading)))


@dataclass(frozen=True)
class _Asked:
    """What `scan_dataset` is asked for. ordered: whether classes were given, as outputs of columns."""

    path: Path
    kind: Kind
    columns: Named
    class_level: int | None
    seed: int
    val_fraction: float
    ordered: bool


def _decide(asked: _Asked, found: Found) -> Dataset:
    """The dataset of what was found: its classes, its parts, what there is to say of it."""
    path, kind, seed, val_fraction = asked.path, asked.kind, asked.seed, asked.val_fraction
    group_by, task = asked.columns.group, asked.columns.task
    classes = asked.columns.outputs if asked.ordered else None
    if group_by is not None and found.groups is None:
        groups = match_groups(_all_paths(found), found.root, group_by, kind, found.columns)
        found = replace(found, groups=groups)
    group_by = found.group_column or group_by  # a number was typed, or other capitals
    source = "train" if "train" in found.parts else None
    if source not in found.parts:
        names = " and ".join(part for part in PARTS if part in found.parts)
        raise DatasetError(f"{one_line(path)} has {names} but no train", hint=kind.layouts)
    notes = list(found.notes)
    items: dict[Part, list[Item]] = {}
    if task == SINGLE:
        order = _class_order(found.parts[source], classes, path)
        items["train"] = _label_files(found, source, order, path)
        _check_training_classes(path, found, found.parts[source], order, kind)
        for part in ("val", "test"):
            if part in found.parts:
                items[part] = _label_files(found, part, order, path)
                notes.extend(_missing_classes(found.parts[part], order, part, kind))
    else:
        order = output_names(found, source, task, classes)
        items["train"] = target_items(found, source, order, task, path)
        for part in ("val", "test"):
            if part in found.parts:
                items[part] = target_items(found, part, order, task, path)
        notes.extend(check_targets(items["train"], order, task, path))
    made = "val" not in items
    if made:
        if task == SINGLE:
            _check_enough_to_split(path, items["train"], order, kind)
        copies = {item.path: Path(item.content) for item in items["train"] if item.content is not None}
        draw = split_off if group_by is None and task == SINGLE else split_off_groups
        items["train"], items["val"] = draw(
            items["train"], root=found.root, fraction=val_fraction, seed=seed, copies=copies
        )
        if draw is split_off_groups and not items["val"]:
            raise _one_group(path, kind, items["train"])
    elif not items["val"]:
        raise DatasetError(
            f"the validation part of {one_line(path)} has no {kind.noun}s",
            hint="Put some in, or remove it: then a part of train is kept for validation.",
        )
    origin: Origin = "made" if made else "folders" if path.is_dir() or is_zip(path) else "table"
    empty = Split(origin, (), (), group_by=group_by)
    if made:
        empty = replace(empty, seed=seed, val_fraction=val_fraction)
    blank = Dataset(found.root, tuple(order), (), (), (), tuple(notes), empty, kind, found.layout, task)
    dataset = blank.with_parts(train=items["train"], val=items["val"], test=items.get("test", ()))
    more = [
        *([describe_draw(dataset)] if made else []),
        *(describe_groups(dataset, group_by) if group_by else ()),
    ]
    return dataset.with_notes(*more)


def scan_evaluation(
    path: Path,
    classes: Sequence[str],
    kind: Kind = IMAGES,
    *,
    split: Split | None = None,
    item_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    task: str = SINGLE,
    rename: Callable[[str], str] | None = None,
    home: Path | None = None,
) -> EvaluationSet:
    """Labelled items to measure a model with `classes` on, matched by name.

    rename: gives the model's own name of a class that the data call otherwise. home: of the store, where
    hashes are remembered; None reads every file.
    Of split data the test part is taken, else val, else all. Items that `split` (of the run) was trained on
    are left out, by their content, and counted. Raises DatasetError for a class that the model does not know,
    and where nothing is left.
    """
    path = Path(path)
    order = tuple(map(class_name, classes))
    columns = Named(item_column, label_column, split_column, task=task, outputs=order)
    if task == SINGLE:
        found = _find_known(path, kind, _Reading(columns), frozenset(order), rename)
    else:
        found = _find(path, kind, _Reading(columns))
    part: Part | None = next((p for p in ("test", "val") if p in found.parts), None)
    source = part or next(iter(found.parts))
    if task == SINGLE:
        items = _label_files(found, source, order, path)
        notes = [*found.notes, *_missing_classes(found.parts[source], order, part or "data", kind)]
    else:
        items, notes = target_items(found, source, order, task, path), [*found.notes]
    if part:
        notes.append(Note(f"measured on the {part} part"))
    if split is not None:
        items, left_out = leave_out_trained(items, found.root, split, kind, home)
        notes.extend(left_out)
    if not items:
        raise DatasetError(f"no {kind.noun}s to measure on in {one_line(path)}", hint=kind.layouts)
    return EvaluationSet(found.root, tuple(classes), tuple(items), part, tuple(notes))


def find_labels(path: Path, kind: Kind) -> Found | None:
    """The items of a folder or an archive by part and class, where they lie as labelled data do; None of
    other folders and of files."""
    if path.is_dir() or is_zip(path):
        with suppress(DatasetError):
            return _find(path, kind, _Reading(Named()))
    return None


@dataclass(frozen=True)
class _Reading:
    """How the user wants the data to be read; None leaves it to what is found."""

    columns: Named
    class_level: int | None = None


def _find(path: Path, kind: Kind, reading: _Reading) -> Found:
    """The items of a folder or a table by part and class, before any decision."""
    with _permission_to_read(path), _features_named(path, kind):
        if path.is_dir():
            return _find_in_folder(path, kind, reading)
        if path.is_file() and may_be_table(path):
            if reading.class_level is not None:
                raise UsageError(f"--class-level is for folders, and {one_line(path)} is a table")
            return _note_features(find_in_table(path, kind, reading.columns), path, kind)
        if is_zip(path):
            _refuse_column_options(path, kind, reading.columns, "an archive")
            _refuse_task(path, reading.columns.task)
            return read_texts(
                find_in_tree(
                    root_in_zip(path, kind),
                    lambda kind: ZipTree(Tally(kind), path),
                    kind,
                    class_level=_checked_level(reading),
                ),
                kind,
            )
    raise _not_a_dataset(path, kind)


@contextmanager
def _features_named(path: Path, kind: Kind) -> Iterator[None]:
    """Say of what cannot be read as items that it has features, where that is so."""
    try:
        yield
    except DatasetError as error:
        if holds_features(path, kind):
            error.hint = (
                "It has features, which are data for zoo finetune and zoo embed alone: give the "
                f"{kind.noun}s themselves."
            )
        raise


def _note_features(found: Found, path: Path, kind: Kind) -> Found:
    """What was found, with a note where the table has features of its items too: whoever reads it so does not
    take them, usable or not."""
    if not kind.in_files or not holds_features(path, kind):
        return found
    note = Note(
        f"{one_line(path)} has features too: its {kind.noun}s are read here, and the features are not "
        "looked at"
    )
    return replace(found, notes=(*found.notes, note))


def _find_in_folder(path: Path, kind: Kind, reading: _Reading) -> Found:
    """The items of a folder: of its tables, if they are named like parts, else of its class folders."""
    if tables := part_tables(path, kind):
        return _note_features(join_tables(path, tables, kind, reading.columns), path, kind)
    _refuse_column_options(path, kind, reading.columns, "a folder")
    _refuse_task(path, reading.columns.task)
    level = _checked_level(reading)
    if kind.in_files:
        return once((path, kind, level), lambda: find_in_folder(path, kind, class_level=level))
    return read_texts(find_in_folder(path, kind, class_level=level), kind)


def _refuse_column_options(path: Path, kind: Kind, columns: Named, what: str) -> None:
    """Raise UsageError for the name of a column where there is no table."""
    given = {
        f"{kind.cell}-column": columns.item,
        "label-column": columns.label,
        "split-column": columns.split,
    }
    for option, column in given.items():
        if column is not None:
            raise UsageError(
                f"--{option} names a column of a table, and {one_line(path)} is {what}",
                hint=_tables_hint(path, kind) or "Give the table itself, or leave the option out.",
            )


def _refuse_task(path: Path, task: str) -> None:
    """Raise UsageError for a folder of classes, where items have several classes or numbers."""
    if task != SINGLE:
        what = "labels" if task == MULTI else "numbers"
        raise UsageError(
            f"--task {task} takes a table, and {one_line(path)} has a folder for each class",
            hint=f"Write a table with a row per item: its path or text, and its {what}.",
        )


def _checked_level(reading: _Reading) -> int:
    """The level of the classes. Raises UsageError for one that cannot be."""
    if reading.class_level is not None and reading.class_level < 1:
        raise UsageError(f"--class-level must be at least 1, not {reading.class_level}")
    return reading.class_level or 1


def _find_known(
    path: Path,
    kind: Kind,
    reading: _Reading,
    classes: frozenset[str],
    rename: Callable[[str], str] | None = None,
) -> Found:
    """As `_find`, with the model's names of the classes; of folders in folders the level is taken whose names
    are all among them, if any."""
    found = _renamed(_find(path, kind, reading), rename)
    if (path.is_dir() or is_zip(path)) and not classes.issuperset(_all_classes(found)):
        for level in (2, 3):
            with suppress(DatasetError):
                deeper = _renamed(_find(path, kind, replace(reading, class_level=level)), rename)
                if _all_classes(deeper) and classes.issuperset(_all_classes(deeper)):
                    return deeper
    return found


def _renamed(found: Found, rename: Callable[[str], str] | None) -> Found:
    """What was found, with other names of the classes; of two that become one, all items."""
    if rename is None:
        return found
    parts: dict[Part | None, ClassFiles] = {}
    for part, files in found.parts.items():
        parts[part] = {}
        for name, items in files.items():
            parts[part].setdefault(class_name(rename(name)), []).extend(items)
    return replace(found, parts=parts)


def _all_classes(found: Found) -> set[str]:
    return {name for files in found.parts.values() for name in files}


@contextmanager
def _permission_to_read(path: Path) -> Iterator[None]:
    """Turn PermissionError into a StorageError that names the path and a remedy."""
    try:
        yield
    except PermissionError as error:
        name = one_line(error.filename or path)
        raise StorageError(
            f"no permission to read {name}", hint="Give yourself the right to read it: chmod -R u+rX."
        ) from error


def _not_a_dataset(path: Path, kind: Kind) -> DatasetError:
    """The error for a path that is neither a folder nor a table."""
    if not os.path.lexists(path):
        return no_such_path(path)
    unpack = "Unpack it, and give the folder. " if path.suffix.lower() in _ARCHIVE_SUFFIXES else ""
    if path.suffix.lower() in (".npz", ".npy"):
        return DatasetError(
            f"{one_line(path)} is a file of arrays, not a folder of {kind.noun}s or a table of them",
            hint="Features are read from Parquet files: zoo embed MODEL PHOTOGRAPHS -o FILE.parquet"
            if kind.in_files
            else kind.layouts,
        )
    what = f"{kind.article} {kind.noun}" if kind.in_files and kind.matches(path.name) else "a file"
    return DatasetError(
        f"{one_line(path)} is {what}, not a folder of {kind.noun}s or a table of them",
        hint=unpack + kind.layouts,
    )


def _class_order(files: ClassFiles, classes: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    """The classes in natural order, or as given; raises DatasetError where a given one is not there."""
    if classes is None:
        return tuple(sorted(files, key=natural_key))
    order = tuple(map(class_name, classes))
    if absent := [name for name in order if name not in files]:
        raise DatasetError(
            f"{one_line(path)} has no class {_quote(absent)}; it has {_quote(sorted(files, key=natural_key))}"
        )
    return order


def _label_files(found: Found, part: Part | None, classes: Sequence[str], path: Path) -> list[Item]:
    """The items of a part with the index of their class in `classes`, matched by name, in the order of the
    classes. Raises DatasetError for items of a class that is not among them.
    """
    if not path.is_dir():
        return _labelled(found, part, classes, path)
    key = (id(found), part, tuple(classes))  # the number is its own while it is kept
    return [*once(key, lambda: (found, _labelled(found, part, classes, path)))[1]]


def _labelled(found: Found, part: Part | None, classes: Sequence[str], path: Path) -> list[Item]:
    """The same, anew."""
    files = found.parts[part]
    labels = {name: label for label, name in enumerate(classes)}
    for name in files:
        if name not in labels and files[name]:
            close = [c for c in classes if twin_key(c) == twin_key(name)] or close_names(name, classes)
            where = f"the {part} part of {one_line(path)}" if part else one_line(path)
            raise DatasetError(
                f"{where} has a class {name!r} that training did not have",
                hint=f"Did you mean {join_names(close)}? Names must be equal, capitals too."
                if close
                else f"There are: {_quote(classes)}.",
            )
    groups = found.groups or {}
    contents = found.contents
    return [
        Item(Path(file), labels[name], found.texts.get(file), groups.get(file), contents.get(file))
        for name in classes
        for file in files.get(name, ())
    ]


def _check_training_classes(
    path: Path, found: Found, files: ClassFiles, classes: Sequence[str], kind: Kind
) -> None:
    """Raise DatasetError for one class alone, and for classes without an item."""
    if empty := [name for name in classes if not files[name]]:
        inside = found.empty.get(empty[0], "nothing")
        raise DatasetError(
            f"no {kind.noun} to train on in {'class' if len(empty) == 1 else 'the classes'} {_quote(empty)}: "
            f"{one_line(empty[0])} holds {inside}",
            hint=f"Put {kind.noun}s in, or remove it.",
        )
    if len(classes) == 1:
        inner = found.root / classes[0]
        deeper = path.is_dir() and None in found.parts and _has_classes(inner, kind)
        raise DatasetError(
            f"{one_line(path)} has one class only, {one_line(classes[0])}: there is nothing to distinguish",
            hint=f"Did you mean {one_line(inner)}?" if deeper else _tables_hint(path, kind) or kind.layouts,
        )


def _has_classes(folder: Path, kind: Kind) -> bool:
    """Whether a folder that was taken for a class may hold classes itself."""
    if not folder.is_dir():
        return False
    entries = [entry for entry in os.scandir(folder) if not is_junk(entry.name)]
    return any(e.is_dir() for e in entries) or (kind.file_per_class and len(entries) > 1)


def _tables_hint(path: Path, kind: Kind) -> str:
    """A hint on the tables in a folder, which may hold the labels; empty without any."""
    if not path.is_dir():
        return ""
    tables = [p for p in sorted(path.iterdir()) if p.is_file() and is_table(p, kind) and not is_junk(p.name)]
    names = join_names([one_line(table) for table in tables[:3]]) if tables else ""
    return f"If a table there holds the labels, give the table itself: {names}" if tables else ""


def _check_enough_to_split(path: Path, items: Sequence[Item], classes: Sequence[str], kind: Kind) -> None:
    """Raise DatasetError for classes of which nothing can be kept for validation."""
    counts = [0] * len(classes)
    for item in items:
        counts[item.label] += 1
    if single := [name for name, count in zip(classes, counts, strict=True) if count < 2]:
        raise DatasetError(
            f"{_quote(single)} of {one_line(path)} {'has' if len(single) == 1 else 'have'} one {kind.noun} "
            "only: at least two are needed, one to train on and one to check with",
            hint=f"Add {kind.noun}s, or make a val part yourself.",
        )


def _one_group(path: Path, kind: Kind, items: Sequence[Item]) -> DatasetError:
    """The error for items of which no whole group can be kept for validation."""
    groups = {item.group for item in items if item.group is not None}
    return DatasetError(
        f"no group of {one_line(path)} can be kept for validation: all {kind.noun}s of a class are of one "
        f"group ({len(groups)} group{'s' * (len(groups) != 1)} in all)",
        hint="Each class needs items of two groups at least. Without --group-by, single items are drawn.",
    )


def _all_paths(found: Found) -> list[str]:
    return [file for files in found.parts.values() for paths in files.values() for file in paths]


def _missing_classes(files: ClassFiles, classes: Sequence[str], part: str, kind: Kind) -> Iterator[Note]:
    """A note on classes without an item in this part; their labels keep their numbers."""
    if missing := [name for name in classes if not files.get(name)]:
        yield Note(
            f"no {kind.noun} of {_quote(missing)} in {part}: nothing will be known about "
            f"{'it' if len(missing) == 1 else 'them'}",
            level="warning",
        )


def _quote(names: Sequence[str], most: int = 8) -> str:
    """Names for a message, at most so many of them."""
    shown = ", ".join(map(shortened, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
