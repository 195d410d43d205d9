"""What a learning rate, a batch size, layers and neurons do on some data: three short series of heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec

from adapters import count_parameters
from zoo.choosing.pictures import new_figure, replace_figure
from zoo.choosing.tuning.bench import Bench
from zoo.events import EpochEnd
from zoo.training.recipe import Recipe, Resolved, merge, resolve
from zoo.training.strategies import phases

_EPOCHS = 30
_BATCHES = (8, 32, 128)
_WIDTH = 256  # of the single hidden layer that the others have as many parameters as


@dataclass(frozen=True)
class Example:
    """One head of a series. setting: what is different. history: its epochs; shorter where the loss was not a
    number any more. parameters: that were trained. fault: what ended its training."""

    setting: str
    history: tuple[EpochEnd, ...]
    parameters: int
    seconds: float
    fault: str | None

    @property
    def last(self) -> EpochEnd | None:
        """The last finished epoch."""
        return self.history[-1] if self.history else None


@dataclass(frozen=True)
class Lesson:
    """A series of heads that differ in one thing. name: of the knob. text: what to look for."""

    name: str
    title: str
    text: str
    examples: tuple[Example, ...]


def make_lessons(bench: Bench, best: Recipe) -> list[Lesson]:
    """Three series around a recipe, on features that are in memory. Empty if the recipe's head is not trained
    on features: such a series would take hours."""
    kind = bench.session.plan.dataset.kind
    plain = _for_the_head_alone(best)
    if any(phase.trains != "features" for phase in phases(resolve(plain, kind))):
        return []
    width = bench.shared[1].head.in_features
    classes = len(bench.session.plan.dataset.classes)
    lr = resolve(plain, kind).lr
    rates = {f"{factor * lr:.2g}": Recipe(lr=factor * lr) for factor in (0.01, 0.1, 1, 10, 100)}
    items = len(bench.session.plan.dataset.train)
    sizes = {f"{size:,}": Recipe(batch_size=size) for size in (*_BATCHES, items) if size <= items}
    return [
        Lesson(
            "lr",
            "Learning rate",
            "Too small: the loss has hardly moved at the end. Too large: it jumps, or rises.",
            _series(bench, plain, rates),
        ),
        Lesson(
            "batch_size",
            "Batch size, at the same rate",
            "Large batches take fewer, steadier steps: an epoch is faster and does less.",
            _series(bench, plain, sizes),
        ),
        Lesson(
            "hidden",
            "Layers against neurons, at equal numbers of parameters",
            "More parameters are not more accuracy: look at what validation makes of each.",
            _series(bench, plain, _shapes(width, classes)),
        ),
    ]


def _for_the_head_alone(recipe: Recipe) -> Recipe:
    """The recipe without its deeper part, for a fixed number of epochs."""
    deeper = {name: None for name in recipe.__struct_fields__ if name.startswith("tune_")}
    open_ = {
        "strategy": None,
        "rank": None,
        "pull": None,
        "unfreeze": None,
        "lr_decay": None,
        "augment": recipe.augment if recipe.views else None,
        "new_words": None,
    }
    return msgspec.structs.replace(recipe, **deeper, **open_, epochs=_EPOCHS, patience=0)


def _shapes(width: int, classes: int) -> dict[str, Recipe]:
    """No hidden layer, and one, two, three with about as many parameters as one of 256.

    >>> [recipe.hidden for recipe in _shapes(1280, 2).values()]
    [None, (256,), (219, 219), (196, 196, 196)]
    """
    wanted = _count(width, classes, (_WIDTH,))
    found = {"none": Recipe(head="linear")}
    for layers in (1, 2, 3):
        widths = [(size,) * layers for size in range(1, _WIDTH + 1)]
        hidden = min(widths, key=lambda hidden: abs(_count(width, classes, hidden) - wanted))
        found["×".join(map(str, hidden))] = Recipe(head="mlp", hidden=hidden)
    return found


def _count(width: int, classes: int, hidden: tuple[int, ...]) -> int:
    """Weights and biases of a chain of layers."""
    sizes = (width, *hidden, classes)
    return sum((before + 1) * after for before, after in pairwise(sizes))


def _series(bench: Bench, base: Recipe, changes: Mapping[str, Recipe]) -> tuple[Example, ...]:
    kind = bench.session.plan.dataset.kind

    def examples() -> Iterator[Example]:
        for setting, change in changes.items():
            start = base
            if change.head is not None:  # what belonged to the other head would have no effect
                start = msgspec.structs.replace(base, hidden=None, activation=None, batch_norm=None)
            yield _train(bench, setting, resolve(merge(start, change), kind))

    return tuple(examples())


def _train(bench: Bench, setting: str, recipe: Resolved) -> Example:
    found = bench.run(recipe)
    fault = found.outcome.fault
    return Example(
        setting,
        tuple(found.outcome.history),
        count_parameters(found.head).trainable,
        found.seconds,
        None if fault is None else str(fault),
    )


def draw_lesson(lesson: Lesson, headline: str, out: Path) -> None:
    """Loss in training and validation, and the validation figure, over the epochs."""
    figure = new_figure(10.0, 3.4)
    panels = figure.subplots(1, 3)
    values: tuple[tuple[str, Callable[[EpochEnd], float | None]], ...] = (
        ("training loss", lambda end: end.train_loss),
        ("validation loss", lambda end: end.val_loss),
        (f"validation {headline}", lambda end: end.metrics.get(headline)),
    )
    for axes, (title, value) in zip(panels, values, strict=True):
        for example in lesson.examples:
            epochs = [end.epoch for end in example.history]
            axes.plot(epochs, [value(end) for end in example.history], label=example.setting, linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=7)
    losses = [end.val_loss for example in lesson.examples for end in example.history]
    if losses and max(losses) > 20 * min(losses):
        panels[0].set_yscale("log")
        panels[1].set_yscale("log")
    panels[2].legend(title=lesson.name, fontsize=7, title_fontsize=7)
    figure.suptitle(lesson.title, fontsize=10)
    replace_figure(figure, out)
