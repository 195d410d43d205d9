"""Head-only training: the tutorial's loop against features computed once, side by side in one run.

    python benchmarks/features.py [--data ../shared/data] [--network resnet18] [--epochs 20] [--quick]

The loop is that of PyTorch's transfer learning tutorial ("ConvNet as fixed feature extractor"): frozen
backbone, new last layer, every photograph decoded by PIL and sent through the whole network in every epoch,
the training half in train mode. Ours sends every photograph through once. Both train a linear head on ants
and bees. --quick measures one epoch of the loop and multiplies; the table says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.catalogue.entry import ImageInput
from zoo.features.extraction import extract_features
from zoo.features.network import supports_bf16

IMAGENET = ImageInput(size=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = ImageInput(size=224, resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BATCH_SIZE = 32
LEARNING_RATE = 0.01


def resnet18(data: Path) -> tuple[nn.Module, ImageInput]:
    """ResNet-18 with random weights: the time is that of the real one, the accuracy is not."""
    from torchvision import models

    del data
    return models.resnet18(), IMAGENET


def mobilenet_v2(data: Path) -> tuple[nn.Module, ImageInput]:
    """The real MobileNetV2."""
    from torchvision import models

    network = models.mobilenet_v2()
    path = data / "weights" / "mobilenet_v2-adb27a5a.pth"
    network.load_state_dict(torch.load(path, weights_only=True))
    return network, HALF


NETWORKS = {"resnet18": resnet18, "mobilenet_v2": mobilenet_v2}


def train_as_the_tutorial(network: nn.Module, data: Path, settings: ImageInput, epochs: int) -> float:
    """Validation accuracy after the tutorial's loop."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    normalize = transforms.Normalize(settings.mean, settings.std)
    crop = [transforms.RandomResizedCrop(settings.size), transforms.RandomHorizontalFlip()]
    middle = [transforms.Resize(settings.resize), transforms.CenterCrop(settings.size)]
    steps = {"train": crop, "val": middle}
    loaders = {
        part: DataLoader(
            datasets.ImageFolder(
                data / "hymenoptera" / part,
                transforms.Compose([*steps[part], transforms.ToTensor(), normalize]),
            ),
            batch_size=BATCH_SIZE,
            shuffle=True,
            num_workers=2,
        )
        for part in steps
    }
    for parameter in network.parameters():
        parameter.requires_grad = False
    head = put_head(network)
    optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
    accuracy = 0.0
    for _ in range(epochs):
        network.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = [(network(images).argmax(1) == labels) for images, labels in loaders["val"]]
        accuracy = torch.cat(right).float().mean().item()
    return accuracy


def put_head(network: nn.Module) -> nn.Linear:
    """A new last layer for two classes, as the tutorial writes it for each network."""
    if hasattr(network, "fc"):
        network.fc = nn.Linear(network.fc.in_features, 2)
        return network.fc
    network.classifier[1] = nn.Linear(network.classifier[1].in_features, 2)
    return network.classifier[1]


def train_on_features(
    network: nn.Module, data: Path, settings: ImageInput, epochs: int, precision: str, home: Path
) -> float:
    """Validation accuracy of a head trained on features that are computed once."""
    from torchvision.datasets import ImageFolder

    parts = [ImageFolder(data / "hymenoptera" / part).samples for part in ("train", "val")]
    paths = [Path(path) for samples in parts for path, _ in samples]
    labels = torch.tensor([label for samples in parts for _, label in samples])
    table = extract_features(network, paths, settings, precision=precision, store_home=home)  # type: ignore[arg-type]
    middle = len(parts[0])
    return train_head(
        table.features[:middle], labels[:middle], table.features[middle:], labels[middle:], epochs
    )


def train_head(train: Tensor, targets: Tensor, val: Tensor, val_targets: Tensor, epochs: int) -> float:
    """Validation accuracy of a linear head."""
    head = nn.Linear(train.shape[1], 2)
    optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).split(BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(train[rows]), targets[rows]).backward()
            optimizer.step()
    return (head(val).argmax(1) == val_targets).float().mean().item()


def main() -> None:
    """Print one table per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="measure one epoch of the loop and multiply")
    options = parser.parse_args()
    cpu = torch.device("cpu")
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, bf16 hardware: {supports_bf16(cpu)}"
    )
    for name in options.network or NETWORKS:
        load = os.getloadavg()[0]
        print(f"\n{name}, 397 photographs, {options.epochs} epochs of a linear head; load before: {load:.1f}")
        compare(name, options.data, options.epochs, 1 if options.quick else options.epochs)


def compare(name: str, data: Path, epochs: int, loop_epochs: int) -> None:
    """Time each way once, the loop first, and print seconds, ratio and accuracy."""
    torch.manual_seed(0)
    network, settings = NETWORKS[name](data)
    start = time.perf_counter()
    accuracy = train_as_the_tutorial(network, data, settings, loop_epochs)
    seconds = (time.perf_counter() - start) * epochs / loop_epochs
    said = "" if loop_epochs == epochs else f" (extrapolated from {loop_epochs} epoch)"
    print(f"  {'tutorial loop':28} {seconds:8.1f} s          val accuracy {accuracy:.3f}{said}")
    with tempfile.TemporaryDirectory() as home:
        for precision in ("fp32", "bf16"):
            for cached in (False, True):
                torch.manual_seed(0)
                network, settings = NETWORKS[name](data)
                start = time.perf_counter()
                accuracy = train_on_features(network, data, settings, epochs, precision, Path(home))
                own = time.perf_counter() - start
                label = f"features once, {precision}{', again' if cached else ''}"
                print(f"  {label:28} {own:8.1f} s {seconds / own:7.0f} x  val accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
