"""One class per item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.training.task import Answer, Loss, Metric, Task, mean

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Target


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


def _rank_classes(
    outputs: Tensor, names: Sequence[str], top: int, _thresholds: Sequence[float] | None = None
) -> list[Answer]:
    """The most probable classes of each item, best first, with their probabilities."""
    values, columns = outputs.softmax(1).topk(min(top, outputs.shape[1]))
    return [
        Answer(tuple((names[c], value) for value, c in zip(row, at, strict=True)), (names[at[0]],))
        for row, at in zip(values.tolist(), columns.tolist(), strict=True)
    ]


def _guess_class(targets: Tensor, width: int) -> tuple[str, Tensor]:
    """Always the class with the most training items, the first of equals."""
    import torch

    counts = torch.bincount(targets, minlength=width)
    most = int(counts.argmax())
    return "always {0}", torch.eye(width)[most]


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).sum()


SINGLE_LABEL = Task(
    name="single-label",
    width=len,
    encode=_encode_classes,
    loss=_cross_entropy,
    metrics={"accuracy": Metric("higher", _right, mean)},
    decide=_rank_classes,
    guess=_guess_class,
    balance=balanced_weights,
    smooths=True,
    one_class=True,
)
