"""Batch norms of several processes: each has its share of a batch, and statistics are of the whole batch.

torch.nn.SyncBatchNorm does this on GPUs alone, puts other modules into the network, and refuses a share
without items. Here the function that every batch norm calls, timm's with an activation too, computes what it
would in one process, by the same formula (Ioffe and Szegedy 2015, arXiv:1502.03167); no module is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class JointBatchNorms(TorchFunctionMode):
    """Inside, a batch norm that learns from a batch learns from the shares of all processes in the group."""

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            return batch_norm(self.group, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def batch_norm(
    group: ProcessGroup,
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """torch's function of that name for a share (items, channels, …); items may be 0."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    over = [axis for axis in range(input.ndim) if axis != 1]
    shape = [1, -1] + [1] * (input.ndim - 2)
    values = input.float()
    count = _sum(torch.tensor(float(input.numel() // input.shape[1]), device=input.device), group)
    mean = _sum(values.sum(over), group) / count
    centred = values - mean.view(shape)
    variance = _sum(centred.square().sum(over), group) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = variance * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    found = centred * torch.rsqrt(variance + eps).view(shape)
    if weight is not None:
        found = found * weight.view(shape)
    if bias is not None:
        found = found + bias.view(shape)
    return found.to(input.dtype)


class _Sum(torch.autograd.Function):
    """Added up over all processes; the gradient of a part is what all processes have for the sum."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: ProcessGroup) -> Tensor:
        """The sum."""
        from torch import distributed

        ctx.group = group
        whole = part.clone()
        distributed.all_reduce(whole, group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The sum of what every process has."""
        from torch import distributed

        whole = gradients[0].clone()
        distributed.all_reduce(whole, group=ctx.group)
        return whole, None


def _sum(part: Tensor, group: ProcessGroup) -> Tensor:
    found: Tensor = _Sum.apply(part, group)
    return found
