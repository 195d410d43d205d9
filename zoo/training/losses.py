"""What training makes small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AUXILIARY_WEIGHT = 0.4


def logits_of(output: Any) -> Tensor:
    """The main logits (batch, classes) of whatever a network returns in train or eval mode."""
    return output if isinstance(output, Tensor) else output[0]


def objective(
    output: Any,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy that training makes small, a scalar: the mean over the batch.

    output: logits (batch, classes), or a tuple of them and auxiliary logits, as Inception gives in train
    mode; those count 0.4 (PyTorch's fine-tuning tutorial). targets: (batch,) class numbers. class_weights:
    (classes,); the mean is then weighted. label_smoothing: Szegedy et al. 2016, arXiv:1512.00567.
    """
    main, *auxiliary = (
        (output,) if isinstance(output, Tensor) else (part for part in output if part is not None)
    )
    loss = F.cross_entropy(main.float(), targets, weight=class_weights, label_smoothing=label_smoothing)
    for logits in auxiliary:
        loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(
            logits.float(), targets, weight=class_weights, label_smoothing=label_smoothing
        )
    return loss


def plain_loss(output: Any, targets: Tensor) -> Tensor:
    """The cross-entropy that is reported and monitored: mean over the batch, no smoothing, no class weights.

    Smoothing puts a floor under the loss and weights change its scale; without them the losses of two runs,
    and of train and val, can be compared.
    """
    return F.cross_entropy(logits_of(output).float(), targets)


def l1_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The sum of absolute values of all weights; biases and norms (one dimension) are left out."""
    return torch.stack([weight.abs().sum() for weight in parameters if weight.ndim > 1]).sum()


def balanced_weights(labels: Sequence[int] | Tensor, classes: int) -> Tensor:
    """(classes,) weights with which each class counts the same: items / (classes · items of the class).

    As scikit-learn's "balanced" (King and Zeng 2001). A class without items gets 0: it never occurs.
    """
    counts = torch.bincount(torch.as_tensor(labels), minlength=classes).float()
    weights = counts.sum() / (classes * counts)
    return torch.where(counts > 0, weights, torch.zeros_like(weights))
