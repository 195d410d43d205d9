"""How far a long task is, for programs that do not listen themselves: a bar where a person looks on."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from zoo.events import EpochEnd, Event, Note, Progress, Report, TrainProgress, silent


def usual_report() -> Report:
    """What functions of the library report to by default: a bar on a terminal or in a notebook, with the
    notes above it; nothing in a pipe or a log. `report=zoo.events.silent` is always nothing."""
    return Bars() if _somebody_looks() else silent


def _somebody_looks() -> bool:
    """Whether stderr is a terminal, or the page of a notebook."""
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())


class Bars:
    """A bar for each task that is under way. Call it with an event."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case TrainProgress():
                self._draw_training(event)
            case Progress():
                self._draw(event)
            case EpochEnd(phase=phase, metrics=metrics):
                if (bar := self._bars.get(f"train {phase}")) is not None:
                    bar.set_postfix({name: f"{value:.4f}" for name, value in metrics.items()}, refresh=False)
            case Note(level="info" | "warning"):
                self._write(event)

    def _draw(self, progress: Progress) -> None:
        from tqdm import tqdm

        bar = self._bars.get(progress.task)
        if bar is None:
            bar = tqdm(desc=progress.task, total=progress.total, unit=f" {progress.unit}", leave=False)
            self._bars[progress.task] = bar
        bar.total = progress.total
        bar.update(progress.done - bar.n)
        if progress.done == progress.total:
            self._bars.pop(progress.task).close()

    def _draw_training(self, progress: TrainProgress) -> None:
        from tqdm import tqdm

        bar = self._bars.get(progress.task)
        if bar is None:
            bar = self._bars[progress.task] = tqdm(bar_format="{desc}", leave=False)
        bar.set_description_str(training_line(progress, shutil.get_terminal_size((100, 24)).columns - 1))

    def _write(self, note: Note) -> None:
        from tqdm import tqdm

        warning = "warning: " if note.level == "warning" else ""
        tqdm.write(f"{warning}{note.message}" + (f"\n  {note.hint}" if note.hint else ""), file=sys.stderr)


def training_line(progress: TrainProgress, width: int) -> str:
    """How training goes, in one line of at most so many columns: in full, else briefly, else without what is
    needed least.

    >>> step = TrainProgress("train tune", 62, 100, "steps", phase="tune", epoch=7, epochs=10, part=0.2,
    ...     loss=0.4123, monitor="accuracy", value=0.9412, lr=1e-3, items_per_second=134.2,
    ...     seconds_left=151.0, at_most=True, memory=1_210_000_000)
    >>> training_line(step, 100)
    'tune 7/10  20 %  loss 0.4123  val accuracy 0.9412  lr 0.001  134 items/s  at most 2:31  1.2 GB'
    >>> training_line(step, 60)
    'tune 7/10 loss 0.412 val 0.941 lr 0.001 134/s <2:31 1.2 GB'
    >>> training_line(step, 40)
    'tune 7/10 loss 0.412 val 0.941 <2:31'
    """
    parts = _training_parts(progress)
    full = "  ".join(long for _, long, _ in parts if long)
    if len(full) <= width:
        return full
    for least in range(_LEAST_NEEDED, -1, -1):
        brief = " ".join(short for _, _, short in parts if short)
        if len(brief) <= width:
            break
        parts = [part for part in parts if part[0] < least]
    return brief[:width]


_LEAST_NEEDED = 5


def _training_parts(step: TrainProgress) -> list[tuple[int, str, str]]:
    """(how dispensable, in full, briefly), in the order in which they are shown; "" for what is not known."""
    place = f"{step.phase} {step.epoch}/{step.epochs}"
    parts = [(0, place, place), (5, f"{step.part:.0%}".replace("%", " %"), "")]
    if step.loss is not None:
        parts.append((1, f"loss {step.loss:.4f}", f"loss {step.loss:.3f}"))
    if step.value is not None:
        parts.append((2, f"val {step.monitor} {step.value:.4f}", f"val {step.value:.3f}"))
    parts.append((4, f"lr {step.lr:.2g}", f"lr {step.lr:.2g}"))
    if step.items_per_second is not None:
        parts.append((4, f"{_count(step.items_per_second)} items/s", f"{_count(step.items_per_second)}/s"))
    if step.seconds_left is not None:
        left = _clock(step.seconds_left)
        most = step.at_most
        parts.append((3, f"at most {left}" if most else f"{left} left", f"<{left}" if most else left))
    if step.memory is not None:
        parts.append((5, memory_text(step.memory), memory_text(step.memory)))
    return parts


def _count(number: float) -> str:
    """A number, to two digits at least."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _clock(seconds: float) -> str:
    """A time as a clock shows it.

    >>> _clock(7), _clock(3723), _clock(3 * 86400 + 7200)
    ('0:07', '1:02:03', '74:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def memory_text(size: int) -> str:
    """An amount of memory, briefly.

    >>> memory_text(812_300_000), memory_text(1_210_000_000)
    ('812 MB', '1.2 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
