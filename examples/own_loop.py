"""Fine-tuning with `adapters` and a plain PyTorch loop: nothing else of transfer-zoo is needed.

    python examples/own_loop.py photos/            # photos/train/CLASS/*.jpg and photos/val/CLASS/*.jpg
    python examples/own_loop.py photos/ --weights mobilenet_v2.pth --mean .5 .5 .5 --std .5 .5 .5

First a head on features that are computed once, then the last stage with it, at a smaller rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from adapters import attach_head, features_of, freeze, frozen_guard, parameter_groups, unfreeze


def main() -> None:
    """Train, and print the validation accuracy after each phase."""
    options = read_options()
    torch.manual_seed(0)
    train, val = (open_folder(options, part) for part in ("train", "val"))

    model = mobilenet_v2(weights=None if options.weights else MobileNet_V2_Weights.DEFAULT)
    if options.weights:
        model.load_state_dict(torch.load(options.weights, weights_only=True))
    freeze(model)  # batch norm and dropout too, whatever .train() says
    head = attach_head(model, train.dataset.classes, dropout=0.2)

    with frozen_guard(model):  # raises if a frozen tensor has changed
        # 1. the head, on features that do not change while the backbone is frozen
        features, labels = all_features(model, train)
        optimizer = torch.optim.Adam(parameter_groups(head, lr=1e-3, weight_decay=0.01))
        for _ in range(options.head_epochs):
            for rows in torch.randperm(len(labels)).split(32):
                step(head.train()(features[rows]), labels[rows], optimizer)
    print(f"head alone: {accuracy(model, val):.4f}")

    # 2. the last stage with it: its batch norms keep their statistics, deeper stages would learn more slowly
    unfreeze(model, 1, freeze_norm=True)
    optimizer = torch.optim.Adam(parameter_groups(model, lr=1e-4, decay=0.5, weight_decay=1e-4))
    with frozen_guard(model):
        for _ in range(options.epochs):
            for images, labels in train:
                step(model.train()(images), labels, optimizer)
    print(f"last stage too: {accuracy(model, val):.4f}")


def step(logits: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step down the gradient."""
    optimizer.zero_grad()
    nn.functional.cross_entropy(logits, labels).backward()
    optimizer.step()


def all_features(model: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor]:
    """What the head sees of every image (items, width), and their classes (items,)."""
    found = [(features_of(model, images), labels) for images, labels in loader]
    features, labels = zip(*found, strict=True)
    return torch.cat(features), torch.cat(labels)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """The share of images whose class is found."""
    model.eval()
    right = [model(images).argmax(1) == labels for images, labels in loader]
    return torch.cat(right).float().mean().item()


def open_folder(options: argparse.Namespace, part: str) -> DataLoader:
    """The images of a part, as the weights want to see them."""
    preprocess = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(options.mean, options.std),
        ]
    )
    return DataLoader(datasets.ImageFolder(options.folder / part, preprocess), 32, shuffle=part == "train")


def read_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="A state dict of MobileNetV2; torchvision's by default.")
    parser.add_argument("--mean", type=float, nargs=3, default=[0.485, 0.456, 0.406])
    parser.add_argument("--std", type=float, nargs=3, default=[0.229, 0.224, 0.225])
    parser.add_argument("--head-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
