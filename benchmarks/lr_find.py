"""The rates that `zoo lr-find` suggests against the usual one, on ants and bees with the real MobileNetV2.

    python benchmarks/lr_find.py [--data ../shared/data] [--seeds 3] [--deeper]

For every seed the test is made, then `zoo finetune` trains at the usual rate and at that of every rule. A row
has the rates over the seeds, the mean and the range of the validation accuracy, and the mean validation loss.
The head alone; with --deeper the last stage after it, for two epochs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from zoo import find_lr, finetune_model
from zoo.catalogue.registry import load_registry
from zoo.choosing.rates.curve import RULES
from zoo.events import silent
from zoo.runs.record import RunResult
from zoo.store.store import Store


def main() -> None:
    """Print one row per rule, and one for the usual rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--deeper", action="store_true")
    options = parser.parse_args()

    deeper: dict[str, Any] = {"unfreeze": 1, "tune_epochs": 2} if options.deeper else {}
    rows: dict[str, list[tuple[float, RunResult]]] = {name: [] for name in ("usual", *RULES)}
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "registry": load_registry([options.data / "registry.yaml"]),
            "store": Store(Path(os.environ.get("ZOO_HOME", f"{folder}/home"))),
            "report": silent,
            **deeper,
        }
        photographs = options.data / "hymenoptera"
        for seed in range(options.seeds):
            found = find_lr("mobilenet_v2_demo", photographs, seed=seed, **common)
            print(f"seed {seed}: {found.seconds:.1f} s, diverged: {found.diverged}, {found.suggestions}")
            for name, rate in {"usual": found.usual, **found.suggestions}.items():
                option: Any = {found.option.lstrip("-").replace("-", "_"): rate}
                out = Path(folder) / f"{name.replace('/', '-')}-{seed}"
                result = finetune_model(
                    "mobilenet_v2_demo", photographs, out=out, seed=seed, **option, **common
                )
                rows[name].append((rate, result))
    print(f"{'rule':11} {'accuracy':>8} {'lowest':>7} {'highest':>7} {'loss':>7}  rates")
    for name, runs in rows.items():
        if runs:
            scores = [result.metrics["accuracy"] for _, result in runs]
            loss = statistics.mean(result.val_loss for _, result in runs)
            rates = ", ".join(f"{rate:g}" for rate, _ in runs)
            mean = statistics.mean(scores)
            print(f"{name:11} {mean:8.4f} {min(scores):7.4f} {max(scores):7.4f} {loss:7.4f}  {rates}")


if __name__ == "__main__":
    main()
