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


def _cross_entropy(weights: Tensor | None, smoothing: float, gamma: float = 0.0) -> Loss:
    """Cross-entropy of logits (items, classes) and classes (items,), or shares of them (items, classes).

    weights: (classes,); the mean is then weighted. smoothing: Szegedy et al. 2016, arXiv:1512.00567. gamma:
    of focal loss, (1 - p)^gamma · -log p of the right class (Lin et al. 2017, arXiv:1708.02002); where an
    item has shares of several classes, smoothed ones too, the sum over them of share times loss.
    """
    from torch.nn import functional as F

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if gamma == 0 and not targets.is_floating_point():
            return F.cross_entropy(outputs, targets, weight=weights, label_smoothing=smoothing)
        width = outputs.shape[1]
        shares = targets if targets.is_floating_point() else F.one_hot(targets, width).to(outputs.dtype)
        wanted = shares * (1 - smoothing) + smoothing / width
        logs = F.log_softmax(outputs, 1)
        losses = -wanted * logs * focus(-logs.expm1(), gamma)
        if weights is not None:  # as torch weighs them where targets are classes: by the weights of the items
            losses, shares = losses * weights, shares * weights
        return losses.sum() / shares.sum()

    return loss


def focus(missing: Tensor, gamma: float) -> Tensor | float:
    """The factor of focal loss. missing: 1 - p, what the probability of the right answer lacks."""
    # Below 1 the slope of a power at 0 is infinite, and infinity times a loss of 0 is not a number.
    return missing.clamp(min=1e-12) ** gamma if gamma else 1.0


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
    probabilities=lambda outputs: outputs.softmax(1),
    smooths=True,
    one_class=True,
)
