"""The one way out: data to stdout, everything else to stderr, as a person, a program or nobody reads it.

stdout carries the answer alone (a table, or with --json one document); progress, notes and errors go to
stderr. Bars are drawn on a terminal only and leave nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from zoo.errors import SomeFailed, ZooError
from zoo.events import EpochEnd, Event, Note, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Mode(Enum):
    """Who reads what the command says."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


class Sink:
    """Where a command's answer, its progress and its notes go."""

    def __init__(self, mode: Mode = Mode.HUMAN) -> None:
        self.mode = mode
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def answer(self, value: Any, human: Callable[[], str] | None = None) -> None:
        """Print the command's result: JSON of `value`, or what `human` makes of it; nothing when quiet."""
        self.close()
        if self.mode is Mode.JSON:
            tell(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False))
        elif self.mode is Mode.HUMAN and human is not None and (text := human()):
            tell(text)

    def report(self, event: Event) -> None:
        """Draw one event of a long task on stderr."""
        if isinstance(event, Note):
            if self.mode is Mode.JSON and event.level == "warning":
                document = {"message": event.message, "hint": event.hint}
                self._line(printable(json.dumps({"warning": document}, ensure_ascii=False)))
            elif event.level == "warning" or self.mode is Mode.HUMAN:
                self._say(paint(f"{event.level}: ", "yellow") if event.level == "warning" else "", event)
        elif self.mode is Mode.HUMAN:
            if isinstance(event, Progress):
                self._draw(event)
            else:
                self._say_epoch(event)

    def fail(self, error: ZooError) -> None:
        """Say what happened and what to do next, on stderr."""
        self.close()
        if self.mode is Mode.JSON:
            document = error_facts(error)
            if isinstance(error, SomeFailed):
                failed = error.failures.items()
                document["failures"] = [{"name": name, **error_facts(reason)} for name, reason in failed]
            click.echo(printable(json.dumps({"error": document}, ensure_ascii=False)), err=True)
            return
        click.echo(f"{paint('error:', 'red')} {printable(error.message)}", err=True)
        if error.hint:
            click.echo(printable(error.hint), err=True)

    def close(self) -> None:
        """Wipe the progress bars off the terminal."""
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}

    def _say(self, prefix: str, note: Note) -> None:
        self._line(printable(prefix + note.message + (f"\n  {note.hint}" if note.hint else "")))

    def _say_epoch(self, end: EpochEnd) -> None:
        star = " *" if end.best else ""
        metrics = "  ".join(f"val {name} {value:.4f}" for name, value in end.metrics.items())
        self._line(
            f"{end.phase} {end.epoch:>3}/{end.epochs}  train loss {end.train_loss:.4f}  "
            f"val loss {end.val_loss:.4f}  {metrics}{star}"
        )

    def _line(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def _draw(self, progress: Progress) -> None:
        if not is_lively(sys.stderr):
            return
        if self._bars is None:
            self._bars = start_bars()
        if progress.task not in self._tasks:
            self._tasks[progress.task] = self._bars.add_task(progress.task, unit=progress.unit)
        task = self._tasks[progress.task]
        self._bars.update(task, completed=progress.done, total=progress.total)
        if progress.done == progress.total:
            self._bars.remove_task(self._tasks.pop(progress.task))
            if not self._tasks:
                self.close()


def error_facts(error: ZooError) -> dict[str, Any]:
    """An error as JSON has it."""
    return {"code": error.exit_code, "message": error.message, "hint": error.hint}


def tell(text: str) -> None:
    """Print to stdout; a reader that has gone (`zoo list | head -1`) has what it wanted: exit code 0."""
    try:
        click.echo(printable(text))
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None


def printable(text: str) -> str:
    """The text that can be printed: what is no character (a file name that is not UTF-8) is replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def start_bars() -> Bars:
    """Progress bars on stderr that vanish when they are stopped. Costs the import of rich (about 0.1 s)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color="NO_COLOR" in os.environ),
        transient=True,
    )
    bars.start()
    return bars


def is_lively(stream: Any) -> bool:
    """Whether a stream is a terminal on which a line can be drawn again."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, color: str, stream: Any = None) -> str:
    """The text in colour where that can be seen: a terminal, without NO_COLOR."""
    stream = sys.stderr if stream is None else stream
    return click.style(text, fg=color) if is_lively(stream) and "NO_COLOR" not in os.environ else text


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows under headings, as wide as needed; on a terminal the last column is cut to fit.

    columns: key -> heading. Numbers are set right, everything else left; None is empty.

    >>> print(table([{"name": "resnet18", "top1": 69.8}], {"name": "NAME", "top1": "TOP-1"}))
    NAME      TOP-1
    resnet18   69.8
    """
    cells = [[cell_text(row.get(key)) for key in columns] for row in rows]
    right = [bool(rows) and all(is_number(row.get(key)) for row in rows) for key in columns]
    lines = [list(columns.values()), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    drawn = [
        "  ".join(
            text.rjust(width) if set_right else text.ljust(width)
            for text, width, set_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        drawn = [line if len(line) <= width else line[: width - 1] + "…" for line in drawn]
    return "\n".join(drawn)


def is_number(value: Any) -> bool:
    """Whether a cell is set right: a number, or nothing in a column of numbers."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def cell_text(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def many(count: int, noun: str) -> str:
    """A number of things.

    >>> many(1, "model"), many(2, "model")
    ('1 model', '2 models')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")
