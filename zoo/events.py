"""What a long task reports while it works: frozen values through one plain callable, `report(event)`.

The command line draws them, a test appends them to a list, the library's default drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """`done` of `total` units of one task. The last event of a task has done == total.

    task: a short label that stays the same for the whole task ("fetch resnet18", "features").
    total: None while unknown.
    """

    task: str
    done: int
    total: int | None
    unit: Literal[
        "bytes", "images", "views", "texts", "steps", "epochs", "words", "models", "trials", "folds"
    ]


class TrainProgress(Progress, frozen=True):
    """Where a phase of training is; done and total are its steps, at most.

    epoch: the one that trains, from 1, and part: how much of it is done, 0..1. loss: its mean so far; None
    while it is on its way from a GPU. monitor, value: what the best epoch is chosen by, as the last one had
    it; None before the first ends. items_per_second: of training, without validation. seconds_left: of this
    phase; at_most: whether patience or a time limit may end it earlier. memory: bytes at most so far, of the
    GPU where there is one, else of this process; None where that cannot be known.
    """

    phase: str
    epoch: int
    epochs: int
    part: float
    loss: float | None
    monitor: str
    value: float | None
    lr: float
    items_per_second: float | None
    seconds_left: float | None
    at_most: bool
    memory: int | None


class Note(msgspec.Struct, frozen=True):
    """Something that the user should know while the work continues. hint: what to do about it. level: a
    detail is good news that nobody needs each time."""

    message: str
    hint: str | None = None
    level: Literal["detail", "info", "warning"] = "info"


MEASURED = ("seconds", "items_per_second", "peak_memory")
"""The fields of an EpochEnd that differ between two runs that are otherwise equal to the last bit."""


class EpochEnd(msgspec.Struct, frozen=True):
    """The result of one epoch. Losses are means per item; seconds of this epoch.

    phase: its name, "head" while the backbone is frozen, "tune" when deeper stages train as well. metrics: on
    the validation items, by the names that the task gives them; accuracies are in 0..1. mixed: whether the
    training loss is of images that were mixed with each other, so that it cannot be held against others.
    items_per_second: of training, without validation. peak_memory: bytes at most since the process began, of
    the GPU where there is one, else of this process. Both None where they were not measured.
    """

    phase: str
    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    metrics: Mapping[str, float]
    lr: float
    seconds: float
    best: bool
    mixed: bool = False
    items_per_second: float | None = None
    peak_memory: int | None = None

    @property
    def val_accuracy(self) -> float:
        """The validation accuracy. Raises KeyError for a task that has none."""
        return self.metrics["accuracy"]


Event = Progress | Note | EpochEnd
Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Discards every event."""
