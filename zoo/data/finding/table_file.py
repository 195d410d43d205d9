"""The cells of a table, whatever file it is in: CSV of any dialect, JSON lines, Parquet.

Every cell is read as text: a label 01 stays 01.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.finding.encodings import decode
from zoo.data.kinds import KINDS, Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note

if TYPE_CHECKING:
    import polars

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a long text is not an error

LABEL_COLUMNS = (
    *("label", "class", "category", "target", "labels", "classes", "class_name", "label_name"),
    *("species", "breed", "sentiment", "polarity", "intent", "topic", "rating", "stars", "y"),
)
SPLIT_COLUMNS = ("split", "subset", "partition", "set")
"""Names that columns usually have, the surest first; capitals do not matter."""

_DELIMITERS = ",;\t|"


def is_table(path: Path, kind: Kind) -> bool:
    """Whether the ending is one of a table. A .txt is one for images, for texts it holds a text per line."""
    return path.suffix.lower() in _READERS and not kind.matches(path.name)


def read_table(
    table: Path, kind: Kind, *, named: Sequence[str | None] = ()
) -> tuple[polars.DataFrame, list[Note]]:
    """The table with every cell as text. named: columns that it must have; they decide what is a header.

    Raises DatasetError where it cannot be read.
    """
    import polars as pl

    try:
        frame, notes = _READERS[table.suffix.lower()](table, kind, [name for name in named if name])
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
        raise DatasetError(f"{one_line(table)} is not a text file", hint=kind.layouts)
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
    try:
        frame = pl.read_csv(
            BytesIO(text.encode("utf-8", "surrogatepass")),
            separator=delimiter,
            has_header=has_header,
            infer_schema=False,
            encoding="utf8-lossy",
            quote_char=None if _has_bare_quotes(text, delimiter) else '"',
        )
    except pl.exceptions.ComputeError:  # a quote inside a cell: Python's reader accepts it
        frame = _read_loosely(table, text, delimiter, has_header)
    return frame, notes


def _read_loosely(table: Path, text: str, delimiter: str, has_header: bool) -> polars.DataFrame:
    """A CSV by Python's reader, which accepts quotes inside a cell. Raises DatasetError for a ragged row."""
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
    """What separates the cells: tabs in a .tsv; else what comes equally often in every line, outside
    quotes."""
    if suffix == ".tsv":
        return "\t"
    lines = [re.sub(r'"[^"]*"', "", line) for line in text.split("\n", 20)[:20] if line.strip()]
    counts = {sign: [line.count(sign) for line in lines] for sign in _DELIMITERS}
    even = [sign for sign, found in counts.items() if min(found) > 0 and min(found) == max(found)]
    return max(even or _DELIMITERS, key=lambda sign: counts[sign][0])


def _is_header(cells: Sequence[str], kind: Kind, named: Sequence[str]) -> bool:
    """Whether the first line names the columns: those that the user named, or usual ones, and no item."""
    usual = {*LABEL_COLUMNS, *SPLIT_COLUMNS}.union(*(kind.columns for kind in KINDS))
    if any(name in cells for name in named) or any(cell.strip().lower() in usual for cell in cells):
        return True
    return not any(map(kind.is_item, cells))


def _has_bare_quotes(text: str, delimiter: str) -> bool:
    """Whether quotes are plain characters: tabs separate the cells, and no cell is in quotes as a whole."""
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
    """A value of JSON as the text of a cell; a lone surrogate, which no encoding takes, is replaced."""
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "replace").decode()
    return json.dumps(value)


_Read = Callable[[Path, Kind, Sequence[str]], "tuple[polars.DataFrame, list[Note]]"]
_READERS: dict[str, _Read] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
TABLE_SUFFIXES = frozenset(_READERS) - {".txt"}
"""Endings of files that are tables for every kind of items."""
