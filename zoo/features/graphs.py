"""A network on a GPU for a few images at a time: its kernels are recorded once and started together.

The kernels of one image take an H200 0.6 ms in a ResNet-50, and Python starts them in 2.2: the GPU waits. For
64 images it is the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.known import is_known
from zoo.features.portions import is_out_of_memory

MOST = 8
"""Images up to which a graph is recorded: with 8 it is 5 times as fast as the plain network, with 64 hardly
faster. Each keeps the memory of a pass."""
HELD = 4
"""Graphs that are kept."""
AFTER = 3
"""The pass of a size with which it is recorded: that costs as much as a few, and some sizes come once."""


class Graphs:
    """A network as a function of images (batch, channels, height, width) that are on its GPU already.

    Networks with modules of other libraries than torch, torchvision and timm are called as they are: one that
    looks at its numbers on the way cannot be recorded.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.most = MOST if is_known(network) else 0
        self._seen: dict[torch.Size, int] = {}
        self._recorded: dict[torch.Size, tuple[Any, Tensor, Tensor]] = {}
        self._lock = Lock()

    def __call__(self, images: Tensor) -> Tensor:
        found: Tensor
        if not 0 < len(images) <= self.most or torch.is_grad_enabled():
            found = self.network(images)
            return found
        with self._lock:
            recorded = self._recorded.get(images.shape) or self._record(images)
            if recorded is None:
                found = self.network(images)
                return found
            graph, given, found = recorded
            given.copy_(images)
            graph.replay()
            return found.clone()

    def _record(self, images: Tensor) -> tuple[Any, Tensor, Tensor] | None:
        """The graph for images of this shape, its input and its output; None where it is not yet time, or
        cannot be."""
        seen = self._seen[images.shape] = self._seen.get(images.shape, 0) + 1
        if seen < AFTER or len(self._recorded) == HELD:
            return None
        try:
            recorded = record(self.network, images)
        except RuntimeError as error:
            self.most = len(images) - 1 if is_out_of_memory(error) else 0
            return None
        self._recorded[images.shape] = recorded
        return recorded


def record(function: Callable[[Tensor], Tensor], example: Tensor) -> tuple[Any, Tensor, Tensor]:
    """The work of a function on the GPU: its graph, the tensor it reads, and the one it writes. Raises
    RuntimeError for one that waits for the GPU on the way."""
    given, device = example.clone(), example.device
    with torch.cuda.device(device):
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            function(given)  # libraries choose their kernels, and make their workspaces
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # thread_local: another thread may prepare the next batch meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = function(given)
    return graph, given, found
