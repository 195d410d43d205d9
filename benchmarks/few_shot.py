"""Heads on a few items of each class: ants and bees with the real MobileNetV2, reviews with GloVe.

    python benchmarks/few_shot.py [--data ../shared/data] [--seeds 5] [--items 1,2,3,5,10,20]

Each run is `zoo finetune` with the default recipe and another head. It learns from as many items of each
class as --items says, drawn by the seed, and has a quarter as many others (one at least) to choose its epoch
by: what is left of a folder that zoo splits itself. It is measured on what neither has: the 153 validation
photographs, or 500 reviews of each class. A row has the mean and the range of the accuracy over the seeds,
and the mean loss, which shows whether probabilities can be believed (0.693 is what knowing nothing of two
classes costs).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from subjects import Set, measure_held, photographs, reviews, write_few

from zoo import finetune_model, load_run
from zoo.catalogue.registry import Registry, load_registry
from zoo.events import silent
from zoo.store.store import Store

HEADS = ("linear", "cosine", "nearest-mean")


def main() -> None:
    """Print a row per set, number of items and head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--items", default="1,2,3,5,10,20", help="of each class, with commas")
    parser.add_argument("--heads", default=",".join(HEADS), help="with commas")
    parser.add_argument("--sets", default="photos,reviews", help="with commas")
    options = parser.parse_args()
    registry = load_registry([options.data / "registry.yaml"])
    print(
        f"{'set':9} {'items':>5} {'head':12} {'accuracy':>8} {'lowest':>7} {'highest':>7} {'loss':>7}  load"
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "home")
        for each in (SETS[name](options.data) for name in options.sets.split(",")):
            for items in map(int, options.items.split(",")):
                for head in options.heads.split(","):
                    found = [
                        measure(each, items, head, seed, registry, store) for seed in range(options.seeds)
                    ]
                    print(row(each.name, items, head, found), flush=True)


SETS = {"photos": photographs, "reviews": reviews}


def measure(
    each: Set, items: int, head: str, seed: int, registry: Registry, store: Store
) -> tuple[float, float]:
    """The accuracy and the loss of one run on items that it has not seen."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "few.jsonl", Path(folder) / "run"
        write_few(table, each, items, seed)
        more = {"baseline": False} if each.model == "glove_demo" else {}
        finetune_model(
            *(each.model, table),
            out=out,
            registry=registry,
            store=store,
            report=silent,
            head=head,
            seed=seed,
            device="cpu",
            **more,
        )
        return measure_held(load_run(out, store=store), each)


def row(name: str, items: int, head: str, found: Sequence[tuple[float, float]]) -> str:
    """The row of a head."""
    accuracies = [accuracy for accuracy, _ in found]
    loss = statistics.mean(loss for _, loss in found)
    return (
        f"{name:9} {items:5} {head:12} {statistics.mean(accuracies):8.3f} {min(accuracies):7.3f} "
        f"{max(accuracies):7.3f} {loss:7.3f} {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
