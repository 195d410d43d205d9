"""The augmentations by name: how far a random view of an image may be from it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """How far a random view may be from the image. scale: share of its area; ratio: width to height of the
    part; jitter: brightness, contrast and saturation are multiplied by 1 ± this. operations: of RandAugment
    (Cubuk et al. 2020, arXiv:1909.13719), one after the other; magnitude: of each, of 30."""

    scale: tuple[float, float]
    jitter: float
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    operations: int = 0
    magnitude: int = 9


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "light": Augmentation(scale=(0.5, 1.0), jitter=0.1),
    "strong": Augmentation(scale=(0.08, 1.0), jitter=0.4),
    "randaugment": Augmentation(scale=(0.5, 1.0), jitter=0.0, operations=2),
}
