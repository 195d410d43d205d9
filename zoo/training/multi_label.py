"""Any number of classes per item: each class is a question of its own, answered by a probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.training.single_label import focus
from zoo.training.task import Answer, Loss, Metric, Task, mean

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Target

_BINS = 2048
"""Probabilities that average precision can part: its error is below 0.002 (tests/training/test_tasks.py)."""
_MOST_WEIGHT = 100.0
_RARE = 1e-4


def _encode(targets: Sequence[Target], width: int) -> Tensor:
    """(items, classes) float32: 1 for each class that the item has, else 0."""
    import torch

    rows = torch.zeros(len(targets), width)
    for row, classes in enumerate(targets):
        rows[row, list(classes)] = 1  # type: ignore[arg-type]
    return rows


def _binary_cross_entropy(weights: Tensor | None, smoothing: float, gamma: float = 0.0) -> Loss:
    """The mean over items and classes of the cross-entropy of each class. weights: (classes,) of items that
    have it. smoothing: how far both answers are moved towards a half. gamma: of focal loss, see
    `single_label`; an answer between yes and no has its share of the loss of both."""
    from torch.nn import functional as F

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        wanted = targets * (1 - smoothing) + smoothing / 2
        if gamma:
            yes = -F.logsigmoid(outputs) * focus((-outputs).sigmoid(), gamma)
            no = -F.logsigmoid(-outputs) * focus(outputs.sigmoid(), gamma)
            yes = yes if weights is None else yes * weights
            return (wanted * yes + (1 - wanted) * no).mean()
        return F.binary_cross_entropy_with_logits(outputs, wanted, pos_weight=weights)

    return loss


def _balance(targets: Tensor, _width: int) -> Tensor:
    """(classes,) how many items lack a class for each that has it, at most 100."""
    have = targets.sum(0)
    return ((len(targets) - have) / have.clamp(min=1)).clamp(1 / _MOST_WEIGHT, _MOST_WEIGHT)


def _histograms(outputs: Tensor, targets: Tensor) -> Tensor:
    """(2, classes, bins): items that have the class, and that lack it, by the probability they are given."""
    import torch

    width = outputs.shape[1]
    # Quantiles of a logistic distribution: even steps of probability leave no room near 0 and 1.
    place = ((outputs.float() / 20 + 0.5) * _BINS).long().clamp(0, _BINS - 1)
    flat = place + torch.arange(width, device=place.device) * _BINS
    have = targets > 0.5
    counts = [
        torch.bincount(flat[mask], minlength=width * _BINS).reshape(width, _BINS) for mask in (have, ~have)
    ]
    return torch.stack(counts)


def _mean_average_precision(sums: Tensor, _items: int) -> float:
    """The mean over the classes that any item has of the average precision: the area below precision against
    recall, as steps (as scikit-learn's average_precision_score)."""
    values = average_precisions(sums)
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else float("nan")


def average_precisions(histograms: Tensor) -> Tensor:
    """(classes,) from what `_histograms` counts; nan for a class that no item has."""
    have, lack = (part.flip(1).double() for part in histograms)  # the highest probability first
    hits, misses = have.cumsum(1), lack.cumsum(1)
    precision = hits / (hits + misses).clamp(min=1)
    area: Tensor = (precision * have).sum(1) / have.sum(1)
    return area


def _outcomes(outputs: Tensor, targets: Tensor) -> Tensor:
    """(3, classes): items that rightly have it, that wrongly have it, that wrongly lack it, at one half."""
    import torch

    chosen, true = outputs > 0, targets > 0.5
    return torch.stack([(chosen & true).sum(0), (chosen & ~true).sum(0), (~chosen & true).sum(0)])


def _macro_f1(sums: Tensor, _items: int) -> float:
    """The mean of F1 over the classes that any item has, or is given."""
    hits, false, missed = sums
    there = (hits + false + missed) > 0
    f1 = 2 * hits[there] / (2 * hits + false + missed)[there]
    return float(f1.mean()) if len(f1) else float("nan")


def _same_sets(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs > 0) == (targets > 0.5)).all(1).sum()


def _decide(
    outputs: Tensor, names: Sequence[str], top: int, thresholds: Sequence[float] | None = None
) -> list[Answer]:
    """The most probable classes of each item, and those whose probability reaches their threshold."""
    least = thresholds or [0.5] * len(names)
    found = []
    for row in outputs.sigmoid().tolist():
        ranked = sorted(zip(names, row, strict=True), key=lambda pair: -pair[1])
        has = {name for name, p, t in zip(names, row, least, strict=True) if p >= t}
        found.append(Answer(tuple(ranked[:top]), tuple(name for name, _ in ranked if name in has)))
    return found


def _guess(targets: Tensor, _width: int) -> tuple[str, Tensor]:
    """Each class as often as the training items have it, whatever the item."""
    share = targets.mean(0).clamp(_RARE, 1 - _RARE)
    return "each class as often as in training", share.logit()


def choose_thresholds(outputs: Tensor, targets: Tensor) -> tuple[float, ...]:
    """The probability of each class from which its F1 on these items is highest: in the middle of the two
    items that it parts; one half for a class that no item has, or where all probabilities are equal."""
    return tuple(_threshold(p, t) for p, t in zip(outputs.sigmoid().double().T, targets.T > 0.5, strict=True))


def _threshold(probabilities: Tensor, have: Tensor) -> float:
    import torch

    if not have.any():
        return 0.5
    ranked, order = probabilities.sort(descending=True)
    hits = have[order].cumsum(0)
    taken = torch.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (taken + have.sum())
    follows = torch.cat([ranked[1:], torch.zeros(1, dtype=ranked.dtype)])
    f1[ranked == follows] = -1  # equal items cannot be parted
    best = int(f1.argmax())
    return float((ranked[best] + follows[best]) / 2)


MULTI_LABEL = Task(
    name="multi-label",
    width=len,
    encode=_encode,
    loss=_binary_cross_entropy,
    metrics={
        "map": Metric("higher", _histograms, _mean_average_precision),
        "f1": Metric("higher", _outcomes, _macro_f1),
        "exact": Metric("higher", _same_sets, mean),
    },
    decide=_decide,
    guess=_guess,
    balance=_balance,
    thresholds=choose_thresholds,
    probabilities=lambda outputs: outputs.sigmoid(),
    smooths=True,
)
