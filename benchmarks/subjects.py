"""What is measured on: photographs and reviews of the test data (`--data`), all of them, many or a few, and
networks with their entries.

The weights of ResNet-18 are not among the test data: it is written with random ones, and found, checked and
loaded as real ones are. Its times are those of the real one, its accuracy is not.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from measuring import Turn, zoo

if TYPE_CHECKING:
    from torch import nn

    from zoo import Run
    from zoo.catalogue.entry import ImageInput

REVIEWS = 500  # of each class, to measure on


class Network(NamedTuple):
    """name: torchvision's. model: that of the registry. mean, std: of its input. last: how the names of the
    parameters of its last stage begin, as `--unfreeze 1` means it."""

    name: str
    model: str
    registry: Path
    weights: Path
    mean: str
    std: str
    last: str

    def words(self) -> list[object]:
        """Options of benchmarks/loops/."""
        wanted = {"network": self.name, "weights": self.weights, "mean": self.mean, "std": self.std}
        return [word for name, value in wanted.items() for word in (f"--{name}", value)]

    def open(self) -> nn.Module:
        """torchvision's own network with the weights, in eval mode."""
        import torch
        from torchvision import models

        network: nn.Module = models.get_model(self.name, weights=None)
        network.load_state_dict(torch.load(self.weights, weights_only=True))
        return network.eval()

    @property
    def input(self) -> ImageInput:
        """How a photograph becomes its input, as its entry says."""
        from zoo.catalogue.entry import ImageInput

        mean, std = (tuple(map(float, text.split(","))) for text in (self.mean, self.std))
        return ImageInput(size=224, resize=256, mean=mean, std=std)


class Homes:
    """Stores of zoo that begin with the weights of a network alone."""

    def __init__(self, network: Network, scratch: Path) -> None:
        self.network, self.scratch = network, scratch
        self.zoo("fetch", network.model)

    def fresh(self, name: str, like: Path | None = None) -> Path:
        """A store of that name, made anew. like: another one that it begins as."""
        shutil.rmtree(home := self.scratch / f"home-{name.replace(' ', '')}", ignore_errors=True)
        shutil.copytree(like or self.scratch / "weights", home)
        return home

    def zoo(self, *words: object, home: Path | None = None) -> Turn:
        """A command of zoo, which answers its JSON. home: None for the one that others are copies of."""
        return zoo(*words, home=home or self.scratch / "weights", registry=self.network.registry)


def mobilenet_v2(data: Path, folder: Path) -> Network:
    """The real MobileNetV2."""
    del folder
    weights, half = data / "weights" / "mobilenet_v2-adb27a5a.pth", "0.5,0.5,0.5"
    registry = data / "registry.yaml"
    return Network("mobilenet_v2", "mobilenet_v2_demo", registry, weights, half, half, "features.18")


def resnet18(data: Path, folder: Path) -> Network:
    """ResNet-18 with random weights, written into a folder with its entry."""
    del data
    import torch
    from torchvision import models

    torch.manual_seed(0)
    weights, registry = folder / "resnet18.pth", folder / "registry.yaml"
    torch.save(models.resnet18(weights=None).state_dict(), weights)
    mean, std = "0.485,0.456,0.406", "0.229,0.224,0.225"
    numbers = {
        name: [float(part) for part in text.split(",")] for name, text in (("mean", mean), ("std", std))
    }
    entry = {
        "family": "resnet",
        "task": "image-classification",
        "architecture": "torchvision/resnet18",
        "weights": {"url": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "input": {"size": 224, "resize": 256, "interpolation": "bilinear", **numbers},
        "classes": "imagenet-1k",
        "license": "bsd-3-clause",
    }
    registry.write_text(json.dumps({"models": {"resnet18_random": entry}}), "utf-8")  # JSON is YAML
    return Network("resnet18", "resnet18_random", registry, weights, mean, std, "layer4")


NETWORKS = {"resnet18": resnet18, "mobilenet_v2": mobilenet_v2}


def ants_and_bees(data: Path, folder: Path, *, few: int | None = None) -> Path:
    """The photographs, train/ and val/ of them; few: copies of so many of each class and part."""
    whole = data / "hymenoptera"
    if few is None:
        return whole
    for path in sorted(whole.glob("*/*")):
        (place := folder / "photographs" / path.relative_to(whole)).mkdir(parents=True)
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


def reviews(data: Path) -> Set:
    """The reviews; the last of each class, in a random order, are measured."""
    pool, held = {}, {}
    for file in sorted((data / "reviews").glob("*.txt")):
        lines = sorted(set(file.read_text("utf-8", errors="replace").splitlines()))
        random.Random(0).shuffle(lines)
        pool[file.stem], held[file.stem] = lines[:-REVIEWS], lines[-REVIEWS:]
    return Set("reviews", "glove_demo", pool, held)


def write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """A table of labelled items (label, part, item), a line each: paths of images or the texts themselves."""
    column = "path" if rows[0][2].endswith(".jpg") else "text"
    lines = [json.dumps({column: item, "label": name, "split": part}) for name, part, item in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_few(path: Path, each: Set, items: int, seed: int) -> None:
    """A table of so many items of each class to learn from, drawn by the seed, and a quarter as many others
    (one at least) to choose the epoch by."""
    others = max(1, round(items / 4))
    drawn = {name: random.Random(seed).sample(found, items + others) for name, found in each.pool.items()}
    rows = [
        (name, "train" if number < items else "val", item)
        for name, found in drawn.items()
        for number, item in enumerate(found)
    ]
    write(path, rows)


def measure_held(run: Run, each: Set) -> tuple[float, float]:
    """The accuracy and the mean loss of a run on what is held out."""
    import torch  # here: a process that only starts others has their memory to measure
    from torch.nn.functional import cross_entropy

    from adapters import find_classifier

    asked = [(label, item) for label, name in enumerate(run.classes) for item in each.held[name]]
    seen = torch.from_numpy(run.embed([item for _, item in asked], device="cpu").features)
    network = run.classifier.network
    with torch.inference_mode():
        logits = network.get_submodule(find_classifier(network)[0])(seen)
    labels = torch.tensor([label for label, _ in asked])
    return (logits.argmax(1) == labels).float().mean().item(), cross_entropy(logits, labels).item()
