"""Trials a minute of `zoo tune`, beside the same search with a plain PyTorch loop without a feature cache.

    python benchmarks/tune.py [--data ../shared/data] [--trials 200] [--jobs 2] [--fastai FOLDER]

The ants and bees on the real MobileNetV2. zoo tune is timed as a whole process, from an empty store and again
with the features that the first one left. The plain loop (ImageFolder, DataLoader, everything frozen but a
linear layer, as in PyTorch's tutorial on transfer learning) is timed for two epochs, train and validation,
and multiplied by the epochs that the trials took: it would do them all alike. With --fastai the same is done
with a frozen learner of fastai (body in eval, its own head), which is installed into FOLDER, without its
dependencies on torch, if it is not there.
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
    parser.add_argument("--fastai", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    peers = {"plain loop": time_plain_epoch(options.data)}
    if options.fastai is not None:
        peers |= time_fastai_epoch(options.data, options.fastai.absolute())
    for peer, epoch in peers.items():
        print(f"{peer}: {epoch:.1f} s an epoch (load {os.getloadavg()[0]:.1f})")
    with tempfile.TemporaryDirectory() as folder:
        for title in ("empty store", "features known"):
            seconds, trials = search(options, Path(folder), title)
            epochs = sum(trial["epochs"] for trial in trials)
            print(
                f"{title}: {len(trials)} trials of {epochs} epochs in {seconds:.1f} s, "
                f"{60 * len(trials) / seconds:.0f} a minute"
            )
            for peer, epoch in peers.items():
                ratio = epoch * epochs / seconds
                print(f"  {peer}: {60 * len(trials) / (epoch * epochs):.2f} a minute: {ratio:.0f} x")


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


FASTAI = ("fastai==2.8.5", "fastcore==1.8.9", "fastdownload", "fastprogress==1.0.3", "fasttransform==0.0.2")
NEEDS = (
    "plum-dispatch",
    "beartype",
    "cloudpickle",
    "requests",
    "charset-normalizer",
    "urllib3",
    "idna",
    "certifi",
)
MORE = ("pandas", "python-dateutil", "pytz", "tzdata", "six")

_FASTAI_EPOCH = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import fastai
from fastai.vision.all import *
from torchvision.models import mobilenet_v2
loaders = ImageDataLoaders.from_folder(
    sys.argv[1], train="train", valid="val", item_tfms=Resize(224), bs=32, num_workers=0
)
body = create_body(mobilenet_v2(weights=None), pretrained=False, cut=-1)
learner = Learner(
    loaders, nn.Sequential(body, create_head(1280, 2)), metrics=accuracy,
    splitter=lambda model: [params(model[0]), params(model[1])], train_bn=False,
)
learner.freeze()
with learner.no_bar(), learner.no_logging():
    began = time.perf_counter()
    learner.fit(int(sys.argv[2]))
print(json.dumps({f"fastai {fastai.__version__}": (time.perf_counter() - began) / int(sys.argv[2])}))
"""


def time_fastai_epoch(data: Path, folder: Path) -> dict[str, float]:
    """The version of fastai, and seconds of an epoch of a frozen learner: training, then validation."""
    if not (folder / "fastai").is_dir():
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        subprocess.run([*install, *FASTAI, *NEEDS, *MORE], check=True)
    done = subprocess.run(
        [sys.executable, "-c", _FASTAI_EPOCH, str(data / "hymenoptera"), str(EPOCHS)],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
