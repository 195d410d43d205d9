"""A table of labelled items, as spreadsheets, annotators and competitions write it: image paths, or texts.

Paths are relative to the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.dataset import PARTS, Part
from zoo.data.finding.found import ClassFiles, Found, class_name
from zoo.data.finding.split_words import read_part
from zoo.data.finding.table_file import LABEL_COLUMNS, SPLIT_COLUMNS, read_table
from zoo.data.finding.walking import is_junk
from zoo.data.kinds import Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError, UnknownName
from zoo.events import Note

if TYPE_CHECKING:
    import polars


def find_in_table(
    table: Path, kind: Kind, *, item_column: str | None = None, label_column: str | None = None
) -> Found:
    """Every labelled item of a table, by part and class. A text is named TABLE:ROW, rows counted from 1.

    Raises DatasetError where the table cannot be read, its columns cannot be recognised, an image has two
    labels, or none of the files exists; UnknownName for a column that the table does not have.
    """
    frame, notes = read_table(table, kind, named=(item_column, label_column))
    columns = choose_columns(frame, table, kind, item_column, label_column)
    rows, lacking = _rows(frame, columns, table, kind)
    if kind.in_files:
        return _find_files(table, kind, rows, [*notes, *lacking])
    notes.append(Note(f"{one_line(table)}: {kind.noun}s in {columns.item}, labels in {columns.label}"))
    parts: dict[Part | None, ClassFiles] = {}
    for row in rows:
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(f"{table}:{row.number}")
    texts = {f"{table}:{row.number}": row.item for row in rows}
    return Found(table.parent, parts, (*notes, *lacking), texts=texts, layout="table")


@dataclass(frozen=True)
class Columns:
    """Which column is what. item: the path of an image, or the text itself."""

    item: str
    label: str
    split: str | None


def choose_columns(
    frame: polars.DataFrame, table: Path, kind: Kind, item_column: str | None, label_column: str | None
) -> Columns:
    """The columns by the names given, else by usual names, else by their contents.

    Raises UnknownName for a given name that is not there, DatasetError where a column cannot be recognised.
    """
    for given in (item_column, label_column):
        if given is not None and given not in frame.columns:
            raise UnknownName("column", given, frame.columns)
    free = [name for name in frame.columns if name != label_column]
    item = item_column or _usual(free, kind.columns) or _recognise(frame.select(free), kind)
    others = [name for name in frame.columns if name != item]
    split = _usual([name for name in others if name != label_column], SPLIT_COLUMNS)
    rest = [name for name in others if name != split]
    label = label_column or _usual(rest, LABEL_COLUMNS) or (rest[0] if item and len(rest) == 1 else None)
    if item is None or label is None:
        raise _cannot_choose(frame, table, kind.cell if item is None else "label")
    return Columns(item, label, split)


def choose_item_column(
    frame: polars.DataFrame, table: Path, kind: Kind, item_column: str | None = None
) -> str:
    """The column of items in a table that needs no labels. Raises as `choose_columns`."""
    if item_column is not None and item_column not in frame.columns:
        raise UnknownName("column", item_column, frame.columns)
    found = item_column or _usual(frame.columns, kind.columns) or _recognise(frame, kind)
    if found is None:
        raise _cannot_choose(frame, table, kind.cell)
    return found


@dataclass(frozen=True)
class _Row:
    """One item as the table has it. item: its path, or the text. number: of the row, from 1."""

    number: int
    item: str
    label: str
    part: Part | None

    def __str__(self) -> str:
        return one_line(self.label) if self.part is None else f"{one_line(self.label)} in {self.part}"


def _rows(
    frame: polars.DataFrame, columns: Columns, table: Path, kind: Kind
) -> tuple[list[_Row], list[Note]]:
    """Every row with an item and a label; a note on the others."""
    cells = zip(frame[columns.item], frame[columns.label], _parts(frame, columns.split, table), strict=True)
    rows = [
        _Row(number, str(item or "").strip(), class_name(str(label or "")), part)
        for number, (item, label, part) in enumerate(cells, 1)
    ]
    whole = [row for row in rows if row.item and row.label]
    if not whole:
        raise DatasetError(f"{one_line(table)} has no row with a {kind.cell} and a label")
    if len(whole) == len(rows):
        return whole, []
    lacking = f"{len(rows) - len(whole):,} rows of {one_line(table)} lack a {kind.cell} or a label"
    return whole, [Note(f"{lacking}: passed over", level="warning")]


def _find_files(table: Path, kind: Kind, rows: Sequence[_Row], notes: Sequence[Note]) -> Found:
    """The files that the rows name, by part and class, each once, with notes on repeated and absent ones."""
    locate, located = _locator(table, kind, [row.item for row in rows])
    parts: dict[Part | None, ClassFiles] = {}
    known: dict[tuple[int, int] | Path, _Row] = {}
    absent: list[str] = []
    repeated = 0
    for row in rows:
        path = locate(row.item)
        try:
            found = path.stat()
            identity: tuple[int, int] | Path = (found.st_dev, found.st_ino)
        except (OSError, ValueError):  # ValueError: a name with a NUL in it
            identity = path
        if identity in known:
            first = known[identity]
            if (first.label, first.part) != (row.label, row.part):
                raise DatasetError(
                    f"{one_line(table)} lists {one_line(row.item)} twice: as {first} and as {row}",
                    hint=f"{kind.article.capitalize()} {kind.noun} has one label and is in one split: "
                    "remove one of the rows.",
                )
            repeated += 1
            continue
        known[identity] = row
        if identity is path:
            absent.append(row.item)
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(str(path))
    if len(absent) == len(known):
        raise DatasetError(
            f"none of the {len(known):,} files in {one_line(table)} exists, the first: {one_line(absent[0])}",
            hint=f"Paths are relative to the table; {one_line(locate(absent[0]))} is not there.",
        )
    more = []
    if absent:
        missing = f"{len(absent):,} of the {len(known):,} files in {one_line(table)} do not exist"
        more.append(Note(f"{missing}, the first: {one_line(absent[0])}", level="warning"))
    if repeated:
        more.append(Note(f"{repeated:,} rows of {one_line(table)} repeat another: used once"))
    for classes in parts.values():
        for files in classes.values():
            files.sort()
    return Found(table.parent, parts, (*notes, *located, *more))


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column with the first of the usual names, whatever its capitals."""
    lowered = {column.strip().lower(): column for column in reversed(columns)}
    return next((lowered[name] for name in names if name in lowered), None)


def _recognise(frame: polars.DataFrame, kind: Kind) -> str | None:
    """The column whose first cells look most like items, if they do so enough."""
    top = frame.head(100)
    scores = {
        str(column): sum(kind.score(str(cell or "")) for cell in top[column]) / max(1, top.height)
        for column in top.columns
    }
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] > kind.of_column else None


def _cannot_choose(frame: polars.DataFrame, table: Path, wanted: str) -> DatasetError:
    """The error for a table whose columns do not say which of them is wanted."""
    return DatasetError(
        f"cannot tell which column of {one_line(table)} is the {wanted}: "
        f"it has {', '.join(one_line(c) for c in frame.columns)}",
        hint=f"Say it: --{wanted}-column NAME.",
    )


def _parts(frame: polars.DataFrame, column: str | None, table: Path) -> Iterator[Part | None]:
    """The part of every row; None throughout without a split column."""
    if column is None:
        yield from [None] * frame.height
        return
    for cell in frame[column]:
        name = str(cell or "").strip()
        word = read_part(name)
        part = next((part for part in PARTS if word and word.role == part and not word.rest), None)
        if part is None:
            raise DatasetError(
                f"{one_line(table)}: {one_line(name)!r} in the column {one_line(column)} is not a split",
                hint="A split is train, val or test.",
            )
        yield part


def _locator(table: Path, kind: Kind, names: Sequence[str]) -> tuple[Callable[[str], Path], list[Note]]:
    """A function from the name in a row to a path, and a note where paths were completed.

    Tables of competitions leave out the folder, the ending, or both; Windows writes backslashes. The way that
    finds most of the first names is taken for all.
    """
    sample = names[:20]
    slash = "\\" if any("\\" in name for name in sample) else "/"

    def place(name: str, folder: str = "", ending: str = "") -> Path:
        return table.parent / folder / (name.replace(slash, "/") + ending)

    def hits(way: tuple[str, str]) -> int:
        return sum(place(name, *way).is_file() for name in sample)

    if hits(("", "")) == len(sample):
        return place, []
    beside = sorted(e.name for e in table.parent.iterdir() if e.is_dir() and not is_junk(e.name))[:20]
    endings = [""] if any(map(kind.matches, sample)) else ["", *sorted(kind.suffixes)]
    folder, ending = max(((f, e) for e in endings for f in ("", *beside)), key=hits)
    completed = [f"in {one_line(folder)}/"] * bool(folder) + [f"with the ending {ending}"] * bool(ending)
    notes = (
        [Note(f"the files of {one_line(table)} were found {' and '.join(completed)}")] if completed else []
    )
    return lambda name: place(name, folder, ending), notes
