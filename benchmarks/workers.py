"""What a photograph costs a worker of zoo.Featurizer, and what a million and a billion of them come to.

    python benchmarks/workers.py [--data ../shared/data] [--rounds 3] [--small]

One process with one thread, which is what a worker on one core is; the time is that of the CPU, so that
others at work on the machine change little. `start` is loading the network, verified, and comparing its
shortcuts. The photographs are the ants and bees (about 500 x 375), and some of them enlarged to 4,000 x 3,000
as a camera has them; `reading` is from the bytes of a file to the network's input. What goes out is the
Parquet file that polars writes with zstd. ResNet-18 has random weights: its cost does not depend on them.
"""

from __future__ import annotations

import io
import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from measuring import new_parser, peak_memory
from PIL import Image
from subjects import Network, ants_and_bees, mobilenet_v2, resnet18

import zoo
from zoo.catalogue.entry import ImageInput
from zoo.catalogue.registry import load_registry
from zoo.data.pixels.decoding import decode_picture
from zoo.data.pixels.preprocessing import preprocess
from zoo.runs.workers import Features
from zoo.store.store import Store

CAMERA = (4000, 3000)
PORTION = 64  # photographs at a time, as in the examples
Prepare = Callable[[bytes], torch.Tensor]


class Cost(NamedTuple):
    """Of one photograph: seconds of a CPU, those of them for reading, bytes of its file, bytes of its row."""

    cpu: float
    reading: float
    file: float
    row: float


def main() -> None:
    """Print a block per network, a line per kind of photographs."""
    options = new_parser(__doc__, rounds=3).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        few = 8 if options.small else None
        paths = sorted(ants_and_bees(options.data, folder, few=few).rglob("*.jpg"))
        usual = [path.read_bytes() for path in paths]
        camera = [enlarged(photo) for photo in usual[: 4 if options.small else 16]]
        for find in (mobilenet_v2, resnet18):
            network = find(options.data, folder)
            featurizer = open_worker(network, folder)
            began = time.process_time()
            featurizer(usual[:4])
            start = time.process_time() - began
            size = len(pickle.dumps(featurizer))
            prepare = partial(preprocess_bytes, network.input)
            print(f"{network.name}: start {start:.1f} s of a CPU, pickle {size:,} bytes")
            for name, photos in (("ants and bees", usual), ("12 megapixels", camera)):
                print(
                    f"  {name:14} {describe(measure(featurizer, photos, folder, prepare, options.rounds))}",
                    flush=True,
                )
    print(f"peak memory {peak_memory() / 1e6:,.0f} MB, torch {torch.__version__}")


def open_worker(network: Network, folder: Path) -> zoo.Featurizer:
    """What is sent to each process."""
    registry = load_registry([network.registry])
    store = Store(folder / f"home-{network.name}")
    return zoo.Featurizer(network.model, registry=registry, store=store, device="cpu", threads=1)


def preprocess_bytes(to: ImageInput, photo: bytes) -> torch.Tensor:
    """From the bytes of a file to the input of a network (3, 224, 224)."""
    return preprocess(decode_picture(photo).pixels, input=to)


def enlarged(photo: bytes) -> bytes:
    """A photograph at the size of a camera's."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        image.convert("RGB").resize(CAMERA, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(
    featurizer: zoo.Featurizer, photos: list[bytes], folder: Path, prepare: Prepare, rounds: int
) -> Cost:
    """The median of some rounds, in the portions that the examples have."""
    whole, reading = [], []
    for _ in range(rounds):
        began = time.process_time()
        for first in range(0, len(photos), PORTION):
            found = featurizer(photos[first : first + PORTION])
            assert not any(found.errors), found.errors
        between = time.process_time()
        for photo in photos:
            prepare(photo)
        whole.append(between - began)
        reading.append(time.process_time() - between)
    count = len(photos)
    size = sum(map(len, photos)) / count
    return Cost(median(whole) / count, median(reading) / count, size, bytes_a_row(found, folder))


def bytes_a_row(found: Features, folder: Path) -> float:
    """Of a table as large as a group of rows is, in which no two rows are equal."""
    table = pl.concat([found.frame] * (1 + 4096 // len(found)))
    noise = np.random.default_rng(0).normal(1, 0.01, (len(table), 1)).astype(np.float32)
    names = [f"s3://photographs/2026/{number:012}.jpg" for number in range(len(table))]
    table = table.with_columns(
        features=pl.Series(table["features"].to_numpy() * noise, dtype=table.schema["features"]),
        path=pl.Series(names),
        sha256=pl.Series([sha256(name.encode()).hexdigest() for name in names]),
    )
    table.write_parquet(folder / "rows.parquet", compression="zstd")
    return (folder / "rows.parquet").stat().st_size / len(table)


def describe(cost: Cost) -> str:
    """What a photograph costs, and what a million do; a billion is a thousand times that."""
    each = f"{cost.cpu * 1e3:.1f} ms (reading {cost.reading * 1e3:.1f}), {cost.file / 1e3:,.0f} kB in"
    million = (
        f"{cost.cpu * 1e6 / 3600:,.1f} core hours, {cost.file / 1e3:,.0f} GB in, {cost.row / 1e3:.1f} GB out"
    )
    return f"{each}; a million: {million}; {cost.file * 8 / cost.cpu / 1e6:.0f} Mbit/s a core"


if __name__ == "__main__":
    main()
