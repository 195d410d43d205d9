"""What is measured: photographs, reviews, and networks with their registry entries.

The photographs and reviews, the real MobileNetV2 and the head of GloVe come from the test data (`--data`).
The weights of ResNet-18 are not among them: it is written with random ones, through the same path (a file,
its hash, a registry entry). Its times are those of the real one, its accuracy is not.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REVIEWS = 500  # of each class, to measure on
IMAGENET = ("0.485,0.456,0.406", "0.229,0.224,0.225")
HALF = ("0.5,0.5,0.5", "0.5,0.5,0.5")


class Network(NamedTuple):
    """name: torchvision's. model: that of the registry. mean, std: of its input."""

    name: str
    model: str
    registry: Path
    weights: Path
    mean: str
    std: str

    def words(self) -> list[object]:
        """Options of loops/tutorial.py."""
        wanted = {"network": self.name, "weights": self.weights, "mean": self.mean, "std": self.std}
        return [word for name, value in wanted.items() for word in (f"--{name}", value)]


def mobilenet_v2(data: Path, folder: Path) -> Network:
    """The real MobileNetV2."""
    del folder
    weights = data / "weights" / "mobilenet_v2-adb27a5a.pth"
    return Network("mobilenet_v2", "mobilenet_v2_demo", data / "registry.yaml", weights, *HALF)


def resnet18(data: Path, folder: Path) -> Network:
    """ResNet-18 with random weights, written into a folder with its entry."""
    del data
    import torch
    from torchvision import models

    torch.manual_seed(0)
    weights, registry = folder / "resnet18.pth", folder / "registry.yaml"
    torch.save(models.resnet18(weights=None).state_dict(), weights)
    mean, std = ([float(number) for number in text.split(",")] for text in IMAGENET)
    entry = {
        "family": "resnet",
        "task": "image-classification",
        "architecture": "torchvision/resnet18",
        "weights": {"url": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "input": {"size": 224, "resize": 256, "mean": mean, "std": std, "interpolation": "bilinear"},
        "classes": "imagenet-1k",
        "license": "bsd-3-clause",
    }
    registry.write_text(json.dumps({"models": {"resnet18_random": entry}}))  # JSON is YAML
    return Network("resnet18", "resnet18_random", registry, weights, *IMAGENET)


NETWORKS = {"resnet18": resnet18, "mobilenet_v2": mobilenet_v2}


def ants_and_bees(data: Path, folder: Path, *, few: int | None = None) -> Path:
    """The photographs, train/ and val/ of them; few: copies of so many of each class and part."""
    if few is None:
        return data / "hymenoptera"
    for path in sorted((data / "hymenoptera").glob("*/*")):
        (place := folder / "photographs" / path.relative_to(data / "hymenoptera")).mkdir(parents=True)
        for photograph in sorted(path.glob("*.jpg"))[:few]:
            shutil.copy(photograph, place)
    return folder / "photographs"


def many_photographs(data: Path, folder: Path, files: int) -> Path:
    """A folder of so many copies of the photographs; each ends in a number, so that no two are equal."""
    photographs = sorted((data / "hymenoptera").rglob("*.jpg"))
    (place := folder / "many").mkdir()
    for number in range(files):
        content = photographs[number % len(photographs)].read_bytes()
        (place / f"{number:06}.jpg").write_bytes(content + number.to_bytes(4, "big"))
    return place


class Set(NamedTuple):
    """name: for people. model: by its name. pool, held: items of each class, to learn from and to measure."""

    name: str
    model: str
    pool: dict[str, list[str]]
    held: dict[str, list[str]]


def photographs(data: Path) -> Set:
    """The ants and bees."""
    folder = data / "hymenoptera"
    parts = [
        {kind.name: sorted(map(str, kind.glob("*.jpg"))) for kind in sorted((folder / part).iterdir())}
        for part in ("train", "val")
    ]
    return Set("photos", "mobilenet_v2_demo", *parts)


def reviews(data: Path, held_out: int = REVIEWS) -> Set:
    """The reviews; the last of each class, in a random order, are measured."""
    pool, held = {}, {}
    for file in sorted((data / "reviews").glob("*.txt")):
        lines = sorted(set(file.read_text("utf-8", errors="replace").splitlines()))
        random.Random(0).shuffle(lines)
        pool[file.stem], held[file.stem] = lines[:-held_out], lines[-held_out:]
    return Set("reviews", "glove_demo", pool, held)


def write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """A table of labelled items (label, part, item), a line each: paths of images or the texts themselves."""
    column = "path" if rows[0][2].endswith(".jpg") else "text"
    lines = [json.dumps({column: item, "label": name, "split": part}) for name, part, item in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
