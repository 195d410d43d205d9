"""An RGB image becomes the tensor that a model's weights were trained on, the same every time or augmented.

Geometry and filter are those of the libraries that the weights come from: torchvision's `ImageClassification`
preset and timm's `transforms_imagenet_eval`. The filter works on uint8, as Pillow's does: five times as fast
as through floats. Against the libraries' own transforms of PIL images single pixels of photographs differ by
at most 1 grey level of 255 (bilinear) or 4 (bicubic), and by less than 0.05 on average (measured, tested).
"""

# ruff: noqa: A002
# `input` is the word of the registry; Python's function of that name reads the keyboard.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from zoo.catalogue.entry import ImageInput, Interpolation
from zoo.data.pixels.augmentations import AUGMENTATIONS, Augmentation
from zoo.data.pixels.chance import drawing_from
from zoo.data.pixels.resampling import Window
from zoo.errors import UnknownName
from zoo.vision import import_torchvision

# numpy for copies and arithmetic of single images: in each thread that decodes, torch would start as many
# threads of its own as there are CPUs, for a tenth of a millisecond of work. Its resize starts none.
Pixels = NDArray[np.float32]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]


@dataclass(frozen=True)
class Preprocessing:
    """How images become the input of a network: a function of one image, and of many on a GPU.

    input: what the weights want. strength, erase: as for `augment`, of which each image that comes with a
    generator is one view; one that comes without is what `preprocess` makes of it.
    """

    input: ImageInput
    strength: str = "none"
    erase: float = 0.0

    def __call__(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """float32 (channels, size, size), normalised, of uint8 (3, height, width) RGB on the CPU."""
        if generator is None:
            return preprocess(image, self.input)
        return augment(image, self.input, generator, strength=self.strength, erase=self.erase)


def preprocess(image: torch.Tensor, input: ImageInput) -> torch.Tensor:
    """The input tensor of one image: float32 (channels, size, size), normalised.

    image: uint8 (3, height, width) RGB, of any size.
    """
    return normalize(_to_floats(_CROPS[input.crop](image, input)), input)


def augment(
    image: torch.Tensor,
    input: ImageInput,
    generator: torch.Generator,
    *,
    strength: str = "light",
    erase: float = 0.0,
) -> torch.Tensor:
    """A random view of one image, for training: float32 (channels, size, size), normalised.

    A random part of the image fills the input (Szegedy et al. 2014, arXiv:1409.4842), mirrored half of the
    time; its brightness, contrast and saturation are changed a little, or what RandAugment draws. Every draw
    is from `generator`. strength: a name in AUGMENTATIONS; raises UnknownName for another. erase: how
    probably a rectangle of 2 to 33 % of the view becomes the mean colour (Zhong et al. 2017,
    arXiv:1708.04896).
    """
    if strength not in AUGMENTATIONS:
        raise UnknownName("augmentation", strength, AUGMENTATIONS)
    changes = AUGMENTATIONS[strength]
    view = _vary(image, input, generator, changes) if changes else preprocess(image, input)
    if erase:
        with drawing_from(generator):
            view = random_erasing(erase)(view)
    return view


def _vary(
    image: torch.Tensor, input: ImageInput, generator: torch.Generator, changes: Augmentation
) -> torch.Tensor:
    """The random view of `augment`, before anything is erased."""
    top, left, height, width = draw_crop(image.shape[-2], image.shape[-1], changes, generator)
    part = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[top : top + height, left : left + width])
    view = resize(torch.from_numpy(part).permute(2, 0, 1), (input.size, input.size), input.interpolation)
    if changes.operations:
        with drawing_from(generator):
            view = rand_augment(changes.operations, changes.magnitude)(view)
    pixels = _to_floats(view)
    flip, *factors = torch.rand(4, generator=generator).tolist()
    if flip < 0.5:
        pixels = pixels[:, :, ::-1]
    if not changes.jitter:
        return normalize(pixels, input)
    brightness, contrast, saturation = (1 + changes.jitter * (2 * factor - 1) for factor in factors)
    return normalize(_jitter(pixels, brightness, contrast, saturation), input)


@cache
def rand_augment(operations: int, magnitude: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """torchvision's RandAugment of uint8 images; it draws from torch's generator."""
    import_torchvision()
    from torchvision.transforms import v2

    found: Callable[[torch.Tensor], torch.Tensor] = v2.RandAugment(
        operations, magnitude, interpolation=v2.InterpolationMode.BILINEAR
    )
    return found


@cache
def random_erasing(probability: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """torchvision's RandomErasing of normalised images, with 0, their mean; draws as well."""
    import_torchvision()
    from torchvision.transforms import v2

    found: Callable[[torch.Tensor], torch.Tensor] = v2.RandomErasing(probability)
    return found


@dataclass(frozen=True)
class Draws:
    """The random numbers of one pass over the data: each item, and each batch, has its own, whichever thread
    reads it when."""

    seed: int
    epoch: int

    def generator(self, index: int) -> torch.Generator:
        """The generator of one item in this epoch."""
        return self._of(str(index))

    def batch_generator(self, number: int) -> torch.Generator:
        """The generator of one batch in this epoch."""
        return self._of(f"batch {number}")

    def _of(self, what: str) -> torch.Generator:
        key = f"{self.seed} {self.epoch} {what}".encode()
        number = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
        return torch.Generator().manual_seed(number >> 1)  # takes 63 bits


def _to_floats(image: torch.Tensor) -> Pixels:
    """A uint8 image as float32 0..255, of the same shape."""
    return image.numpy().astype(np.float32)


def normalize(pixels: Pixels, input: ImageInput) -> torch.Tensor:
    """float32 of (value / 255 - mean) / std, per channel; one channel is the brightness, see `_luma`."""
    if input.channels == 1:
        pixels = _luma(pixels)
    mean = np.array(input.mean, np.float32)[:, None, None]
    std = np.array(input.std, np.float32)[:, None, None]
    return torch.from_numpy(np.ascontiguousarray((pixels / np.float32(255) - mean) / std))


def resize(image: torch.Tensor, size: tuple[int, int], interpolation: Interpolation) -> torch.Tensor:
    """uint8 (3, height, width) at another size, filtered as Pillow does it."""
    if tuple(image.shape[-2:]) == size:
        return image
    if interpolation == "nearest":  # Pillow takes the pixel at the centre: torch calls that exact
        resized: torch.Tensor = F.interpolate(image[None], size, mode="nearest-exact")
    else:
        resized = F.interpolate(image[None], size, mode=interpolation, antialias=True)
    return resized[0]


def shorter_side(height: int, width: int, length: int) -> tuple[int, int]:
    """The size whose shorter side is `length`, in the rounding of torchvision's Resize.

    >>> shorter_side(300, 401, 256)
    (256, 342)
    """
    if height <= width:
        return length, int(length * width / height)
    return int(length * height / width), length


def _longer_side(height: int, width: int, length: int) -> tuple[int, int]:
    """The size whose longer side is `length`, in the rounding of timm's ResizeKeepRatio.

    >>> _longer_side(300, 401, 256)
    (192, 256)
    """
    ratio = max(height, width) / length
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def center_crop(image: torch.Tensor, size: int, fill: tuple[int, ...] = (0, 0, 0)) -> torch.Tensor:
    """The middle of an image, (3, size, size); a smaller one is padded with `fill`, black by default."""
    height, width = image.shape[-2:]
    if height < size or width < size:
        down, right = max(size - height, 0), max(size - width, 0)
        canvas = torch.tensor(fill, dtype=image.dtype).view(3, 1, 1).repeat(1, height + down, width + right)
        canvas[:, down // 2 : down // 2 + height, right // 2 : right // 2 + width] = image
        image, (height, width) = canvas, (height + down, width + right)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[:, top : top + size, left : left + size]


def _center(image: torch.Tensor, input: ImageInput) -> torch.Tensor:
    return center_crop(resize(image, _resized(image, input), input.interpolation), input.size)


def _border(image: torch.Tensor, input: ImageInput) -> torch.Tensor:
    resized = resize(image, _resized(image, input), input.interpolation)
    return center_crop(resized, input.size, border_of(input))


def border_of(input: ImageInput) -> tuple[int, ...]:
    """The colour beyond the edges of an image, (3): black, or the mean where it is padded to a square."""
    if input.crop != "border":
        return 0, 0, 0
    return tuple(round(255 * value) for value in input.mean) * (3 // len(input.mean))


def _resized(image: torch.Tensor, input: ImageInput) -> tuple[int, int]:
    return _SIZES[input.crop](image.shape[-2], image.shape[-1], input.resize)


_SIZES: dict[str, Callable[[int, int, int], tuple[int, int]]] = {
    "center": shorter_side,
    "squash": lambda _height, _width, length: (length, length),
    "border": _longer_side,
}
"""The size to which an image is resized before its middle is cut out."""

_CROPS: dict[str, Callable[[torch.Tensor, ImageInput], torch.Tensor]] = {
    "center": _center,
    "squash": _center,
    "border": _border,
}


def seen_part(height: int, width: int, input: ImageInput) -> tuple[float, float, float, float]:
    """left, top, width, height of what `preprocess` takes of an image of that size, in pixels of the image;
    beyond its edges where it is padded.

    >>> seen_part(600, 400, ImageInput(size=224, resize=224, mean=(0.5,), std=(0.5,), channels=1))
    (0.0, 100.0, 400.0, 400.0)
    """
    window = center_window(height, width, input)
    ratios = height / window.resized[0], width / window.resized[1]
    top, left = (begin * ratio for begin, ratio in zip(window.begin, ratios, strict=True))
    return left, top, input.size * ratios[1], input.size * ratios[0]


def center_window(height: int, width: int, input: ImageInput) -> Window:
    """What `preprocess` takes of an image of that size, for `resample`."""
    resized = _SIZES[input.crop](height, width, input.resize)
    padding = [max(input.size - length, 0) for length in resized]
    down, right = (
        round((length + pad - input.size) / 2) - pad // 2  # as center_crop counts
        for length, pad in zip(resized, padding, strict=True)
    )
    return Window(0, 0, height, width, resized, (down, right))


def draw_crop(
    height: int, width: int, changes: Augmentation, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """top, left, height, width of a random part of the image, as torchvision's RandomResizedCrop draws it."""
    draws = torch.rand(10, 4, generator=generator).tolist()
    low, high = map(math.log, changes.ratio)
    for area_draw, ratio_draw, top_draw, left_draw in draws:
        area = height * width * (changes.scale[0] + area_draw * (changes.scale[1] - changes.scale[0]))
        ratio = math.exp(low + ratio_draw * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(top_draw * (height - h + 1)), int(left_draw * (width - w + 1)), h, w
    # Ten draws did not fit a very long image: its middle, with the nearest ratio that is allowed.
    ratio = min(max(width / height, changes.ratio[0]), changes.ratio[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return (height - h) // 2, (width - w) // 2, h, w


def _jitter(pixels: Pixels, brightness: float, contrast: float, saturation: float) -> Pixels:
    """Pixels 0..255 with brightness, contrast and saturation multiplied, in this order."""
    pixels = np.clip(pixels * np.float32(brightness), 0, 255)
    pixels = _blend(np.full((1, 1, 1), _luma(pixels).mean(), np.float32), pixels, contrast)
    return _blend(_luma(pixels), pixels, saturation)


def _blend(start: Pixels, end: Pixels, share: float) -> Pixels:
    """start + share x (end - start), kept in 0..255: beyond the end where the share is more than 1."""
    return np.clip(start + np.float32(share) * (end - start), 0, 255)


def _luma(pixels: Pixels) -> Pixels:
    """Brightness as ITU-R 601 and Pillow weigh it: (1, height, width) of (3, height, width)."""
    red, green, blue = pixels * _LUMA  # not a matrix product: BLAS has threads of its own
    grey: Pixels = (red + green + blue)[None]
    return grey
