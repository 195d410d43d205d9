"""Every strategy of `zoo finetune` on the ants and bees with the real MobileNetV2: accuracy, seconds, size.

    python benchmarks/strategies.py [--data ../shared/data] [--seeds 3] [--epochs 2] [--only head,lora]
    python benchmarks/strategies.py --with "mixup=0.2; focal_gamma=2" --only full --epochs 5

Each run has the default recipe, but as many epochs on the photographs as --epochs says (`gradual` shares them
among as many last stages), so that they can be compared. A row has the mean and the range of the validation
accuracy over the seeds, the mean validation loss, the mean of seconds, the parameters that were trained, and
the kilobytes that were saved. With --with there is a row for each group of options besides, all of one
strategy. Features are computed once, before the first run.
"""

from __future__ import annotations

import argparse
import itertools
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
from zoo.training.recipe import KNOBS
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
    parser.add_argument("--with", dest="groups", help="options with commas; groups with semicolons")
    options = parser.parse_args()
    groups = [{}, *map(parse, options.groups.split(";"))] if options.groups else [{}]
    names = options.only.split(",") if options.only else [name for name in STRATEGIES if name != "auto"]
    print(f"{HEADER} {'trained':>10} {'kB':>6}  load", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        train(options, place, "head", {}, seed=0, name="warm-up")
        for number, (name, group) in enumerate(itertools.product(names, groups)):
            load, began = os.getloadavg()[0], time.perf_counter()
            runs = [f"{number}-{seed}" for seed in range(options.seeds)]
            results = [train(options, place, name, group, seed, run) for seed, run in enumerate(runs)]
            took = (time.perf_counter() - began) / len(results)
            words = " ".join(f"{knob}={value}" for knob, value in group.items())
            print(f"{row(name, results, place / runs[0], took)}  {load:.1f} {words}".rstrip(), flush=True)


def parse(text: str) -> dict[str, Any]:
    """The options of a group: "mixup=0.2,augment=strong"."""
    return dict(part.strip().split("=") for part in text.split(",") if part.strip())


def train(
    options: argparse.Namespace, place: Path, strategy: str, group: dict[str, Any], seed: int, name: str
) -> RunResult:
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
        **own
        | {"strategy": strategy, "seed": seed, "device": "cpu"}
        | {knob: KNOBS[knob].read(value) for knob, value in group.items()},
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
