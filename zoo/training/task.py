"""What a task is: what an output is trained to be, how good it is, and what it means.

Everything that differs between one class per item, several classes and numbers is in a row of TASKS (see
zoo/training/tasks): the loop, the events, the run's record, evaluation and the command line read the row and
the names of its metrics. Imports no torch until something is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from adapters import HEADS

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Target

Better: TypeAlias = Literal["higher", "lower"]
Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""(outputs (items, width), targets) -> the mean over the items, a scalar that gradients flow through."""


@dataclass(frozen=True)
class Answer:
    """What the outputs of one item mean.

    ranking: names of classes with their probabilities in 0..1, best first. labels: those that the item has.
    values: the numbers of a regression, by name.
    """

    ranking: tuple[tuple[str, float], ...] = ()
    labels: tuple[str, ...] = ()
    values: Mapping[str, float] | None = None


LOSS = "loss"


class _Wishes(Protocol):
    """What a task reads of a recipe."""

    @property
    def head(self) -> str: ...
    @property
    def monitor(self) -> str: ...
    @property
    def balance(self) -> bool: ...
    @property
    def sampling(self) -> str: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def focal_gamma(self) -> float: ...
    @property
    def cutmix(self) -> float: ...


class MakeLoss(Protocol):
    """(weights (width,) or None, label smoothing, exponent of focal loss) -> the loss."""

    def __call__(self, weights: Tensor | None, smoothing: float, gamma: float = 0.0, /) -> Loss: ...


@dataclass(frozen=True)
class Metric:
    """A figure for outputs and targets, made of sums that batches and processes can add.

    better: the direction in which it improves. sums: (outputs (items, width) float32, targets (items, …)) ->
    a tensor that is added up, on the device. value: (the added sums, float64 on the CPU; the number of items)
    -> the figure, nan where it is not defined.
    """

    better: Better
    sums: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor, int], float]


def mean(sums: Tensor, items: int) -> float:
    """The value of a metric that is a mean over the items."""
    return float(sums) / items


@dataclass(frozen=True)
class Task:
    """How items are learned and measured.

    width: how many outputs a head has for these classes (or, where numbers are learned, their names). encode:
    (targets of items, width) -> a tensor (items, …). loss: see MakeLoss; where an item has one class it takes
    rows of shares (items, width) as well. metrics: by name, the first is the headline. decide: (outputs
    (items, width), names of the outputs, how many, thresholds or None) -> an answer per item. guess: (encoded
    targets, width) -> a name, and the outputs (width,) of whoever knows nothing but the training targets.
    balance: (encoded targets, width) -> weights (width,) with which each class counts the same; None where
    there are no classes. scale: the same, with which each number counts the same; such a task's outputs are
    rescaled to the mean and the spread of the targets. thresholds: (outputs, encoded targets) -> the
    probability (width,) from which an item has a class; None where it has exactly one. probabilities: outputs
    (items, width) -> the same in 0..1; None where they are numbers. smooths: whether label
    smoothing applies. one_class: whether an item has exactly one.
    """

    name: str
    width: Callable[[Sequence[str]], int]
    encode: Callable[[Sequence[Target], int], Tensor]
    loss: MakeLoss
    metrics: Mapping[str, Metric]
    decide: Callable[[Tensor, Sequence[str], int, Sequence[float] | None], list[Answer]]
    guess: Callable[[Tensor, int], tuple[str, Tensor]]
    balance: Callable[[Tensor, int], Tensor] | None = None
    scale: Callable[[Tensor, int], Tensor] | None = None
    thresholds: Callable[[Tensor, Tensor], tuple[float, ...]] | None = None
    probabilities: Callable[[Tensor], Tensor] | None = None
    smooths: bool = False
    one_class: bool = False

    @property
    def headline(self) -> str:
        """The metric that stands for the result where there is room for one."""
        return next(iter(self.metrics))

    @property
    def monitors(self) -> Mapping[str, Better]:
        """The values that may decide which epoch is best, each with its better direction."""
        return {LOSS: "lower", **{name: metric.better for name, metric in self.metrics.items()}}

    def is_better(self, one: float, other: float) -> bool:
        """Whether one value of the headline metric is better than another."""
        return one > other if self.metrics[self.headline].better == "higher" else one < other

    def problems(self, recipe: _Wishes) -> Iterator[str]:
        """Every wish of a recipe that this task cannot meet, as sentences."""
        if recipe.monitor not in self.monitors:
            known = ", ".join(self.monitors)
            yield f"monitor {recipe.monitor} is not measured for {self.name}; these are: {known}"
        if recipe.head in HEADS and HEADS[recipe.head].closed_form and not self.one_class:
            yield (
                f"head {recipe.head} gives every item one class, and {self.name} does not: "
                "use linear, mlp or cosine"
            )
        if recipe.balance and self.balance is None:
            yield f"balance needs classes, and {self.name} has none"
        for knob in ("focal_gamma", "cutmix"):  # what does a rectangle of another image add to a number?
            if getattr(recipe, knob) and self.balance is None:
                yield f"{knob} needs classes, and {self.name} has none"
        if recipe.sampling != "once" and not self.one_class:
            yield f"sampling {recipe.sampling} is for items of exactly one class, not for {self.name}"
        if recipe.label_smoothing and not self.smooths:
            yield f"label_smoothing does not apply to {self.name}"

    def figures(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The metrics of outputs (items, width) for encoded targets, but for those that are not defined."""
        import math

        found = {
            name: metric.value(metric.sums(outputs, targets).double(), len(targets))
            for name, metric in self.metrics.items()
        }
        return {name: value for name, value in found.items() if not math.isnan(value)}
