"""One number per item, or several."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

from zoo.training.task import Answer, Loss, Metric, Task

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Target


def _encode(targets: Sequence[Target], width: int) -> Tensor:
    """(items, numbers) float32."""
    import torch

    return torch.tensor(targets, dtype=torch.float32).reshape(-1, width)


def _squared_error(weights: Tensor | None, _smoothing: float, _gamma: float = 0.0, /) -> Loss:
    """The mean over items and numbers of the squared error, in units of each number's variance."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        squares = (outputs - targets).square()
        return (squares if weights is None else squares * weights).mean()

    return loss


def _scale(targets: Tensor, _width: int) -> Tensor:
    """(numbers,) one over the variance of each; 1 for a number that never changes."""
    import torch

    variance = targets.double().var(0, correction=0)
    return torch.where(variance > 0, 1 / variance, torch.ones_like(variance)).float()


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().sum(0)


def _mean_error(sums: Tensor, items: int) -> float:
    """The mean absolute error, over the numbers too."""
    return float(sums.mean()) / items


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).double().square().sum(0)


def _root(sums: Tensor, items: int) -> float:
    """The root of the mean squared error; of several numbers, the mean of their roots."""
    return sum(sqrt(value / items) for value in sums.tolist()) / len(sums)


def _moments(outputs: Tensor, targets: Tensor) -> Tensor:
    import torch

    y, error = targets.double(), (outputs - targets).double()
    return torch.stack([y.sum(0), y.square().sum(0), error.square().sum(0)])


def _r2(sums: Tensor, items: int) -> float:
    """The share of the variance that is explained (R²); of several numbers, the mean. nan for numbers that
    never change."""
    found = []
    for total, squares, errors in sums.T.tolist():
        spread = squares - total**2 / items
        if spread > 1e-12 * max(squares, 1e-300):
            found.append(1 - errors / spread)
    return sum(found) / len(found) if found else float("nan")


def _decide(
    outputs: Tensor, names: Sequence[str], _top: int, _thresholds: Sequence[float] | None = None
) -> list[Answer]:
    """The numbers of each item by their names."""
    return [Answer(values=dict(zip(names, row, strict=True))) for row in outputs.tolist()]


def _guess(targets: Tensor, _width: int) -> tuple[str, Tensor]:
    """The mean of the training items, whatever the item."""
    return "always the mean", targets.mean(0)


REGRESSION = Task(
    name="regression",
    width=len,
    encode=_encode,
    loss=_squared_error,
    metrics={
        "mae": Metric("lower", _errors, _mean_error),
        "rmse": Metric("lower", _squares, _root),
        "r2": Metric("higher", _moments, _r2),
    },
    decide=_decide,
    guess=_guess,
    scale=_scale,
)
