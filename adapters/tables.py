"""The heads, activations and text encoders by name: one row each. Imports no torch.

A row names the function or class that builds it, "module:name", which is imported when it is first built. So
a command line or a recipe that only offers the choices does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, nn


@dataclass(frozen=True)
class HeadPlan:
    """The layers of a head. dropout: share of every linear layer's inputs that is dropped."""

    in_features: int
    classes: int
    dropout: float = 0.0
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    batch_norm: bool = False


@dataclass(frozen=True)
class HeadKind:
    """A kind of head.

    hidden: whether it has hidden layers, whose widths and activation can be chosen. closed_form: whether it
    is computed from features and labels, `Head.fit`, rather than trained step by step.
    """

    builder: str
    hidden: bool = False
    closed_form: bool = False

    def build(self, plan: HeadPlan, generator: Generator | None) -> nn.Sequential:
        """The layers of a new head."""
        build: Callable[[HeadPlan, Generator | None], nn.Sequential] = resolve_name(self.builder)
        return build(plan, generator)


@dataclass(frozen=True)
class Activation:
    """gain: standard deviation of a layer's weights before it, times the root of the layer's width."""

    builder: str
    gain: float

    def build(self) -> nn.Module:
        """A new layer."""
        module: nn.Module = resolve_name(self.builder)()
        return module


@dataclass(frozen=True)
class EncoderKind:
    """A way to make one vector of a text's words.

    learns: it is random before it is trained. needs: what it must be given; None for nothing.
    """

    builder: str
    learns: bool = False
    needs: str | None = None

    def build(self, dimension: int, hidden: int) -> nn.Module:
        """A new encoder of vectors of that dimension. hidden: the width inside one that learns."""
        encoder: nn.Module = resolve_name(self.builder)(dimension, hidden)
        return encoder


HEADS: dict[str, HeadKind] = {
    "linear": HeadKind("adapters.heads:linear_layers"),
    "mlp": HeadKind("adapters.heads:mlp_layers", hidden=True),
    "cosine": HeadKind("adapters.heads:cosine_layers"),
    "nearest-mean": HeadKind("adapters.heads:nearest_mean_layers", closed_form=True),
}

ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("torch.nn:ReLU", sqrt(2)),  # He et al. 2015, arXiv:1502.01852
    "elu": Activation("torch.nn:ELU", sqrt(2)),  # Clevert et al. 2016, arXiv:1511.07289, use He's too
    "tanh": Activation("torch.nn:Tanh", 5 / 3),  # torch.nn.init.calculate_gain
    "logistic": Activation("torch.nn:Sigmoid", 1.0),
}

ENCODERS: dict[str, EncoderKind] = {
    "mean": EncoderKind("adapters.texts:Mean"),
    "tfidf": EncoderKind("adapters.texts:Mean", needs="weights, one per word"),
    "sif": EncoderKind("adapters.texts:CommonRemoved", needs="weights, one per word, and a component"),
    "attention": EncoderKind("adapters.texts:Attention", learns=True),
    "cnn": EncoderKind("adapters.texts:Convolution", learns=True),
    "gru": EncoderKind("adapters.texts:GatedRecurrent", learns=True),
    "lstm": EncoderKind("adapters.texts:LongShortTermMemory", learns=True),
}

TEXT_STAGES = ("known", "new", "encoder")
"""The stages of a text network before its classifier, from its input: published words, new words, encoder."""
