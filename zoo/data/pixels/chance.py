"""Random transforms of torchvision that draw from a generator of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode

_DRAWING = frozenset(
    {
        torch.rand,
        torch.randint,
        torch.randn,
        torch.randperm,
        torch.bernoulli,
        torch.multinomial,
        torch.normal,
        torch._sample_dirichlet,  # what torch.distributions.Beta draws with
        Tensor.bernoulli_,
        Tensor.exponential_,
        Tensor.normal_,
        Tensor.random_,
        Tensor.uniform_,
    }
)


class drawing_from(TorchFunctionMode):
    """Inside, in this thread, torch draws from `generator` instead of its global one.

    The transforms of torchvision take no generator, and the global one belongs to the whole process: threads
    that decode images would draw from it in turn, now in this order and now in that.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **kwargs, generator=self.generator) if func in _DRAWING else func(*args, **kwargs)
