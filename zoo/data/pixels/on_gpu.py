"""Photographs become the input of a network on the GPU that computes it.

A GPU asks for more photographs than the processor beside it prepares: 16 cores decode and resize 1,400 a
second in threads, and vary 800, where an H200 computes 7,300 of a ResNet-50 (`benchmarks/gpu.py`). So JPEGs
are decoded, resized, varied and normalised there (nvJPEG, through torchvision), a batch ahead of the network.
What nvJPEG does not decode as the CPU does, or not at all, is prepared on the CPU, in the threads that read.

Its pixels are those of the CPU where colours have the resolution of the brightness; where they have half of
it, they are not smoothed between, and single pixels at the edges of colours differ: by 0.65 grey levels on
average. `ZOO_DECODER=cpu` prepares everything on the CPU.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from importlib.metadata import version
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.augmentations import AUGMENTATIONS, Augmentation
from zoo.data.pixels.chance import drawing_from
from zoo.data.pixels.decoding import Picture, is_usual_size, orient, read_jpeg
from zoo.data.pixels.memory import ImageSource, MemoryImage, open_picture, place_of
from zoo.data.pixels.metadata import JpegHeader, read_jpeg_header
from zoo.data.pixels.preprocessing import (
    Draws,
    Preprocessing,
    border_of,
    center_window,
    draw_crop,
    rand_augment,
    random_erasing,
)
from zoo.data.pixels.resampling import Window, resample
from zoo.errors import UnknownName, UnreadableFile
from zoo.vision import import_torchvision

AT_ONCE = 100_000_000
"""Pixels that are decoded at once: 300 MB on the GPU, a batch of 64 photographs of 1.5 megapixels."""

_OTHER_COLOURS = 8.0
"""Mean difference to the CPU's pixels, in grey levels, from which on a kind of JPEG is one that the GPU takes
for something else. Photographs differ by 0 to 0.7."""

_RGB = 3  # torchvision's ImageReadMode
_LUMA = (0.299, 0.587, 0.114)
T = TypeVar("T")
Decoder = Callable[[list[Tensor]], list[Tensor]]
"""Decodes JPEGs, each uint8 (bytes,) on the CPU, to uint8 (3, height, width) on the GPU, as they lie."""


class Encoded(NamedTuple):
    """A JPEG that the GPU decodes. data: uint8 (bytes,)."""

    data: Tensor
    header: JpegHeader


def decoder_of(device: torch.device) -> Decoder | None:
    """What decodes JPEGs on a GPU; None where nothing does: torchvision was built without nvJPEG, or
    ZOO_DECODER=cpu is set. Raises UnknownName for another ZOO_DECODER than auto and cpu."""
    wanted = os.environ.get("ZOO_DECODER") or "auto"
    if wanted not in ("auto", "cpu"):
        raise UnknownName("ZOO_DECODER", wanted, ("auto", "cpu"))
    return None if wanted == "cpu" or device.type != "cuda" else _nvjpeg(device)


def decoder_versions(device: torch.device) -> dict[str, str]:
    """What decodes JPEGs for a network on that device, if not the CPU, and of which version: for a record."""
    return {} if decoder_of(device) is None else {"nvjpeg": version("torchvision")}


@cache
def _nvjpeg(device: torch.device) -> Decoder | None:
    """nvJPEG on a device, once it has decoded a small picture."""
    try:
        import_torchvision()  # registers the operator
        operator = torch.ops.image.decode_jpegs_cuda

        def decode(jpegs: list[Tensor]) -> list[Tensor]:
            # It writes on a stream of its own, into memory that work on this one may still read.
            torch.cuda.current_stream(device).synchronize()
            found: list[Tensor] = operator(jpegs, _RGB, device)
            return found

        file = io.BytesIO()
        Image.new("RGB", (64, 48), (200, 100, 50)).save(file, "JPEG")
        (pixels,) = decode([_as_tensor(file.getvalue())])
        mean = pixels.float().mean((1, 2)).cpu()
    except (ImportError, AttributeError, RuntimeError):
        return None
    return decode if torch.allclose(mean, torch.tensor([200.0, 100.0, 50.0]), atol=4) else None


Outcome: TypeAlias = tuple[str, ...] | UnreadableFile
"""What came of an image: its traits, or why it could not be read."""


class Ready(NamedTuple):
    """An image that the CPU has prepared. image: float32 (channels, size, size)."""

    image: Tensor
    traits: tuple[str, ...]


class OnGpu:
    """Images that are read in threads and become batches on a GPU; a maker as `load_batches` has them.

    device: the GPU. draws: of random views; None for what `preprocess` makes of each. decode: what decodes
    JPEGs there, see `decoder_of`; None for the CPU. open_image: opens what it does not decode, which is
    prepared on the CPU as well: a batch of large images is never in memory at its full size.
    """

    at_once = 8  # reading one takes as long as handing it to another thread
    most_threads = 8  # they wait for the disk; with more of them the one that assembles waits for its turn

    def __init__(
        self,
        device: torch.device,
        images: Sequence[ImageSource],
        preprocessing: Preprocessing,
        *,
        draws: Draws | None = None,
        decode: Decoder | None = None,
        open_image: Callable[[ImageSource], Picture] = open_picture,
    ) -> None:
        self.device = device
        self.images = images
        self.preprocessing = preprocessing
        self.draws = draws
        self.decode = decode
        self.open_image = open_image
        if decode is None:
            self.at_once, self.most_threads = 1, sys.maxsize

    def read(self, position: int, /) -> Encoded | Ready:
        """The file's bytes, or the prepared image where the GPU does not decode it. Raises UnreadableFile."""
        image = self.images[position]
        if self.decode is not None and (data := _bytes_of(image)) is not None:
            header = read_jpeg_header(data)
            if header is not None and header.is_plain and is_usual_size(header.width, header.height):
                return Encoded(_as_tensor(data), header)
        return self._on_cpu(position)

    def _on_cpu(self, position: int) -> Ready:
        picture = self.open_image(self.images[position])
        generator = None if self.draws is None else self.draws.generator(position)
        return Ready(self.preprocessing(picture.pixels, generator), picture.traits)

    def assemble(self, loaded: Sequence[tuple[int, Encoded | Ready]], /) -> tuple[Tensor, list[Outcome]]:
        """The batch (images, channels, size, size) float32 on the GPU, and what came of each. In parts where
        the GPU's memory does not hold it, and on the CPU in the end."""
        parts = [self._halving(part) for part in _parts(loaded)]
        batches = [batch for batch, _ in parts if len(batch)]
        outcomes = [outcome for _, some in parts for outcome in some]
        if len(batches) < 2:
            return batches[0] if batches else torch.empty(0, device=self.device), outcomes
        return torch.cat(batches), outcomes

    def _halving(self, part: Sequence[tuple[int, Encoded | Ready]]) -> tuple[Tensor, list[Outcome]]:
        """The same of a part, which is halved for as long as memory does not hold it."""
        try:
            return self._assemble(part)
        except torch.OutOfMemoryError:
            pass  # not in a handler: the error holds the tensors
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(part) == 1:
            return self._stack(part, [self._instead(part[0][0])])
        middle = len(part) // 2
        (first, some), (second, others) = self._halving(part[:middle]), self._halving(part[middle:])
        return torch.cat([each for each in (first, second) if len(each)] or [first]), some + others

    def _assemble(self, part: Sequence[tuple[int, Encoded | Ready]]) -> tuple[Tensor, list[Outcome]]:
        """A batch of what memory holds."""
        jpegs = [(at, each) for at, each in part if isinstance(each, Encoded)]
        decoded = iter([*self._decode_all(jpegs)])
        return self._stack(part, [next(decoded) if isinstance(each, Encoded) else each for _, each in part])

    def _stack(
        self, part: Sequence[tuple[int, object]], found: Sequence[Picture | Ready | UnreadableFile]
    ) -> tuple[Tensor, list[Outcome]]:
        """The batch of pictures that are on the GPU and images that are ready, each in its place."""
        outcomes = [each if isinstance(each, UnreadableFile) else each.traits for each in found]
        there = [
            (at, each)
            for (at, _), each in zip(part, found, strict=True)
            if not isinstance(each, UnreadableFile)
        ]
        pictures = [(at, each.pixels) for at, each in there if isinstance(each, Picture)]
        ready = [each.image for _, each in there if isinstance(each, Ready)]
        batches = []
        if pictures:
            draws = self.draws
            generators = None if draws is None else [draws.generator(at) for at, _ in pictures]
            batches.append(prepare([pixels for _, pixels in pictures], self.preprocessing, generators))
        if ready:
            stacked = torch.stack(ready)
            if self.device.type == "cuda":  # memory that it fetches from while it does something else
                stacked = stacked.pin_memory()
            batches.append(stacked.to(self.device, non_blocking=True))
        if len(batches) < 2:
            return batches[0] if batches else torch.empty(0, device=self.device), outcomes
        mixed = torch.tensor([isinstance(each, Ready) for _, each in there])
        return torch.cat(batches)[mixed.argsort(stable=True).argsort().to(self.device)], outcomes

    def _decode_all(self, jpegs: Sequence[tuple[int, Encoded]]) -> Iterator[Picture | Ready | UnreadableFile]:
        """The pixels of some JPEGs: those that the GPU does not decode by the CPU, all of them if need be."""
        trusted = [self._is_trusted(at, each) for at, each in jpegs]
        data = [each.data for (_, each), is_trusted in zip(jpegs, trusted, strict=True) if is_trusted]
        try:
            pixels = iter(self.decode(data) if self.decode is not None and data else ())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # it does not say which of them, and the CPU says better what is wrong
            pixels, trusted = iter(()), [False] * len(jpegs)
        for (at, each), is_trusted in zip(jpegs, trusted, strict=True):
            found, header = next(pixels) if is_trusted else None, each.header
            if found is None or tuple(found.shape) != (3, header.height, header.width):
                yield self._instead(at)
                continue
            traits = ("rotated",) if header.orientation != 1 else ()
            yield Picture(orient(found, header.orientation), traits)

    def _instead(self, position: int) -> Ready | UnreadableFile:
        """An image by the CPU, where the GPU cannot."""
        try:
            return self._on_cpu(position)
        except UnreadableFile as error:
            return error

    def _is_trusted(self, position: int, example: Encoded) -> bool:
        """Whether the GPU decodes its kind of JPEG as the CPU does: compared on a process's first one."""
        key = (str(self.device), example.header.kind)
        if key not in _TRUSTED and (agrees := self._agrees(position, example)) is not None:
            _TRUSTED[key] = agrees
        return _TRUSTED.get(key, False)

    def _agrees(self, position: int, example: Encoded) -> bool | None:
        """Whether the pixels of one file are those of the CPU, but for rounding and smoothing of colours.
        None says nothing of its kind: memory lacks, or the CPU does not decode the file either."""
        try:
            expected = open_picture(self.images[position]).pixels
        except UnreadableFile:
            return None
        try:
            assert self.decode is not None
            found = orient(self.decode([example.data])[0], example.header.orientation).cpu().float()
        except torch.OutOfMemoryError:
            return None
        except RuntimeError:
            return False
        return found.shape == expected.shape and float((found - expected).abs().mean()) < _OTHER_COLOURS


_TRUSTED: dict[tuple[object, ...], bool] = {}


def _parts(
    loaded: Sequence[tuple[int, Encoded | Ready]],
) -> Iterator[Sequence[tuple[int, Encoded | Ready]]]:
    """What is decoded and prepared at once: JPEGs of AT_ONCE pixels at most."""
    start, pixels = 0, 0
    for at, (_, each) in enumerate(loaded):
        more = each.header.pixels if isinstance(each, Encoded) else 0
        if pixels and pixels + more > AT_ONCE:
            yield loaded[start:at]
            start, pixels = at, 0
        pixels += more
    yield loaded[start:]


def _bytes_of(image: ImageSource) -> bytes | None:
    """The bytes of a JPEG, and of any file that is in memory; None for what the CPU opens by itself: a file
    is read once, and who opens it says what is wrong with it."""
    if isinstance(image, MemoryImage):
        return image.content if isinstance(image.content, bytes) else None
    try:
        return read_jpeg(place_of(image))
    except UnreadableFile:
        return None


def _as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def prepare(
    images: Sequence[Tensor],
    preprocessing: Preprocessing,
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """What `preprocessing` makes of images that are on one device, (images, channels, size, size) float32.

    Draws the same random numbers as for each image alone on the CPU, whose pixels it gives but for rounding:
    at most 1 grey level after each of the filters. images: uint8 (3, height, width) RGB.
    """
    input, strength = preprocessing.input, preprocessing.strength  # noqa: A001
    if strength not in AUGMENTATIONS:
        raise UnknownName("augmentation", strength, AUGMENTATIONS)
    changes = AUGMENTATIONS[strength]
    if generators is None or changes is None:
        windows = [center_window(image.shape[-2], image.shape[-1], input) for image in images]
        pixels = resample(images, windows, input.size, input.interpolation, border_of(input))
        batch = _normalize(pixels, input)
    else:
        batch = _normalize(_vary(images, input, changes, generators), input)
    if generators is not None and preprocessing.erase:
        batch = _changed(batch, random_erasing(preprocessing.erase), generators)
    return batch


def _vary(
    images: Sequence[Tensor],
    input: ImageInput,  # noqa: A002
    changes: Augmentation,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Random views with values from 0 to 255, before anything is erased: `augment` for many images."""
    whole = (input.size, input.size)
    windows = [
        Window(*draw_crop(image.shape[-2], image.shape[-1], changes, generator), whole)
        for image, generator in zip(images, generators, strict=True)
    ]
    pixels = resample(images, windows, input.size, input.interpolation)
    if changes.operations:
        vary = rand_augment(changes.operations, changes.magnitude)
        pixels = _changed(pixels.to(torch.uint8), vary, generators).float()
    drawn = torch.stack([torch.rand(4, generator=generator) for generator in generators]).to(pixels.device)
    pixels = torch.where((drawn[:, 0] < 0.5).view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    if not changes.jitter:
        return pixels
    brightness, contrast, saturation = (
        (1 + changes.jitter * (2 * factors - 1)).view(-1, 1, 1, 1) for factors in drawn[:, 1:].T
    )
    pixels = (pixels * brightness).clamp_(0, 255)
    pixels = _blend(_luma(pixels).mean((1, 2, 3), keepdim=True), pixels, contrast)
    return _blend(_luma(pixels), pixels, saturation)


def _changed(
    images: Tensor, change: Callable[[Tensor], Tensor], generators: Sequence[torch.Generator]
) -> Tensor:
    """Each image changed by a transform that draws from its generator."""
    return torch.stack(
        [_drawn(generator, change, image) for generator, image in zip(generators, images, strict=True)]
    )


def _drawn(generator: torch.Generator, change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    with drawing_from(generator):
        return change(image)


def _blend(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    return (start + share * (end - start)).clamp_(0, 255)


def _luma(pixels: Tensor) -> Tensor:
    """Brightness (images, 1, height, width), see `preprocessing`."""
    red, green, blue = (pixels[:, at : at + 1] * weight for at, weight in enumerate(_LUMA))
    return red + green + blue


def _normalize(pixels: Tensor, input: ImageInput) -> Tensor:  # noqa: A002
    """(value / 255 - mean) / std of each channel, of values from 0 to 255."""
    if input.channels == 1:
        pixels = _luma(pixels)
    mean, std = (torch.tensor(each, device=pixels.device).view(-1, 1, 1) for each in (input.mean, input.std))
    return pixels.div_(255).sub_(mean).div_(std)


def read_ahead(
    source: Generator[T, None, None], device: torch.device, of: Callable[[T], Tensor]
) -> Generator[T, None, None]:
    """What a generator yields, made one ahead in a thread, on a stream of the GPU of its own: it works while
    the network does. of: the tensor of each that is used on this thread's stream from then on."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def make() -> tuple[T, torch.cuda.Event] | None:
        with torch.cuda.device(device), torch.cuda.stream(stream):
            found = next(source, None)
            if found is None:
                return None
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(stream)
            return found, event

    with closing(source), ThreadPoolExecutor(1, thread_name_prefix="zoo-gpu") as pool:
        ahead = pool.submit(make)
        while (made := ahead.result()) is not None:
            ahead = pool.submit(make)
            found, event = made
            here = torch.cuda.current_stream(device)
            here.wait_event(event)
            if of(found).is_cuda:  # not where nothing could be read
                of(found).record_stream(here)  # its memory is free when this stream is done with it
            yield found
