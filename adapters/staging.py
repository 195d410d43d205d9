"""A network as an ordered list of stages, from its input to its classifier, read off its module tree.

No table of architectures. Three observations carry it, whatever the network is:

1. A container that holds nearly all layers is a list of stages, not a stage: it is opened (`features`,
   `blocks`, `encoder.layers`), until several containers of comparable weight lie side by side.
2. What comes before the first block, one convolution or norm at a time, is the stem; what lies between two
   blocks (a transition, a downsampling) belongs to the block before it.
3. A flat row of layers, as VGG has, changes its stage where it pools.

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
from adapters.structure import is_inside, is_parameter_free, join_name, unwrap

NEARLY_ALL = 0.9  # of the layers: a container with so many is opened whatever lies beside it
MOST = 0.5  # of the layers: so is one with so many, if what is beside it is of another kind
LITTLE = 0.25  # of its layers: one small neighbour of the same kind does not count


@dataclass(frozen=True)
class Stage:
    """A run of layers that are frozen, unfrozen and given a learning rate together.

    name: the dotted name of its module, or of its first; "stem" where several form one. parts: dotted names
    of its modules, and of parameters and buffers that a container of several stages owns itself.
    classifier: whether the network's classifier is in it, with its auxiliary ones; only the last stage can
    be one.
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
    """The network from its input to its classifier. Every parameter and buffer is in exactly one stage.

    torchvision's and timm's ResNets: stem, layer1, …, layer4, fc; MobileNetV2: features.0, …, features.18,
    classifier; VGG: features.0, features.5, … (one per pooling), classifier.0, classifier.3, classifier.6;
    timm's vision transformers: stem, blocks.0, …, blocks.11, head.

    >>> [stage.name for stage in stages(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))]
    ['0', '2']

    The last stage holds the classifier, where there is one. An order that differs from the order in which
    the modules were registered cannot be seen; a network with an `own_stages()` says itself what they are.
    """
    if isinstance(model, Head):
        return [Stage("head", ("",), classifier=True)]
    if told := _told_stages(model):
        return told
    try:
        classifiers = find_classifiers(model)
    except NoClassifier:
        classifiers = []
    if classifiers == [""]:
        return [Stage(type(model).__name__.lower(), ("",), classifier=True)]
    before, last = _split_classifier(model, _open_containers(model, classifiers), classifiers)
    runs = _group(before, _stem_of(model))
    if classifiers:  # pooling and dropout right before the classifier work for it, not for the last block
        idle: Run = []
        while runs and len(runs[-1]) > 1 and not runs[-1][-1].owns:
            idle.insert(0, runs[-1].pop())
        last = idle + last
    found = [Stage(name, _parts_of(run)) for name, run in zip(_name_runs(runs), runs, strict=True)]
    if classifiers:
        found.append(Stage(_classifier_part(model, classifiers), _parts_of(last), classifier=True))
    return found


def find_stage(found: Sequence[Stage], stage: str | int) -> int:
    """The index of a stage, given by its name, by one of its parts, by what several begin with, or by index.

    Raises UnknownName, with all names.
    """
    names = [one.name for one in found]
    if isinstance(stage, int):
        if not -len(found) <= stage < len(found):
            raise UnknownName("stage", stage, [f"{i} ({name})" for i, name in enumerate(names)])
        return stage % len(found)
    matches = (
        [i for i, one in enumerate(found) if one.name == stage]
        or [i for i, one in enumerate(found) if stage in one.parts]
        or [i for i, one in enumerate(found) if any(is_inside(part, stage) for part in one.parts)]
    )
    if not matches or stage == "":
        raise UnknownName("stage", stage, names)
    return matches[0]


@dataclass(frozen=True)
class _Piece:
    """Some modules that stay together while stages are formed.

    matrices: how many of its parameters are weights, with two dimensions or more. segment: layers of a flat
    row up to where it pools; a stage by itself, however small.
    """

    parts: tuple[str, ...]
    owns: bool  # parameters or buffers
    matrices: int
    kind: type | None = None
    segment: bool = False

    @property
    def is_block(self) -> bool:
        """Whether it begins a stage wherever it stands."""
        return self.segment or self.matrices > 1


Run: TypeAlias = list[_Piece]


def _told_stages(model: nn.Module) -> list[Stage]:
    """What a network with `own_stages` says: `(name, parts)` each, the last one with the classifier."""
    prefix, inner = unwrap(model)
    ask = getattr(inner, "own_stages", None)
    rows = list(ask()) if callable(ask) else []
    return [
        Stage(name, tuple(join_name(prefix, part) for part in parts), classifier=number == len(rows))
        for number, (name, parts) in enumerate(rows, 1)
    ]


def _open_containers(model: nn.Module, classifiers: Sequence[str]) -> list[_Piece]:
    """The tree in pieces, in order: opened where the classifier is, and where nearly all layers are."""
    pieces = _open_module(model, "", classifiers)
    while (index := _heaviest(pieces, classifiers)) is not None:
        name = pieces[index].parts[0]
        pieces[index : index + 1] = _open_module(model.get_submodule(name), name, classifiers)
    return pieces


def _heaviest(pieces: Sequence[_Piece], classifiers: Sequence[str]) -> int | None:
    """The index of the piece that has to be opened next, if there is one."""
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
    """The pieces of one module: its own tensors, then its children; those of a flat row taken together."""
    own = [
        *(own for own, _ in module.named_parameters(recurse=False)),
        *(own for own, _ in module.named_buffers(recurse=False)),
    ]
    tensors = [_Piece((join_name(name, tensor),), owns=True, matrices=0) for tensor in own]
    children = [
        _Piece(
            (join_name(name, child_name),),
            owns=not is_parameter_free(child),
            matrices=sum(parameter.ndim > 1 for parameter in child.parameters()),
            kind=type(child) if list(child.children()) else None,
        )
        for child_name, child in module.named_children()
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
    """The pieces of a flat row, those up to a pooling as one; after the last one they stay single."""
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

    With the classifier go: the rest of the container that holds nothing else that learns much (`head` with
    its pooling, norm and dropout), other classifiers of the network, and what comes after without weights.
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
    """The pieces, those of one stage together. in_known_stem: whether a name is in the stem for certain."""
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
            between = bool(blocks) and i < blocks[-1]  # then it belongs to the block before
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
    """Whether a name is in the stem, as far as the network says so itself (timm's `group_matcher`)."""
    prefix, inner = unwrap(model)
    ask = getattr(inner, "group_matcher", None)
    answer = None
    with suppress(Exception):  # some of timm's only know the finer grouping, and say so by an AssertionError
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
