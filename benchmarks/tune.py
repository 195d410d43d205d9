"""Trials a minute of `zoo tune`, beside the same search with a plain PyTorch loop without a feature cache.

    python benchmarks/tune.py [--data ../shared/data] [--trials 200] [--jobs 2]

The ants and bees on the real MobileNetV2. zoo tune is timed as a whole process, from an empty store and again
with the features that the first one left. The plain loop (ImageFolder, DataLoader, everything frozen but a
linear layer, as in PyTorch's tutorial on transfer learning) is timed for two epochs, train and validation,
and multiplied by the epochs that the trials took: it would do them all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

EPOCHS = 2


def main() -> None:
    """Print trials a minute of each, and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    epoch = time_plain_epoch(options.data)
    print(f"plain loop: {epoch:.1f} s an epoch (load {os.getloadavg()[0]:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        for title in ("empty store", "features known"):
            seconds, trials = search(options, Path(folder), title)
            epochs = sum(trial["epochs"] for trial in trials)
            plain = epoch * epochs
            print(
                f"{title}: {len(trials)} trials of {epochs} epochs in {seconds:.1f} s, "
                f"{60 * len(trials) / seconds:.0f} a minute; plain {60 * len(trials) / plain:.2f} a minute: "
                f"{plain / seconds:.0f} x"
            )


def search(options: argparse.Namespace, folder: Path, title: str) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a whole `zoo tune`, and its trials."""
    words = ["tune", "mobilenet_v2_demo", options.data / "hymenoptera", "--trials", options.trials]
    words += ["--jobs", options.jobs, "--out", folder / title.replace(" ", "-"), "--device", "cpu"]
    words += ["--registry", options.data / "registry.yaml", "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *map(str, words)],
        env=os.environ | {"ZOO_HOME": str(folder / "home")},
        capture_output=True,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    found: dict[str, Any] = json.loads(done.stdout)
    return seconds, found["trials"]


def time_plain_epoch(data: Path) -> float:
    """Seconds of an epoch of the tutorial's loop: training, then validation."""
    transform = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    )
    loaders = {
        part: DataLoader(
            ImageFolder(str(data / "hymenoptera" / part), transform),
            batch_size=32,
            shuffle=part == "train",
            num_workers=2,
        )
        for part in ("train", "val")
    }
    network = models.mobilenet_v2(weights=None)
    for parameter in network.parameters():
        parameter.requires_grad = False
    network.classifier[1] = nn.Linear(1280, 2)
    optimizer = torch.optim.Adam(network.classifier.parameters())
    began = time.perf_counter()
    for _ in range(EPOCHS):
        for part, loader in loaders.items():
            network.train(part == "train")
            for images, labels in loader:
                with torch.set_grad_enabled(part == "train"):
                    loss = nn.functional.cross_entropy(network(images), labels)
                if part == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
    return (time.perf_counter() - began) / EPOCHS


if __name__ == "__main__":
    main()
