"""A batch on the CPU in small portions, each computed whole by one of several threads.

Two things are gained over a whole batch whose every layer torch shares out. What lies between two layers
stays in the processor's cache: the largest tensor of MobileNetV2 has 19 MB for four images. And no thread
waits for another at every layer, which on a machine that others use too costs several times the work itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

In = TypeVar("In")
Out = TypeVar("Out")

CACHE = 20_000_000
"""Bytes that the largest tensor between two layers may have: 12 to 32 MB are about equally fast on processors
with 1 MB of cache for each core and 32 MB for all."""
LEAST, MOST = 4, 16
"""Images of a portion: fewer do not fill the units of a processor, more gain nothing."""


def portion_of(compute: Callable[[Tensor], object], network: nn.Module, image: Tensor) -> int:
    """How many images a thread computes at once: a power of two.

    compute: a forward pass of the network with one image, (1, channels, height, width), which shows how large
    the tensors between its layers are.

    >>> conv = nn.Conv2d(3, 96, 1)
    >>> portion_of(conv, conv, torch.zeros(1, 3, 112, 112))
    4
    """
    largest = 1

    def see(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    hooks = [module.register_forward_hook(see) for module in network.modules()]
    try:
        compute(image)
    finally:
        for hook in hooks:
            hook.remove()
    return int(2 ** round(math.log2(min(max(CACHE / largest, LEAST), MOST))))


def share_out(compute: Callable[[In], Out], portions: Sequence[In]) -> list[Out]:
    """What a function gives for each portion, computed by as many threads as torch has here, and the fewer
    torch's own threads in each. Without gradients, in inference mode and autocast where the caller is."""
    most = torch.get_num_threads()
    threads = min(most, len(portions))
    if threads <= 1:
        return [compute(portion) for portion in portions]
    inference, mixed = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    half = torch.get_autocast_dtype("cpu")

    def one(portion: In) -> Out:  # these are settings of each thread
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", half, enabled=mixed):
            return compute(portion)

    each: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (most // threads,)}
    try:
        with ThreadPoolExecutor(threads, "zoo-portions", **each) as pool:
            return list(pool.map(one, portions))
    finally:
        torch.set_num_threads(most)  # each of them changed what threads begin with that start later
