"""The ready recipes of `zoo finetune`, and no recipe, on photographs and reviews, many and few.

    python benchmarks/recipes.py [--data ../shared/data] [--seeds 3] [--only quick,tiny-data] [--sets photos]

photos: the 245 ants and bees, validated on 153. few photos: 5 of each class, drawn by the seed. reviews:
10,662 with GloVe, a fifth of them for validation; few reviews: 10 of each class, validated on 1,000. A row
has the mean and the range of the validation accuracy over the seeds, the mean of seconds of the whole run,
and the parameters trained. Features of photographs are computed once, before the first run.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
from pathlib import Path

from subjects import REVIEWS, Set, photographs, reviews, write

from zoo import finetune_model
from zoo.catalogue.registry import Registry, load_registry
from zoo.events import silent
from zoo.runs.record import RunResult
from zoo.store.store import Store
from zoo.training.ready_recipes import READY

DEFAULT = "(none)"
PHOTOS = 5
TEXTS = 10


def main() -> None:
    """Print a row per set and recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join([DEFAULT, *READY]), help="recipes, with commas")
    parser.add_argument("--sets", default="few photos,few reviews,reviews,photos", help="with commas")
    options = parser.parse_args()
    registry = load_registry([options.data / "registry.yaml"])
    print(f"{'set':11} {'recipe':9} {'accuracy':>8} {'range':>15} {'seconds':>7} {'trained':>9} load")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        store = Store(place / "home")
        finetune_model(
            *("mobilenet_v2_demo", options.data / "hymenoptera"),
            out=place / "warm-up",
            registry=registry,
            store=store,
            report=silent,
            device="cpu",
        )
        for name in options.sets.split(","):
            for recipe in options.only.split(","):
                seeds = range(options.seeds)
                found = [train(options.data, name, recipe, seed, place, registry, store) for seed in seeds]
                print(row(name, recipe, found), flush=True)


def train(
    data: Path, name: str, recipe: str, seed: int, place: Path, registry: Registry, store: Store
) -> RunResult:
    """One run of a recipe."""
    is_text = name.endswith("reviews")
    items = data / ("reviews" if is_text else "hymenoptera")
    if name.startswith("few "):
        each, number = (reviews(data), TEXTS) if is_text else (photographs(data), PHOTOS)
        items = draw(each, number, seed, place / "few.jsonl")
    return finetune_model(
        *("glove_demo" if is_text else "mobilenet_v2_demo", items),
        out=place / f"{name}-{recipe}-{seed}",
        registry=registry,
        store=store,
        report=silent,
        recipe=None if recipe == DEFAULT else recipe,
        seed=seed,
        device="cpu",
    )


def draw(each: Set, items: int, seed: int, table: Path) -> Path:
    """A table of a few items of each class to train on; the others' part is for validation."""
    drawn = {name: random.Random(seed).sample(found, items) for name, found in each.pool.items()}
    rows = [(name, "train", item) for name, found in drawn.items() for item in found]
    rows += [(name, "val", item) for name, found in each.held.items() for item in found[:REVIEWS]]
    write(table, rows)
    return table


def row(name: str, recipe: str, results: list[RunResult]) -> str:
    """The row of a recipe."""
    accuracies = [result.val_accuracy for result in results]
    assert not any(result.frozen_changed for result in results)
    seconds = statistics.mean(result.seconds for result in results)
    return (
        f"{name:11} {recipe:9} {statistics.mean(accuracies):8.3f} {min(accuracies):7.3f} "
        f"{max(accuracies):7.3f} {seconds:7.1f} {results[0].trained_parameters:9,} {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
