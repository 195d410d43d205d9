"""What a GPU makes of the three kinds of work, beside plain PyTorch loops, in one run.

    python benchmarks/gpu.py [--network resnet50] [--rounds 3]

features: images a second through a frozen backbone, from the host's memory to features there; the peer is
the same network in eval mode under no_grad, in fp32. head: an epoch of a linear head on 10,000 cached
features; the peer is a loop over a DataLoader of a TensorDataset. tune: a step of the whole network on images
that are on the GPU already, frozen batch norms; the peer is the loop of PyTorch's AMP recipe in the same
number format.
Weights and images are random: only time is measured. Ways take turns, and the best of the rounds counts.
`--device cpu` tries the script where there is no GPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchvision import models

from adapters import attach_head, build_head, feature_extractor, freeze, unfreeze
from zoo.data.kinds import IMAGES
from zoo.features.network import FrozenNetwork, freeze_network
from zoo.training.batches import FeatureBatches
from zoo.training.loop import fit
from zoo.training.machine import FORMATS, Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases

CLASSES = 10
HEAD_ITEMS, WIDTH, HEAD_BATCH = 10_000, 2048, 32
Way = Callable[[], object]


def main() -> None:
    """Print a table per kind of work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet50", help="a name of torchvision")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=32, help="batches a round, of features and of steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device")
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {options.network}, batches of {options.batch_size}")
    torch.manual_seed(0)
    network = models.get_model(options.network, weights=None).eval()
    images = torch.randn(options.batches * options.batch_size, 3, 224, 224)
    precisions = ["fp32", "bf16", *(["fp16"] if device.type == "cuda" else [])]

    ways = feature_ways(network, images, options.batch_size, device)
    show("features, images/s", race(ways, options.rounds, device), len(images))
    show("head, epochs/s", race(head_ways(device), options.rounds, device), 1)
    for precision in precisions:
        ways = tune_ways(network, images, options.batch_size, device, precision)
        show(f"tune in {precision}, steps/s", race(ways, options.rounds, device), options.batches)


def race(ways: dict[str, Way], rounds: int, device: torch.device) -> dict[str, float]:
    """The best seconds of each way; they take turns, after one round that does not count."""
    best = dict.fromkeys(ways, float("inf"))
    for number in range(rounds + 1):
        for name, way in ways.items():
            wait_for(device)
            start = time.perf_counter()
            way()
            wait_for(device)
            if number:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def wait_for(device: torch.device) -> None:
    """Wait until everything that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show(title: str, seconds: dict[str, float], units: int) -> None:
    """A line per way: units a second, and how many times the first way's."""
    print(f"\n{title}")
    peer = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:24} {units / value:10.1f} {peer / value:8.2f} x")


def feature_ways(network: nn.Module, images: Tensor, size: int, device: torch.device) -> dict[str, Way]:
    """Features of all images, as the feature pass computes them, beside the network as it is."""
    plain = feature_extractor(network).to(device)
    batches = images.split(size)

    @torch.no_grad()
    def loop() -> list[Tensor]:
        return [plain(batch.to(device)).cpu() for batch in batches]

    def ours(frozen: FrozenNetwork) -> list[Tensor]:
        return [frozen(batch) for batch in batches]

    fp32 = freeze_network(network, images[:4], device=device, precision="fp32")
    bf16 = freeze_network(network, images[:4], device=device, precision="bf16")
    return {"plain loop, fp32": loop, "zoo, fp32": partial(ours, fp32), "zoo, bf16": partial(ours, bf16)}


def head_ways(device: torch.device) -> dict[str, Way]:
    """One epoch of a linear head, train and validation, on features that are computed already."""
    features = torch.randn(HEAD_ITEMS, WIDTH)
    labels = torch.randint(CLASSES, (HEAD_ITEMS,))
    loader = DataLoader(
        TensorDataset(features, labels), HEAD_BATCH, shuffle=True, pin_memory=device.type == "cuda"
    )
    layer = nn.Linear(WIDTH, CLASSES).to(device)
    optimizer = torch.optim.Adam(layer.parameters())
    head = build_head("linear", WIDTH, CLASSES, dropout=0.0)  # the plain layer has none
    placed, targets = features.to(device), labels.to(device)
    train, val = FeatureBatches(placed, targets, HEAD_BATCH, seed=0), FeatureBatches(placed, targets, 4096)
    recipe = resolve(Recipe(epochs=1, patience=0), IMAGES)

    def loop() -> None:
        for rows, wanted in loader:
            optimizer.zero_grad()
            cross_entropy(layer(rows.to(device)), wanted.to(device)).backward()
            optimizer.step()
        with torch.no_grad():
            [(layer(rows.to(device)).argmax(1).cpu() == wanted).sum() for rows, wanted in loader]

    def ours() -> None:
        fit(begin_phase(head, train, val, recipe=recipe, phase=phases(recipe)[0], machine=Machine(device)))

    return {"plain loop": loop, "zoo": ours}


def tune_ways(
    network: nn.Module, images: Tensor, size: int, device: torch.device, precision: str
) -> dict[str, Way]:
    """An epoch of the whole network, without validation, in one number format."""
    placed = images.to(device)
    targets = torch.randint(CLASSES, (len(images),), device=device)
    wishes = Recipe(epochs=0, unfreeze="all", tune_epochs=1, batch_size=size, precision=precision)
    recipe = resolve(wishes, IMAGES)
    [phase] = phases(recipe)
    plain, model = prepare(network, device), prepare(network, device)
    optimizer = torch.optim.Adam([p for p in plain.parameters() if p.requires_grad], lr=phase.lr)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    train, val = FeatureBatches(placed, targets, size, seed=0), FeatureBatches(placed[:2], targets[:2], size)

    def loop() -> None:
        plain.train()
        for rows in torch.randperm(len(placed), device=device).split(size):
            optimizer.zero_grad()
            with torch.autocast(device.type, FORMATS.get(precision), enabled=precision != "fp32"):
                loss = cross_entropy(plain(placed[rows]), targets[rows])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    def ours() -> None:
        machine = Machine(device, precision)
        fit(begin_phase(model, train, val, recipe=recipe, phase=phase, machine=machine))

    return {"plain loop": loop, "zoo": ours}


def prepare(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy with a new head whose layers all learn, but for the statistics of its batch norms."""
    model = copy.deepcopy(network)
    freeze(model)
    attach_head(model, CLASSES, seed=0)
    unfreeze(model, freeze_norm=True)
    return model.to(device)


if __name__ == "__main__":
    main()
