"""Which column of a table is what, by the names that columns usually have and by what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.data.finding.cells import Table
from zoo.data.kinds import KINDS, Kind
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError, UnknownName

LABEL_COLUMNS = (
    *("label", "class", "category", "target", "labels", "classes", "class_name", "label_name", "class_id"),
    *("species", "breed", "sentiment", "polarity", "intent", "topic", "rating", "stars", "y", "answer"),
    *("category_name", "category_id", "label_id", "fine_label", "coarse_label", "diagnosis", "tag", "tags"),
)
"""Usual names, the surest first; capitals do not matter."""

USUAL_NAMES = frozenset({*LABEL_COLUMNS, "split", "fold", "is_valid"}).union(
    *(kind.columns for kind in KINDS)
)
"""Names that make a first line a header."""

_SAMPLE = 100  # rows that are looked at
_MOST_NAMES = 12  # that a message lists


@dataclass(frozen=True)
class Columns:
    """Which column is what. item: the path of an image, the image itself, or the text. labels: all columns
    that are learned together, beginning with `label`; empty where it is the only one."""

    item: str
    label: str
    labels: tuple[str, ...] = ()


def choose_columns(
    table: Table,
    kind: Kind,
    item_column: str | None,
    label_column: str | None,
    *,
    not_labels: Sequence[str] = (),
) -> Columns:
    """The columns by the names given, else by usual names, else by their contents.

    not_labels: columns that are something else. Raises UnknownName for a given name that is not there,
    DatasetError where a column cannot be recognised.
    """
    label = None if label_column is None else find_column(table, label_column)
    item = choose_item_column(table, kind, item_column, but=label)
    rest = [name for name in table.columns if name != item and name not in not_labels]
    named = [name for name in rest if table.is_named(name)] or rest
    label = label or _usual(named, LABEL_COLUMNS) or (named[0] if len(named) == 1 else None)
    if label is None:
        raise _cannot_choose(table, "label")
    return Columns(item, label)


def choose_item_column(
    table: Table, kind: Kind, item_column: str | None = None, *, but: str | None = None
) -> str:
    """The column of items in a table that needs no labels. Raises as `choose_columns`."""
    if item_column is not None:
        return find_column(table, item_column)
    free = [name for name in table.columns if name != but]
    embedded = [name for name in free if name in table.embedded and kind.in_files]
    plain = [name for name in free if name not in table.embedded]
    found = _usual(embedded, kind.columns) or (embedded[0] if len(embedded) == 1 else None)
    found = found or _usual(plain, kind.columns) or _recognise(table, plain, kind)
    if found is None:
        raise _cannot_choose(table, kind.cell)
    return found


def find_column(table: Table, given: str) -> str:
    """The column of a name that the user gave, or of a number, counted from 1. Raises UnknownName."""
    if given in table.columns:
        return given
    alike = [name for name in table.columns if name.strip().lower() == given.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    place = int(given) if given.isdecimal() else 0
    if 1 <= place <= len(table.places) and table.places[place - 1] in table.columns:
        return table.places[place - 1]
    raise UnknownName("column", given, table.columns)


def _list_columns(table: Table) -> str:
    """The names of the columns for a message, at most a dozen."""
    names = [shortened(name, 40) for name in table.columns]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column with the first of the usual names, whatever its capitals and separators."""
    plain = {name: name.replace("_", "") for name in names}
    lowered = {_plain_name(column): column for column in reversed(columns)}
    return next((lowered[plain[name]] for name in names if plain[name] in lowered), None)


def _plain_name(column: str) -> str:
    return "".join(c for c in column.strip().lower() if c not in "_- .#")


def _recognise(table: Table, columns: Sequence[str], kind: Kind) -> str | None:
    """The column whose first cells look most like items, if they do so enough."""
    top = table.frame.head(_SAMPLE)
    scores = {
        column: sum(kind.score(str(cell or "")) for cell in top[column]) / max(1, top.height)
        for column in columns
    }
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best is not None and scores[best] > kind.of_column else None


def _cannot_choose(table: Table, wanted: str) -> DatasetError:
    """The error for a table whose columns do not show which of them is wanted."""
    number = " or its number" if not table.has_header else ""
    hint = f"Say it: --{wanted}-column NAME{number}."
    if len(table.columns) > _MOST_NAMES and _mostly_numbers(table):
        hint = (
            f"Numbers in {len(table.columns):,} columns are neither images nor texts: save each row as an "
            f"image file, and list the files. If a column is the {wanted}: --{wanted}-column NAME."
        )
    return DatasetError(
        f"it is not clear which column of {one_line(table.path)} is the {wanted}: it has "
        f"{_list_columns(table)}",
        hint=hint,
    )


def _mostly_numbers(table: Table) -> bool:
    """Whether nine of ten columns begin with a number."""
    first = [str(cell or "") for cell in table.frame.row(0)]
    return sum(cell.replace(".", "", 1).lstrip("-").isdecimal() for cell in first) > 0.9 * len(first)
