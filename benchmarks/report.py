"""What the page about a run costs beside measuring the run: seconds and memory, for many items.

    python benchmarks/report.py [--classes 10] [--items 10000]

The items are digits of scikit-learn, each shifted and with noise of its own, half of them to train on; the
network is the one that ships with zoo. `evaluate` measures the run as `zoo evaluate` does, `report` writes
the whole page with features that are kept, so that the difference is what the page adds. Each is a process of
its own; the time is that of the whole process, imports included.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--items", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_items(folder / "data", options.classes, options.items)
        os.environ["ZOO_HOME"] = str(folder / "home")
        data, run = str(folder / "data"), str(folder / "run")
        zoo("finetune", "digits", data, "--out", run, "--epochs", "5", "--no-report", "--val-fraction", "0.5")
        seconds = {}
        for words in (("evaluate", run, data), ("report", run, data), ("evaluate", run, data)):
            seconds[words[0]] = min(zoo(*words), seconds.get(words[0], float("inf")))
        size = (folder / "run" / "report.html").stat().st_size
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"{options.items:,} items, {options.classes} classes: evaluate {seconds['evaluate']:.1f} s, "
            f"report {seconds['report']:.1f} s, the page {size / 1000:,.0f} kB, peak {peak:,.0f} MB, "
            f"load {os.getloadavg()[0]:.1f}"
        )


def zoo(*words: str) -> float:
    """The seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "zoo", *words, "-q"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def write_items(folder: Path, classes: int, items: int) -> None:
    """A folder per class of images of 32 pixels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    chance = np.random.default_rng(0)
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        own = digits.images[digits.target == label % 10]
        for number in range(items // classes):
            image = (
                np.roll(own[number % len(own)], chance.integers(-1, 2, 2), (0, 1)).repeat(4, 0).repeat(4, 1)
            )
            noisy = np.clip(image * 15 + chance.normal(0, 20 + label // 10, image.shape), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / str(label) / f"{number:05}.png")


if __name__ == "__main__":
    main()
