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
import json
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from adapters import find_classifier
from zoo import finetune_model, load_run
from zoo.catalogue.registry import Registry, load_registry
from zoo.events import silent
from zoo.store.store import Store

HEADS = ("linear", "cosine", "nearest-mean")
REVIEWS = 500  # of each class, to measure on


class Set(NamedTuple):
    """name: for people. model: by its name. pool, held: items of each class, to learn from and to measure."""

    name: str
    model: str
    pool: dict[str, list[str]]
    held: dict[str, list[str]]


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


def photographs(data: Path) -> Set:
    """The ants and bees."""
    folder = data / "hymenoptera"
    parts = [
        {kind.name: sorted(map(str, kind.glob("*.jpg"))) for kind in sorted((folder / part).iterdir())}
        for part in ("train", "val")
    ]
    return Set("photos", "mobilenet_v2_demo", *parts)


def reviews(data: Path) -> Set:
    """The reviews; the last of each class, in a random order, are measured."""
    pool, held = {}, {}
    for file in sorted((data / "reviews").glob("*.txt")):
        lines = sorted(set(file.read_text("utf-8", errors="replace").splitlines()))
        random.Random(0).shuffle(lines)
        pool[file.stem], held[file.stem] = lines[:-REVIEWS], lines[-REVIEWS:]
    return Set("reviews", "glove_demo", pool, held)


SETS = {"photos": photographs, "reviews": reviews}


def measure(
    each: Set, items: int, head: str, seed: int, registry: Registry, store: Store
) -> tuple[float, float]:
    """The accuracy and the loss of one run on items that it has not seen."""
    others = max(1, round(items / 4))
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "few.jsonl", Path(folder) / "run"
        drawn = {name: random.Random(seed).sample(found, items + others) for name, found in each.pool.items()}
        rows = [
            (name, "train" if number < items else "val", item)
            for name, found in drawn.items()
            for number, item in enumerate(found)
        ]
        write(table, rows)
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
        run = load_run(out, store=store)
        asked = [(label, item) for label, name in enumerate(run.classes) for item in each.held[name]]
        seen = torch.from_numpy(run.embed([item for _, item in asked], device="cpu").features)
        network = run.classifier.network
        with torch.inference_mode():
            logits = network.get_submodule(find_classifier(network)[0])(seen)
        labels = torch.tensor([label for label, _ in asked])
        right = (logits.argmax(1) == labels).float().mean()
        return right.item(), cross_entropy(logits, labels).item()


def write(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """A table of labelled items, a line each: paths of images or the texts themselves."""
    column = "path" if rows[0][2].endswith(".jpg") else "text"
    lines = [json.dumps({column: item, "label": name, "split": part}) for name, part, item in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")


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
