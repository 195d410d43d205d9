"""What an image file looks like from outside: its size, its format, a hash of what is seen, how flat it is.

One pass over the files, in threads, for whoever looks at a data set as a whole. Nothing of it depends on a
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from zoo.data.contents import count_cpus
from zoo.data.leaks import thumbnails
from zoo.data.pixels.decoding import Outside, read_outside, read_picture
from zoo.data.pixels.ranges import ValueRange
from zoo.errors import UnreadableFile
from zoo.events import Progress, Report, silent

HASH_SIDE = 8  # of the square of frequencies in a perceptual hash: 64 bits
_HASHED_SIDE = 32  # of the grey picture that they are computed from
_BLOCK = 12_500_000  # pairs compared at a time, 50 MB
_SAMPLED = 128  # rows and columns in which colours are counted


@dataclass(frozen=True)
class Appearance:
    """An image file from outside.

    outside: what its header says. traits: keys of TRAITS. hash: 64 bits that scaling, compression and
    brightness hardly change. thumbnail: (256,) for `find_lookalikes`. flat: share of its most frequent of
    4,096 colours, in 0..1.
    """

    outside: Outside
    traits: tuple[str, ...]
    hash: int
    thumbnail: torch.Tensor
    flat: float


def read_appearances(
    paths: Sequence[Path],
    *,
    values: ValueRange | None = None,
    workers: int | None = None,
    report: Report = silent,
) -> Iterator[Appearance | UnreadableFile]:
    """Each file from outside, in order, or why it cannot be read."""
    with ThreadPoolExecutor(workers or count_cpus(), thread_name_prefix="zoo-appearance") as pool:
        for done, found in enumerate(pool.map(partial(_read_appearance, values=values), paths), 1):
            report(Progress("look at images", done, len(paths), "images"))
            yield found


def _read_appearance(path: Path, values: ValueRange | None) -> Appearance | UnreadableFile:
    try:
        picture = read_picture(path, keep=2 * _SAMPLED, values=values)
        outside = read_outside(path)
    except UnreadableFile as error:
        return error
    return Appearance(
        outside,
        picture.traits,
        perceptual_hash(picture.pixels),
        thumbnails(picture.pixels[None])[0],
        most_frequent_colour(picture.pixels),
    )


def perceptual_hash(pixels: torch.Tensor) -> int:
    """64 bits: which of the 64 lowest frequencies of the grey picture are above their median (pHash).

    pixels: uint8 (3, height, width). Of two different photographs of hymenoptera at least 16 bits differ; of
    one that is scaled or compressed again, at most a few. Source: Zauner 2010, https://phash.org.
    """
    from scipy.fft import dctn

    grey = pixels.float().mean(0)[None, None]
    small = F.interpolate(grey, (_HASHED_SIDE, _HASHED_SIDE), mode="bilinear", antialias=True)[0, 0]
    lowest = dctn(small.numpy(), norm="ortho")[:HASH_SIDE, :HASH_SIDE].flatten()
    bits = lowest > np.median(lowest)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def most_frequent_colour(pixels: torch.Tensor) -> float:
    """Share of the pixels, in 0..1, that have the most frequent of 4,096 colours.

    pixels: uint8 (3, height, width).

    >>> most_frequent_colour(torch.zeros(3, 4, 4, dtype=torch.uint8))
    1.0
    """
    step = [max(1, side // _SAMPLED) for side in pixels.shape[1:]]
    sample: NDArray[np.int64] = (pixels[:, :: step[0], :: step[1]] // 16).numpy().astype(np.int64)
    colours = (sample[0] * 256 + sample[1] * 16 + sample[2]).ravel()
    return float(np.bincount(colours).max() / len(colours))


def near_hashes(hashes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Pairs of positions, the first below the second, whose hashes differ in at most `most` bits.

    A product of signs: 100,000 against each other are 1.3 Tflop in blocks of 50 MB.

    >>> near_hashes([0b1111, 0b0000, 0b0111], 1)
    [(0, 2)]
    """
    packed = np.array(hashes, dtype=">u8").view(np.uint8).reshape(-1, 8)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    pairs: list[tuple[int, int]] = []
    block = max(1, _BLOCK // max(1, len(signs)))
    for start in range(0, len(signs), block):
        agree = signs[start : start + block] @ signs[start:].T
        rows, columns = np.nonzero(agree >= 64 - 2 * most)
        pairs += [
            (start + a, start + b) for a, b in zip(rows.tolist(), columns.tolist(), strict=True) if a < b
        ]
    return pairs
