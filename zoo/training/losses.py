"""What training minimises, whatever the task's loss is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adapters import Head
from zoo.training.task import Loss

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


def nothing(output: Any) -> Tensor:
    """A loss of 0, for a share without items, through which every parameter gets a gradient of 0."""
    parts = (output,) if isinstance(output, Tensor) else [part for part in output if part is not None]
    return torch.stack([part.float().sum() for part in parts]).sum() * 0


def main_output(output: Any) -> Tensor:
    """The main output (items, width) of whatever a network returns in train or eval mode."""
    return output if isinstance(output, Tensor) else output[0]


class StartPull:
    """L2-SP: half the squared distance of weights from where they began, times a strength (Li et al. 2018,
    arXiv:1802.01483). It takes the place of their weight decay, which would pull them towards 0.

    It holds whatever learns in the model as it is now, but not a head: a new one has no weights to keep.
    """

    def __init__(self, model: nn.Module, strength: float) -> None:
        heads = {id(p) for module in model.modules() if isinstance(module, Head) for p in module.parameters()}
        self.strength = strength
        self.held = [p for p in model.parameters() if p.requires_grad and id(p) not in heads]
        self.start = [parameter.detach().clone() for parameter in self.held]

    def __call__(self) -> Tensor:
        squares = [(now - before).square().sum() for now, before in zip(self.held, self.start, strict=True)]
        return self.strength / 2 * torch.stack(squares).sum()

    def without_decay(self, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The groups, with a weight decay of 0 for what is pulled; heads have groups of their own."""
        held = {id(parameter) for parameter in self.held}
        return [
            group | {"weight_decay": 0.0} if any(id(p) in held for p in group["params"]) else group
            for group in groups
        ]


def l1_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The sum of absolute values of all weights; biases and norms (one dimension) are left out."""
    return torch.stack([weight.abs().sum() for weight in parameters if weight.ndim > 1]).sum()
