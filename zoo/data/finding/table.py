"""A table of labelled items, as spreadsheets, annotators and competitions write it: image paths, or texts.

Every cell is read as text: a label 01 stays 01. Paths are relative to the table.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.dataset import Part
from zoo.data.finding.encodings import decode
from zoo.data.finding.folder import SPLIT_NAMES, ClassFiles, Found, class_name, is_junk
from zoo.data.kinds import IMAGES, TEXTS, Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError, UnknownName
from zoo.events import Note

if TYPE_CHECKING:
    import polars

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a long text is no error

PATH_COLUMNS = (
    *("path", "image", "image_path", "img_path", "img", "file", "filename", "file_name", "filepath"),
    *("file_path", "image_name", "image_file", "image_id", "id", "name"),
)
TEXT_COLUMNS = (
    *("text", "sentence", "review", "review_text", "review_body", "content", "body", "message", "sms"),
    *("comment", "comment_text", "document", "tweet", "post", "question", "utterance", "headline"),
)
LABEL_COLUMNS = (
    *("label", "class", "category", "target", "labels", "classes", "class_name", "label_name"),
    *("species", "breed", "sentiment", "polarity", "intent", "topic", "rating", "stars", "y"),
)
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
"""Names that columns usually have, the surest first; capitals do not matter."""

DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Row:
    """One image as the table names it."""

    name: str
    label: str
    part: Part | None

    def __str__(self) -> str:
        return one_line(self.label) if self.part is None else f"{one_line(self.label)} in {self.part}"


@dataclass(frozen=True)
class Columns:
    """Which column is what. item: the path of an image, or the text itself."""

    item: str
    label: str
    split: str | None


def find_in_table(table: Path, *, path_column: str | None = None, label_column: str | None = None) -> Found:
    """Every labelled image that a table names, by part and class.

    Raises DatasetError where the table cannot be read, the columns cannot be told, an image has two labels,
    or not one of the files exists; UnknownName for a column that is not there.
    """
    frame, notes = read_table(table, named=(path_column, label_column))
    columns = choose_columns(frame, table, PATHS, path_column, label_column)
    rows, lacking = _rows(frame, columns, table, PATHS)
    whole = [row for _, row in rows]
    locate, located = _locator(table, [row.name for row in whole])
    parts, seen = _file_rows(whole, locate, table)
    return Found(table.parent, parts, (*notes, *lacking, *located, *seen))


def find_texts_in_table(
    table: Path, *, text_column: str | None = None, label_column: str | None = None
) -> Found:
    """Every labelled text of a table, by part and class; named as TABLE:ROW, rows counted from 1.

    Raises as `find_in_table`.
    """
    frame, notes = read_table(table, TEXTS, named=(text_column, label_column))
    columns = choose_columns(frame, table, SENTENCES, text_column, label_column)
    notes.append(Note(f"{one_line(table)}: texts in {columns.item}, labels in {columns.label}"))
    rows, lacking = _rows(frame, columns, table, SENTENCES)
    parts: dict[Part | None, ClassFiles] = {}
    texts: dict[str, str] = {}
    for number, row in rows:
        name = f"{table}:{number}"
        texts[name] = row.name
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(name)
    return Found(table.parent, parts, (*notes, *lacking), texts=texts)


def _rows(
    frame: polars.DataFrame, columns: Columns, table: Path, items: Items
) -> tuple[list[tuple[int, Row]], list[Note]]:
    """Every row with an item and a label, with its number from 1; a note on the others."""
    cells = zip(frame[columns.item], frame[columns.label], _parts(frame, columns.split, table), strict=True)
    rows = [
        (number, Row(str(item or "").strip(), class_name(str(label or "")), part))
        for number, (item, label, part) in enumerate(cells, 1)
    ]
    whole = [(number, row) for number, row in rows if row.name and row.label]
    if not whole:
        raise DatasetError(f"{one_line(table)} has no row with a {items.noun} and a label")
    if len(whole) == len(rows):
        return whole, []
    lacking = (
        f"{len(rows) - len(whole):,} rows of {one_line(table)} lack a {items.noun} or a label: passed over"
    )
    return whole, [Note(lacking, level="warning")]


def _file_rows(
    rows: Sequence[Row], locate: Callable[[str], Path], table: Path
) -> tuple[dict[Part | None, ClassFiles], list[Note]]:
    """The rows by part and class, each file once, with notes on repeated and absent files."""
    parts: dict[Part | None, ClassFiles] = {}
    told: dict[tuple[int, int] | Path, Row] = {}
    absent: list[str] = []
    repeated = 0
    for row in rows:
        path = locate(row.name)
        try:
            found = path.stat()
            identity: tuple[int, int] | Path = (found.st_dev, found.st_ino)
        except (OSError, ValueError):  # ValueError: a name with a NUL in it
            identity = path
        if identity in told:
            first = told[identity]
            if (first.label, first.part) != (row.label, row.part):
                raise DatasetError(
                    f"{one_line(table)} lists {one_line(row.name)} twice: as {first} and as {row}",
                    hint="An image has one label and is in one split: remove one of the rows.",
                )
            repeated += 1
            continue
        told[identity] = row
        if identity is path:
            absent.append(row.name)
        parts.setdefault(row.part, {}).setdefault(row.label, []).append(str(path))
    if len(absent) == len(told):
        raise DatasetError(
            f"none of the {len(told):,} files in {one_line(table)} exists, the first: {one_line(absent[0])}",
            hint=f"Paths are relative to the table; {one_line(locate(absent[0]))} is not there.",
        )
    notes = []
    if absent:
        missing = f"{len(absent):,} of the {len(told):,} files in {one_line(table)} do not exist"
        notes.append(Note(f"{missing}, the first: {one_line(absent[0])}", level="warning"))
    if repeated:
        notes.append(Note(f"{repeated:,} rows of {one_line(table)} repeat another: used once"))
    for classes in parts.values():
        for files in classes.values():
            files.sort()
    return parts, notes


def choose_columns(
    frame: polars.DataFrame, table: Path, items: Items, item_column: str | None, label_column: str | None
) -> Columns:
    """The columns by the names given, else by usual names, else by what is in them.

    Raises UnknownName for a given name that is not there, DatasetError where a column cannot be told.
    """
    for given in (item_column, label_column):
        if given is not None and given not in frame.columns:
            raise UnknownName("column", given, frame.columns)
    free = [name for name in frame.columns if name != label_column]
    item = item_column or _usual(free, items.columns) or items.recognise(frame.select(free))
    others = [name for name in frame.columns if name != item]
    split = _usual([name for name in others if name != label_column], SPLIT_COLUMNS)
    rest = [name for name in others if name != split]
    label = label_column or _usual(rest, LABEL_COLUMNS) or (rest[0] if item and len(rest) == 1 else None)
    if item is None or label is None:
        wanted = items.noun if item is None else "label"
        raise DatasetError(
            f"cannot tell which column of {one_line(table)} is the {wanted}: "
            f"it has {', '.join(one_line(c) for c in frame.columns)}",
            hint=f"Say it: --{wanted}-column NAME.",
        )
    return Columns(item, label, split)


def choose_text_column(frame: polars.DataFrame, table: Path, text_column: str | None = None) -> str:
    """The column of texts in a table that needs no labels. Raises as `choose_columns`."""
    if text_column is not None and text_column not in frame.columns:
        raise UnknownName("column", text_column, frame.columns)
    found = text_column or _usual(frame.columns, TEXT_COLUMNS) or _column_of_texts(frame)
    if found is None:
        raise DatasetError(
            f"cannot tell which column of {one_line(table)} is the text: "
            f"it has {', '.join(one_line(c) for c in frame.columns)}",
            hint="Say it: --text-column NAME.",
        )
    return found


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column with the first of the usual names, whatever its capitals."""
    lowered = {column.strip().lower(): column for column in reversed(columns)}
    return next((lowered[name] for name in names if name in lowered), None)


def _column_of_images(frame: polars.DataFrame) -> str | None:
    """The first column in which more than half of the first rows end like an image."""
    top = frame.head(100)
    for column in map(str, top.columns):
        if sum(IMAGES.matches(str(cell or "")) for cell in top[column]) * 2 > top.height:
            return column
    return None


def _column_of_texts(frame: polars.DataFrame) -> str | None:
    """The column with the longest cells in the first rows, if they are of more than two words."""
    top = frame.head(100)
    words = {
        str(column): sum(len(str(cell or "").split()) for cell in top[column]) / max(1, top.height)
        for column in top.columns
    }
    longest = max(words, key=words.__getitem__, default=None)
    return longest if longest is not None and words[longest] > 2 else None


@dataclass(frozen=True)
class Items:
    """What a table holds besides labels. noun: what a cell is. columns: usual names. recognise: the column by
    what is in it."""

    noun: str
    columns: tuple[str, ...]
    recognise: Callable[[polars.DataFrame], str | None]


PATHS = Items("path", PATH_COLUMNS, _column_of_images)
SENTENCES = Items("text", TEXT_COLUMNS, _column_of_texts)


def _parts(frame: polars.DataFrame, column: str | None, table: Path) -> Iterator[Part | None]:
    """The part of every row; None throughout without a split column."""
    if column is None:
        yield from [None] * frame.height
        return
    for cell in frame[column]:
        name = str(cell or "").strip()
        if name.lower() not in SPLIT_NAMES:
            raise DatasetError(
                f"{one_line(table)}: {one_line(name)!r} in the column {one_line(column)} is no split",
                hint="A split is train, val or test.",
            )
        yield SPLIT_NAMES[name.lower()]


def _locator(table: Path, names: Sequence[str]) -> tuple[Callable[[str], Path], list[Note]]:
    """A function from the name in a row to a path, and a note where it had to be clever.

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
    endings = [""] if any(map(IMAGES.matches, sample)) else ["", *sorted(IMAGES.suffixes)]
    folder, ending = max(((f, e) for e in endings for f in ("", *beside)), key=hits)
    clever = [f"in {one_line(folder)}/"] * bool(folder) + [f"with the ending {ending}"] * bool(ending)
    notes = [Note(f"the files of {one_line(table)} were found {' and '.join(clever)}")] if clever else []
    return lambda name: place(name, folder, ending), notes


def read_table(
    table: Path, kind: Kind = IMAGES, *, named: Sequence[str | None] = ()
) -> tuple[polars.DataFrame, list[Note]]:
    """The table with every cell as text. named: columns that it must have, so that a header is told by them.

    Raises DatasetError where it cannot be read.
    """
    import polars as pl

    try:
        frame, notes = READERS[table.suffix.lower()](table, kind, [name for name in named if name])
        plain = [name for name, dtype in frame.schema.items() if not dtype.is_nested()]
        frame = frame.select(plain).with_columns(pl.all().cast(pl.String))
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"cannot read {one_line(table)}: {reason}", hint=kind.layouts) from error
    if frame.height == 0:
        raise DatasetError(f"{one_line(table)} has no rows", hint=kind.layouts)
    return frame, notes


def _text_of(table: Path, kind: Kind) -> tuple[str, list[Note]]:
    """The characters of a table that is a text file, and a note where its encoding was guessed."""
    decoded = decode(table.read_bytes())
    if decoded is None:
        raise DatasetError(f"{one_line(table)} is no text", hint=kind.layouts)
    if not decoded.text.strip():
        raise DatasetError(f"{one_line(table)} is empty")
    guessed = Note(f"{one_line(table)} is not UTF-8: read as Windows-1252", level="warning")
    return decoded.text, [guessed] * decoded.guessed


def _read_csv(table: Path, kind: Kind, named: Sequence[str]) -> tuple[polars.DataFrame, list[Note]]:
    """A CSV or TSV with any usual delimiter, encoding and quoting, with or without a header."""
    import polars as pl

    text, notes = _text_of(table, kind)
    delimiter = _delimiter(text, table.suffix.lower())
    header = next(csv.reader([text.split("\n", 1)[0]], delimiter=delimiter))
    has_header = _is_header(header, kind, named)
    if not has_header:
        first = f"its first line is taken for {kind.article} {kind.noun}"
        notes.append(Note(f"{one_line(table)} has no header: {first}"))
    quoted = kind is IMAGES or not _has_bare_quotes(text, delimiter)
    try:
        frame = pl.read_csv(
            BytesIO(text.encode("utf-8", "surrogatepass")),
            separator=delimiter,
            has_header=has_header,
            infer_schema=False,
            encoding="utf8-lossy",
            quote_char='"' if quoted else None,
        )
    except pl.exceptions.ComputeError:  # a quote inside a cell: Python's reader takes it for what it is
        frame = _read_loosely(table, text, delimiter, has_header)
    return frame, notes


def _read_loosely(table: Path, text: str, delimiter: str, has_header: bool) -> polars.DataFrame:
    """A CSV by Python's reader, which minds no quotes inside a cell. Raises DatasetError for a ragged row."""
    import polars as pl

    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if row]
    names = rows.pop(0)[1] if has_header else [f"column_{n}" for n in range(1, len(rows[0][1]) + 1)]
    for line, row in rows:
        if len(row) != len(names):
            raise DatasetError(
                f"{one_line(table)}, line {line}: {len(row)} cells, where there should be {len(names)}",
                hint=f"Put a cell that holds {delimiter!r} or a quote into quotes.",
            )
    return pl.DataFrame([row for _, row in rows], schema=names, orient="row")


def _delimiter(text: str, suffix: str) -> str:
    """What parts the cells: tabs in a .tsv; else what comes equally often in every line, outside quotes."""
    if suffix == ".tsv":
        return "\t"
    lines = [re.sub(r'"[^"]*"', "", line) for line in text.split("\n", 20)[:20] if line.strip()]
    counts = {sign: [line.count(sign) for line in lines] for sign in DELIMITERS}
    even = [sign for sign, found in counts.items() if min(found) > 0 and min(found) == max(found)]
    return max(even or DELIMITERS, key=lambda sign: counts[sign][0])


def _is_header(cells: Sequence[str], kind: Kind, named: Sequence[str]) -> bool:
    """Whether the first line names the columns: those that the user named, or usual ones, and no item."""
    usual = {*PATH_COLUMNS, *TEXT_COLUMNS, *LABEL_COLUMNS, *SPLIT_COLUMNS}
    if any(name in cells for name in named) or any(cell.strip().lower() in usual for cell in cells):
        return True
    return not any(map(IMAGES.matches if kind is IMAGES else _is_sentence, cells))


def _is_sentence(cell: str) -> bool:
    """Whether a cell of the first line is a text rather than the name of a column."""
    return len(cell.split()) > 4


def _has_bare_quotes(text: str, delimiter: str) -> bool:
    """Whether quotes are plain characters: tabs part the cells, and none is in quotes as a whole."""
    if delimiter != "\t" or '"' not in text:
        return False
    cells = [cell for line in text.split("\n", 1000)[:1000] for cell in line.split("\t")]
    return not any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)


def _read_parquet(table: Path, _kind: Kind, _named: Sequence[str]) -> tuple[polars.DataFrame, list[Note]]:
    import polars as pl

    return pl.read_parquet(table), []


def _read_jsonl(table: Path, kind: Kind, _named: Sequence[str]) -> tuple[polars.DataFrame, list[Note]]:
    """A line of JSON per row, whatever types its values have; lists and objects are left out."""
    import polars as pl

    text, notes = _text_of(table, kind)
    rows: list[dict[str, str | None]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f"{one_line(table)}, line {number}: not JSON: {error}", hint="Expected an object per line."
            ) from error
        if not isinstance(row, dict):
            raise DatasetError(
                f"{one_line(table)}, line {number}: not an object", hint='Like: {"text": "…", "label": "…"}'
            )
        rows.append({key: _cell(value) for key, value in row.items() if not isinstance(value, list | dict)})
    columns = dict.fromkeys(key for row in rows for key in row)
    data = {column: [row.get(column) for row in rows] for column in columns}
    return pl.DataFrame(data, schema=dict.fromkeys(columns, pl.String)), notes


def _cell(value: Any) -> str | None:
    """A value of JSON as the text of a cell; a lone surrogate, which no text has, is replaced."""
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "replace").decode()
    return json.dumps(value)


Read = Callable[[Path, Kind, Sequence[str]], "tuple[polars.DataFrame, list[Note]]"]
READERS: dict[str, Read] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
