"""Every strategy of `zoo finetune` on the ants and bees with the real MobileNetV2: accuracy, seconds, size.

    python benchmarks/strategies.py [--data ../shared/data] [--seeds 3] [--epochs 2] [--only head,lora]

Each run has the default recipe, but as many epochs on the photographs as --epochs says (`gradual` shares them
among as many last stages), so that they can be compared. A row has the mean and the range of the validation
accuracy over the seeds, the mean validation loss, the mean of seconds, the parameters that were trained, and
the kilobytes that were saved. Features are computed once, before the first run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from zoo import finetune_model
from zoo.catalogue.registry import load_registry
from zoo.events import silent
from zoo.runs.record import RunResult
from zoo.store.store import Store
from zoo.training.strategies import STRATEGIES

HEADER = f"{'strategy':9} {'accuracy':>8} {'lowest':>7} {'highest':>7} {'loss':>7} {'seconds':>8}"


def main() -> None:
    """Print one row per strategy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="on the photographs")
    parser.add_argument("--only", help="strategies, with commas")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [name for name in STRATEGIES if name != "auto"]
    print(f"{HEADER} {'trained':>10} {'kB':>6}  load", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        train(options, place, "head", seed=0, name="warm-up")
        for name in names:
            load, began = os.getloadavg()[0], time.perf_counter()
            results = [train(options, place, name, seed, f"{name}-{seed}") for seed in range(options.seeds)]
            took = (time.perf_counter() - began) / len(results)
            print(f"{row(name, results, place / f'{name}-0', took)}  {load:.1f}", flush=True)


def train(options: argparse.Namespace, place: Path, strategy: str, seed: int, name: str) -> RunResult:
    """One run, in a store that all of them share."""
    own: dict[str, Any] = {} if strategy == "head" else {"tune_epochs": options.epochs, "tune_patience": 0}
    if strategy == "gradual":
        own = {"unfreeze": options.epochs, "tune_epochs": 1}
    return finetune_model(
        "mobilenet_v2_demo",
        options.data / "hymenoptera",
        out=place / name,
        registry=load_registry([options.data / "registry.yaml"]),
        store=Store(place / "home"),
        report=silent,
        strategy=strategy,
        seed=seed,
        device="cpu",
        **own,
    )


def row(name: str, results: list[RunResult], run: Path, seconds: float) -> str:
    """The row of a strategy. seconds: of one of its runs."""
    accuracies = [result.val_accuracy for result in results]
    size = (run / "adapter.safetensors").stat().st_size / 1000
    loss = statistics.mean(result.val_loss for result in results)
    assert not any(result.frozen_changed for result in results)
    return (
        f"{name:9} {statistics.mean(accuracies):8.4f} {min(accuracies):7.4f} {max(accuracies):7.4f} "
        f"{loss:7.4f} {seconds:8.1f} {results[0].trained_parameters:10,} {size:6.0f}"
    )


if __name__ == "__main__":
    main()
