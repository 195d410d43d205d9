"""The cells of a table, whatever file it is in: CSV of any dialect, JSON, Parquet, Excel, packed with gzip.

Every cell is read as text: a label 01 stays 01. Pictures inside a Parquet file stay there.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from zoo.data.finding.cells import Table
from zoo.data.finding.columns import LABEL_COLUMNS, USUAL_NAMES
from zoo.data.finding.delimited import read_delimited
from zoo.data.finding.encodings import decode
from zoo.data.kinds import Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError, MissingExtra
from zoo.events import Note

MOST_BYTES = 4 << 30
"""Of one table. What is larger is better read in pieces; a packed file may not unpack to more either."""

AGAIN = "The file may be cut or damaged: fetch it, or write it, again."


def is_table(path: Path, kind: Kind) -> bool:
    """Whether the ending is one of a table. A .txt is one for images; for texts it holds a text per line."""
    return _ending(path) in _READERS and not kind.matches(path.name)


def may_be_table(path: Path) -> bool:
    """Whether a file that was given as a whole set can be tried as a table: one without an ending, too."""
    return _ending(path) in _READERS or path.suffix.lower() in ("", ".txt", ".data", ".dat", ".list", ".lst")


def read_table(table: Path, kind: Kind, *, named: Sequence[str | None] = ()) -> Table:
    """The table with every cell as text. named: columns that it must have; they decide what is a header.

    Raises DatasetError where it cannot be read.
    """
    import polars as pl

    wanted = [name for name in named if name]
    try:
        if table.stat().st_size > MOST_BYTES:
            raise DatasetError(
                f"{one_line(table)} is larger than {MOST_BYTES >> 30} GiB",
                hint="Split it into several tables.",
            )
        found = _READERS.get(_ending(table), _read_csv)(table, kind, wanted)
        frame = found.frame.with_columns(pl.all().cast(pl.String))
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().partition("\n")[0][:200]
        hint = AGAIN if _ending(table) == ".parquet" else kind.layouts
        raise DatasetError(f"cannot read {one_line(table)}: {reason}", hint=hint) from error
    if frame.height == 0:
        raise DatasetError(f"{one_line(table)} has no rows", hint=kind.layouts)
    unused = [name for name in frame.columns if name not in wanted and name.lower() not in USUAL_NAMES]
    empty = [name for name in unused if not (frame[name].fill_null("").str.strip_chars() != "").any()]
    return Table(
        table,
        frame.drop(empty),
        found.has_header,
        found.notes,
        found.embedded,
        found.class_names,
        tuple(found.places or found.columns),
    )


def _ending(path: Path) -> str:
    """The ending, in lower case; that before a .gz."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return plain.suffix.lower()


def _bytes_of(table: Path) -> bytes:
    """The bytes of a file, unpacked if it is a .gz."""
    if table.suffix.lower() != ".gz":
        return table.read_bytes()
    try:
        with gzip.open(table) as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"cannot unpack {one_line(table)}: {error}") from error
    if len(data) > MOST_BYTES:
        raise DatasetError(f"{one_line(table)} unpacks to more than {MOST_BYTES >> 30} GiB")
    return data


def _text_of(table: Path, kind: Kind) -> tuple[str, list[Note]]:
    """The characters of a table that is a text file, and a note where its encoding was guessed."""
    decoded = decode(_bytes_of(table))
    if decoded is None:
        raise DatasetError(f"{one_line(table)} is not a text file", hint=kind.layouts)
    if not decoded.text.strip():
        raise DatasetError(f"{one_line(table)} is empty")
    guessed = Note(f"{one_line(table)} is not UTF-8: read as Windows-1252", level="warning")
    return decoded.text, [guessed] * decoded.guessed


def _read_csv(table: Path, kind: Kind, named: Sequence[str]) -> Table:
    text, notes = _text_of(table, kind)
    found = read_delimited(table, text, kind, named)
    return Table(table, found.frame, found.has_header, (*notes, *found.notes))


def _read_parquet(table: Path, _kind: Kind, _named: Sequence[str]) -> Table:
    """Columns of texts, numbers and lists; columns of pictures by name only."""
    import polars as pl

    source = BytesIO(_bytes_of(table)) if table.suffix.lower() == ".gz" else table
    schema = pl.read_parquet_schema(source)
    embedded = tuple(name for name, dtype in schema.items() if _holds_pictures(dtype))
    lists = [name for name, dtype in schema.items() if isinstance(dtype, pl.List) and _may_be_label(name)]
    plain = [n for n, t in schema.items() if n in lists or not (t.is_nested() or t == pl.Binary)]
    if not plain:
        raise DatasetError(f"{one_line(table)} has no column of texts or numbers")
    frame = pl.read_parquet(source, columns=plain)
    written = {
        name: [None if row is None else json.dumps(row.to_list()) for row in frame[name]] for name in lists
    }
    frame = frame.with_columns(pl.Series(name, cells, pl.String) for name, cells in written.items())
    return Table(table, frame, True, (), embedded, _class_names(source), tuple(schema))


def _holds_pictures(dtype: Any) -> bool:
    """Whether a column holds the bytes of files: of Hugging Face datasets, image{bytes, path}, or plain."""
    import polars as pl

    if isinstance(dtype, pl.Struct):
        return any(field.name == "bytes" and field.dtype == pl.Binary for field in dtype.fields)
    return bool(dtype == pl.Binary)


def _class_names(source: Path | BytesIO) -> dict[str, Sequence[str]]:
    """Names of the classes behind numbers, as Hugging Face datasets write them into the file."""
    import polars as pl

    try:
        features = json.loads(pl.read_parquet_metadata(source)["huggingface"])["info"]["features"]
        return {
            name: tuple(map(str, about["names"]))
            for name, about in features.items()
            if isinstance(about, dict) and isinstance(about.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _read_json_lines(table: Path, kind: Kind, _named: Sequence[str]) -> Table:
    text, notes = _text_of(table, kind)
    return _table_of_rows(table, _rows_of_lines(table, text), notes)


def _rows_of_lines(table: Path, text: str) -> list[dict[str, Any]]:
    """An object per line. Raises DatasetError for a line that is not one."""
    rows: list[dict[str, Any]] = []
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
        rows.append(row)
    return rows


def _read_json(table: Path, kind: Kind, _named: Sequence[str]) -> Table:
    """A list of objects, an object of lists, an object of item -> label, objects per part, or lines."""
    text, notes = _text_of(table, kind)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{") and "\n" in text.strip():
            return _table_of_rows(table, _rows_of_lines(table, text), notes)
        raise DatasetError(f"{one_line(table)}: not JSON: {error}") from error
    return _table_of_rows(table, _rows_of_value(table, found, kind), notes)


def _rows_of_value(table: Path, found: Any, kind: Kind) -> list[dict[str, Any]]:
    """The rows that a JSON value holds. Raises DatasetError for one that is not a table."""
    if isinstance(found, list) and found and all(isinstance(row, dict) for row in found):
        return found
    if isinstance(found, list) and found and all(isinstance(row, list) for row in found):
        return [{f"column_{n}": cell for n, cell in enumerate(row, 1)} for row in found]
    if isinstance(found, dict) and {"images", "annotations"} <= set(found):
        raise DatasetError(
            f"{one_line(table)} holds annotations of objects in images (COCO), not a label per image",
            hint='Write a table with a row per image: [{"path": "…", "label": "…"}, …]',
        )
    if isinstance(found, dict) and found:
        values = list(found.values())
        if all(isinstance(value, list) for value in values):
            if all(isinstance(row, dict) for value in values for row in value):
                parts = len(values) > 1
                return [
                    row | ({"split": part} if parts else {}) for part, rows in found.items() for row in rows
                ]
            cells = [cell for value in values for cell in value]
            per_class = all(isinstance(cell, str) and kind.is_item(cell) for cell in cells)
            if len({len(value) for value in values}) == 1 and not per_class:
                return [dict(zip(found, row, strict=True)) for row in zip(*values, strict=True)]
            if all(isinstance(cell, str) for cell in cells):  # class -> items
                return [{kind.cell: cell, "label": name} for name, cells in found.items() for cell in cells]
        if not any(isinstance(value, list | dict) for value in values):
            return [{kind.cell: item, "label": label} for item, label in found.items()]
    raise DatasetError(
        f"{one_line(table)} does not hold a table", hint='Expected [{"path": "…", "label": "…"}, …]'
    )


def _table_of_rows(table: Path, rows: Sequence[dict[str, Any]], notes: Sequence[Note]) -> Table:
    """Rows of JSON values as a table; objects are left out, and lists that are not labels."""
    import polars as pl

    plain = [
        {
            key: _cell(value)
            for key, value in row.items()
            if not isinstance(value, dict) and not (isinstance(value, list) and not _may_be_label(key))
        }
        for row in rows
    ]
    columns = dict.fromkeys(key for row in plain for key in row)
    data = {column: [row.get(column) for row in plain] for column in columns}
    frame = pl.DataFrame(data, schema=dict.fromkeys(columns, pl.String))
    return Table(table, frame, True, tuple(notes))


def _cell(value: Any) -> str | None:
    """A value of JSON as the text of a cell; a lone surrogate, which no encoding takes, is replaced."""
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "replace").decode()
    return json.dumps(value)


def _may_be_label(column: str) -> bool:
    """Whether a column of lists is looked at: lists of labels are refused by name, others left out."""
    return column.strip().lower() in LABEL_COLUMNS


def _read_excel(table: Path, kind: Kind, _named: Sequence[str]) -> Table:
    """The first sheet of an Excel file."""
    import polars as pl

    if find_spec("fastexcel") is None:  # polars reads through it
        raise MissingExtra("fastexcel", "excel")
    try:
        frame = pl.read_excel(table, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        raise
    except Exception as error:  # the reader raises its own kinds
        reason = str(error).strip().partition("\n")[0][:200]
        raise DatasetError(f"cannot read {one_line(table)}: {reason}", hint=kind.layouts) from error
    return Table(table, frame, True, ())


_Read = Callable[[Path, Kind, Sequence[str]], Table]
_READERS: dict[str, _Read] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".tab": _read_csv,
    ".psv": _read_csv,
    ".txt": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
    ".xlsx": _read_excel,
}
TABLE_SUFFIXES = frozenset(_READERS) - {".txt"}
"""Endings of files that are tables for every kind of items."""
