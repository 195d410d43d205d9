"""What training minimises, whatever the task's loss is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from zoo.training.tasks import Loss

AUXILIARY_WEIGHT = 0.4


def objective(loss: Loss, output: Any, targets: Tensor) -> Tensor:
    """The loss that training minimises, a scalar: the mean over the batch.

    output: of the network: (items, width), or a tuple of it and auxiliary outputs, as Inception gives in
    train mode; those count 0.4 (PyTorch's fine-tuning tutorial).
    """
    main, *auxiliary = (
        (output,) if isinstance(output, Tensor) else (part for part in output if part is not None)
    )
    total = loss(main.float(), targets)
    for part in auxiliary:
        total = total + AUXILIARY_WEIGHT * loss(part.float(), targets)
    return total


def main_output(output: Any) -> Tensor:
    """The main output (items, width) of whatever a network returns in train or eval mode."""
    return output if isinstance(output, Tensor) else output[0]


def l1_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The sum of absolute values of all weights; biases and norms (one dimension) are left out."""
    return torch.stack([weight.abs().sum() for weight in parameters if weight.ndim > 1]).sum()
