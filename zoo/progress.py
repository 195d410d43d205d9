"""How far a long task is, for programs that do not listen themselves: a bar where a person looks on."""

from __future__ import annotations

import sys
from typing import Any

from zoo.events import EpochEnd, Event, Note, Progress, Report, silent


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

    def _write(self, note: Note) -> None:
        from tqdm import tqdm

        warning = "warning: " if note.level == "warning" else ""
        tqdm.write(f"{warning}{note.message}" + (f"\n  {note.hint}" if note.hint else ""), file=sys.stderr)
