"""The runs below a folder, a line each, from their run.json alone: no torch, no weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UsageError, ZooError
from zoo.runs.record import RunRecord, read_record
from zoo.targets import PARTIAL, PLAN, RECORD


@dataclass(frozen=True)
class RunSummary:
    """A run as a row of a table. bytes: of all its files. error: why it cannot be read; record is then None.
    unfinished: it has checkpoints and no result yet."""

    path: Path
    bytes: int
    record: RunRecord | None
    error: str | None = None
    unfinished: bool = False

    @property
    def score(self) -> float | None:
        """The headline of its task on its validation items; None without a result."""
        if self.record is None:
            return None
        return self.record.result.metrics.get(self.record.task.headline)

    @property
    def facts(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        known: dict[str, Any] = {}
        if (record := self.record) is not None:
            known = {
                "model": record.model["name"],
                "license": record.entry.license,
                "data": record.data["root"],
                "task": record.result.task,
                "classes": len(record.classes),
                "strategy": record.recipe.strategy,
                "metric": record.task.headline,
                "score": self.score,
                "interval": record.result.val_interval,
                "val_items": record.result.val_items,
                "created": record.created,
                "seconds": record.result.seconds,
            }
        state = "damaged" if self.error else "unfinished" if self.unfinished else "finished"
        return {"path": str(self.path), "state": state, **known, "bytes": self.bytes, "error": self.error}


def _by_score(row: RunSummary) -> tuple[Any, ...]:
    """Runs of one task together, the best first; those without a result last."""
    if row.record is None or row.score is None:
        return (1, "", 0.0)
    better_is_higher = row.record.task.is_better(1.0, 0.0)
    return (0, row.record.result.task, -row.score if better_is_higher else row.score)


SORTS: dict[str, Callable[[RunSummary], Any]] = {
    "name": lambda row: str(row.path),
    "score": _by_score,
    "when": lambda row: "" if row.record is None else row.record.created,
    "size": lambda row: row.bytes,
    "model": lambda row: "" if row.record is None else row.record.model["name"],
}
"""What a table of runs can be sorted by."""


def list_run_summaries(folder: Path, sort: str = "name") -> list[RunSummary]:
    """Every run in and below a folder, finished, unfinished or damaged; hidden folders are passed over.

    Raises UsageError if there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="Name the folder that your runs are in: zoo runs .")
    return sorted(map(_summarize, _find(folder)), key=SORTS[sort])


def _find(folder: Path) -> Iterator[Path]:
    """The folders that are runs, or hold the checkpoints of one. Nothing below a run is looked at."""
    for place, names, files in os.walk(folder):
        here = Path(place)
        if RECORD in files or (PLAN in files and here.name.endswith(PARTIAL)):
            names.clear()
            if RECORD in files or not (here.with_name(here.name.removesuffix(PARTIAL)) / RECORD).is_file():
                yield here
        names[:] = sorted(name for name in names if not name.startswith("."))


def _summarize(folder: Path) -> RunSummary:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    if folder.name.endswith(PARTIAL):
        return RunSummary(folder.with_name(folder.name.removesuffix(PARTIAL)), size, None, unfinished=True)
    try:
        record = read_record(folder, names=False)
        _ = record.entry, record.task
    except ZooError as error:
        return RunSummary(folder, size, None, error=error.message)
    return RunSummary(folder, size, record)
