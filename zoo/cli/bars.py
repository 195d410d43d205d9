"""What is drawn on a terminal while a task is under way: bars, and a line of figures about training."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from zoo.events import TrainProgress
from zoo.progress import training_line


class Bars(Progress):
    """A bar for each task on stderr, as wide as the terminal is at that moment. training: what to say of a
    phase of training that is under way; None where there is none."""

    def __init__(self, *, no_color: bool) -> None:
        self.training: TrainProgress | None = None
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=no_color),
            transient=True,
        )

    @property
    def training_task(self) -> str | None:
        """The task that the line of figures is about."""
        return None if self.training is None else self.training.task

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn, ten times a second."""
        if self.tasks or self.training is None:
            yield from super().get_renderables()
        if (training := self.training) is not None:
            yield Text(training_line(training, self.console.width), no_wrap=True, overflow="crop")
