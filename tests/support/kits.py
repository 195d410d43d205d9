"""What the main job is done with: the tiny set everywhere, the real one where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import tiny
from zoo.catalogue.registry import Registry, load_registry
from zoo.events import Event
from zoo.runs.record import RunResult

SLOW_REAL = ["tiny", pytest.param("real", marks=pytest.mark.slow)]
on_tiny = pytest.mark.parametrize("kit", ["tiny"], indirect=True)
"""A test that the real data would only make slower."""
on_real = pytest.mark.parametrize("kit", ["real"], indirect=True)
on_real_slowly = pytest.mark.parametrize("kit", SLOW_REAL, indirect=True)
"""A test of more than ten seconds on the real data."""


@dataclass(frozen=True)
class Kit:
    """What the main job is done with, and the facts that tests hold against its outcome."""

    name: str
    net: str
    words: str
    registry_file: Path
    registry: Registry
    images: Path
    texts: Path
    photos: Path
    labels: Mapping[str, str]
    """File of `photos` -> what the network calls it."""
    classes: tuple[str, str]
    val_images: int
    width: int
    """Numbers that the head sees."""
    frozen_tensors: int
    head: str
    """The module of the network that is replaced."""
    first_stage: str
    last_stage: str
    val_texts: int
    """A tenth of the texts."""
    dimension: int
    """Numbers of a word vector."""
    baseline: tuple[float, float]
    """Between what the accuracy of TF-IDF and logistic regression lies."""

    def val(self, label: str) -> list[Path]:
        """The photographs of a class that are kept for validation."""
        return sorted((self.images / "val" / label).iterdir())


def tiny_kit(folder: Path) -> Kit:
    """The kit of a folder that `support.tiny` wrote."""
    return Kit(
        name="tiny",
        net=tiny.NET,
        words=tiny.WORDS,
        registry_file=folder / "registry.yaml",
        registry=load_registry([folder / "registry.yaml"]),
        images=folder / "images",
        texts=folder / "reviews",
        photos=folder / "photos",
        labels={file: tiny.NAMES[digit] for file, digit in tiny.PHOTOS.items()},
        classes=("eight", "five"),
        val_images=2 * tiny.VAL_IMAGES,
        width=96,
        frozen_tensors=90,
        head="fc",
        first_stage="conv1.",
        last_stage="layer4.",
        val_texts=2 * tiny.REVIEWS // 10,
        dimension=tiny.DIMENSION,
        baseline=(0.8, 0.95),
    )


def real_kit(folder: Path) -> Kit:
    """The kit of the folder of real data (see README, "Tests")."""
    return Kit(
        name="real",
        net="mobilenet_v2_demo",
        words="glove_demo",
        registry_file=folder / "registry.yaml",
        registry=load_registry([folder / "registry.yaml"]),
        images=folder / "hymenoptera",
        texts=folder / "reviews",
        photos=folder / "photos",
        labels={
            "bird.bmp": "chickadee",
            "cat_720p.jpg": "Egyptian cat",
            "dragonfly.bmp": "dragonfly",
            "hot_dog.jpg": "hotdog",
            "missvickie_potato_chips.bmp": "packet",
            "parrot.jpg": "macaw",
        },
        classes=("ants", "bees"),
        val_images=153,
        width=1280,
        frozen_tensors=312,
        head="classifier.1",
        first_stage="features.0.",
        last_stage="features.18.",
        val_texts=1066,
        dimension=50,
        baseline=(0.74, 0.82),
    )


@dataclass(frozen=True)
class Trained:
    """A run that tests share, and what was reported while it was made."""

    result: RunResult
    told: list[Event]


Train = Callable[..., Trained]
"""`train_once(kit, kit.net, kit.images)`: a run, made once."""
