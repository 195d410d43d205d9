"""Two tasks that zoo does not have: what a row must bring, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.training.tasks import Metric, Ranking, Task


def squared_error(_weights: Tensor | None, _smoothing: float) -> Any:
    return lambda outputs, targets: F.mse_loss(outputs, targets)


def value_of(outputs: Tensor, names: Any, _top: int) -> list[Ranking]:
    return [list(zip(names, row, strict=True)) for row in outputs.tolist()]


def r2_sums(outputs: Tensor, targets: Tensor) -> Tensor:
    y, error = targets.double(), (outputs - targets).double()
    return torch.stack([y.sum(), y.square().sum(), error.square().sum()])


def r2_value(sums: Tensor, items: int) -> float:
    total, squares, errors = sums.tolist()
    spread = squares - total**2 / items
    return 1 - errors / spread if spread > 0 else float("nan")


REGRESSION = Task(
    name="regression",
    width=len,
    encode=lambda targets, width: torch.tensor(targets, dtype=torch.float32).reshape(-1, width),
    loss=squared_error,
    metrics={
        "mae": Metric("lower", lambda o, t: (o - t).abs().sum(), lambda sums, items: float(sums) / items),
        "r2": Metric("higher", r2_sums, r2_value),
    },
    decide=value_of,
)


def hot(targets: Any, width: int) -> Tensor:
    rows = torch.zeros(len(targets), width)
    for row, classes in enumerate(targets):
        rows[row, list(classes)] = 1
    return rows


def counts(outputs: Tensor, targets: Tensor) -> Tensor:
    chosen, true = outputs > 0, targets > 0.5
    return torch.stack([(chosen & true).sum(0), (chosen & ~true).sum(0), (~chosen & true).sum(0)])


def macro_f1(sums: Tensor, _items: int) -> float:
    hits, false, missed = sums
    return float((2 * hits / (2 * hits + false + missed).clamp(min=1)).mean())


def chosen(outputs: Tensor, names: Any, top: int) -> list[Ranking]:
    rows = [sorted(zip(row, names, strict=True), reverse=True) for row in outputs.sigmoid().tolist()]
    return [[(name, p) for p, name in row if p > 0.5][:top] for row in rows]


MULTI_LABEL = Task(
    name="multi-label",
    width=len,
    encode=hot,
    loss=lambda weights, _: lambda o, t: F.binary_cross_entropy_with_logits(o, t, pos_weight=weights),
    metrics={
        "f1": Metric("higher", counts, macro_f1),
        "exact": Metric(
            "higher",
            lambda o, t: ((o > 0) == (t > 0.5)).all(1).sum(),
            lambda sums, items: float(sums) / items,
        ),
    },
    decide=chosen,
)
