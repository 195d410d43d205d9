"""A training step as torch.compile makes it beside the same step without, in turns: `--compile`.

    python benchmarks/compiling.py [--network mobilenet_v2] [--unfreeze 1] [--rounds 8] [--device cpu]

Random weights and images: only time is measured. The first step of each kind, in which it is compiled, is
printed by itself.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision import models

from adapters import attach_head, freeze, unfreeze
from zoo.training.compiling import Compiled
from zoo.training.machine import Machine

CLASSES = 10


def main() -> None:
    """Print the first step, and the minimum, median and maximum of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="mobilenet_v2", help="a name of torchvision")
    parser.add_argument("--unfreeze", default="1", help="last stages that learn, or all")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = models.get_model(options.network)
    freeze(network)
    attach_head(network, CLASSES, seed=0)
    depth = None if options.unfreeze == "all" else int(options.unfreeze)
    unfreeze(network, **({} if depth is None else {"stages": depth}), freeze_norm=True)
    machine = Machine(torch.device(options.device))
    images = torch.randn(options.batch_size, 3, 224, 224, device=machine.device)
    targets = torch.randint(CLASSES, (options.batch_size,), device=machine.device)
    ways = {
        name: Way(copy.deepcopy(network), machine, compiled=name == "compiled")
        for name in ("plain", "compiled")
    }
    print(f"torch {torch.__version__}, {options.network}, stages that learn: {options.unfreeze}")
    first = {name: way.step(images, targets) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            taken[name].append(way.step(images, targets))
    for name, seconds in taken.items():
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:9} first {first[name]:7.2f} s; then {low:6.3f} {middle:6.3f} {high:6.3f} s")
    ratio = statistics.median(taken["plain"]) / statistics.median(taken["compiled"])
    print(f"plain / compiled: {ratio:.2f}")


class Way:
    """A network with its optimizer, compiled or not."""

    def __init__(self, network: nn.Module, machine: Machine, *, compiled: bool) -> None:
        self.network, self.machine = network.to(machine.device).train(), machine
        self.call = Compiled(self.network) if compiled else self.network
        self.optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-5)

    def step(self, images: Tensor, targets: Tensor) -> float:
        """One step; returns its seconds."""
        began = time.perf_counter()
        self.optimizer.zero_grad()
        self.machine.backward(cross_entropy(self.call(images), targets))
        self.machine.step(self.optimizer, list(self.network.parameters()))
        if self.machine.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
