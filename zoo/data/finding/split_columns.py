"""Columns that say which part a row is in: words (split), yes or no (is_valid), numbered folds (kfold)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zoo.data.dataset import PARTS, Part
from zoo.data.finding.cells import Table
from zoo.data.finding.columns import find_column
from zoo.data.finding.labels import is_missing
from zoo.data.finding.split_words import read_part
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError, UnknownName
from zoo.events import Note

NO_COLUMN = "none"
"""The name that stands for no column of parts."""

_WORD_COLUMNS = frozenset(
    {"split", "subset", "partition", "set", "phase", "usage", "dataset", "datasplit", "splitname", "group"}
    | {"tvt", "traintest", "traintestsplit", "setname", "purpose", "settype", "datatype", "splits", "stage"}
)
_VAGUE = frozenset({"group", "stage", "dataset", "usage", "phase", "purpose", "datatype", "settype", "cv"})
"""Names that may mean something else: not worth a word where their cells are not parts."""
_FOLD_COLUMNS = frozenset(
    {"fold", "folds", "kfold", "kfolds", "cvfold", "foldid", "foldnumber", "cv", "cvid"}
)
_FLAG_PREFIXES = ("is", "for", "in", "use", "used")
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "t", "y", "1.0", "x"), True),
    **dict.fromkeys(("false", "0", "no", "f", "n", "0.0", ""), False),
}
_MOST_FOLDS = 100

Where = Part | Literal["unlabelled"] | None


@dataclass(frozen=True)
class Parts:
    """The part of every row, None where a row names none. columns: those that were used."""

    rows: list[Where]
    columns: tuple[str, ...]


def find_parts(
    table: Table, candidates: Sequence[str], split_column: str | None
) -> tuple[Parts | None, list[Note]]:
    """The part of every row by one of the columns, or by several of yes and no; None without a usable one.

    split_column: the column that the user named, or NO_COLUMN. Raises UnknownName for one that is not there,
    DatasetError for one whose cells are not parts, and for a column that names parts in some rows only.
    """
    if split_column is not None and (split_column != NO_COLUMN or split_column in table.columns):
        return _named(table, find_column(table, split_column))
    if split_column == NO_COLUMN:
        return None, []
    words = [c for c in candidates if _plain(c) in _WORD_COLUMNS and _is_short(table, c)]
    named_flags = {c: role for c in candidates if (role := _flag_of(c))}
    flags = {c: role for c, role in named_flags.items() if _is_flag(table, c)}
    folds = [c for c in candidates if _plain(c) in _FOLD_COLUMNS]
    found: Parts | None = None
    unused = [c for c in named_flags if c not in flags]
    for column in words:
        if found is None and any(_role(cell) for cell in _values(table, column)):
            found = Parts(_by_words(table, column), (column,))
        else:
            unused.append(column)
    if found is None and flags:
        found = _by_flags(table, flags)
    else:
        unused += flags
    for column in folds:
        if found is None and (parts := _by_folds(table, column)) is not None:
            found = parts
        else:
            unused.append(column)
    return found, [*_notes(table, found), *_note_unused(table, unused, found)]


def _named(table: Table, column: str) -> tuple[Parts, list[Note]]:
    """The parts by the column that the user named, whatever it is called."""
    if column in table.embedded:
        raise UnknownName("column of parts", column, table.frame.columns)
    if any(_role(cell) for cell in _values(table, column)):
        parts = Parts(_by_words(table, column), (column,))
    elif (role := _flag_of(column)) and _is_flag(table, column):
        parts = _by_flags(table, {column: role})
    elif (folds := _by_folds(table, column)) is not None:
        parts = folds
    else:
        shown = ", ".join(map(shortened, sorted(_values(table, column))[:4]))
        raise DatasetError(
            f"the column {one_line(column)} of {one_line(table.path)} names no parts: it holds {shown}",
            hint="A part is train, val or test; a column is_valid holds yes and no, a column fold numbers. "
            f"Without such a column: --split-column {NO_COLUMN}",
        )
    return parts, _notes(table, parts)


def _by_words(table: Table, column: str) -> list[Where]:
    """The parts by words; raises DatasetError for a word that is not one."""
    roles: dict[str, Where] = {}
    for cell in _values(table, column):
        role = _role(cell)
        if role is None:
            raise DatasetError(
                f"{one_line(table.path)}: {shortened(cell)!r} in the column {one_line(column)} is not a "
                "split",
                hint=f"A split is train, val or test. To draw one instead: --split-column {NO_COLUMN}",
            )
        roles[cell] = role
    return [None if is_missing(cell) else roles[str(cell).strip()] for cell in table.frame[column]]


def _by_flags(table: Table, flags: dict[str, Part]) -> Parts:
    """The parts by columns of yes and no; what no column claims is in train."""
    height = table.frame.height
    rows: list[Where] = ["train"] * height if "train" not in flags.values() else ["test"] * height
    for part in ("train", "val", "test"):
        for column, role in flags.items():
            if role == part:
                for number, cell in enumerate(table.frame[column]):
                    if _BOOLEANS[str(cell or "").strip().lower()]:
                        rows[number] = part
    return Parts(rows, tuple(flags))


def _by_folds(table: Table, column: str) -> Parts | None:
    """The first of the folds is the validation part; None if the cells are not a few whole numbers."""
    numbers: dict[str, int] = {}
    for cell in _values(table, column):
        word = read_part(cell)
        digits = str(word.number) if word and word.role == "fold" and word.number is not None else cell
        digits = digits.removesuffix(".0")
        if not digits.removeprefix("-").isdecimal():
            return None
        numbers[cell] = int(digits)
    folds = sorted({number for number in numbers.values() if number >= 0})  # -1: in no fold, always in train
    if not 2 <= len(folds) <= _MOST_FOLDS:
        return None
    return Parts(
        [
            None if is_missing(cell) else "val" if numbers[str(cell).strip()] == folds[0] else "train"
            for cell in table.frame[column]
        ],
        (column,),
    )


def _values(table: Table, column: str) -> set[str]:
    """The different cells of a column that are not empty."""
    return {str(cell).strip() for cell in table.frame[column].unique() if not is_missing(cell)}


def _role(cell: str) -> Where:
    """The part that a cell names: PublicTest is test."""
    word = read_part(cell)
    if word is None or len(word.rest) > 1:
        return None
    if word.role == "unlabelled":
        return "unlabelled"
    return next((part for part in PARTS if word.role == part), None)


def _is_short(table: Table, column: str) -> bool:
    """Whether a column has few different cells, as one of parts has."""
    return len(_values(table, column)) <= _MOST_FOLDS


def _flag_of(column: str) -> Part | None:
    """The part that a column of yes and no is about: is_valid, isTest, train."""
    word = read_part(column)
    if word is None or word.rest not in ((), *((prefix,) for prefix in _FLAG_PREFIXES)):
        return None
    return next((part for part in PARTS if word.role == part), None)


def _is_flag(table: Table, column: str) -> bool:
    cells = {str(cell or "").strip().lower() for cell in table.frame[column].unique()}
    return cells <= set(_BOOLEANS) and {True, False} == {_BOOLEANS[cell] for cell in cells}


def _plain(column: str) -> str:
    return "".join(c for c in column.strip().lower() if c.isalnum())


def _notes(table: Table, found: Parts | None) -> list[Note]:
    """What was taken for what, and how many rows name no part."""
    if found is None:
        return []
    names = ", ".join(map(one_line, found.columns))
    column = found.columns[0]
    values = _values(table, column)
    if len(found.columns) == 1 and not any(map(_role, values)) and not _flag_of(column):
        held_out = next(
            str(c).strip() for c, part in zip(table.frame[column], found.rows, strict=True) if part == "val"
        )
        how = f"fold {one_line(held_out)} of {len(values)} is kept for validation"
    else:
        how = ", ".join(f"{part} {found.rows.count(part):,}" for part in PARTS if part in found.rows)
    notes = [Note(f"{one_line(table.path)}: parts by the column {names}: {how}")]
    if lacking := found.rows.count(None):
        notes.append(
            Note(
                f"{lacking:,} rows of {one_line(table.path)} name no part in {names}: passed over",
                level="warning",
            )
        )
    if bare := found.rows.count("unlabelled"):
        notes.append(
            Note(f"{bare:,} rows of {one_line(table.path)} are of a part without labels: passed over")
        )
    return notes


def _note_unused(table: Table, unused: Sequence[str], found: Parts | None) -> list[Note]:
    """A warning on columns that are called like parts and were not used."""
    unused = [column for column in unused if found or _plain(column) not in _VAGUE]
    if not unused:
        return []
    names = ", ".join(map(one_line, unused))
    why = "another column says it" if found else "its cells do not name parts"
    return [
        Note(
            f"the column {names} of {one_line(table.path)} is not used to part the data: {why}",
            hint="To use a column: --split-column NAME.",
            level="warning",
        )
    ]
