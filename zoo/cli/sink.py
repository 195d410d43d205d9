"""The one way out: data to stdout, everything else to stderr, as a person, a program or nobody reads it.

stdout carries the answer alone (a table, or with --json one document); progress, notes and errors go to
stderr. Bars are drawn on a terminal only and leave nothing behind.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

from zoo.errors import DiskFull, SomeFailed, StorageError, ZooError
from zoo.events import EpochEnd, Event, Note, Progress, TrainProgress

if TYPE_CHECKING:
    from rich.progress import TaskID

    from zoo.cli.bars import Bars


class Mode(Enum):
    """Who reads what the command says."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


class Sink:
    """Where a command's answer, its progress and its notes go."""

    def __init__(self, mode: Mode = Mode.HUMAN) -> None:
        self.mode = mode
        self.details = True  # whether good news is printed that nobody needs each time
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._unwritten = 0.0  # seconds of epochs since the last line

    def answer(self, value: Any, human: Callable[[], str]) -> None:
        """Print what was asked for: JSON of `value`, or the text of `human`; with --quiet as well."""
        self.close()
        if self.mode is Mode.JSON:
            write_out(to_json(value, indent=1))
        elif text := human():
            write_out(text)

    def done(self, value: Any, human: Callable[[], str]) -> None:
        """Print what a command has done on the disk, which --quiet leaves out: the files are the answer."""
        if self.mode is not Mode.QUIET:
            self.answer(value, human)

    def report(self, event: Event) -> None:
        """Draw one event of a long task on stderr."""
        if isinstance(event, Note):
            if self.mode is Mode.JSON and event.level == "warning":
                document = {"message": event.message, "hint": event.hint}
                self._line(to_json({"warning": document}))
            elif event.level == "warning" or (
                self.mode is Mode.HUMAN and (self.details or event.level == "info")
            ):
                self._write_note(event)
        elif self.mode is Mode.HUMAN:
            if isinstance(event, Progress):
                self._draw(event)
            else:
                self._write_epoch(event)

    def fail(self, error: ZooError) -> None:
        """Say what happened and what to do next, on stderr."""
        self.close()
        if self.mode is Mode.JSON:
            document = _error_facts(error)
            if isinstance(error, SomeFailed):
                failed = error.failures.items()
                document["failures"] = [{"name": name, **_error_facts(reason)} for name, reason in failed]
            click.echo(printable(to_json({"error": document})), err=True)
            return
        click.echo(f"{paint('error:', 'red')} {printable(error.message)}", err=True)
        if error.hint:
            click.echo(printable(error.hint), err=True)

    def close(self) -> None:
        """Wipe the progress bars off the terminal."""
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}

    def _write_note(self, note: Note) -> None:
        prefix = paint("warning: ", "yellow") if note.level == "warning" else ""
        self._line(note.message + (f"\n  {note.hint}" if note.hint else ""), prefix)

    def _write_epoch(self, end: EpochEnd) -> None:
        """One live line on a terminal; a line of its own for slow epochs, and for every tenth in a pipe.

        A head takes 100 epochs in five seconds: a line for each would push away everything that matters.
        """
        metrics = "  ".join(f"val {name} {value:.4f}" for name, value in end.metrics.items())
        self._unwritten += end.seconds
        tenth = end.epoch * 10 // end.epochs > (end.epoch - 1) * 10 // end.epochs
        live = self._bars is not None and self._bars.training is not None
        if end.epoch == 1 or self._unwritten >= 1 or (tenth and not live):
            self._unwritten = 0.0
            kind = "train loss of mixed images" if end.mixed else "train loss"
            self._line(
                f"{end.phase} {end.epoch:>3}/{end.epochs}  {kind} {end.train_loss:.4f}  "
                f"val loss {end.val_loss:.4f}  {metrics}{'  best so far' if end.best else ''}"
            )

    def _line(self, text: str, prefix: str = "") -> None:
        """One line on stderr. prefix: our own, which may be coloured."""
        text = prefix + printable(text)
        if self._bars is not None:
            self._bars.console.out(text, highlight=False)
        else:
            click.echo(text, err=True)

    def _draw(self, progress: Progress) -> None:
        if not _is_lively(sys.stderr):
            return
        if self._bars is None:
            self._bars = _start_bars()
        if isinstance(progress, TrainProgress):
            self._bars.training = progress
            return
        if progress.task == self._bars.training_task:  # its end
            self._bars.training = None
        else:
            if progress.task not in self._tasks:
                self._tasks[progress.task] = self._bars.add_task(progress.task, unit=progress.unit)
            task = self._tasks[progress.task]
            self._bars.update(task, completed=progress.done, total=progress.total)
            if progress.done == progress.total:
                self._bars.remove_task(self._tasks.pop(progress.task))
        if not self._tasks and self._bars.training is None:
            self.close()


def _error_facts(error: ZooError) -> dict[str, Any]:
    """An error as JSON has it."""
    return {"code": error.exit_code, "message": error.message, "hint": error.hint}


def to_json(value: object, indent: int | None = None) -> str:
    """The value as a JSON document; NaN, which JSON does not know, is a ValueError."""
    import json  # 1.4 ms, which a table does not need

    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def write_out(text: str, end: str = "\n") -> None:
    """Print to stdout; a reader that has gone (`zoo list | head -1`) has what it wanted: exit code 0.

    Raises DiskFull or StorageError where what was printed cannot be kept.
    """
    try:
        click.echo(printable(text) + end, nl=False)
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        kind = DiskFull if error.errno == errno.ENOSPC else StorageError
        raise kind(
            f"the answer cannot be written: {error.strerror}", hint="Look at where its output goes: > FILE"
        ) from None


# What a terminal obeys instead of showing it: control characters but tab and line feed, and the marks that
# turn the direction of a text. U+009B alone is an escape sequence's beginning.
COMMANDS = "".join(
    chr(code)
    for first, last in ((0, 8), (0xB, 0x1F), (0x7F, 0x9F), (0x202A, 0x202E), (0x2066, 0x2069))
    for code in range(first, last + 1)
)
WRITTEN_OUT = str.maketrans({mark: mark.encode("unicode_escape").decode() for mark in COMMANDS})


def printable(text: str) -> str:
    r"""The text as a terminal can show it without being commanded by it: names and words come from strangers.

    Bytes that are not UTF-8 are replaced, control characters written out.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.translate(WRITTEN_OUT)


def _start_bars() -> Bars:
    """Progress bars on stderr that vanish when they are stopped. Costs the import of rich (about 0.1 s)."""
    from zoo.cli.bars import Bars

    bars = Bars(no_color="NO_COLOR" in os.environ)
    bars.start()
    return bars


def _is_lively(stream: Any) -> bool:
    """Whether a stream is a terminal on which a line can be drawn again."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, color: str, stream: Any = None) -> str:
    """The text in colour where that can be seen: a terminal, without NO_COLOR."""
    stream = sys.stderr if stream is None else stream
    return click.style(text, fg=color) if _is_lively(stream) and "NO_COLOR" not in os.environ else text


class Fit(Enum):
    """How a column gives way where a table is wider than the terminal; every other column stays whole."""

    PATH = "shortened in the middle: the beginning and the name stay"
    TEXT = "shortened at the end, and left out where that is not enough"
    DROP = "left out whole: the least needed column"


NARROWEST = {Fit.PATH: 16, Fit.TEXT: 12}


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    fit: Mapping[str, Fit] | None = None,
    widths: dict[str, int] | None = None,
    *,
    headed: bool = True,
) -> str:
    """Rows under headings, as wide as needed; on a terminal no wider than that, if columns can give way.

    columns: key -> heading. fit: key -> how it gives way, those first that stand first; a column that is not
    in it stays whole, and without any the lines are cut. Numbers are set right, everything else left; None is
    empty. In a pipe nothing is ever shortened.
    widths: least widths of columns; they become those of this table, for the rows that follow it. headed:
    whether the headings are shown.

    >>> print(table([{"name": "resnet18", "top1": 69.8}], {"name": "NAME", "top1": "TOP-1"}))
    NAME      TOP-1
    resnet18   69.8
    """
    cells = {key: [heading, *(_cell_text(row.get(key)) for row in rows)] for key, heading in columns.items()}
    if widths is not None:  # as a row that is not shown
        cells = {key: [*column, " " * widths.get(key, 0)] for key, column in cells.items()}
    if sys.stdout.isatty():
        cells = _fit_width(cells, fit or {}, _terminal_width())
    if widths is not None:
        widths |= {key: max(map(display_width, column)) for key, column in cells.items()}
    right = {key for key in cells if rows and all(is_number(row.get(key)) for row in rows)}
    drawn = [_align(column, right=key in right) for key, column in cells.items()]
    lines = ["  ".join(line).rstrip() for line in zip(*drawn, strict=True)][: len(rows) + 1]
    lines = lines if headed else lines[1:]
    if fit is None and sys.stdout.isatty():
        lines = [shorten(line, _terminal_width(), Fit.TEXT) for line in lines]
    return "\n".join(lines)


def _terminal_width() -> int:
    """The columns of the terminal."""
    import shutil  # 2 ms, with the archive formats that it knows

    return shutil.get_terminal_size().columns


def _fit_width(cells: dict[str, list[str]], fit: Mapping[str, Fit], width: int) -> dict[str, list[str]]:
    """The columns of a table, shortened or left out until it fits into `width`, as far as they may be.

    cells: key -> the heading and the cells. Columns that say the same in every row go before anything that
    differs is cut.
    """
    wide = {key: max(map(display_width, column)) for key, column in cells.items()}

    def excess() -> int:
        return sum(wide.values()) + 2 * (len(wide) - 1) - width

    present = [key for key in fit if key in wide]
    idle = [key for key in present if fit[key] is Fit.DROP and len(set(cells[key][1:])) < 2]
    for key in (*idle, *(key for key in present if key not in idle)):
        if excess() > 0 and fit[key] is Fit.DROP:
            del wide[key]
        elif excess() > 0:
            wide[key] = max(min(wide[key], NARROWEST[fit[key]]), wide[key] - excess())
    for key in present:
        if excess() > 0 and fit[key] is Fit.TEXT:
            del wide[key]
    return {
        key: [shorten(text, wide[key], fit[key]) if key in fit else text for text in column]
        for key, column in cells.items()
        if key in wide
    }


def shorten(text: str, width: int, fit: Fit) -> str:
    """The text in at most `width` columns, an ellipsis where something is missing.

    >>> shorten("/home/me/photographs/summer/bee.jpg", 20, Fit.PATH)
    '/home/…ummer/bee.jpg'
    """
    if display_width(text) <= width:
        return text
    before = (width - 1) // 3 if fit is Fit.PATH else width - 1
    kept = _take_columns(text, before)
    rest = width - 1 - display_width(kept)
    return kept + "…" + (_take_columns(text[::-1], rest)[::-1] if fit is Fit.PATH else "")


def _take_columns(text: str, width: int) -> str:
    """As many of the first characters as fit into `width` columns."""
    used = 0
    for count, character in enumerate(text):
        used += display_width(character)
        if used > width:
            return text[:count]
    return text


def display_width(text: str) -> int:
    """The columns of a terminal that a text takes: two for a wide East Asian character, none for an accent.

    >>> display_width("bee"), display_width("蜂")
    (3, 2)
    """
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _align(column: Sequence[str], *, right: bool) -> list[str]:
    """The cells of a column, filled with blanks to the width of the widest."""
    width = max(map(display_width, column))
    blanks = [" " * (width - display_width(text)) for text in column]
    return [b + text if right else text + b for text, b in zip(column, blanks, strict=True)]


def is_number(value: Any) -> bool:
    """Whether a cell is set right: a number, or nothing in a column of numbers."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell_text(value: Any) -> str:
    """A value as a cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
    return " ".join(printable(str(value)).split("\n"))


def many(count: int, noun: str) -> str:
    """A number of things.

    >>> many(1, "model"), many(2, "model")
    ('1 model', '2 models')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")
