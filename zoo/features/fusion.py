"""Batch norm folded into the convolutions before it: the same features from a frozen network in less time.

A convolution followed by batch norm in eval mode is one convolution with other weights (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877, section 3.2). The pairs are observed with hooks while one example runs
through the network, not traced: tracing fails on networks that branch on their inputs, and torch.fx's own
fusion knows only torch's batch norm, so that it skips most of timm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class Folding(NamedTuple):
    """folded: the number of batch norms. before: the network's output for the example before the folding."""

    folded: int
    before: Tensor


def fold_batch_norm(network: nn.Module, example: Tensor) -> Folding:
    """Fold every batch norm of `network` that can be folded, in place.

    The network must be in eval mode, and a copy of the one that trains. example: (batch, channels, height,
    width). If code outside of any module also reads a convolution's output, the result is wrong: compare the
    network's output with `before`.
    """
    pairs, before = _watch_pairs(network, example)
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        _fold(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
        _replace(network, norm_name, _after(norm))
    return Folding(len(pairs), before)


def _watch_pairs(network: nn.Module, example: Tensor) -> tuple[list[tuple[str, str]], Tensor]:
    """(convolution, batch norm that reads its output) by name, both used once per forward pass; and the
    output of that pass."""
    made: dict[int, tuple[str, Tensor]] = {}  # keeps the outputs alive: the id of a freed one would be reused
    read: list[tuple[str, str]] = []
    calls: Counter[str] = Counter()

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
            calls[name] += 1
            made[id(output)] = (name, output)

        return hook

    def recognise(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            calls[name] += 1
            if inputs and id(inputs[0]) in made:
                read.append((made[id(inputs[0])][0], name))

        return hook

    hooks = [
        module.register_forward_hook(remember(name))
        if _is_plain_conv(module)
        else module.register_forward_pre_hook(recognise(name))
        for name, module in network.named_modules()
        if _is_plain_conv(module) or _is_frozen_norm(module)
    ]
    try:
        output: Tensor = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    readers = Counter(conv for conv, _ in read)
    return [(c, n) for c, n in read if calls[c] == calls[n] == readers[c] == 1], output


def _is_plain_conv(module: nn.Module) -> bool:
    """A convolution that uses its weight unchanged: no weight standardisation, no parametrisation."""
    kind = type(module)
    plain = (
        kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) or kind.__name__ == "Conv2dSame"
    )  # timm's, from TensorFlow
    return plain and not module._forward_pre_hooks and not module._forward_hooks


def _is_frozen_norm(module: nn.Module) -> bool:
    """A batch norm that normalises with its running statistics, alone or with an activation (timm's)."""
    plain = type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if not (plain or type(module).__name__ == "BatchNormAct2d"):
        return False
    return not module.training and module.running_mean is not None and module.running_var is not None


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Set the convolution's weight and bias to those of both layers combined."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    conv.weight, conv.bias = weight.requires_grad_(False), bias.requires_grad_(False)


def _after(norm: nn.Module) -> nn.Module:
    """The rest of a batch norm without its normalisation: nothing, or timm's activation."""
    rest = [getattr(norm, name, None) for name in ("drop", "act")]
    modules = [m for m in rest if isinstance(m, nn.Module) and not isinstance(m, nn.Identity)]
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module called `name`."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
