"""The mean of the weights over the last steps: it is measured and kept in their place.

An exponential moving average, avg ← d·avg + (1 - d)·weights after every step (Polyak and Juditsky 1992; with
this warm-up of d, Tan and Le 2019, arXiv:1905.11946, and timm): steps that go to and fro cancel out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The moving average of everything in the model that is not frozen, statistics of batch norms included.

    decay: d, 0..1; in the first steps (1 + step) / (10 + step), so that a short run is not held at its start.
    frozen: names of tensors that do not change, and are left alone.
    """

    def __init__(self, model: nn.Module, decay: float, frozen: Collection[str]) -> None:
        self.decay = decay
        self.live: dict[str, Tensor] = {}
        places = set[tuple[int, int]]()
        for name, tensor in model.state_dict().items():  # they share the memory of the model's own
            place = (tensor.data_ptr(), tensor.numel())
            if name in frozen or not tensor.is_floating_point() or not tensor.numel() or place in places:
                continue
            places.add(place)  # a tensor with two names is averaged once
            self.live[name] = tensor
        self.mean = {name: tensor.clone() for name, tensor in self.live.items()}

    def update(self, step: int) -> None:
        """Take the weights in. step: how many there were, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([*self.mean.values()], [*self.live.values()], 1 - decay)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from an average that was saved."""
        for name, tensor in tensors.items():
            self.mean[name].copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards those that it trains."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, live in self.live.items():
            trained = live.clone()
            live.copy_(self.mean[name])
            self.mean[name].copy_(trained)
