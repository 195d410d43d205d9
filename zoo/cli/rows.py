"""Rows on stdout as they come: a table, JSON or CSV; the first are there before the last is computed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from zoo.cli.sink import Fit, Mode, Sink, table, write_out

_BLOCK = 64  # rows of a table that are laid out together
_PATIENCE = 1.0  # seconds after which a block is printed as it is


class Rows(Protocol):
    """Where the rows of an answer go."""

    def add(self, row: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Print a row. row: for programs; shown: its cells in a table."""

    def close(self) -> None:
        """Print what is left."""


class TableRows:
    """A table in blocks. Columns are as wide as the widest cell so far, and as `widths` says."""

    def __init__(
        self, sink: Sink, columns: Mapping[str, str], fit: Mapping[str, Fit], widths: Mapping[str, int]
    ) -> None:
        self._sink, self._columns, self._fit = sink, columns, fit
        self._widths = dict(widths)
        self._waiting: list[Mapping[str, Any]] = []
        self._headed = False
        self._since = time.monotonic()

    def add(self, row: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Keep a row until its block is full, or a second old."""
        self._waiting.append(shown)
        if len(self._waiting) >= _BLOCK or time.monotonic() - self._since > _PATIENCE:
            self.close()

    def close(self) -> None:
        """Print the rows that wait."""
        if self._waiting or not self._headed:
            self._sink.close()
            write_out(table(self._waiting, self._columns, self._fit, self._widths, headed=not self._headed))
            sys.stdout.flush()
        self._waiting, self._headed, self._since = [], True, time.monotonic()


class JsonRows:
    """One JSON document, a list, written as it grows."""

    def __init__(self) -> None:
        self._begun = False

    def add(self, row: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Print a row, and the comma before it."""
        text = json.dumps([row], ensure_ascii=False, indent=1, allow_nan=False)[2:-2]
        write_out((",\n" if self._begun else "[\n") + text, end="")
        sys.stdout.flush()
        self._begun = True

    def close(self) -> None:
        """Close the list."""
        write_out("\n]" if self._begun else "[]")


class CsvRowsOut:
    """CSV on stdout."""

    def __init__(self) -> None:
        from zoo.runs.using.prediction_files import CsvRows

        self._rows = CsvRows(sys.stdout)

    def add(self, row: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Print a row."""
        self._rows.add(row)
        sys.stdout.flush()  # a pipe holds back 8 kB else

    def close(self) -> None:
        """Nothing is left."""
        self._rows.close()


def open_rows(
    sink: Sink, columns: Mapping[str, str], fit: Mapping[str, Fit], widths: Mapping[str, int], *, csv: bool
) -> Rows:
    """Where rows go, by what was asked for."""
    if csv:
        return CsvRowsOut()
    return JsonRows() if sink.mode is Mode.JSON else TableRows(sink, columns, fit, widths)
