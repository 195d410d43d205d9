"""Heads: from the features of a backbone, (batch, features), to logits, (batch, classes).

A new kind of head is one function and one row of HEADS, in adapters/tables. All are plain modules that work
without a backbone:

>>> import torch
>>> head = build_head("mlp", 512, ["ant", "bee"], hidden=(64,), activation="elu", seed=0)
>>> head(torch.zeros(8, 512)).shape
torch.Size([8, 2])
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from math import sqrt
from operator import index
from typing import SupportsIndex, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from adapters.errors import InvalidHead, UnknownName
from adapters.nearest_mean import NearestMean
from adapters.structure import Attached
from adapters.tables import ACTIVATIONS, HEADS, HeadPlan

OUTPUT_STD = 0.01  # of the last layer's weights: the first loss is then ln(classes), whatever the features
HIDDEN = (256,)
COSINE_SCALE = 10.0
Row = TypeVar("Row")


_COLUMNS = 64
"""Features whose statistics are measured at a time; each has the same bits as among all others."""
_LEAST_STD = 0.02


class Standardize(nn.Module):
    """Scales features to mean 0 and standard deviation 1, as measured once on the training features.

    The statistics are buffers, `mean` and `std`, (features,), so they are part of the state dict. Before
    `fit` the module is an identity.

    Args:
        features: The length of a feature vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    @torch.no_grad()
    def fit(self, features: Tensor | Iterable[Tensor]) -> Standardize:
        """Measure mean and standard deviation.

        A feature with the same value for every item is only shifted: its deviation is rounding noise. One
        that hardly ever differs, with less than a fiftieth of the deviation that features have (the root of
        their mean square), is divided by that fiftieth: where it differs in new items, by as much as others
        do, it would outweigh everything else.

        Args:
            features: (items, features), at least one item; or such tensors one after the other, where the
                memory does not hold all items: their statistics are joined as Chan, Golub and LeVeque 1979
                do.

        Returns:
            The module itself.

        Raises:
            InvalidHead: For no items, another width, or values that are not finite.
        """
        parts = [features] if isinstance(features, Tensor) else features
        measured = [self._measure(part) for part in parts]
        count, std, mean = measured[0] if measured else (0, self.std, self.mean)
        if not count:
            raise InvalidHead(
                f"cannot standardise with features of shape (0, {len(self.mean)})",
                hint=f"They must be (items, {len(self.mean)}), with at least one item.",
            )
        for more, its_std, its_mean in measured[1:]:
            apart = its_mean - mean
            count, share = count + more, more / (count + more)
            square = (
                (1 - share) * std.square() + share * its_std.square() + share * (1 - share) * apart.square()
            )
            std, mean = square.sqrt(), mean + share * apart
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise InvalidHead("cannot standardise: some features are NaN or infinite")
        constant = std <= 1e-6 * mean.abs()  # also 0 <= 0
        std = std.clamp(min=_LEAST_STD * std.square().mean().sqrt())
        self.mean.copy_(mean)
        self.std.copy_(std.masked_fill(constant, 1.0))
        return self

    def _measure(self, features: Tensor) -> tuple[int, Tensor, Tensor]:
        """How many items there are, with the standard deviation and the mean of each feature."""
        if features.ndim != 2 or not len(features) or features.shape[1] != len(self.mean):
            raise InvalidHead(
                f"cannot standardise with features of shape {tuple(features.shape)}",
                hint=f"They must be (items, {len(self.mean)}), with at least one item.",
            )
        kind = torch.float32 if features.device.type == "mps" else torch.float64  # mps has no float64
        found = [  # not all in float64 at once: twice the memory of the features
            torch.std_mean(features[:, at : at + _COLUMNS].to(kind), dim=0, correction=0)
            for at in range(0, len(self.mean), _COLUMNS)
        ]
        return len(features), torch.cat([std for std, _ in found]), torch.cat([mean for _, mean in found])

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    def extra_repr(self) -> str:
        return str(len(self.mean))


class Rescale(nn.Module):
    """Gives outputs the mean and the standard deviation of the numbers that are learned, so that layers learn
    numbers around 0 whatever their unit, and the network answers in that unit.

    The statistics are buffers, `mean` and `std`, (outputs,). Before `fit` the module is an identity.

    Args:
        outputs: How many numbers there are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("std", torch.ones(outputs))

    @torch.no_grad()
    def fit(self, targets: Tensor) -> Rescale:
        """Measure mean and standard deviation; a number that never changes keeps a deviation of 1.

        Args:
            targets: (items, outputs), at least one item.

        Returns:
            The module itself.

        Raises:
            InvalidHead: For no items, another width, or values that are not finite.
        """
        if targets.ndim != 2 or not len(targets) or targets.shape[1] != len(self.mean):
            raise InvalidHead(
                f"cannot rescale to targets of shape {tuple(targets.shape)}",
                hint=f"They must be (items, {len(self.mean)}), with at least one item.",
            )
        std, mean = torch.std_mean(targets.double().cpu(), dim=0, correction=0)
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise InvalidHead("cannot rescale: some targets are NaN or infinite")
        self.mean.copy_(mean)
        self.std.copy_(std.masked_fill(std <= 1e-9 * mean.abs(), 1.0))
        return self

    def forward(self, outputs: Tensor) -> Tensor:
        return outputs * self.std + self.mean

    def extra_repr(self) -> str:
        return str(len(self.mean))


class CosineLinear(nn.Module):
    """The cosine of the features with one learned direction per class, times a learned scale.

    The length of a feature vector has no influence, which suits few examples per class: Gidaris and Komodakis
    2018, "Dynamic Few-Shot Visual Learning without Forgetting", arXiv:1804.09501, equation 3, with an initial
    scale of 10; compared by Chen et al. 2019, arXiv:1904.04232 (Baseline++).

    Args:
        in_features: The length of a feature vector.
        classes: Their number.
        generator: A generator on the CPU; None for torch's global one.
    """

    def __init__(self, in_features: int, classes: int, generator: Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, in_features))
        self.scale = nn.Parameter(torch.tensor(COSINE_SCALE))
        nn.init.normal_(
            self.weight, std=1 / sqrt(in_features), generator=generator
        )  # any direction, length 1

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(features, dim=-1), F.normalize(self.weight, dim=-1))

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, classes={self.weight.shape[0]}"


class Head(Attached):
    """A classifier for the features of a backbone: (batch, features) in, logits (batch, classes) out.

    Made by `build_head` and `attach_head`.

    Args:
        kind: A row of HEADS.
        plan: The widths and layers.
        class_names: The names of the classes, if they are known.
        standardize: Whether features are standardised first; see `Standardize`.
        maps: Whether features are (batch, features, height, width), as for a classifier that was a 1 × 1
            convolution; the head then averages over the positions first.
        rescale: Whether outputs are numbers in a unit of their own; see `Rescale`.
        generator: A generator on the CPU; None for torch's global one.

    Attributes:
        kind: As given.
        in_features: The length of a feature vector.
        classes: Their number.
        class_names: As given.
    """

    def __init__(
        self,
        kind: str,
        plan: HeadPlan,
        *,
        class_names: tuple[str, ...] | None = None,
        standardize: bool = False,
        maps: bool = False,
        rescale: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.in_features = plan.in_features
        self.classes = plan.classes
        self.class_names = class_names
        self.maps = maps
        self.standardize = Standardize(plan.in_features) if standardize else nn.Identity()
        self.layers = _look_up(HEADS, "head", kind).build(plan, generator)
        self.rescale = Rescale(plan.classes) if rescale else nn.Identity()

    @property
    def out_features(self) -> int:
        """The number of classes, under nn.Linear's name for it."""
        return self.classes

    def fit_standardize(self, features: Tensor | Iterable[Tensor]) -> None:
        """Fit the head's standardisation to the training features.

        Args:
            features: (items, features), or such tensors one after the other.

        Raises:
            InvalidHead: If the head was built without standardisation.
        """
        if not isinstance(self.standardize, Standardize):
            raise InvalidHead("this head does not standardise", hint="Build it with standardize=True.")
        self.standardize.fit(features)

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """Compute the head from training features, where its kind is computed rather than trained.

        A head that standardises its features is fitted to that first: `fit_standardize`.

        Args:
            features: (items, features).
            labels: (items,), the index of each item's class; every class has an item.

        Raises:
            InvalidHead: If a head of this kind is trained, or the features cannot be used.
        """
        layer = self.layers[-1] if isinstance(self.layers, nn.Sequential) else None
        if not isinstance(layer, NearestMean):
            computed = [kind for kind, row in HEADS.items() if row.closed_form]
            raise InvalidHead(
                f"a head of kind {self.kind} is trained, not computed",
                hint=f"These are computed: {', '.join(computed)}",
            )
        with torch.no_grad():
            layer.fit(self.standardize(to_vectors(features, self.maps)), labels)

    def fit_rescale(self, targets: Tensor) -> None:
        """Fit the unit of the outputs to the training targets.

        Args:
            targets: (items, outputs).

        Raises:
            InvalidHead: If the head was built without it.
        """
        if not isinstance(self.rescale, Rescale):
            raise InvalidHead("this head does not rescale its outputs", hint="Build it with rescale=True.")
        self.rescale.fit(targets)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.rescale(self.layers(self.standardize(to_vectors(features, self.maps))))
        return logits

    def extra_repr(self) -> str:
        return f"{self.kind}, in_features={self.in_features}, classes={self.classes}"


class SecondHead(nn.Module):
    """A second use of the same Head in a network; it owns nothing, so it adds no tensor.

    For networks with a distillation token (DeiT, LeViT): in eval they average the logits of two classifiers.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.first = (head,)  # in a tuple: as an attribute it would be registered, and saved twice

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.first[0](features)
        return logits


def build_head(
    kind: str,
    in_features: int,
    classes: int | Sequence[str],
    *,
    dropout: float = 0.2,
    hidden: Sequence[int] = (),
    activation: str = "relu",
    batch_norm: bool = False,
    standardize: bool = False,
    maps: bool = False,
    rescale: bool = False,
    seed: int | None = None,
    generator: Generator | None = None,
) -> Head:
    """A new head with random weights, float32 on the CPU.

    Hidden layers are initialised with the normal distribution that preserves the scale of their inputs (He et
    al. 2015 for relu and elu, Glorot and Bengio 2010 for tanh and logistic), the last layer with a standard
    deviation of 0.01 and a bias of 0.

    Args:
        kind: A row of HEADS.
        in_features: The length of a feature vector.
        classes: Their number or their names.
        dropout: Share of the inputs of every linear layer that is dropped in training.
        hidden: Widths of the hidden layers of an mlp; () for one of 256.
        activation: A row of ACTIVATIONS, after each hidden layer.
        batch_norm: Whether there is a batch norm after each hidden layer.
        standardize: See `Standardize`; call `fit_standardize` before training.
        maps: See `Head`.
        rescale: For a regression, see `Rescale`; call `fit_rescale` before training.
        seed: For repeatable weights. torch's global generator is used only without seed and generator.
        generator: A generator on the CPU, instead of a seed.

    Returns:
        The head.

    Raises:
        UnknownName: If a kind or an activation does not exist.
        InvalidHead: If a number is impossible.
    """
    number, names = _count_classes(classes)
    plan = HeadPlan(in_features, number, dropout, _read_widths(hidden), activation, batch_norm)
    _check_plan(kind, plan)
    generator = pick_generator(seed, generator)
    return Head(
        kind,
        plan,
        class_names=names,
        standardize=standardize,
        maps=maps,
        rescale=rescale,
        generator=generator,
    )


def pick_generator(seed: int | None, generator: Generator | None) -> Generator | None:
    """The given generator, or a new one with the seed; None for torch's global one."""
    if seed is None:
        return generator
    if generator is not None:
        raise InvalidHead("seed and generator were both given", hint="Give one of them.")
    return Generator().manual_seed(seed)


def to_vectors(features: Tensor, maps: bool) -> Tensor:
    """Vectors (batch, features); for maps (batch, features, height, width) the mean over the positions."""
    return features.flatten(2).mean(2) if maps and features.ndim > 2 else features


def linear(
    width: int, wider: int, std: float, generator: Generator | None, *, bias: bool = True
) -> nn.Linear:
    """A linear layer with normal weights and bias 0. Uses torch's global generator only for None."""
    layer = nn.Linear(width, wider, bias=bias, device="meta")  # draws nothing
    layer.weight = nn.Parameter(torch.empty(wider, width))  # .to_empty() would import sympy: half a second
    nn.init.normal_(layer.weight, std=std, generator=generator)
    if bias:
        layer.bias = nn.Parameter(torch.zeros(wider))
    return layer


def linear_layers(plan: HeadPlan, generator: Generator | None) -> nn.Sequential:
    """Dropout and one linear layer: logistic regression on the features."""
    output = linear(plan.in_features, plan.classes, OUTPUT_STD, generator)
    return _named(dropout=nn.Dropout(plan.dropout), output=output)


def mlp_layers(plan: HeadPlan, generator: Generator | None) -> nn.Sequential:
    """Hidden layers (linear, optional batch norm, activation), then a linear one; dropout before each."""
    activation = _look_up(ACTIVATIONS, "activation", plan.activation)
    layers: dict[str, nn.Module] = {}
    width = plan.in_features
    for number, wider in enumerate(plan.hidden or HIDDEN, start=1):
        layers[f"dropout{number}"] = nn.Dropout(plan.dropout)
        # a bias before batch norm would be subtracted again
        std = activation.gain / sqrt(width)
        layers[f"hidden{number}"] = linear(width, wider, std, generator, bias=not plan.batch_norm)
        if plan.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(wider)
        layers[f"activation{number}"] = activation.build()
        width = wider
    layers["dropout"] = nn.Dropout(plan.dropout)
    layers["output"] = linear(width, plan.classes, OUTPUT_STD, generator)
    return _named(**layers)


def cosine_layers(plan: HeadPlan, generator: Generator | None) -> nn.Sequential:
    """Dropout and the scaled cosine with one direction per class."""
    output = CosineLinear(plan.in_features, plan.classes, generator)
    return _named(dropout=nn.Dropout(plan.dropout), output=output)


def nearest_mean_layers(plan: HeadPlan, generator: Generator | None) -> nn.Sequential:
    """The distance to the mean of each class, without dropout: see `Head.fit`."""
    return _named(output=NearestMean(plan.in_features, plan.classes, generator))


def _count_classes(classes: int | Sequence[str]) -> tuple[int, tuple[str, ...] | None]:
    """The number of classes, and their names if they are given. Raises InvalidHead."""
    whole, names = _whole_number(classes), None
    if whole is not None:
        number = whole
    elif isinstance(classes, Iterable) and not isinstance(classes, str | bytes):
        names = tuple(classes)
        number = len(names)
    else:
        raise InvalidHead(f"{classes!r} is neither a number of classes nor a list of their names")
    if names is not None:
        twice = sorted({name for name in names if names.count(name) > 1}, key=str)
        if twice:
            raise InvalidHead(f"class names must differ; twice: {', '.join(map(str, twice))}")
    if number < 1:
        raise InvalidHead(f"a head for {number} classes", hint="It needs at least one.")
    return number, names


def _read_widths(hidden: Sequence[int]) -> tuple[int, ...]:
    """The widths of the hidden layers. Raises InvalidHead for anything but a list of whole numbers."""
    whole = _whole_number(hidden)
    if whole is not None:
        raise InvalidHead(f"hidden={whole} is not a list of widths", hint=f"For one layer: hidden=[{whole}]")
    widths = [_whole_number(width) for width in hidden] if isinstance(hidden, Iterable) else [None]
    if None in widths:
        raise InvalidHead(f"hidden widths {hidden!r}", hint="Give whole numbers: hidden=[256]")
    return tuple(width for width in widths if width is not None)


def _whole_number(value: object) -> int | None:
    """An integer of Python, numpy or torch; None for anything else, a truth value too."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return index(value)
    except TypeError:  # an array, which only seems to be one
        return None


def _check_plan(kind: str, plan: HeadPlan) -> None:
    """Raise UnknownName or InvalidHead for a plan that cannot be built, or has an option without effect."""
    _look_up(HEADS, "head", kind)
    _look_up(ACTIVATIONS, "activation", plan.activation)
    if plan.in_features < 1:
        raise InvalidHead(f"a head for {plan.in_features} features", hint="It needs at least one.")
    if not 0 <= plan.dropout < 1:
        raise InvalidHead(f"dropout {plan.dropout}", hint="It is a share, at least 0 and below 1.")
    if any(width < 1 for width in plan.hidden):
        raise InvalidHead(f"hidden widths {plan.hidden}", hint="Each must be at least 1.")
    if not HEADS[kind].hidden and (plan.hidden or plan.batch_norm):
        raise InvalidHead(
            f"head {kind!r} has no hidden layers", hint='hidden and batch_norm belong to head="mlp".'
        )


def _named(**layers: nn.Module) -> nn.Sequential:
    """The layers in sequence, each under its name."""
    return nn.Sequential(OrderedDict(layers))


def _look_up(table: dict[str, Row], kind: str, name: str) -> Row:
    """The row of a table. Raises UnknownName, which lists the known names."""
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]
