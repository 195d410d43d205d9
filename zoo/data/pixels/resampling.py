"""Parts of many images, each resized on its own, in a few products of matrices: for a GPU.

A filter is a sum of a row's pixels with weights, so that resizing is a product with a matrix from each side.
Python starts twenty kernels for a batch, where `F.interpolate` would need ten for every image: what starts
them is slower than what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.catalogue.entry import Interpolation

AT_ONCE = 50_000_000
"""Pixels of padded images that are in memory at once: 600 MB of floats."""


class Window(NamedTuple):
    """What becomes of an image. The part of `height` x `width` pixels at (top, left) is resized to `resized`,
    (height, width); the output begins `begin`, (rows, columns), into it, before it where those are negative.
    """

    top: int
    left: int
    height: int
    width: int
    resized: tuple[int, int]
    begin: tuple[int, int] = (0, 0)


def resample(
    images: Sequence[Tensor],
    windows: Sequence[Window],
    size: int,
    interpolation: Interpolation,
    fill: tuple[int, ...] = (0, 0, 0),
) -> Tensor:
    """Squares of a part of each image, (images, 3, size, size) float32 on their device: whole numbers from 0
    to 255, which differ from those of `preprocessing.resize` by at most 1 after each of its two passes.

    images: uint8 (3, height, width). fill: the colour of what is beyond the resized part.
    """
    parts, order = [], []
    for some in _alike(windows):
        chosen = [images[at] for at in some], [windows[at] for at in some]
        parts.append(_resample(*chosen, size, interpolation))
        order += some
    back = torch.tensor(np.argsort(order)).to(images[0].device)
    return _fill(torch.cat(parts)[back], windows, size, fill)


def _alike(windows: Sequence[Window]) -> Iterator[list[int]]:
    """Which of them are padded together: of about one size, and at most AT_ONCE pixels then."""
    some: list[int] = []
    height = width = 0
    for at in sorted(range(len(windows)), key=lambda at: max(windows[at].height, windows[at].width)):
        tall, wide = max(height, windows[at].height), max(width, windows[at].width)
        if some and (len(some) + 1) * tall * wide > AT_ONCE:
            yield some
            some, tall, wide = [], windows[at].height, windows[at].width
        some.append(at)
        height, width = tall, wide
    yield some


def _resample(
    images: Sequence[Tensor], windows: Sequence[Window], size: int, interpolation: Interpolation
) -> Tensor:
    """The same of images that are padded together; 0 beyond the resized part."""
    height, width = max(each.height for each in windows), max(each.width for each in windows)
    padded = torch.zeros(len(images), 3, height, width, device=images[0].device)
    for place, image, (top, left, high, wide, *_) in zip(padded, images, windows, strict=True):
        place[:, :high, :wide] = image[:, top : top + high, left : left + wide]
    device = padded.device
    rows, columns = (
        _weights(windows, axis, size, longest, interpolation, device)[:, None]
        for axis, longest in enumerate((height, width))
    )
    narrow = _to_whole(torch.matmul(padded, columns.mT))
    return _to_whole(torch.matmul(rows, narrow))


def _to_whole(values: Tensor) -> Tensor:
    """Rounded to whole numbers, halves up: as the arithmetic of the CPU does it, which has no fractions."""
    return values.add_(0.5 + 1e-4).floor_().clamp_(0, 255)


def _weights(
    windows: Sequence[Window],
    axis: int,
    size: int,
    longest: int,
    interpolation: Interpolation,
    device: torch.device,
) -> Tensor:
    """How much each pixel of an input row has of each output pixel: (images, size, longest)."""
    numbers = np.array(
        [(each[2 + axis], each.resized[axis], each.begin[axis]) for each in windows], np.float32
    )
    length, resized, begin = torch.from_numpy(numbers).to(device).T.reshape(3, -1, 1, 1)
    scale = length / resized
    targets = torch.arange(size, device=device, dtype=torch.float32)[:, None] + begin
    pixels = torch.arange(longest, device=device, dtype=torch.float32)
    middles = (targets + 0.5) * scale
    if interpolation == "nearest":
        nearest: Tensor = (pixels == middles.floor()).float() * (targets < resized)
        return nearest
    weights: Tensor = _FILTERS[interpolation]((pixels + 0.5 - middles).div_(scale.clamp(min=1)).abs_())
    weights = weights * ((pixels < length) & (targets >= 0) & (targets < resized))
    return weights.div_(weights.sum(-1, keepdim=True).clamp_(min=1e-8))


def _triangle(distance: Tensor) -> Tensor:
    return torch.clamp(1 - distance, min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981, with a = -0.5, as Pillow has it."""
    near: Tensor = (1.5 * distance - 2.5) * distance**2 + 1
    far: Tensor = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


_FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic}


def _fill(found: Tensor, windows: Sequence[Window], size: int, fill: tuple[int, ...]) -> Tensor:
    """The batch with a colour beyond the resized parts."""
    if not any(fill):
        return found
    for place, each in zip(found, windows, strict=True):
        (top, left), (high, wide) = each.begin, each.resized
        if top < 0 or left < 0 or top + size > high or left + size > wide:
            inside = place[:, max(0, -top) : high - top, max(0, -left) : wide - left].clone()
            place[:] = torch.tensor(fill, dtype=place.dtype, device=place.device).view(3, 1, 1)
            place[:, max(0, -top) : high - top, max(0, -left) : wide - left] = inside
    return found
