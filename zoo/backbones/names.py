"""Other names for the tensors of a network: libraries call the same tensor differently.

A scheme states for every tensor of the network the name that a file of its kind has for it. It is believed
only where those names are there, below one prefix, with the shapes that the network has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from torch import nn


def expected_names(network: nn.Module) -> Iterator[tuple[str, Mapping[str, str]]]:
    """(what a scheme is called, name in the file -> name in the network), for every scheme that applies.

    Dropped classifiers (nn.Identity) have names too: their tensors may be in the file.
    """
    keys = list(network.state_dict())
    dropped = [name for name, module in network.named_modules() if isinstance(module, nn.Identity)]
    for title, scheme in SCHEMES.items():
        names = {scheme(network, key): key for key in keys}
        if None not in names and len(names) == len(keys):
            idle = [f"{name}.{tensor}" for name in dropped for tensor in ("weight", "bias")]
            names = {scheme(network, key): key for key in idle} | names
            yield title, {name: key for name, key in names.items() if name is not None}


def _own(_network: nn.Module, key: str) -> str:
    return key


def _numbered(network: nn.Module, key: str) -> str | None:
    """The name in `nn.Sequential(*network.children())`, as fastai and feature extractors are cut."""
    child, _, rest = key.partition(".")
    children = [name for name, _ in network.named_children()]
    return f"{children.index(child)}.{rest}" if child in children else None


# How transformers' ResNetForImageClassification calls the tensors of a ResNet of torchvision or timm.
_TRANSFORMERS_RESNET = (
    (r"conv1\.", r"resnet.embedder.embedder.convolution."),
    (r"bn1\.", r"resnet.embedder.embedder.normalization."),
    (r"layer(\d)\.(\d+)\.conv(\d)\.", r"resnet.encoder.stages.{0}.layers.\2.layer.{1}.convolution."),
    (r"layer(\d)\.(\d+)\.bn(\d)\.", r"resnet.encoder.stages.{0}.layers.\2.layer.{1}.normalization."),
    (r"layer(\d)\.(\d+)\.downsample\.0\.", r"resnet.encoder.stages.{0}.layers.\2.shortcut.convolution."),
    (r"layer(\d)\.(\d+)\.downsample\.1\.", r"resnet.encoder.stages.{0}.layers.\2.shortcut.normalization."),
    (r"fc\.", r"classifier.1."),
)


def _transformers(_network: nn.Module, key: str) -> str | None:
    for pattern, name in _TRANSFORMERS_RESNET:
        found = re.match(pattern, key)
        if found is not None:
            numbers = [int(group) - 1 for group in found.groups()]  # theirs count from 0
            stage, layer = numbers[0] if numbers else 0, numbers[-1] if numbers else 0
            return found.expand(name).format(stage, layer) + key[found.end() :]
    return None


def _transformers_headless(network: nn.Module, key: str) -> str | None:
    name = _transformers(network, key)
    return None if name is None else name.removeprefix("resnet.")


SCHEMES: dict[str, Callable[[nn.Module, str], str | None]] = {
    "": _own,
    "the numbers of nn.Sequential(*network.children())": _numbered,
    "the names of transformers' ResNet": _transformers,
    "the names of transformers' ResNet without its head": _transformers_headless,
}
