"""The module tree: owners of tensors, replacing a module, and a copy that shares the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from torch import Tensor, nn

PARAMETRIZED = "parametrizations"  # the child that torch.nn.utils.parametrize adds to a layer
WRAPPED = ("module", "_orig_mod")  # the name of the network in DataParallel and in torch.compile's module


class Attached(nn.Module):
    """A module that was added to a network in order to learn: `freeze` spares it."""


def join_name(prefix: str, name: str) -> str:
    """The dotted name of an item inside the module called `prefix`; "" is that module, or the root.

    >>> join_name("layer4", "0"), join_name("", "fc"), join_name("fc", "")
    ('layer4.0', 'fc', 'fc')
    """
    return f"{prefix}.{name}" if prefix and name else prefix or name


def is_inside(name: str, part: str) -> bool:
    """Whether a dotted name is `part` or inside it; every name is inside the root, "".

    >>> is_inside("layer1.0.conv1", "layer1"), is_inside("layer10.0", "layer1")
    (True, False)
    """
    return part in ("", name) or name.startswith(f"{part}.")


def owner_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that a parameter or buffer belongs to, and the tensor's own name in it."""
    parent, _, leaf = name.rpartition(".")
    return model.get_submodule(parent), leaf


def is_parameter_free(module: nn.Module) -> bool:
    """Whether the module has neither parameters nor buffers."""
    return next(module.parameters(), None) is None and next(module.buffers(), None) is None


def layers_in(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children by name, without what torch.nn.utils.parametrize added: a layer stays a layer with it."""
    return [(name, child) for name, child in module.named_children() if name != PARAMETRIZED]


def is_own(name: str) -> bool:
    """Whether a parameter's dotted name is that of a layer's own tensor, not of what was added to it.

    >>> is_own("conv.weight"), is_own("conv.parametrizations.weight.original")
    (True, True)
    >>> is_own("conv.parametrizations.weight.0.up")
    False
    """
    *above, last = name.split(".")
    return PARAMETRIZED not in above or last.startswith("original")


def unwrap(model: nn.Module) -> tuple[str, nn.Module]:
    """The name and module of the network inside wrappers (DataParallel, torch.compile, or custom ones)."""
    name = ""
    while not isinstance(model, nn.Sequential):
        children = layers_in(model)
        own = next(model.parameters(recurse=False), None)
        if len(children) != 1 or own is not None or not layers_in(children[0][1]):
            break
        # torch.compile's module shows the attributes of the network in it
        if children[0][0] not in WRAPPED and hasattr(model, "get_classifier"):
            break
        name, model = join_name(name, children[0][0]), children[0][1]
    return name, model


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever `old` is registered in the tree; a module may be registered under several names."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() shows a shared child only once
            if child is old:
                setattr(parent, name, new)


def copy_structure(model: nn.Module, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy of the modules, in which every parameter and buffer is `convert` of the original's.

    If `convert` shares memory, weights cost nothing: copying the modules of a ResNet-50 takes 17 ms.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        memo |= {id(tensor): convert(tensor.detach()) for tensor in _loose_tensors(module)}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(convert(parameter.detach()), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = convert(buffer.detach())
    twin: nn.Module = copy.deepcopy(model, memo)
    return twin


def packages_of(model: nn.Module) -> set[str]:
    """The packages that the classes of a network's modules are from.

    >>> packages_of(nn.Sequential(nn.ReLU()))
    {'torch'}
    """
    return {type(module).__module__.partition(".")[0] for module in model.modules()}


def _loose_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Tensors among a module's attributes that are neither parameters nor buffers, such as cached results.

    deepcopy refuses them if they have a gradient (LeViT's and EfficientFormer's attention biases).
    """
    for name, value in vars(module).items():
        if name in ("_parameters", "_buffers"):
            continue
        inside = value.values() if isinstance(value, dict) else [value]
        yield from (one for one in inside if isinstance(one, Tensor))
