"""The loop of PyTorch's transfer learning tutorial, with the options that the benchmarks need.

    python benchmarks/loops/tutorial.py DATA --network resnet18 --weights FILE --mean 0.485,0.456,0.406 …

Frozen backbone but for what --learn names, new last layer, every photograph decoded by PIL and sent through
the whole network in every epoch, the training half with the tutorial's random crops and flips, in train mode
(--frozen-norms: in eval mode: a network that is fixed indeed). Prints its validation accuracy, in the best
epoch as the tutorial has it, and what learned, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--mean", required=True)
    parser.add_argument("--std", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learn", default="", help="beginnings of the names of parameters, with commas")
    parser.add_argument("--frozen-norms", action="store_true", help="eval mode in training too")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    network = models.get_model(options.network, weights=None)
    network.load_state_dict(torch.load(options.weights, weights_only=True))
    for name, parameter in network.named_parameters():
        parameter.requires_grad = bool(options.learn) and name.startswith(tuple(options.learn.split(",")))
    loaders = read(options)
    replace_last_layer(network, len(loaders["train"].dataset.classes))
    began = time.perf_counter()
    accuracy = train(network, loaders, options)
    seconds = time.perf_counter() - began
    learned = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    items = len(loaders["val"].dataset)
    found = {"val_accuracy": accuracy, "trained_parameters": learned, "val_items": items}
    print(json.dumps({**found, "seconds_of_epochs": seconds}))


def read(options: argparse.Namespace) -> dict[str, DataLoader]:
    """The tutorial's loaders of both parts."""
    mean, std = (list(map(float, text.split(","))) for text in (options.mean, options.std))
    normalize = transforms.Normalize(mean, std)
    random = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    middle = [transforms.Resize(256), transforms.CenterCrop(224)]
    return {
        part: DataLoader(
            datasets.ImageFolder(
                options.data / part, transforms.Compose([*steps, transforms.ToTensor(), normalize])
            ),
            batch_size=32,
            shuffle=True,
            num_workers=options.workers,
        )
        for part, steps in (("train", random), ("val", middle))
    }


def replace_last_layer(network: nn.Module, classes: int) -> None:
    """A new one, as the tutorial writes it for each network."""
    if hasattr(network, "fc"):
        network.fc = nn.Linear(network.fc.in_features, classes)
    else:
        network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, classes)


def train(network: nn.Module, loaders: dict[str, DataLoader], options: argparse.Namespace) -> float:
    """The validation accuracy of the best epoch."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], options.lr)
    best = 0.0
    for _ in range(options.epochs):
        network.train(not options.frozen_norms)
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = [network(images).argmax(1) == labels for images, labels in loaders["val"]]
        best = max(best, torch.cat(right).float().mean().item())
    return best


if __name__ == "__main__":
    main()
