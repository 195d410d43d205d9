"""Grad-CAM: where the last map of features of a network speaks for a class.

Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391: each channel of the map is weighed by the mean of its
gradient. By hooks of our own: equal to captum's LayerGradCam, and right where that one, and others, need
help: on networks all of whose weights are frozen, on maps whose channels come last (Swin), on tokens (ViT),
and on layers whose output is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn

from adapters import stages
from adapters.structure import unwrap

MOST_PREFIX = 8
"""Tokens before those of the grid: a class token, one of distillation, registers (four or eight)."""


class NoMap(Exception):
    """The network has no map of features that its answer depends on: it is not made of places."""


@dataclass(frozen=True)
class Layout:
    """How a tensor of features lies. to_map: such a tensor as (batch, channels, height, width)."""

    name: str
    to_map: Callable[[Tensor], Tensor]


def grad_cam(network: nn.Module, images: Tensor, targets: list[int], layer: str | None = None) -> Tensor:
    """The maps of one image for some outputs, (targets, h, w) float32 on the CPU, before the ReLU: what is
    below 0 speaks against the class.

    images: (1, channels, size, size), preprocessed, on the network's device. layer: a module of it; None for
    the last one that has places and that the answer depends on. No gradient of a parameter is written, and
    modes and statistics are left as they were. Raises NoMap for a network without such a layer.
    """
    with in_eval_mode(network):
        for name in [layer] if layer is not None else last_maps(network, images):
            found = _maps_at(network, name, images, targets)
            if found is not None:
                return found
    raise NoMap


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Within it every module is in eval mode; afterwards each is in its own mode again."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def last_maps(network: nn.Module, images: Tensor) -> list[str]:
    """The modules whose output has places, as Grad-CAM can use it, the last that runs first.

    They are the ends of stages (see `adapters.stages`), and what is between them: not the inside of a block,
    where a map is only a part of what goes on.
    """
    ran: list[str] = []
    prefix = unwrap(network)[0]
    names = dict(network.named_modules())
    parts = [part for stage in stages(network) if not stage.classifier for part in stage.parts]
    hooks = []

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and layout_of(network, output, images) is not None:
                ran.append(name)

        return hook

    try:
        for part in parts:
            if part in names and part != prefix:
                hooks.append(names[part].register_forward_hook(remember(part)))
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(reversed(ran)))


def layout_of(network: nn.Module, features: Tensor, images: Tensor) -> Layout | None:
    """How features lie, where they have at least two by two places; None where they have none.

    A square image has square maps, by which channels that come first differ from those that come last.
    """
    if features.shape[0] != images.shape[0]:
        return None
    if features.ndim == 4:
        _, a, b, c = features.shape
        if b == c and b > 1:
            return Layout("channels first", lambda tensor: tensor)
        if a == b and a > 1:
            return Layout("channels last", lambda tensor: tensor.permute(0, 3, 1, 2))
        return None
    if features.ndim != 3:
        return None
    count = features.shape[1]
    stated = getattr(unwrap(network)[1], "num_prefix_tokens", None)
    prefix = stated if isinstance(stated, int) and _is_square(count - stated) else count - isqrt(count) ** 2
    side = isqrt(count - prefix)
    if prefix > MOST_PREFIX or side < 2:
        return None
    return Layout(
        f"tokens after {prefix}", lambda tensor: tensor[:, prefix:].mT.reshape(len(tensor), -1, side, side)
    )


def _is_square(count: int) -> bool:
    return count > 0 and isqrt(count) ** 2 == count


def _maps_at(network: nn.Module, name: str, images: Tensor, targets: list[int]) -> Tensor | None:
    """The maps at one module; None where the answer does not depend on what it says of places.

    So it is for the last block of a ViT, of which only the class token goes on.
    """
    kept: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # the graph begins here, whatever is frozen before it
        return kept[-1].clone()  # what follows may work in place, which a leaf does not allow

    handle = network.get_submodule(name).register_forward_hook(hook)
    try:
        with torch.enable_grad():
            outputs = network(images)
    finally:
        handle.remove()
    layout = layout_of(network, kept[-1], images)
    if layout is None:
        return None
    features, found = layout.to_map(kept[-1].detach()), []
    for target in targets:
        (gradient,) = torch.autograd.grad(outputs[0, target], kept[-1], retain_graph=True, allow_unused=True)
        if gradient is None or not layout.to_map(gradient).any():
            return None
        weights = layout.to_map(gradient).mean((2, 3), keepdim=True)
        found.append((weights * features).sum(1)[0])
    return torch.stack(found).float().cpu()
