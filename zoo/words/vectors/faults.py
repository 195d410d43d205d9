"""What can be wrong with a file of word vectors, and what is done about each: counted and reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class _Fate(NamedTuple):
    """What a fault is called for one and for many, and what becomes of the word."""

    one: str
    many: str
    outcome: str


FAULTS: dict[str, _Fate] = {
    "not-utf8": _Fate(
        "word is not valid UTF-8", "words are not valid UTF-8", "kept, the bad bytes became U+FFFD"
    ),
    "encoding": _Fate(
        "encoding is guessed", "encodings are guessed", "if letters look wrong, name it: --encoding NAME"
    ),
    "duplicate": _Fate("word comes again", "words come again", "the first vector was kept"),
    "wrong-dimension": _Fate("line has another dimension", "lines have another dimension", "left out"),
    "not-a-number": _Fate(
        "line has something that is not a number",
        "lines have something that is not a number",
        "left out",
    ),
    "not-finite": _Fate("vector has NaN or infinity", "vectors have NaN or infinity", "left out"),
    "truncated": _Fate("last word is cut off", "last words are cut off", "left out"),
    "no-line-end": _Fate(
        "last line has no line end: its last number may be cut",
        "last lines have no line end: their last number may be cut",
        "kept",
    ),
    "empty-line": _Fate("line is empty", "lines are empty", "left out"),
    "empty-word": _Fate("word is empty", "words are empty", "kept"),
    "spaces": _Fate(
        "word has a space in it", "words have spaces in them", "kept: all before the last numbers is the word"
    ),
    "byte-order-mark": _Fate("byte-order mark", "byte-order marks", "not part of the first word"),
    "header": _Fate("header does not fit the file", "headers do not fit the file", "the file was believed"),
    "more-bytes": _Fate("file has more bytes", "files have more bytes", "left out"),
    "declared": _Fate(
        "declaration does not fit the file", "declarations do not fit the file", "the file was believed"
    ),
}
LINES_KEPT = 20


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how often, in which lines (the first LINES_KEPT, from 1; words in a binary file).

    details: what exactly, where a line number does not show it.
    """

    kind: str
    count: int
    lines: tuple[int, ...]
    details: tuple[str, ...] = ()
    unit: str = "line"

    def __str__(self) -> str:
        fate = FAULTS[self.kind]
        name = fate.one if self.count == 1 else fate.many
        where = ""
        if self.lines:
            more = ", …" if self.count > len(self.lines) else ""
            numbers = ", ".join(f"{line:,}" if line < 10_000 else str(line) for line in self.lines)
            where = f" ({self.unit} {numbers}{more})"
        what = f": {'; '.join(self.details)}" if self.details else ""
        return f"{self.count:,} {name}{what}{where}: {fate.outcome}"


class FaultCounter:
    """Collects faults while a file is read, in memory that does not grow with their number."""

    def __init__(self, unit: str = "line") -> None:
        self.unit = unit
        self._counts: dict[str, int] = {}
        self._lines: dict[str, list[int]] = {}
        self._details: dict[str, list[str]] = {}

    def add(self, kind: str, line: int | None = None, detail: str | None = None) -> None:
        """Count one fault of a kind of FAULTS."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        lines = self._lines.setdefault(kind, [])
        if line is not None and len(lines) < LINES_KEPT:
            lines.append(line)
        details = self._details.setdefault(kind, [])
        if detail is not None and len(details) < 3:
            details.append(detail)

    def add_many(self, kind: str, lines: Iterable[int]) -> None:
        """Count one fault per line."""
        for line in lines:
            self.add(kind, line)

    @property
    def found(self) -> tuple[Fault, ...]:
        """Every kind that was found, in the order of FAULTS."""
        return tuple(
            Fault(kind, self._counts[kind], tuple(self._lines[kind]), tuple(self._details[kind]), self.unit)
            for kind in FAULTS
            if kind in self._counts
        )
