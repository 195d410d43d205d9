"""Images that are in memory already: Pillow's, numpy's, torch's, and the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from zoo.data.dataset import Item
from zoo.data.listing import local_path
from zoo.data.pixels.decoding import Picture, convert_image, decode_picture, read_picture
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import UsageError

TAKEN = (
    "Give a path, the bytes of a file, a Pillow image, a uint8 array (height, width, 3) or a uint8 tensor "
    "(3, height, width)."
)


@dataclass(frozen=True)
class MemoryImage:
    """An image without a file. place: what it is called. content: its pixels, or the bytes of a file."""

    place: Path
    content: Picture | Image.Image | bytes


ImageSource: TypeAlias = Item | Path | MemoryImage
"""Where an image comes from."""


def as_image(thing: object, number: int) -> Path | MemoryImage:
    """What somebody gave as an image. number: its place in the list, for its name: item:3.

    It is read and converted later, when its pixels are wanted. Raises UsageError for an address on the
    network, and for pixels of another shape or type than an image has.

    >>> as_image(np.zeros((2, 2, 3), "uint8"), 1).place
    PosixPath('item:1')
    """
    place = Path(f"item:{number}")
    if isinstance(thing, str | Path):
        return local_path(thing)
    if isinstance(thing, bytes | bytearray | memoryview):
        return MemoryImage(place, bytes(thing))
    if isinstance(thing, Image.Image):
        return MemoryImage(place, thing)
    if isinstance(thing, torch.Tensor):
        if thing.dtype is not torch.uint8 or thing.dim() != 3 or thing.shape[0] not in (1, 3):
            raise UsageError(f"item {number} is a {_describe(thing)} tensor", hint=TAKEN)
        return MemoryImage(place, Picture(thing.detach().cpu().expand(3, -1, -1)))
    if isinstance(thing, np.ndarray):
        if thing.dtype != np.uint8 or not (thing.ndim == 2 or (thing.ndim == 3 and thing.shape[2] in (3, 4))):
            raise UsageError(f"item {number} is a {_describe(thing)} array", hint=TAKEN)
        return MemoryImage(place, Image.fromarray(thing))
    raise UsageError(f"item {number} is not an image but {_article(thing)}", hint=TAKEN)


def place_of(image: ImageSource) -> Path:
    """What an image is called: its path, if it has one."""
    if isinstance(image, Item):
        return image.path
    return image.place if isinstance(image, MemoryImage) else image


def open_picture(image: ImageSource, *, keep: int | None = None, values: ValueRange | None = None) -> Picture:
    """The pixels of an image. values: black and white of its set. Raises UnreadableFile."""
    if not isinstance(image, MemoryImage):
        return read_picture(place_of(image), keep=keep, values=values)
    if isinstance(image.content, Picture):
        return image.content
    if isinstance(image.content, bytes):
        return decode_picture(image.content, keep=keep, values=values)
    return convert_image(image.content, values=values)


def _article(thing: object) -> str:
    """The type of a thing, in words."""
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _describe(values: torch.Tensor | np.ndarray) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"
