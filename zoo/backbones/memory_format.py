"""How the tensors of a network lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def channels_last(network: nn.Module) -> nn.Module:
    """The network itself, its convolutions with the channels last in memory.

    1.3 times as fast for MobileNetV2 on a CPU, more on tensor cores; nothing to a head. Only tensors of four
    dimensions have that format: `network.to(memory_format=…)` also tries those of five, such as the Conv3d
    of a lambda layer, and fails.
    """
    converted: nn.Module = network._apply(_convert)  # type: ignore[no-untyped-call]
    return converted


def _convert(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
