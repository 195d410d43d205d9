"""A small network that one process trains, or two that share every batch: the same cases in both.

    ZOO_MEETING=file RANK=0 WORLD_SIZE=2 python -m support.pairs FOLDER cpu    # and RANK=1

writes FOLDER/RANK.json: name of the case -> losses, metrics and weights. `train_alone` is what it has to be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from adapters import freeze
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.training import halves
from zoo.training.batches import Batch, BatchSource, ImageBatches, Share
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.mixing import Mixing
from zoo.training.phase_state import begin_phase
from zoo.training.processes import ALONE, Processes, meet, own_device
from zoo.training.recipe import Recipe, resolve
from zoo.training.single_label import balanced_weights
from zoo.training.strategies import phases

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mixup": {"mixup": 0.4},
    "mixup again": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "either, erased and varied": {"mixup": 0.4, "cutmix": 1.0, "erase": 0.5, "augment": "randaugment"},
    "mixed and weighed": {"mixup": 0.4, "balance": True, "label_smoothing": 0.1, "focal_gamma": 2.0},
    "balanced sampling": {"sampling": "balanced"},
    "average": {"ema": 0.9},
    "average of mixed and balanced": {"ema": 0.8, "mixup": 0.4, "sampling": "balanced", "clip_norm": 0.5},
    "in parts": {"accumulate": 2, "mixup": 0.4},
    "sharded": {"shard": True},
    "sharded, mixed, weighed, cut": {"shard": True, "mixup": 0.4, "balance": True, "clip_norm": 0.5},
    "sharded, in parts": {"shard": True, "accumulate": 2, "optimizer": "sgd"},
    "sharded, rates by stage": {"shard": True, "lr_decay": 0.5, "optimizer": "rmsprop"},
}
COUNTS = (9, 4, 10)  # of each class: the last batch of 7 has two items, and the first process one more
INPUT = ImageInput(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Two:
    """What two processes see of a batch, each its share, as one batch: images are mixed inside a share."""

    def __init__(self, *shares: ImageBatches) -> None:
        self.shares = shares
        self.batch_size, self.smallest = shares[0].batch_size, shares[0].smallest

    def __len__(self) -> int:
        return len(self.shares[0])

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        """The batches of both, joined."""
        for parts in zip(*(share.epoch(number, start, taken) for share in self.shares), strict=True):
            inputs = torch.cat([torch.as_tensor(part.inputs) for part in parts])
            targets = torch.cat([part.targets for part in parts])
            yield Batch(inputs, targets, len(targets), parts[0].end)


def write_images(folder: Path) -> list[Item]:
    """Coloured noise of three kinds; the same in every process."""
    items = []
    for label, count in enumerate(COUNTS):
        for number in range(count):
            draws = np.random.default_rng(10 * number + label)
            pixels = draws.integers(0, 256, (16, 16, 3)) // (1 + (np.arange(3) == label))
            path = folder / f"{label}-{number:02}.png"
            if not path.exists():
                Image.fromarray(pixels.astype("uint8")).save(path)
            items.append(Item(path, label))
    return items


class Turned(nn.Conv2d):
    """A convolution that returns a view of what it has computed; what comes next may write into that."""

    def forward(self, images: Tensor) -> Tensor:
        """With height and width exchanged."""
        return super().forward(images).transpose(2, 3)


def build_network(norm: bool) -> nn.Sequential:
    """Convolutions, the first of which is frozen, with a batch norm that learns."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.ReLU(),
        Turned(6, 8, 3, bias=not norm),  # before a batch norm its gradient is noise
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    freeze(network, until="2")
    return network


def train(
    name: str, items: list[Item], device: torch.device, processes: Processes = ALONE, *, as_two: bool = False
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(losses and metrics, weights) of a case."""
    options = {"unfreeze": "all", "epochs": 0, "tune_epochs": 2, "batch_size": 7, "tune_patience": 0}
    recipe = resolve(Recipe(**options, tune_lr=0.05, **CASES[name]), IMAGES)
    [phase] = phases(recipe)
    labels = torch.tensor([item.label for item in items])

    def source(share: Share, seed: int | None) -> ImageBatches:
        mixing = Mixing(recipe.mixup, recipe.cutmix, 3) if phase.mixes and seed is not None else None
        return ImageBatches(
            items, INPUT, 7, augmentation=phase.augment, erase=phase.erase, mixing=mixing, seed=seed,
            workers=1, share=share, sampling=recipe.sampling,
        )  # fmt: skip

    own = source(processes.share, 0)
    training: BatchSource = Two(source(Share(0, 2), 0), source(Share(1, 2), 0)) if as_two else own
    network = build_network(norm=recipe.accumulate == 1)
    state = begin_phase(
        network,
        training,
        source(processes.share, None),
        recipe=recipe,
        phase=phase,
        machine=Machine(device, processes=processes),
        class_weights=balanced_weights(labels, 3) if recipe.balance else None,
    )
    with patch.object(halves, "is_known", lambda _: True):  # Turned is our own, and what it does is known
        found = fit(state)
    ends = [[end.train_loss, end.val_loss, end.metrics["accuracy"]] for end in found.history]
    if recipe.shard and processes.world > 1:  # 3 of 6 filters, 4 of 8, …: half of everything, frozen or not
        lying: Any = [*state.model.parameters()]
        assert sum(tensor.to_local().numel() for tensor in lying) < 0.7 * sum(map(torch.numel, lying))
    left = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert all(torch.equal(left[name].cpu(), tensor) for name, tensor in found.best_state.items())
    in_halves = state.kept is not None and state.kept.halves.split is not None
    frozen = {"frozen_changed": found.frozen_changed, "frozen": found.frozen_tensors}
    return {"ends": ends, "in_halves": in_halves, **frozen}, left


def as_facts(found: tuple[dict[str, Any], dict[str, Tensor]]) -> dict[str, Any]:
    """The same as JSON has it."""
    facts, weights = found
    return facts | {"weights": {name: tensor.flatten().tolist() for name, tensor in weights.items()}}


def train_alone(name: str, folder: Path, device: str = "cpu") -> dict[str, Any]:
    """A case in this process, with batches as two processes see them."""
    return as_facts(train(name, write_images(folder), torch.device(device), as_two=True))


def train_pair(folder: Path, device: str = "cpu") -> list[dict[str, Any]]:
    """Every case in two processes; what each of them found."""
    write_images(folder)
    common = {"ZOO_MEETING": str(folder / "meeting"), "WORLD_SIZE": "2", "ZOO_PROCESS_TIMEOUT": "100"}
    tests = Path(__file__).parents[1]
    own = {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "support.pairs", str(folder), device]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | common | own | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=200)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def main(folder: Path, device: str) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    warnings.filterwarnings("error", "FSDP2")  # of wrong gradients
    own = own_device(device)
    items = write_images(folder)
    with meet(own) as processes:
        found = {name: as_facts(train(name, items, own, processes)) for name in CASES}
        (folder / f"{processes.rank}.json").write_text(json.dumps(found))
        del processes


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
