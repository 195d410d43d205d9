"""Images per second from file to input tensor, beside torchvision's ImageFolder and DataLoader, in one run.

    python benchmarks/images.py DATA        DATA: class folders, or train/ and val/ of them

Each way reads the same files, resizes to 256, crops 224 and normalises; ways take turns, and the best of the
rounds counts. No model runs. The peers: ImageFolder in one process (PIL, torchvision transforms), and the
same in a DataLoader with worker processes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms._presets import ImageClassification

from zoo.catalogue.entry import ImageInput
from zoo.data.listing import list_images
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import preprocess

IMAGENET = ImageInput(size=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def read_in_one_thread(folder: Path) -> int:
    """Images read and preprocessed by zoo, one after the other."""
    paths = list_images([folder])
    return sum(preprocess(read_image(path), IMAGENET).shape[0] == 3 for path in paths)


def read_in_threads(folder: Path, *, workers: int, keep: int | None = None) -> int:
    """Images in batches by zoo's threads."""
    batches = load_batches(
        list_images([folder]), partial(preprocess, input=IMAGENET), 32, workers=workers, keep=keep
    )
    return sum(len(batch.indices) for batch in batches)


def read_with_torchvision(folder: Path, *, workers: int) -> int:
    """Images in batches by torchvision's ImageFolder, in `workers` processes (0: in this one)."""
    images = ImageFolder(str(folder), ImageClassification(crop_size=224))
    return sum(len(labels) for _, labels in DataLoader(images, batch_size=32, num_workers=workers))


def main() -> None:
    """Print a table of images per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.data
    ways: dict[str, Callable[[Path], int]] = {
        "torchvision ImageFolder, 1 process": partial(read_with_torchvision, workers=0),
        "torchvision DataLoader, 2 processes": partial(read_with_torchvision, workers=2),
        "zoo, 1 thread": read_in_one_thread,
        "zoo, 2 threads": partial(read_in_threads, workers=2),
        "zoo, 2 threads, keep=1024": partial(read_in_threads, workers=2, keep=4 * IMAGENET.resize),
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            count = way(folder)
            best[name] = max(best[name], count / (time.perf_counter() - start))
    peer = next(iter(best.values()))
    for name, speed in best.items():
        print(f"{name:38} {speed:8.1f} images/s {speed / peer:6.2f} x")


if __name__ == "__main__":
    main()
