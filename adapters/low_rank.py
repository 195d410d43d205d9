"""Low-rank parts: a layer keeps its weight W and learns a small correction, W + s·B·A (Hu et al. 2021).

https://arxiv.org/abs/2106.09685. Linear layers and convolutions of any network, grouped and depthwise ones
too: a weight of any shape is a matrix with a row per output. B begins with zeros, so a network gives the same
answers before and after `add_low_rank`; `merge_low_rank` stores the very sum that was computed with, so it
changes nothing either.

>>> import torch
>>> from torch import nn
>>> from adapters.freezing import freeze
>>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
>>> _ = freeze(model)
>>> add_low_rank(model, rank=2)
{'0': 2, '3': 2}
>>> [name for name, parameter in model.named_parameters() if parameter.requires_grad][:2]
['0.parametrizations.weight.0.down', '0.parametrizations.weight.0.up']
>>> merge_low_rank(model)
['0', '3']
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from adapters.errors import AdapterError, UnknownName
from adapters.freezing import FIXED, lock_eval, sync_eval_locks
from adapters.heads import Head
from adapters.staging import find_stage, stages
from adapters.structure import Attached, is_inside, join_name, unwrap

WEIGHT, ORIGINAL = "weight", "original"
MARK = ".low_rank."  # between the names of a layer and of a tensor, where a part is saved
TENSORS = ("down", "up", "scale")  # of a low-rank part
Where: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool]


class LowRank(Attached):
    """The correction of one weight: W becomes W + scale · up · down. Made by `add_low_rank`.

    down is A, (rank, inputs), and up is B, (outputs, rank), of the weight as a matrix with a row per output.
    Both have the weight's dtype, and the sum is computed in it, under autocast as well: merging stores what
    was computed with. scale is a buffer, so that a state dict holds all that the sum depends on.
    """

    scale: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: Generator | None = None) -> None:
        super().__init__()
        outputs, inputs = matrix_shape(weight)
        bound = 1 / math.sqrt(inputs)  # as the layer itself is initialised
        drawn = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(drawn.to(weight))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        self.register_buffer("scale", torch.tensor(float(scale), device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        with _own_precision(weight.device):
            correction: Tensor = (self.up @ self.down).reshape(weight.shape)
            return weight + self.scale * correction


def add_low_rank(
    model: nn.Module,
    rank: int = 8,
    alpha: float | None = None,
    where: Where | None = None,
    *,
    seed: int | None = None,
) -> dict[str, int]:
    """Give layers of the network a low-rank part that learns, in place.

    Whether other tensors learn is not changed: `freeze` first, and nothing but the low-rank parts and an
    attached head learns; `freeze` spares them later as well. Idempotent: a layer that has such a part already
    keeps it.

    Args:
        model: Any network. Layers of an attached head are left out: a head learns as a whole.
        rank: Rank of each correction. A layer whose matrix has fewer rows or columns gets that many: 9 for a
            depthwise 3 × 3 convolution.
        alpha: The correction is multiplied by alpha / rank; None for 1.
        where: Which layers: names of layers, of modules around them or of stages, or the end of a layer's
            name (`"qkv"`); or a function of name and module. None for every linear layer and convolution.
        seed: For repeatable weights.

    Returns:
        The rank by the name of each layer that was chosen.

    Raises:
        UnknownName: If no layer has one of the names.
        AdapterError: If the rank or alpha is impossible, if no layer was chosen, or if one has a low-rank
            part of another rank, another parametrisation or no weights yet. Nothing has been changed then.
    """
    scale = _check_numbers(rank, alpha)
    layers = _choose_layers(model, where)
    for name, layer in layers.items():
        _check_free(name, layer)
    ranks = {name: min(rank, *matrix_shape(_own_weight(layer))) for name, layer in layers.items()}
    for name, layer in layers.items():
        _check_alike(name, layer, ranks[name], scale)
    generator = None if seed is None else Generator().manual_seed(seed)
    for name, layer in layers.items():
        if part_of(layer) is None:
            _put_part(layer, LowRank(_own_weight(layer), ranks[name], scale, generator))
    sync_eval_locks(model)  # what is around a part that learns follows .train() again
    return ranks


def merge_low_rank(model: nn.Module) -> list[str]:
    """Add every correction to its weight and take the low-rank parts off, in place.

    The layers are then what they were before `add_low_rank`, with other weights: they keep their classes, the
    names in the state dict, whether they are frozen. The network's answers stay exactly the same on the same
    device. Without low-rank parts nothing happens.

    Args:
        model: Any network.

    Returns:
        The names of the layers that had a low-rank part.

    Raises:
        AdapterError: If a layer has another parametrisation besides.
    """
    return _take_off(model, lambda part, weight: part(weight))


def remove_low_rank(model: nn.Module) -> list[str]:
    """Take the low-rank parts off, in place: the weights are again what they were before `add_low_rank`.

    Args:
        model: Any network.

    Returns:
        The names of the layers that had a low-rank part.

    Raises:
        AdapterError: If a layer has another parametrisation besides.
    """
    return _take_off(model, lambda *_: None)


def low_rank_state(model: nn.Module) -> dict[str, Tensor]:
    """The low-rank parts alone, to be saved: a few per cent of a network's weights.

    >>> model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 2))
    >>> _ = add_low_rank(model, rank=4, where="0")
    >>> {name: tuple(tensor.shape) for name, tensor in low_rank_state(model).items()}
    {'0.low_rank.down': (4, 64), '0.low_rank.up': (64, 4), '0.low_rank.scale': ()}

    Args:
        model: Any network.

    Returns:
        The tensors of every part by the name of its layer; `load_low_rank` takes them.
    """
    return {
        f"{name}{MARK}{tensor}": getattr(part, tensor).detach()
        for name, _, part in _parts(model)
        for tensor in TENSORS
    }


def load_low_rank(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Give the network the low-rank parts that `low_rank_state` returned, in place.

    Layers that have none get one of the saved rank. Other entries of `state` are left alone.

    Args:
        model: The network that the parts were trained on.
        state: What was saved, with other tensors perhaps.

    Returns:
        The names of the layers that were given one.

    Raises:
        AdapterError: If the parts do not fit the network's layers, or are not whole; nothing has been changed
            then.
    """
    layers = dict(_candidates(model))
    names = list(dict.fromkeys(name.rpartition(MARK)[0] for name in state if MARK in name))
    saved = {name: _saved_part(name, layers.get(name), state) for name in names}
    for name, tensors in saved.items():
        part = part_of(layers[name])
        if part is None:
            part = LowRank(_own_weight(layers[name]), len(tensors["down"]), float(tensors["scale"]))
            _put_part(layers[name], part)
        part.load_state_dict(tensors)
    sync_eval_locks(model)
    return names


def is_low_rank(name: str) -> bool:
    """Whether a name in a state is that of a low-rank part.

    >>> is_low_rank("layer4.0.conv1.low_rank.up"), is_low_rank("fc.weight")
    (True, False)
    """
    return MARK in name


def _saved_part(name: str, layer: nn.Module | None, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The saved tensors of one layer. Raises AdapterError if they do not fit it."""
    hint = "Load it into a network of the architecture that it was trained on."
    tensors = {tensor: state[key] for tensor in TENSORS if (key := f"{name}{MARK}{tensor}") in state}
    if layer is None or len(tensors) < len(TENSORS):
        why = "belongs to no layer of this network" if layer is None else "is not whole"
        raise AdapterError(f"the saved low-rank part of {name} {why}", hint=hint)
    _check_free(name, layer)
    down, up = tensors["down"], tensors["up"]
    outputs, inputs = matrix_shape(_own_weight(layer))
    if (tuple(down.shape), tuple(up.shape)) != ((len(down), inputs), (outputs, len(down))):
        raise AdapterError(
            f"the saved low-rank part of {name} is for a weight of {len(up)} × {down.shape[-1]}, "
            f"and this one has {outputs} × {inputs}",
            hint=hint,
        )
    _check_alike(name, layer, len(down), float(tensors["scale"]))
    return tensors


def matrix_shape(weight: Tensor) -> tuple[int, int]:
    """A weight of any shape as a matrix with a row per output: (outputs, everything else).

    >>> matrix_shape(nn.Conv2d(32, 32, 3, groups=32).weight)
    (32, 9)
    """
    return weight.shape[0], math.prod(weight.shape[1:])


def part_of(layer: nn.Module) -> LowRank | None:
    """The low-rank part of a layer; None if it has none."""
    added = _added_to(layer)
    parts = [] if added is None else [part for part in added if isinstance(part, LowRank)]
    return parts[0] if parts else None


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module, LowRank]]:
    """Every layer that has a low-rank part, with its name."""
    for name, module in model.named_modules():
        if (part := part_of(module)) is not None:
            yield name, module, part


def _added_to(layer: nn.Module) -> parametrize.ParametrizationList | None:
    """What makes a layer's weight, if that is parametrised."""
    if not parametrize.is_parametrized(layer, WEIGHT):
        return None
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, layer.parametrizations)[WEIGHT])


def _own_weight(layer: nn.Module) -> nn.Parameter:
    """The weight of a layer, without its low-rank part."""
    added = _added_to(layer)
    return cast(nn.Parameter, layer.weight if added is None else getattr(added, ORIGINAL, layer.weight))


def _own_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, autocast is off; torch's meta device knows none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _check_numbers(rank: int, alpha: float | None) -> float:
    """The factor of the corrections. Raises AdapterError for an impossible rank or alpha."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise AdapterError(f"rank {rank!r}", hint="It is a whole number, at least 1; 4 to 16 are usual.")
    if alpha is None:
        return 1.0
    if not 0 < alpha < math.inf:
        raise AdapterError(f"alpha {alpha}", hint="It must be above 0, and finite; None for the rank.")
    return alpha / rank


def _check_free(name: str, layer: nn.Module) -> None:
    """Raise AdapterError if a layer can have no low-rank part: without weights, or parametrized otherwise."""
    if part_of(layer) is not None:
        return
    if parametrize.is_parametrized(layer):
        raise AdapterError(
            f"{name} is parametrized already, by {', '.join(_kinds_added(layer))}",
            hint="Leave it out with where=…, or remove that first: "
            "torch.nn.utils.parametrize.remove_parametrizations.",
        )
    if is_lazy(cast(Tensor, layer.weight)):
        raise AdapterError(f"{name} has no weights yet", hint="Run the network once, on a batch of zeros.")


def _check_alike(name: str, layer: nn.Module, rank: int, scale: float) -> None:
    """Raise AdapterError if a layer has a low-rank part of another rank or scale."""
    part = part_of(layer)
    if part is None or (len(part.down), float(part.scale)) == (rank, scale):
        return
    raise AdapterError(
        f"{name} has a low-rank part already, of rank {len(part.down)} and scale {float(part.scale):g}, "
        f"not {rank} and {scale:g}",
        hint="Merge it first, adapters.merge_low_rank, or take it off: adapters.remove_low_rank.",
    )


def _kinds_added(layer: nn.Module) -> list[str]:
    """The names of the classes that parametrise a layer."""
    lists = cast(nn.ModuleDict, layer.parametrizations).values()
    return sorted({type(part).__name__ for added in lists for part in added.children()})


def _candidates(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every linear layer and convolution that is not in a head, with its name."""
    heads = {inside for module in model.modules() if isinstance(module, Head) for inside in module.modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | _ConvNd) and module not in heads:
            yield name, module


def _choose_layers(model: nn.Module, where: Where | None) -> dict[str, nn.Module]:
    """The layers that are to have a low-rank part. Raises AdapterError if there are none."""
    layers = dict(_candidates(model))
    if where is None:
        chosen = layers
    elif callable(where):
        chosen = {name: layer for name, layer in layers.items() if where(name, layer)}
    else:
        wanted = [where] if isinstance(where, str) else where
        names = {name for one in wanted for name in _names_of(model, one, layers)}
        chosen = {name: layer for name, layer in layers.items() if name in names}
    if not chosen:
        raise AdapterError(
            f"no layer of {type(model).__name__} was chosen, of {len(layers)} linear layers and convolutions",
            hint=f"The last ones are {', '.join([*layers][-4:])}." if layers else None,
        )
    return chosen


def _names_of(model: nn.Module, wanted: str, layers: Mapping[str, nn.Module]) -> list[str]:
    """The layers that a name means: inside a module, in a stage, or those whose names end so."""
    prefix = unwrap(model)[0]
    for inside in (wanted, join_name(prefix, wanted)):
        if found := [name for name in layers if wanted and is_inside(name, inside)]:
            return found
    if found := [name for name in layers if wanted and name.endswith(f".{wanted}")]:
        return found
    known = stages(model)
    try:
        stage = known[find_stage(known, wanted, wrapper=prefix)]
    except UnknownName as error:
        raise UnknownName("layer", wanted, [*layers]) from error
    return [name for name in layers if stage.holds(name)]


def _put_part(layer: nn.Module, part: LowRank) -> None:
    """Let a layer's weight be made by a low-rank part; the marks of `freeze` stay with the weight."""
    part.train(layer.training)
    parametrize.register_parametrization(layer, WEIGHT, part)
    added = _added_to(layer)
    if FIXED in vars(layer):
        vars(added)[FIXED] = frozenset({ORIGINAL} if WEIGHT in vars(layer)[FIXED] else ())


def _take_off(model: nn.Module, new_weight: Callable[[LowRank, Tensor], Tensor | None]) -> list[str]:
    """Take every low-rank part off. new_weight: what the layer's weight becomes; None where it stays."""
    rows = list(_parts(model))
    for name, layer, _ in rows:
        if len(kinds := _kinds_added(layer)) > 1 or len(cast(nn.ModuleDict, layer.parametrizations)) > 1:
            raise AdapterError(
                f"{name} is parametrized besides, by {', '.join(kinds)}",
                hint="Remove that first: torch.nn.utils.parametrize.remove_parametrizations.",
            )
    owners = Counter(id(own) for module in model.modules() for own in module._parameters.values())
    for _, layer, part in rows:
        weight = _own_weight(layer)
        with torch.no_grad():
            value = new_weight(part, weight)
        if value is not None and owners[id(weight)] > 1:  # tied: the other layer keeps the old weight
            weight = nn.Parameter(value, requires_grad=weight.requires_grad)
        elif value is not None:
            weight.data = value
        _restore(layer, weight)
    if rows:
        sync_eval_locks(model)
    return [name for name, _, _ in rows]


def _restore(layer: nn.Module, weight: nn.Parameter) -> None:
    """Make a layer what it was before `parametrize`, with that weight.

    Not by torch's remove_parametrizations: that deletes a property of the class, which copies of the layer
    share, and changes the order of the parameters.
    """
    fixed = vars(_added_to(layer)).get(FIXED)
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    layer._parameters = {WEIGHT: weight, **layer._parameters}
    if fixed is None:
        vars(layer).pop(FIXED, None)
        return
    vars(layer)[FIXED] = vars(layer).get(FIXED, frozenset()) | ({WEIGHT} if fixed else frozenset())
    lock_eval(layer)
