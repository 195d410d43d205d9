"""The tasks by name: what an output is trained to be, how good it is, and what it means. One row each.

Everything that differs between one class per item, several classes and numbers is in a row of TASKS: the
loop, the events, the run's record, evaluation and the command line read the row and the names of its metrics.
Imports no torch until something is computed: the recipe's choices come from this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Target

Better: TypeAlias = Literal["higher", "lower"]
Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""(outputs (items, width), targets) -> the mean over the items, a scalar that gradients flow through."""
Ranking: TypeAlias = list[tuple[str, float]]
"""What the outputs of one item mean: names of outputs, each with its probability or value, best first."""

LOSS = "loss"


class _Wishes(Protocol):
    """What a task reads of a recipe."""

    @property
    def monitor(self) -> str: ...
    @property
    def balance(self) -> bool: ...
    @property
    def label_smoothing(self) -> float: ...


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


@dataclass(frozen=True)
class Task:
    """How items are learned and measured.

    width: how many outputs a head has for these classes (or, where numbers are learned, their names).
    encode: (targets of items, width) -> a tensor (items, …). loss: (class weights or None, label smoothing)
    -> the loss. metrics: by name, the first is the headline. decide: (outputs (items, width), names of the
    outputs, how many) -> a ranking per item. balance: (encoded targets, width) -> weights (width,) with which
    each class counts the same; None where there are no classes. smooths: whether label smoothing applies.
    """

    name: str
    width: Callable[[Sequence[str]], int]
    encode: Callable[[Sequence[Target], int], Tensor]
    loss: Callable[[Tensor | None, float], Loss]
    metrics: Mapping[str, Metric]
    decide: Callable[[Tensor, Sequence[str], int], list[Ranking]]
    balance: Callable[[Tensor, int], Tensor] | None = None
    smooths: bool = False

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
        if recipe.balance and self.balance is None:
            yield f"balance needs classes, and {self.name} has none"
        if recipe.label_smoothing and not self.smooths:
            yield f"label_smoothing does not apply to {self.name}"


def _encode_classes(targets: Sequence[Target], _width: int) -> Tensor:
    """(items,) int64: the class of each item."""
    import torch

    return torch.tensor(targets, dtype=torch.long)


def _cross_entropy(weights: Tensor | None, smoothing: float) -> Loss:
    """Cross-entropy of logits (items, classes) and classes (items,).

    weights: (classes,); the mean is then weighted. smoothing: Szegedy et al. 2016, arXiv:1512.00567.
    """
    from torch.nn import functional as F

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, weight=weights, label_smoothing=smoothing)

    return loss


def balanced_weights(targets: Tensor, width: int) -> Tensor:
    """(classes,) weights with which each class counts the same: items / (classes · items of the class).

    As scikit-learn's "balanced" (King and Zeng 2001). A class without items gets 0: it never occurs.
    """
    import torch

    counts = torch.bincount(targets, minlength=width).float()
    weights = counts.sum() / (width * counts)
    return torch.where(counts > 0, weights, torch.zeros_like(weights))


def _rank_classes(outputs: Tensor, names: Sequence[str], top: int) -> list[Ranking]:
    """The most probable classes of each item, best first, with their probabilities."""
    values, columns = outputs.softmax(1).topk(min(top, outputs.shape[1]))
    return [
        [(names[column], value) for value, column in zip(row, at, strict=True)]
        for row, at in zip(values.tolist(), columns.tolist(), strict=True)
    ]


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).sum()


def _mean(sums: Tensor, items: int) -> float:
    """The value of a metric that is a mean over the items."""
    return float(sums) / items


SINGLE_LABEL = Task(
    name="single-label",
    width=len,
    encode=_encode_classes,
    loss=_cross_entropy,
    metrics={"accuracy": Metric("higher", _right, _mean)},
    decide=_rank_classes,
    balance=balanced_weights,
    smooths=True,
)

TASKS: dict[str, Task] = {task.name: task for task in (SINGLE_LABEL,)}
MONITORS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.monitors))
