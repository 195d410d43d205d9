"""The facts of the registry about one model: frozen, validated values that every other room uses.

Preprocessing belongs to the weights, not to the architecture: torchvision's Inception v3 wants ImageNet's
mean, timm's port of the same network wants 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from zoo.notebook import facts_table

Task = Literal["image-classification", "image-features", "word-vectors"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Argument: TypeAlias = bool | int | float | str | tuple[int, ...]


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The base of every registry value: immutable; an undeclared field is an error."""


class ImageInput(Fact, frozen=True, kw_only=True):
    """How a photograph becomes the tensor that these weights were trained on.

    size: height and width in pixels. resize: length of the shorter side before the centre crop (the side of
    the square for `squash`). mean, std: per channel, for values in 0..1. crop: `center` crops the middle,
    `squash` resizes both sides to `size`, `border` pads to a square.
    """

    size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    crop: Literal["center", "squash", "border"] = "center"
    channels: int = 3


class TextInput(Fact, frozen=True, kw_only=True):
    """How a text becomes words that these vectors know.

    dimension: of one vector. encoding: of a text file that is not UTF-8, as Python names it.
    """

    dimension: int
    lowercase: bool = False
    encoding: str | None = None


class Weights(Fact, frozen=True, kw_only=True):
    """Where the bytes are, and what proves that they are the right ones.

    url: one URL, or mirrors in the order to try: `https://`, `hf://OWNER/REPO[@REVISION]/FILE`,
    `gensim://NAME`, `package://PACKAGE/FILE`, or a path relative to the registry file.
    Proof, best first: sha256; sha256_prefix where only that was ever published (torchvision's file names);
    md5 (gensim-data). bytes: the exact size of the file, checked. about_bytes: a published rounded size, or
    one computed from the parameters: for display and the free-space check, never checked.
    member: which weights to take of a training checkpoint that holds several, by their path in it
    (`ema.module`); without it the usual ones.
    """

    url: str | tuple[str, ...]
    sha256: str | None = None
    sha256_prefix: str | None = None
    md5: str | None = None
    bytes: int | None = None
    about_bytes: int | None = None
    member: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL of the file, in the order to try."""
        return (self.url,) if isinstance(self.url, str) else self.url


class Score(Fact, frozen=True, kw_only=True):
    """A published result, in percent. size: input size in pixels at which it was measured."""

    top1: float
    top5: float | None = None
    size: int | None = None
    source: str


class Speed(Fact, frozen=True, kw_only=True):
    """Published inference speed on one named machine: compare models with it, do not quote it."""

    images_per_second: float
    size: int
    source: str


class ModelEntry(Fact, frozen=True, kw_only=True):
    """Every fact about one model; an entry of a registry is one of the subclasses, chosen by its task.

    architecture: `torchvision/NAME`, `timm/NAME` or `words/FORMAT`. license: an SPDX-like name, or `unknown`.
    source: page where the facts were published. registry: the file that the entry was read from; not a fact,
    and not written to run.json.
    """

    name: str
    family: str
    task: Task
    architecture: str
    weights: Weights
    license: str
    parameters: int | None = None
    paper: str | None = None
    source: str | None = None
    description: str | None = None
    registry: Path | None = None

    @property
    def bytes(self) -> int | None:
        """Size of the download: exact where it is known, else about."""
        return self.weights.bytes if self.weights.bytes is not None else self.weights.about_bytes

    def _repr_html_(self) -> str:
        """The entry as a notebook shows it."""
        facts = {name: getattr(self, name) for name in ("name", "family", "task", "architecture", "license")}
        size = None if self.bytes is None else f"{self.bytes / 1e6:,.1f} MB"
        parameters = None if self.parameters is None else f"{self.parameters:,}"
        top1 = getattr(self, "top1", None)
        more = {"size": size, "parameters": parameters, "top-1 %": top1, "source": self.source}
        return facts_table(facts | more)


class ImageModel(ModelEntry, frozen=True, kw_only=True):
    """A network for images.

    classes: the name of a label set (`imagenet-1k`), the labels themselves, or only their number where no
    names were published; None for `image-features`. features: width of the vector that the classifier sees.
    arguments: plain values for the architecture's constructor (`transform_input: true`).
    """

    task: Literal["image-classification", "image-features"]
    input: ImageInput
    classes: str | int | tuple[str, ...] | None = None
    features: int | None = None
    arguments: Mapping[str, Argument] = msgspec.field(default_factory=dict)
    metrics: Mapping[str, Score] = msgspec.field(default_factory=dict)
    speed: Speed | None = None

    @property
    def top1(self) -> float | None:
        """Published ImageNet-1k top-1 accuracy in percent."""
        score = self.metrics.get("imagenet-1k")
        return None if score is None else score.top1


class WordModel(ModelEntry, frozen=True, kw_only=True):
    """Word vectors. words: how many there are. corpus: what they were trained on."""

    task: Literal["word-vectors"]
    input: TextInput
    words: int | None = None
    corpus: str | None = None


def draft_entry(name: str, weights: Weights, license: str) -> ModelEntry:  # noqa: A002, as the field
    """As much of an entry as a fetch needs, for a file of which nothing else is known."""
    return ModelEntry(
        name=name,
        family="unknown",
        task="image-features",
        architecture="unknown/unknown",
        weights=weights,
        license=license,
    )


ENTRY_TYPES: dict[str, type[ModelEntry]] = {
    "image-classification": ImageModel,
    "image-features": ImageModel,
    "word-vectors": WordModel,
}
