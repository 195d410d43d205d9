"""Images and targets of a batch mixed with each other: mixup and CutMix, by torchvision's transforms.

Each item is mixed with the one before it in its batch, which a shuffled order has put there; one draw decides
how, for the whole batch. Imports no torchvision until something is mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from zoo.data.pixels.chance import drawing_from
from zoo.vision import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed.

    mixup: of the shares of both images, which are drawn from Beta(mixup, mixup); 0 for none (Zhang et al.
    2018, arXiv:1710.09412). cutmix: the same of areas, of which one image has a rectangle and the other the
    rest (Yun et al. 2019, arXiv:1905.04899). With both, each batch gets one or the other, as often. classes:
    how many there are where a target is the number of one; None where it is a row of numbers already.
    """

    mixup: float
    cutmix: float
    classes: int | None

    @cached_property
    def _transforms(self) -> list[Callable[..., Any]]:
        import_torchvision()
        from torchvision.transforms import v2

        found: list[Callable[..., Any]] = []
        if self.mixup:
            found.append(v2.MixUp(alpha=self.mixup, num_classes=self.classes))
        if self.cutmix:
            found.append(v2.CutMix(alpha=self.cutmix, num_classes=self.classes))
        return found

    def mix(self, images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Mixed images (items, channels, height, width), and their targets as rows (items, width) of float32:
        shares of the classes, or numbers. Every draw is from `generator`."""
        with drawing_from(generator):
            which = 0 if len(self._transforms) == 1 else int(torch.randint(len(self._transforms), ()))
            mixed_images, mixed_targets = self._transforms[which](images, targets)
        return mixed_images, mixed_targets
