"""A table of labelled items, as spreadsheets, annotators and competitions write it: image paths, or texts.

Paths are relative to the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data.dataset import SINGLE, Layout, Part
from zoo.data.finding.cells import Table
from zoo.data.finding.columns import Columns, choose_columns, choose_item_column, find_column
from zoo.data.finding.found import ClassFiles, Found
from zoo.data.finding.labels import is_missing, read_labels
from zoo.data.finding.locating import Locator
from zoo.data.finding.split_columns import Parts, Where, find_parts
from zoo.data.finding.split_words import read_part
from zoo.data.finding.table_file import read_table
from zoo.data.finding.targets import NUMBERS, read_targets, target_columns
from zoo.data.kinds import Kind
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError, UnknownName
from zoo.events import Note


@dataclass(frozen=True)
class Named:
    """The columns that the user named; None leaves one to what is found. split: "none" for no such column.
    group: a column whose equal cells belong together, or what is not a column but an expression for paths.
    task: what is learned; of others than one class, label may name several columns, and outputs are those
    that a model has."""

    item: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    task: str = SINGLE
    outputs: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str | None, ...]:
        """What must be a column: it decides what is a header."""
        several = self.task != SINGLE and self.label is not None and "," in self.label
        return (self.item, None if several else self.label, self.split)


class NoLabels(DatasetError):
    """A table none of whose rows has an item and a label, as test parts are published."""


def find_in_table(path: Path, kind: Kind, named: Named) -> Found:
    """Every labelled item of a table, by part and class. A text is named TABLE:ROW, rows counted from 1.

    Raises DatasetError where the table cannot be read, its columns cannot be recognised, an image has two
    labels, or none of the files exists; UnknownName for a column that the table does not have.
    """
    table = read_table(path, kind, named=named.columns)
    return find_in_cells(table, kind, named)


def find_in_cells(table: Table, kind: Kind, named: Named, part: Part | None = None) -> Found:
    """As `find_in_table`, of a table that was read. part: that all of it is."""
    columns, parts, split_notes = choose(table, kind, named)
    if named.task == SINGLE:
        labels, label_notes = _labels_of(table, columns.label)
        outputs = None
    else:
        targets = read_targets(table, columns.labels, named.task)
        labels, label_notes, outputs = targets.keys, [*targets.notes], targets.names
    groups = _groups_of(table, named.group)
    rows, lacking = _rows(table, kind, columns, labels, parts, groups)
    what = "numbers" if named.task == NUMBERS else "labels"
    learned = shortened(", ".join(columns.labels or (columns.label,)))
    where = f"{kind.noun}s in {one_line(columns.item)}, {what} in {learned}"
    notes = [*table.notes, Note(f"{one_line(table.path)}: {where}"), *split_notes, *label_notes, *lacking]
    if columns.item in table.embedded:
        names = [f"{table.path}/{columns.item}/{row.number}" for row in rows]
        found = _found(table, kind, rows, notes, names)
    elif table.whole:
        found = _found(table, kind, rows, notes, [row.item for row in rows])
    elif kind.in_files:
        found = _find_files(table.path, kind, rows, notes, part)
    else:
        found = _found(table, kind, rows, notes, [f"{table.path}:{row.number}" for row in rows])
    return replace(
        found,
        names=outputs,
        groups=None if groups is None else found.groups,
        columns=tuple(table.columns),
        group_column=group_column(table, named.group),
    )


def choose(table: Table, kind: Kind, named: Named) -> tuple[Columns, Parts | None, list[Note]]:
    """The columns of items and labels, and the part of every row."""
    group = group_column(table, named.group)
    columns, free = None, [name for name in table.frame.columns if name != group]
    if named.task != SINGLE:
        return _choose_several(table, kind, named, free)
    try:
        columns = choose_columns(table, kind, named.item, named.label, not_labels=[group] if group else ())
        free = [name for name in free if name not in (columns.item, columns.label)]
    except DatasetError:  # the label may be what is left beside the columns of parts
        parts, notes = find_parts(table, free, named.split)
        others = [*(parts.columns if parts else ()), *([group] if group else ())]
        return choose_columns(table, kind, named.item, named.label, not_labels=others), parts, notes
    return columns, *find_parts(table, free, named.split)


def _choose_several(
    table: Table, kind: Kind, named: Named, free: Sequence[str]
) -> tuple[Columns, Parts | None, list[Note]]:
    """As `choose`, where several columns may be learned."""
    given = target_columns(table, named.task, named.label, named.outputs, ()) or []
    item = choose_item_column(table, kind, named.item, but=given[0] if given else None)
    parts, notes = find_parts(table, [name for name in free if name not in (item, *given)], named.split)
    others = parts.columns if parts else ()
    rest = [name for name in free if name != item and name not in others]
    learned = given or target_columns(table, named.task, None, (), rest)
    if learned:
        return Columns(item, learned[0], tuple(learned)), parts, notes
    taken = [name for name in table.columns if name not in rest]
    usual = choose_columns(table, kind, named.item, None, not_labels=taken)
    return Columns(item, usual.label, (usual.label,)), parts, notes


def group_column(table: Table, given: str | None) -> str | None:
    """The column of that name or number; None where there is none."""
    if given is None:
        return None
    with suppress(UnknownName):
        return find_column(table, given)
    return None


def _groups_of(table: Table, given: str | None) -> list[str | None] | None:
    """The group of every row, None where the cell is empty; None for all where no such column is."""
    column = group_column(table, given)
    if column is None:
        return None
    cells = [None if cell is None else str(cell).strip() for cell in table.frame[column]]
    groups = [None if is_missing(cell) else cell for cell in cells]
    if not any(groups):
        raise DatasetError(
            f"the column {one_line(column)} of {one_line(table.path)} is empty: no group is known"
        )
    return groups


def _labels_of(table: Table, column: str) -> tuple[list[str | None], list[Note]]:
    """The label of every row; names of classes where the file has them for its numbers."""
    cells = [None if cell is None else str(cell) for cell in table.frame[column]]
    names = table.class_names.get(column)
    if names and all(c is None or (c.lstrip("-").isdecimal() and int(c) < len(names)) for c in cells):
        # Hugging Face writes -1 where a test part has no labels.
        named = [None if c is None or int(c) < 0 else names[int(c)] for c in cells]
        return read_labels(named, column, table.path)
    return read_labels(cells, column, table.path)


@dataclass(frozen=True)
class _Row:
    """One item as the table has it. item: its path, or the text. number: of the row, from 1."""

    number: int
    item: str
    label: str
    part: Part | None
    group: str | None = None

    def __str__(self) -> str:
        label = shortened(self.label.replace("\x1f", ", "))
        return label if self.part is None else f"{label} in {self.part}"


def _rows(
    table: Table,
    kind: Kind,
    columns: Columns,
    labels: Sequence[str | None],
    parts: Parts | None,
    groups: Sequence[str | None] | None,
) -> tuple[list[_Row], list[Note]]:
    """Every row with an item, a label and, where there are parts, a part; a note on the others."""
    embedded = columns.item in table.embedded
    items = [str(n) for n in range(len(labels))] if embedded else table.frame[columns.item]
    where: Sequence[Where] = parts.rows if parts else [None] * len(labels)
    rows: list[_Row] = []
    bare = unlabelled = 0
    for number, (item, label, part) in enumerate(zip(items, labels, where, strict=True), 1):
        if part == "unlabelled" or (parts and part is None):
            continue  # counted where the parts were found
        name = "" if item is None or (kind.in_files and is_missing(item)) else str(item).strip()
        if not name:
            bare += 1
        elif label is None:
            unlabelled += 1
        else:
            rows.append(_Row(number, name, label, part, groups[number - 1] if groups else None))
    if not rows:
        raise NoLabels(f"{one_line(table.path)} has no row with a {kind.cell} and a label")
    lacks = [(bare, kind.cell), (unlabelled, "label")]
    notes = [
        Note(
            f"{count:,} row{'s' * (count > 1)} of {one_line(table.path)} without a {what}: passed over",
            level="warning",
        )
        for count, what in lacks
        if count
    ]
    return rows, notes


def _found(
    table: Table, kind: Kind, rows: Sequence[_Row], notes: Sequence[Note], names: Sequence[str]
) -> Found:
    """Items that are in the table itself, under these names."""
    parts: dict[Part | None, ClassFiles] = {}
    for row, name in zip(rows, names, strict=True):
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(name)
    texts = {} if kind.in_files else {name: row.item for row, name in zip(rows, names, strict=True)}
    layout: Layout | None = None if kind.in_files else "table"
    groups = {name: row.group for row, name in zip(rows, names, strict=True) if row.group is not None}
    return Found(table.path.parent, parts, tuple(notes), texts=texts, layout=layout, groups=groups)


def _find_files(
    table: Path, kind: Kind, rows: Sequence[_Row], notes: Sequence[Note], part: Part | None
) -> Found:
    """The files that the rows name, by part and class, each once, with notes on repeated and absent ones."""
    word = read_part(table.stem)
    own = part or next((p for p in ("train", "val", "test") if word and p == word.role), None)
    locator = Locator(table, kind, [row.item for row in rows], own)
    parts: dict[Part | None, ClassFiles] = {}
    known: dict[tuple[int, int] | Path, _Row] = {}
    absent: list[str] = []
    groups: dict[str, str] = {}
    repeated = 0
    for row in rows:
        path = locator.locate(row.item, row.part)
        try:
            found = path.stat()
            identity: tuple[int, int] | Path = (found.st_dev, found.st_ino)
        except (OSError, ValueError):  # ValueError: a name with a NUL in it
            identity = path
        if identity in known:
            first = known[identity]
            if (first.label, first.part) != (row.label, row.part):
                raise DatasetError(
                    f"{one_line(table)} lists {shortened(row.item)} twice: as {first} and as {row}",
                    hint=f"{kind.article.capitalize()} {kind.noun} has one label and is in one split: "
                    "remove one of the rows.",
                )
            repeated += 1
            continue
        known[identity] = row
        if identity is path:
            absent.append(row.item)
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(str(path))
        if row.group is not None:
            groups[str(path)] = row.group
    if len(absent) == len(known):
        raise DatasetError(
            f"none of the {len(known):,} files in {one_line(table)} exists, the first: "
            f"{shortened(absent[0])}",
            hint=f"Paths are relative to the table; no file below {one_line(table.parent)} ends like it.",
        )
    more = list(locator.notes())
    if absent:
        missing = f"{len(absent):,} of the {len(known):,} files in {one_line(table)} do not exist"
        more.append(Note(f"{missing}, the first: {shortened(absent[0])}", level="warning"))
    if repeated:
        more.append(Note(f"{repeated:,} rows of {one_line(table)} repeat another: used once"))
    for classes in parts.values():
        for files in classes.values():
            files.sort()
    return Found(table.parent, parts, (*notes, *more), groups=groups)
