"""A network as an ordered list of stages, from its input to its classifier, derived from its module tree.

There is no table of architectures; three rules apply to any network:

1. A container of nearly all layers is a list of stages, not a stage: it is opened (`features`, `blocks`,
   `encoder.layers`), until there are several containers of comparable size.
2. Single convolutions and norms before the first block form the stem; layers between two blocks (a
   transition, a downsampling) belong to the block before them.
3. A flat sequence of layers, as in VGG, starts a new stage after each pooling.

Size is counted in layers (weight matrices), not in parameters: nine tenths of VGG's parameters are in two
of its sixteen layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from adapters.classifiers import AUXILIARY, find_classifiers
from adapters.errors import NoClassifier, UnknownName
from adapters.heads import Head
from adapters.structure import is_inside, is_own, is_parameter_free, join_name, layers_in, unwrap

NEARLY_ALL = 0.9  # share of the layers from which on a container is always opened
MOST = 0.5  # share of the layers from which on it is opened if its neighbours are of another kind
LEFTOVER = 0.01  # share of the backbone's parameters below which its end belongs to the stage before
LITTLE = 0.25  # share of its layers up to which one neighbour of the same kind is ignored


@dataclass(frozen=True)
class Stage:
    """A sequence of layers that are frozen, unfrozen and given a learning rate together.

    Attributes:
        name: The dotted name of its module, or of its first one; "stem" if several modules form the stem.
        parts: Dotted names of its modules, and of parameters and buffers that a container of several stages
            owns itself.
        classifier: Whether it contains the network's classifier, with auxiliary ones; only the last stage
            can.
    """

    name: str
    parts: tuple[str, ...]
    classifier: bool = False

    def holds(self, name: str) -> bool:
        """Whether a dotted name (of a module, parameter or buffer) belongs to the stage.

        >>> Stage("stem", ("conv1", "bn1")).holds("conv1.weight")
        True
        """
        return any(is_inside(name, part) for part in self.parts)

    def named_modules(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """The stage's modules, with their dotted names in the model."""
        return ((name, module) for name, module in model.named_modules() if self.holds(name))

    def named_parameters(self, model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
        """The stage's parameters, with their dotted names in the model; a shared one is the first stage's."""
        return ((name, parameter) for name, parameter in model.named_parameters() if self.holds(name))

    def named_buffers(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """The stage's buffers, with their dotted names in the model."""
        return ((name, buffer) for name, buffer in model.named_buffers() if self.holds(name))


def stages(model: nn.Module) -> list[Stage]:
    """The stages of a network, from its input to its classifier.

    torchvision's and timm's ResNets: stem, layer1, …, layer4, fc; MobileNetV2: features.0, …, features.18,
    classifier; VGG: features.0, features.5, … (one per pooling), classifier.0, classifier.3, classifier.6;
    timm's vision transformers: stem, blocks.0, …, blocks.11, head.

    >>> [stage.name for stage in stages(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))]
    ['0', '2']

    The order is that in which modules were registered; a network with a method `own_stages()` states its own
    stages.

    Args:
        model: Any network.

    Returns:
        The stages. Every parameter and buffer is in exactly one; the last one has the classifier, if there is
        one.
    """
    if isinstance(model, Head):
        return [Stage("head", ("",), classifier=True)]
    if stated := _stated_stages(model):
        return stated
    try:
        classifiers = find_classifiers(model)
    except NoClassifier:
        classifiers = []
    if classifiers == [""]:
        return [Stage(type(model).__name__.lower(), ("",), classifier=True)]
    if not classifiers and _is_lone(model):
        return [Stage(type(model).__name__.lower(), ("",))]
    before, last = _split_classifier(model, _open_containers(model, classifiers), classifiers)
    runs = _group(before, _stem_of(model))
    if classifiers:  # pooling and dropout right before the classifier belong to it, not to the last block
        idle: Run = []
        while runs and len(runs[-1]) > 1 and not runs[-1][-1].owns:
            idle.insert(0, runs[-1].pop())
        last = idle + last
    found = [Stage(name, _parts_of(run)) for name, run in zip(_name_runs(runs), runs, strict=True)]
    found = _fold_leftovers(model, found)
    if classifiers:
        found.append(Stage(_classifier_part(model, classifiers), _parts_of(last), classifier=True))
    return found


def _is_lone(model: nn.Module) -> bool:
    """Whether it is one layer, as a batch norm, a dropout or an LSTM, and no network of layers: all that it
    contains is without tensors, as the activation in timm's batch norms."""
    layers = [layer for _, layer in layers_in(model)]
    own = len([*model.parameters(recurse=False), *model.buffers(recurse=False)])
    empty = not layers and not isinstance(model, nn.Sequential | nn.ModuleList | nn.ModuleDict)
    return all(map(is_parameter_free, layers)) and bool(own or empty)


def _fold_leftovers(model: nn.Module, found: list[Stage]) -> list[Stage]:
    """The stages without leftovers at the end: a norm, a gate or a position encoding after the last block,
    with hardly a parameter, belongs to the block. Else "unfreeze the last stage" trains next to nothing."""
    sizes = [sum(p.numel() for n, p in stage.named_parameters(model) if is_own(n)) for stage in found]
    while len(found) > 1 and sizes[-1] < LEFTOVER * min(sum(sizes), 10 * sizes[-2]):
        last = found.pop()
        found[-1] = Stage(found[-1].name, found[-1].parts + last.parts)
        size = sizes.pop()
        sizes[-1] += size
    return found


def find_stage(found: Sequence[Stage], stage: str | int, *, wrapper: str = "") -> int:
    """The index of a stage, given by its name, one of its parts, a common prefix of parts, or its index.

    wrapper: a prefix that names may leave out: `layer4` is `_orig_mod.layer4` of a compiled network.

    Raises UnknownName, with all names.
    """
    names = [one.name for one in found]
    if isinstance(stage, int):
        if not -len(found) <= stage < len(found):
            raise UnknownName("stage", stage, [f"{i} ({name})" for i, name in enumerate(names)])
        return stage % len(found)
    for name in dict.fromkeys([stage, join_name(wrapper, stage)] if stage else []):
        matches = (
            [i for i, one in enumerate(found) if one.name == name]
            or [i for i, one in enumerate(found) if name in one.parts]
            or [i for i, one in enumerate(found) if any(is_inside(part, name) for part in one.parts)]
        )
        if matches:
            return matches[0]
    raise UnknownName("stage", stage, names)


@dataclass(frozen=True)
class _Piece:
    """Modules that stay together while stages are formed.

    matrices: how many of its parameters are weights, with at least two dimensions. segment: layers of a flat
    sequence up to a pooling; a stage by itself, however small.
    """

    parts: tuple[str, ...]
    owns: bool  # parameters or buffers
    matrices: int
    kind: type | None = None
    segment: bool = False

    @property
    def is_block(self) -> bool:
        """Whether it always begins a stage."""
        return self.segment or self.matrices > 1


Run: TypeAlias = list[_Piece]


def _stated_stages(model: nn.Module) -> list[Stage]:
    """The stages that a network with `own_stages` states, as `(name, parts)`; the last has the classifier."""
    prefix, inner = unwrap(model)
    ask = getattr(inner, "own_stages", None)
    rows = list(ask()) if callable(ask) else []
    return [
        Stage(name, tuple(join_name(prefix, part) for part in parts), classifier=number == len(rows))
        for number, (name, parts) in enumerate(rows, 1)
    ]


def _open_containers(model: nn.Module, classifiers: Sequence[str]) -> list[_Piece]:
    """The tree in pieces, in order: containers of the classifier or of nearly all layers are opened."""
    pieces = _open_module(model, "", classifiers)
    while (index := _heaviest(pieces, classifiers)) is not None:
        name = pieces[index].parts[0]
        pieces[index : index + 1] = _open_module(model.get_submodule(name), name, classifiers)
    return pieces


def _heaviest(pieces: Sequence[_Piece], classifiers: Sequence[str]) -> int | None:
    """The index of the next piece to open, if any."""
    for index, piece in enumerate(pieces):
        if piece.parts[0] not in classifiers and _has_one_of(piece, classifiers):
            return index
    backbone = [(i, piece) for i, piece in enumerate(pieces) if not _has_one_of(piece, classifiers)]
    total = sum(piece.matrices for _, piece in backbone if piece.is_block)
    for index, piece in backbone:
        if piece.kind is None or piece.segment or piece.matrices < 2:
            continue
        alike = [p.matrices for i, p in backbone if i != index and p.is_block and p.kind is piece.kind]
        alone = len(alike) < 2 and sum(alike) < LITTLE * piece.matrices  # a stem may be of the same kind
        if piece.matrices >= NEARLY_ALL * total or (alone and piece.matrices > MOST * total):
            return index
    return None


def _open_module(module: nn.Module, name: str, classifiers: Sequence[str]) -> list[_Piece]:
    """The pieces of one module: its own tensors, then its children; those of a flat sequence joined."""
    own = [
        *(own for own, _ in module.named_parameters(recurse=False)),
        *(own for own, _ in module.named_buffers(recurse=False)),
    ]
    tensors = [_Piece((join_name(name, tensor),), owns=True, matrices=0) for tensor in own]
    children = [
        _Piece(
            (join_name(name, child_name),),
            owns=not is_parameter_free(child),
            matrices=sum(tensor.ndim > 1 for inside, tensor in child.named_parameters() if is_own(inside)),
            kind=type(child) if layers_in(child) else None,
        )
        for child_name, child in layers_in(module)
    ]
    if isinstance(module, nn.Sequential) and _is_flat(children, classifiers):
        pools = ["Pool" in type(child).__name__ for child in module.children()]
        children = _segments(children, pools, classifiers)
    return tensors + children


def _is_flat(pieces: Sequence[_Piece], classifiers: Sequence[str]) -> bool:
    """Whether the pieces are single layers, several of them besides the classifier."""
    layers = [piece for piece in pieces if piece.matrices and not _has_one_of(piece, classifiers)]
    return len(layers) > 2 and all(piece.matrices == 1 for piece in layers)


def _has_one_of(piece: _Piece, classifiers: Sequence[str]) -> bool:
    """Whether the piece is a classifier or contains one."""
    return any(is_inside(name, part) for name in classifiers for part in piece.parts)


def _segments(pieces: list[_Piece], pools: Sequence[bool], classifiers: Sequence[str]) -> list[_Piece]:
    """The pieces of a flat sequence, joined up to each pooling; those after the last one stay single."""
    ends = [i + 1 for i, pool in enumerate(pools) if pool]
    joined = []
    for start, end in zip([0, *ends], ends, strict=False):
        run = pieces[start:end]
        if not any(piece.matrices for piece in run) or any(_has_one_of(piece, classifiers) for piece in run):
            joined += run
            continue
        parts = tuple(part for piece in run for part in piece.parts)
        matrices = sum(piece.matrices for piece in run)
        joined.append(_Piece(parts, owns=True, matrices=matrices, segment=True))
    return joined + pieces[ends[-1] if ends else 0 :]


def _split_classifier(
    model: nn.Module, pieces: Sequence[_Piece], classifiers: Sequence[str]
) -> tuple[list[_Piece], list[_Piece]]:
    """The pieces of the backbone, and those of the classifier's stage, both in order.

    The classifier's stage also has: the rest of its container if that has no other weights (`head` with its
    pooling, norm and dropout), other classifiers of the network, and later modules without weights.
    """
    if not classifiers:
        return list(pieces), []
    inner = unwrap(model)[0]
    wholes = [
        *(_widest_container(model, name, classifiers) for name in classifiers),
        *(join_name(inner, name) for name in AUXILIARY),
    ]
    place = max(i for i, piece in enumerate(pieces) if _has_one_of(piece, classifiers))
    last = [
        piece
        for i, piece in enumerate(pieces)
        if any(is_inside(piece.parts[0], whole) for whole in wholes) or (i > place and not piece.matrices)
    ]
    return [piece for piece in pieces if piece not in last], last


def _classifier_part(model: nn.Module, classifiers: Sequence[str]) -> str:
    """The name of the stage with the classifier."""
    return _widest_container(model, classifiers[0], classifiers)


def _widest_container(model: nn.Module, name: str, classifiers: Sequence[str]) -> str:
    """The outermost container, below the root, in which only the classifier has matrices."""
    widest = name
    while "." in name:
        name = name.rpartition(".")[0]
        others = [
            inside
            for inside, parameter in model.get_submodule(name).named_parameters(prefix=name)
            if parameter.ndim > 1 and not any(is_inside(inside, one) for one in classifiers)
        ]
        if others or name == unwrap(model)[0]:
            break
        widest = name
    return widest


def _group(pieces: Sequence[_Piece], in_known_stem: Callable[[str], bool]) -> list[Run]:
    """The pieces grouped by stage. in_known_stem: whether a name is known to be in the stem."""
    blocks = [i for i, piece in enumerate(pieces) if piece.is_block]
    learns = [i for i, piece in enumerate(pieces) if piece.matrices]
    runs: list[Run] = []
    early: Run = []  # before the first weights: class tokens, position embeddings, normalisation of the input
    in_stem = bool(blocks)
    for i, piece in enumerate(pieces):
        if i not in learns:
            begins = False
        elif piece.is_block and not (piece.kind and in_known_stem(piece.parts[0])):
            begins, in_stem = True, False
        else:
            between = bool(blocks) and i < blocks[-1]  # belongs to the block before
            begins = not runs or not (in_stem or between)
        if begins:
            runs.append([*early, piece])
            early = []
        elif runs:
            runs[-1].append(piece)
        else:
            early.append(piece)
    return runs if runs or not early else [early]


def _stem_of(model: nn.Module) -> Callable[[str], bool]:
    """Whether a name is in the stem, as far as the network states it (timm's `group_matcher`)."""
    prefix, inner = unwrap(model)
    ask = getattr(inner, "group_matcher", None)
    answer = None
    with suppress(Exception):  # some of timm's only support the finer grouping and raise AssertionError
        answer = ask(coarse=True) if callable(ask) else None
    stem = answer.get("stem") if isinstance(answer, dict) else None
    if not isinstance(stem, str):
        return lambda _: False
    return lambda name: re.match(stem, name.removeprefix(f"{prefix}.")) is not None


def _name_runs(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its only module's, "stem" for several at the start, else its first layer's."""
    names = []
    for number, run in enumerate(runs):
        owners = [piece for piece in run if piece.owns]
        first = next((piece for piece in owners if piece.matrices), run[0])
        several = len(owners) > 1 and not first.segment
        names.append("stem" if number == 0 and several else first.parts[0])
    if "stem" in names[1:] and names[0] == "stem":
        names[0] = runs[0][0].parts[0]
    return names


def _parts_of(run: Sequence[_Piece]) -> tuple[str, ...]:
    """The dotted names of everything in the pieces."""
    return tuple(part for piece in run for part in piece.parts)
