"""Cells of a table become several labels of an item, or numbers: what multi-label and regression learn.

A row is known by a key, one string: its labels, or its numbers, joined. So that everything that places rows
in parts, finds their files and refuses contradictions reads keys where it reads labels.
"""

from __future__ import annotations

import math
import re
from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.data.finding.cells import Table
from zoo.data.finding.columns import find_column
from zoo.data.finding.found import class_name
from zoo.data.finding.labels import is_missing
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError, UnknownName
from zoo.events import Note

MULTI, NUMBERS = "multi-label", "regression"

_JOIN = "\x1f"
_YES = frozenset({"1", "1.0", "true", "yes", "y", "t", "x"})
_NO = frozenset({"0", "0.0", "false", "no", "n", "f"})
_SIGNED = frozenset({"1", "-1", "1.0", "-1.0"})
_SEPARATORS = ("|", ";", ",")
_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class Targets:
    """What each row of a table is to be answered with. keys: None where a row has nothing. names: of the
    outputs, where columns give them; None where the labels themselves are the names."""

    keys: list[str | None]
    names: tuple[str, ...] | None
    notes: tuple[Note, ...] = ()


def labels_of(key: str) -> tuple[str, ...]:
    """The labels of a row."""
    return tuple(key.split(_JOIN)) if key else ()


def numbers_of(key: str) -> tuple[float, ...]:
    """The numbers of a row."""
    return tuple(map(float, key.split(_JOIN)))


def target_columns(
    table: Table, task: str, given: str | None, outputs: Sequence[str], free: Sequence[str]
) -> list[str] | None:
    """The columns of what is learned: those that the user named (several with commas between), else those
    that are called as `outputs`, else those of yes and no, if there are two; None where they are not known.

    Raises UnknownName for a named one that is not there.
    """
    if given is not None:
        return _find_several(table, given)
    if outputs and set(outputs) <= set(table.columns):
        return [*outputs]
    if task == MULTI:
        flags = [name for name in free if _is_flag(_cells(table, name))]
        return flags if len(flags) > 1 else None
    return None


def _find_several(table: Table, given: str) -> list[str]:
    try:
        return [find_column(table, given)]
    except UnknownName:
        names = [name.strip() for name in given.split(",")]
        if len(names) == 1:
            raise
        return [find_column(table, name) for name in names]


def read_targets(table: Table, columns: Sequence[str], task: str) -> Targets:
    """The targets of every row. Raises DatasetError for cells without a meaning."""
    if task == NUMBERS:
        return _read_numbers(table, columns)
    if all(_is_flag(_cells(table, name)) for name in columns) and len(columns) > 1:
        return _read_flags(table, columns)
    lists = [_read_lists(table, name) for name in columns]
    keys: list[str | None] = []
    for cells in zip(*lists, strict=True):
        known = [cell for cell in cells if cell is not None]
        labels = dict.fromkeys(label for cell in known for label in cell)
        keys.append(_JOIN.join(sorted(labels)) if known else None)
    if not any(key and _JOIN in key for key in keys):
        note = Note(
            f"no row of {one_line(table.path)} has several labels in {one_line(', '.join(columns))}",
            hint="If each item has exactly one, leave out --task.",
            level="warning",
        )
        return Targets(keys, None, (note,))
    return Targets(keys, None)


def _cells(table: Table, column: str) -> list[str | None]:
    cells = [None if cell is None else str(cell).strip() for cell in table.frame[column]]
    return [None if is_missing(cell) else cell for cell in cells]


def _is_flag(cells: Sequence[str | None]) -> bool:
    """Whether cells say yes or no, and nothing else."""
    found = {cell.lower() for cell in cells if cell is not None}
    return bool(found) and (found <= _YES | _NO or found <= _SIGNED)


def _read_flags(table: Table, columns: Sequence[str]) -> Targets:
    """A column for each label, with yes or no. A row where one is missing is passed over."""
    found = [_cells(table, name) for name in columns]
    keys: list[str | None] = []
    for cells in zip(*found, strict=True):
        if any(cell is None for cell in cells):
            keys.append(None)
        else:
            has = [
                class_name(name)
                for name, cell in zip(columns, cells, strict=True)
                if (cell or "").lower() in _YES
            ]
            keys.append(_JOIN.join(has))
    return Targets(keys, tuple(map(class_name, columns)))


def _read_lists(table: Table, column: str) -> list[tuple[str, ...] | None]:
    """The labels of each cell: a list as Python or JSON write it, or parted by | or ; or a comma."""
    cells = _cells(table, column)
    known = [cell for cell in cells if cell is not None]
    separator = next((mark for mark in _SEPARATORS if any(mark in cell for cell in known)), None)
    found: list[tuple[str, ...] | None] = []
    for cell in cells:
        if cell is None:
            found.append(None)
        elif cell[0] in "[({" and cell[-1] in "])}":
            found.append(_read_list(cell, column, table))
        else:
            parts = cell.split(separator) if separator else [cell]
            found.append(tuple(class_name(part) for part in parts if part.strip()))
    return found


def _read_list(cell: str, column: str, table: Table) -> tuple[str, ...]:
    """The labels of a cell in brackets, quoted or not."""
    try:
        values = literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        values = [part.strip().strip("'\"") for part in cell[1:-1].split(",") if part.strip()]
    if isinstance(values, str | int | float):
        values = [values]
    if not all(isinstance(value, str | int | float) for value in values):
        raise DatasetError(
            f"{one_line(column)} of {one_line(table.path)} has a cell that is not a list of labels: "
            f"{shortened(cell, 60)}"
        )
    return tuple(class_name(str(value)) for value in values if str(value).strip())


def _read_numbers(table: Table, columns: Sequence[str]) -> Targets:
    found = [_numbers_in(table, name) for name in columns]
    keys = [None if None in row else _JOIN.join(map(repr, row)) for row in zip(*found, strict=True)]
    return Targets(keys, tuple(map(class_name, columns)))


def _numbers_in(table: Table, column: str) -> list[float | None]:
    cells = _cells(table, column)
    known = [cell for cell in cells if cell is not None]
    comma = any(_COMMA.fullmatch(cell) for cell in known) and not any("." in cell for cell in known)
    found: list[float | None] = []
    for number, cell in enumerate(cells, 1):
        try:
            value = None if cell is None else float(cell.replace(",", ".") if comma else cell)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise DatasetError(
                f"row {number} of {one_line(table.path)} has no number in {one_line(column)}: "
                f"{shortened(cell or '', 60)}",
                hint="--task regression learns numbers; empty cells are passed over.",
            )
        found.append(value)
    if not known:
        raise DatasetError(f"the column {one_line(column)} of {one_line(table.path)} is empty")
    return found
