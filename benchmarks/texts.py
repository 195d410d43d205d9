"""Which tool for how many texts: frozen vectors, tuned ones with new words, TF-IDF with logistic regression.

    python benchmarks/texts.py [--data ../shared/data] [--seeds 3]

Trains on so many reviews of each class and measures each tool on the same 1,000 others, in one run. GloVe's
2,400 most frequent words know 72 % of the words of these reviews; the published files know nearly all.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path

import polars

from zoo.catalogue.registry import Registry, load_registry
from zoo.runs.making.finetuning import finetune_model

SIZES = (25, 100, 400, 1600, 4300)  # training texts per class
HELD_OUT = 1000  # per class
TOOLS = {"frozen": {}, "tuned": {"unfreeze": "all"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    registry = load_registry([options.data / "registry.yaml"])
    reviews = {
        path.stem: [line for line in path.read_text("utf-8").split("\n") if line.strip()]
        for path in sorted((options.data / "reviews").glob("*.txt"))
    }
    print(f"per class  frozen   tuned  TF-IDF   mean val accuracy of {options.seeds} draws")
    for size in SIZES:
        found: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            for name, accuracy in measure(reviews, size, seed, registry).items():
                found.setdefault(name, []).append(accuracy)
        means = [statistics.fmean(found[name]) for name in (*TOOLS, "TF-IDF")]
        print(f"{size:>9}  " + "  ".join(f"{mean:6.3f}" for mean in means), flush=True)


def measure(reviews: dict[str, list[str]], size: int, seed: int, registry: Registry) -> dict[str, float]:
    """The accuracy of each tool, trained on `size` texts of each class."""
    rows = []
    for label, texts in reviews.items():
        drawn = random.Random(seed).sample(texts, size + HELD_OUT)
        rows += [(text, label, "train") for text in drawn[:size]]
        rows += [(text, label, "val") for text in drawn[size:]]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "reviews.csv"
        polars.DataFrame(rows, schema=["text", "label", "split"], orient="row").write_csv(table)
        for name, recipe in TOOLS.items():
            out = Path(folder) / name
            result = finetune_model("glove_demo", table, out=out, registry=registry, seed=seed, **recipe)
            found[name] = result.val_accuracy
            assert result.baseline is not None
            found["TF-IDF"] = result.baseline.val_accuracy
    return found


if __name__ == "__main__":
    main()
