"""What decoding camera-size photographs at a fraction of their size would gain, and what it would change.

    python benchmarks/decoding.py [--data ../shared/data] [--count 150] [--megapixels 12] [--over 2,4]

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size by a smaller cosine transform (Pillow's `draft`, here
`keep` of zoo.data.pixels.decoding). Each photograph is enlarged to camera size (Lanczos, quality 92, 4:2:0),
then decoded whole and reduced to at least --over times the 256 pixels that the network resizes to, in turns,
by one thread. `mosaic` has as many pictures of photographs at their own size, side by side, so that they have
detail in every pixel, as a sharp camera has. A row has milliseconds from bytes to the network's input in the
median, the greatest and the mean difference of that input in grey levels, on how many pictures MobileNetV2
gives the same answer of its 1,000, and the smallest cosine of its features.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measuring import DATA
from PIL import Image
from subjects import mobilenet_v2
from torch import nn

from zoo.data.pixels.decoding import decode_picture
from zoo.data.pixels.preprocessing import preprocess

HALF = mobilenet_v2(DATA, DATA).input


def main() -> None:
    """Print a row per kind of picture and oversampling."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--over", default="2,4", help="least times the resized side, with commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = mobilenet_v2(options.data, options.data).open()
    photos = sorted((options.data / "photos").iterdir()) + sorted(
        (options.data / "hymenoptera" / "val").glob("*/*.jpg")
    )
    photos = photos[: options.count]
    overs = [int(part) for part in options.over.split(",")]
    print(
        f"{'pictures':9} {'over':>5} {'count':>5} {'ms':>6} {'whole':>6} {'ratio':>6} {'max':>5} {'mean':>6} "
        f"{'same':>5} {'cosine':>8}"
    )
    for name, pictures in (("enlarged", enlarged), ("mosaic", mosaics)):
        rows: dict[int, list[tuple[float, ...]]] = {over: [] for over in overs}
        for data in pictures(photos, options.megapixels * 1e6):
            for over, found in compare(network, data, overs):
                rows[over].append(found)
        for over, found in rows.items():
            print(row(name, over, found), flush=True)


def enlarged(photos: list[Path], pixels: float) -> Iterator[bytes]:
    """Each photograph at camera size, with sides that are multiples of 16 as those of cameras are: else the
    reduced picture has a slightly other shape, and may be cut a pixel further on."""
    for path in photos:
        with Image.open(path) as image:
            factor = (pixels / (image.width * image.height)) ** 0.5
            size = (16 * round(image.width * factor / 16), 16 * round(image.height * factor / 16))
            yield encode(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def mosaics(photos: list[Path], pixels: float) -> Iterator[bytes]:
    """Pictures of camera size, 4:3, each of as many photographs as fit into it."""
    draws = random.Random(0)
    height = round((pixels * 3 / 4) ** 0.5)
    for _ in photos:
        canvas, top = Image.new("RGB", (round(pixels / height), height)), 0
        while top < height:
            left, row_height = 0, 0
            while left < canvas.width:
                with Image.open(draws.choice(photos)) as image:
                    canvas.paste(image.convert("RGB"), (left, top))
                    left, row_height = left + image.width, max(row_height, image.height)
            top += row_height
        yield encode(canvas)


def encode(image: Image.Image) -> bytes:
    """As a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@torch.inference_mode()
def compare(
    network: nn.Module, data: bytes, overs: list[int]
) -> Iterator[tuple[int, tuple[float, float, float, float, bool, float]]]:
    """For each oversampling: seconds, those of the whole, greatest and mean difference, whether the answer is
    the same, cosine."""
    for over in overs:
        (whole, slow), (reduced, fast) = (timed(data, keep) for keep in (None, over * HALF.resize))
        levels = (whole - reduced).abs() * 127.5  # of inputs with a deviation of 1/2
        features = network.features(torch.stack([whole, reduced])).mean((2, 3))  # type: ignore[operator]
        answers = network.classifier(features).argmax(1)  # type: ignore[operator]
        cosine = nn.functional.cosine_similarity(features[0], features[1], 0).item()
        same = bool(answers[0] == answers[1])
        yield over, (fast, slow, levels.max().item(), levels.mean().item(), same, cosine)


def timed(data: bytes, keep: int | None) -> tuple[torch.Tensor, float]:
    """The network's input, and the seconds from bytes to it."""
    start = time.perf_counter()
    pixels = preprocess(decode_picture(data, keep=keep).pixels, HALF)
    return pixels, time.perf_counter() - start


def row(name: str, over: int, found: list[tuple[float, ...]]) -> str:
    """The row of some pictures."""
    fast, slow, greatest, mean, same, cosine = zip(*found, strict=True)
    own, whole = statistics.median(fast) * 1000, statistics.median(slow) * 1000
    return (
        f"{name:9} {over:5} {len(found):5} {own:6.1f} {whole:6.1f} {whole / own:5.1f}x {max(greatest):5.1f} "
        f"{statistics.mean(mean):6.2f} {sum(same):5.0f} {min(cosine):8.5f}   load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
