"""Cells of a table become labels: without those that say "missing", with numbers written in one way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from zoo.data.finding.found import class_name
from zoo.data.names import one_line, shortened
from zoo.errors import DatasetError
from zoo.events import Note

_MISSING = frozenset(
    {
        "",
        "nan",
        "+nan",
        "-nan",
        "null",
        "<null>",
        "#null!",
        "n/a",
        "#n/a",
        "#na",
        "<na>",
        "<n/a>",
        "\\n",
        "nil",
    }
    | {"nat", "#n/a n/a", "#value!", "#ref!", "-1.#ind", "1.#qnan", "missing", "(null)", "(blank)"}
)
"""Cells that stand for no label, in lower case, as pandas, SQL and spreadsheets write them."""
_MISSING_AS_WRITTEN = frozenset({"None", "NA", "NONE", "?", "-", "--", "."})
"""The same, in this way only: `none` and `na` in lower case are classes that people have."""

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LIST = re.compile(r"[\[({].*[\])}]", re.DOTALL)
_SEPARATORS = ("|", ";", ",", " ")
_FEW = 20
"""Different numbers above which a column of numbers that are not whole is not one of classes."""


def read_labels(cells: Sequence[str | None], column: str, table: Path) -> tuple[list[str | None], list[Note]]:
    """The label of every cell, None where there is none; and what the user should know about them.

    Raises DatasetError for cells of several labels, and for numbers that are not classes.
    """
    labels = [None if is_missing(cell) else class_name(cell or "") for cell in cells]
    counts = Counter(label for label in labels if label is not None)
    _refuse_several(counts, column, table)
    _refuse_measures(counts, column, table)
    notes = _fractions_note(counts, column, table)
    whole = _whole_numbers(counts)
    if whole:
        example = next(label for label in whole if whole[label] != label)
        notes.append(
            Note(
                f"{one_line(table)}: labels in {one_line(column)} are whole numbers, some written as "
                f"{shortened(example)}: read as {whole[example]}"
            )
        )
        labels = [None if label is None else whole[label] for label in labels]
        counts = Counter(label for label in labels if label is not None)
    if twins := _find_twins(counts):
        pairs = "; ".join(" and ".join(map(_shown, group)) for group in twins[:3])
        more = f"; and {len(twins) - 3} more" if len(twins) > 3 else ""
        notes.append(
            Note(
                f"labels of {one_line(table)} that differ only in capitals or blanks are classes of their "
                f"own: {pairs}{more}",
                hint="If they are one class, write them in one way.",
                level="warning",
            )
        )
    return labels, notes


def is_missing(cell: str | None) -> bool:
    """Whether a cell says that there is no label.

    >>> is_missing(" NaN "), is_missing("None"), is_missing("none"), is_missing("0")
    (True, True, False, False)
    """
    plain = (cell or "").strip()
    return plain.lower() in _MISSING or plain in _MISSING_AS_WRITTEN


def _whole_numbers(labels: Counter[str]) -> dict[str, str]:
    """How each label is written as a whole number; empty unless all are numbers and one has a point.

    >>> _whole_numbers(Counter(["1", "2.0", "03"]))
    {'1': '1', '2.0': '2', '03': '03'}
    >>> _whole_numbers(Counter(["1", "2"])), _whole_numbers(Counter(["1.0", "v2.0"]))
    ({}, {})
    """
    found = {label: _WHOLE.fullmatch(label) for label in labels}
    if not any(found.values()):
        return {}
    if not all(match or (_NUMBER.fullmatch(label) and "." not in label) for label, match in found.items()):
        return {}
    return {label: match[1].removeprefix("+") if match else label for label, match in found.items()}


def _refuse_measures(labels: Counter[str], column: str, table: Path) -> None:
    """Raise DatasetError for many different numbers that are not whole: measures, not classes."""
    numbers = [label for label in labels if _NUMBER.fullmatch(label)]
    broken = [label for label in numbers if not _is_whole(label)]
    if len(numbers) == len(labels) > _FEW and len(broken) > _FEW:
        raise DatasetError(
            f"{one_line(column)} of {one_line(table)} holds {len(labels):,} different numbers, as "
            f"{broken[0]}: measures, not classes",
            hint="To learn the numbers: --task regression. For classes, group them, and name the groups.",
        )


def _fractions_note(labels: Counter[str], column: str, table: Path) -> list[Note]:
    """A warning where all labels are numbers, few enough to be classes, and some are not whole."""
    broken = [label for label in labels if _NUMBER.fullmatch(label) and not _is_whole(label)]
    if not broken or not all(map(_NUMBER.fullmatch, labels)):
        return []
    return [
        Note(
            f"{one_line(column)} of {one_line(table)} holds {len(labels)} different numbers, as {broken[0]}: "
            f"each is taken for a class",
            hint="To learn the numbers themselves: --task regression.",
            level="warning",
        )
    ]


def _is_whole(number: str) -> bool:
    """Whether a number has no fraction.

    >>> [_is_whole(number) for number in ("-3", "2.0", "2.5", "1e-3")]
    [True, True, False, False]
    """
    return number.lstrip("+-").isdecimal() or _WHOLE.fullmatch(number) is not None


def _refuse_several(labels: Counter[str], column: str, table: Path) -> None:
    """Raise DatasetError for cells that hold several labels.

    A separator alone proves nothing ("big, grey"): its parts must come in several different cells.
    """
    written = [label for label in labels if _LIST.fullmatch(label) and _is_list(label)]
    if not written:
        for separator in _SEPARATORS:
            written = _split_by(labels, separator)
            if written:
                break
    if written:
        rows = sum(labels[label] for label in written)
        raise DatasetError(
            f"{rows:,} cells of {one_line(column)} in {one_line(table)} hold several labels, as "
            f"{_shown(max(written, key=len))}: this is the task multi-label",
            hint="zoo finetune --task multi-label learns several of an item. Else give one label per row.",
        )


def _is_list(label: str) -> bool:
    """Whether a cell in brackets is a list of words, as Python, JSON and SQL write it."""
    return label[0] == "[" or bool(re.search(r"['\"]", label)) or "," in label


def _split_by(labels: Counter[str], separator: str) -> list[str]:
    """The labels that a separator parts into labels; empty if it is part of their names."""
    parts = {
        label: [part.strip() for part in label.split(separator) if part.strip()]
        for label in labels
        if separator in label
    }
    parts = {label: found for label, found in parts.items() if len(found) > 1}
    if not parts:
        return []
    alone = {label for label in labels if separator not in label}
    cells_with = Counter(part for found in parts.values() for part in set(found))
    cells_with.update(alone)
    if separator == " ":  # New York: only numbers are surely labels
        return list(parts) if all(p.isdecimal() for found in parts.values() for p in found) else []
    again = [all(cells_with[part] > 1 for part in found) for found in parts.values()]
    if separator == ",":
        return (
            list(parts)
            if all(again) and any(part in alone for found in parts.values() for part in found)
            else []
        )
    return list(parts) if any(cells_with[part] > 1 for found in parts.values() for part in found) else []


def _find_twins(labels: Counter[str]) -> list[list[str]]:
    """Groups of labels that differ only in capitals, blanks, hyphens and underscores."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        key = "".join(label.replace("_", " ").replace("-", " ").split()).casefold()
        groups.setdefault(key or label, []).append(label)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _shown(label: str) -> str:
    """A label for a message: quoted where blanks matter, cut where it is long."""
    text = shortened(label, 60)
    return repr(text) if text != text.strip() or "  " in text or "," in text else text
