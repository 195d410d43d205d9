"""What one writes to get labels or features of a folder: a DataLoader of two workers, no_grad, batches of 32.

    python benchmarks/loops/inference.py FOLDER WEIGHTS OUT.npy [--features]

torchvision's MobileNetV2 in fp32; PIL and torchvision's transforms. A row per file, by name: 1,280 features,
or the probabilities of the classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

CHANGE = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ]
)


class Files(Dataset):
    """The images of a folder."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return CHANGE(Image.open(self.paths[index]).convert("RGB"))


def main(folder: str, weights: str, out: str, *options: str) -> None:
    """Write the rows."""
    network = models.mobilenet_v2(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    last = nn.Softmax(1)
    if "--features" in options:
        network.classifier, last = nn.Identity(), nn.Identity()
    network.eval()
    with torch.no_grad():
        loader = DataLoader(Files(Path(folder)), batch_size=32, num_workers=2)
        rows = [last(network(images)) for images in loader]
    numpy.save(out, torch.cat(rows).numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
