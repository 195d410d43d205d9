"""Tables in text files of any dialect: delimiters, quotes, comments, with or without a header."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.finding.columns import USUAL_NAMES
from zoo.data.kinds import Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note

if TYPE_CHECKING:
    import polars

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a long text is not an error

_DELIMITERS = ",;\t|"
_COMMENTS = ("#", "//", "%")
_HEAD = 1 << 16  # characters that the dialect is judged by
_SAMPLE = 20  # lines
_LABELLED = re.compile(r"((?:__label__\S+\s+)+)(\S.*)")


@dataclass(frozen=True)
class Delimited:
    """The cells of a text file as they were read, every one a text or None."""

    frame: polars.DataFrame
    has_header: bool
    notes: tuple[Note, ...]


def read_delimited(table: Path, text: str, kind: Kind, named: Sequence[str]) -> Delimited:
    """The table in `text`. named: columns that it must have; they decide what is a header.

    Raises DatasetError for a row with more or fewer cells than the others.
    """
    notes: list[Note] = []
    sep, body = _excel_line(text)
    body, comments = _without_comments(body, sep or _delimiter(body, table.suffix.lower()), kind, named)
    if comments:
        lines = f"{comments:,} comment line{'s' * (comments > 1)}"
        notes.append(Note(f"{one_line(table)}: {lines} passed over"))
    if not body.strip():
        raise DatasetError(f"{one_line(table)} has no rows", hint=kind.layouts)
    if (rows := _fast_text(body)) is not None:
        return Delimited(_frame(rows, ["label", "text"]), True, (*notes, Note("labels after __label__")))
    delimiter = sep or _delimiter(body, table.suffix.lower())
    if delimiter is None and (rows := _by_blanks(body, kind)) is not None:
        notes.append(Note(f"{one_line(table)}: cells are separated by blanks"))
        return _with_header(table, rows, kind, named, notes)
    return _read_csv(table, body, delimiter or ",", kind, named, notes)


def _excel_line(text: str) -> tuple[str | None, str]:
    """The delimiter of a first line sep=;, which Excel reads and writes, and the text after it."""
    first, _, rest = text.partition("\n")
    found = re.fullmatch(r'"?sep=(.)"?[,;\t]*', first.strip("\ufeff\r "), re.IGNORECASE)
    return (found[1], rest) if found else (None, text)


def _without_comments(text: str, delimiter: str | None, kind: Kind, named: Sequence[str]) -> tuple[str, int]:
    """The text without comment lines, and how many there were: only where the first line is one.

    A first line "# path,label" is the header, and one that begins with # like the cells below it is a row.
    """
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    sign = next((sign for sign in _COMMENTS if lines[start].lstrip().startswith(sign)), None)
    if sign is None:
        return "\n".join(lines[start:]), 0
    body = [line for line in lines[start:] if not line.lstrip().startswith(sign)]
    first = next((line for line in body if line.strip()), "")
    cells = [_cells(line, delimiter) for line in (lines[start], first)]
    if len(cells[0]) == len(cells[1]) > 1 or not first:
        plain = [cells[0][0].lstrip().removeprefix(sign).strip(), *cells[0][1:]]
        if _is_header(plain, [], kind, named):
            return "\n".join([lines[start].lstrip().removeprefix(sign).lstrip(), *lines[start + 1 :]]), 0
        return "\n".join(lines[start:]), 0
    return "\n".join(body), len(lines) - start - len(body)


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    return next(csv.reader([line], delimiter=delimiter), [])


def _fast_text(text: str) -> list[list[str | None]] | None:
    """Rows of label and text where every line begins with __label__, as fastText reads them."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines[0].startswith("__label__"):
        return None
    found = [_LABELLED.fullmatch(line) for line in lines]
    if not all(found):
        return None
    return [
        ["|".join(part.removeprefix("__label__") for part in match[1].split()), match[2]]
        for match in found
        if match
    ]


def _by_blanks(text: str, kind: Kind) -> list[list[str | None]] | None:
    """Rows of cells with blanks between them: where each line has as many, or ends in a path's cell."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    rows: list[list[str | None]] = [list(line.split()) for line in lines]
    if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
        scores = [sum(kind.score(row[place] or "") for row in rows) for place in range(len(rows[0]))]
        if kind.in_files and max(scores) > kind.of_column * len(rows):
            return rows
    if not kind.in_files:
        return None
    pattern = re.compile(
        rf"(.+?(?:{'|'.join(map(re.escape, sorted(kind.suffixes, key=len)[::-1]))}))\s+(\S.*)", re.I
    )
    found = [pattern.fullmatch(line) for line in lines]
    if sum(match is not None for match in found) < len(lines) - 1 or not found[-1]:
        return None  # one line may be a header
    return [[match[1], match[2]] for match in found if match]


def _with_header(
    table: Path, rows: list[list[str | None]], kind: Kind, named: Sequence[str], notes: list[Note]
) -> Delimited:
    """Rows of equally many cells, the first of which may be a header."""
    first = [cell or "" for cell in rows[0]]
    has_header = _is_header(first, rows[1:_SAMPLE], kind, named)
    names = first if has_header else _numbered(len(first))
    if not has_header:
        notes = [*notes, _no_header(table, kind)]
    return Delimited(_frame(rows[has_header:], names), has_header, tuple(notes))


def _read_csv(
    table: Path, text: str, delimiter: str, kind: Kind, named: Sequence[str], notes: list[Note]
) -> Delimited:
    import polars as pl

    top = list(csv.reader(text[:_HEAD].splitlines(keepends=True), delimiter=delimiter))[:_SAMPLE]
    has_header = _is_header(top[0], top[1:], kind, named)
    if not has_header:
        notes = [*notes, _no_header(table, kind)]
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
    if not has_header:
        frame = frame.rename(dict(zip(frame.columns, _numbered(frame.width), strict=True)))
    return Delimited(frame, has_header, tuple(notes))


def _read_loosely(table: Path, text: str, delimiter: str, has_header: bool) -> polars.DataFrame:
    """A CSV by Python's reader, which accepts quotes inside a cell, and empty cells at the end of a row.

    Raises DatasetError for a row with more or fewer cells.
    """
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if row]
    names = rows.pop(0)[1] if has_header else _numbered(len(rows[0][1]))
    even: list[list[str | None]] = []
    for line, row in rows:
        extra = row[len(names) :]
        if len(row) < len(names) or any(cell.strip() for cell in extra):
            raise DatasetError(
                f"{one_line(table)}, line {line}: {len(row)} cells, where there should be {len(names)}",
                hint=f"Put a cell that holds {delimiter!r} or a quote into quotes.",
            )
        even.append([*row[: len(names)]])
    return _frame(even, names)


def _frame(rows: Iterable[Sequence[str | None]], names: Sequence[str]) -> polars.DataFrame:
    """Rows as a table of texts; a name that comes again gets a number."""
    import polars as pl

    unique: list[str] = []
    for name in names:
        number = sum(other == name or other.startswith(f"{name}_duplicated_") for other in unique)
        unique.append(name if not number else f"{name}_duplicated_{number - 1}")
    schema = dict.fromkeys(unique, pl.String)
    return pl.DataFrame([list(row) for row in rows], schema=schema, orient="row")


def _numbered(count: int) -> list[str]:
    """Names of columns without a header: the same whatever reads the file."""
    return [f"column_{number}" for number in range(1, count + 1)]


def _delimiter(text: str, suffix: str) -> str | None:
    """What separates the cells: tabs in a .tsv; else what comes equally often in every line, outside quotes.

    None where nothing does.
    """
    if suffix in (".tsv", ".tab"):
        return "\t"
    plain = re.sub(r'"[^"]*"', "", text[:_HEAD])
    lines = [line for line in plain.split("\n")[: _SAMPLE + 1] if line.strip()]
    lines = [line for line in lines if not line.startswith(_COMMENTS)] or lines
    if len(text) > _HEAD and len(lines) > 1:
        lines = lines[:-1]  # it may be cut
    counts = {sign: [line.count(sign) for line in lines] for sign in _DELIMITERS}
    even = [sign for sign, found in counts.items() if min(found) > 0 and min(found) == max(found)]
    some = [sign for sign, found in counts.items() if min(found) > 0] or (
        [sign for sign, found in counts.items() if max(found) > 0]
    )
    order = _DELIMITERS if suffix == ".csv" else "\t;|,"

    def likely(sign: str) -> tuple[int, int, int]:
        names = [cell.strip().lower() for cell in _cells(lines[0], sign)]
        return len(USUAL_NAMES.intersection(names)), counts[sign][0], -order.index(sign)

    return max(even or some, key=likely, default=None)


def _is_header(
    cells: Sequence[str], below: Sequence[Sequence[str | None]], kind: Kind, named: Sequence[str]
) -> bool:
    """Whether the first line names the columns: those that the user named, or usual ones, and no item.

    A cell that comes again in its column is a label, not the name of one.
    """
    if any(name in cells for name in named if not name.isdecimal()):
        return True
    items = any(map(kind.is_item, cells))
    if items and kind.in_files:
        return False
    again = [
        any(place < len(row) and row[place] == cell for row in below) for place, cell in enumerate(cells)
    ]
    names = [cell.strip().lower() for cell, found in zip(cells, again, strict=True) if not found]
    if USUAL_NAMES.intersection(names):
        return True
    return not items and not any(found and cell.strip() for cell, found in zip(cells, again, strict=True))


def _no_header(table: Path, kind: Kind) -> Note:
    return Note(
        f"{one_line(table)} has no header: its first line is taken for {kind.article} {kind.noun}, and "
        "columns are called by their numbers"
    )


def _has_bare_quotes(text: str, delimiter: str) -> bool:
    """Whether quotes are plain characters: tabs separate the cells, and no cell is in quotes as a whole."""
    if delimiter != "\t" or '"' not in text:
        return False
    cells = [cell for line in text.split("\n", 1000)[:1000] for cell in line.split("\t")]
    return not any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
