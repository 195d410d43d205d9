"""A head on features that the memory does not hold, against the same features in memory.

    python benchmarks/streaming.py [--items 200000] [--held 128MB] [--epochs 3] [--small]

Two whole processes of `zoo finetune x.parquet` take turns: one may hold all features, one `--held`. The
features are drawn: a row is the mean of its class and noise, 100 classes one after the other in the file,
which is the worst order for a pass that is shuffled in blocks. A tenth of the items is held out. The accuracy
stands beside each time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measuring import Table, Turn, command, new_parser, race, show

NAME, CLASSES, WIDTH = "mobilenet_v2_demo", 100, 1280


def write_features(target: Path, items: int, about: dict[str, str]) -> None:
    """A table of drawn features as `zoo embed` writes them. about: what they are said to depend on."""
    import numpy as np
    import polars as pl

    draws = np.random.default_rng(0)
    means = draws.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    label = np.arange(items) * CLASSES // items
    rows = draws.normal(scale=12, size=(items, WIDTH)).astype(np.float32)  # that a head is often wrong
    rows += means[label]
    held_out = np.arange(items) % 10 == 0
    pl.DataFrame(
        {
            "path": [f"{row:08}.jpg" for row in range(items)],
            "label": [f"class {number:02}" for number in label],
            "split": ["val" if out else "train" for out in held_out],
            "sha256": [f"{row:064x}" for row in range(items)],
            "features": pl.Series(rows, dtype=pl.Array(pl.Float32, WIDTH)),
        }
    ).write_parquet(target, row_group_size=1 << 14, metadata=about)


def train(data: Path, env: dict[str, str], epochs: int) -> Turn:
    """A whole run; the answer is its accuracy."""
    with TemporaryDirectory() as folder:
        words = ["finetune", NAME, data, "--out", Path(folder) / "run", "--epochs", epochs, "--patience", 0]
        done = command([sys.executable, "-m", "zoo", *words, "--no-report", "--device", "cpu"], env)
    return done._replace(answer=float(done.answer.split("accuracy ", 1)[1].split(",")[0].split()[0]))


def compare(options: argparse.Namespace, scratch: Path) -> Iterator[Table]:
    """The table."""
    import polars as pl

    items, held, rounds = (
        (2_000, "1MB", 1) if options.small else (options.items, options.held, options.rounds)
    )
    env = {"ZOO_HOME": str(scratch / "home"), "ZOO_REGISTRY": str(options.data / "registry.yaml")}
    few = options.data / "hymenoptera" / "val"
    command([sys.executable, "-m", "zoo", "embed", NAME, few, "-o", scratch / "few.parquet"], env)
    data = scratch / "features.parquet"
    metadata: dict[str, str] = pl.read_parquet_metadata(scratch / "few.parquet")
    write_features(data, items, {name: text for name, text in metadata.items() if name.startswith("zoo")})
    ways = {
        "in memory": partial(train, data, {**env, "ZOO_FEATURES_MEMORY": "100GB"}, options.epochs),
        f"{held} at a time": partial(train, data, {**env, "ZOO_FEATURES_MEMORY": held}, options.epochs),
    }
    turns = race(ways, rounds)
    said = {name: f"accuracy {found[-1].answer:.4f}" for name, found in turns.items()}
    size = items * WIDTH * 4 / 1e6
    yield Table(f"{items:,} items, {size:,.0f} MB of features, {options.epochs} epochs", turns, said)


def main() -> None:
    """Print the table."""
    parser = new_parser(__doc__, rounds=2)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--held", default="128MB")
    parser.add_argument("--epochs", type=int, default=3)
    options: Any = parser.parse_args()
    with TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "polars")


if __name__ == "__main__":
    main()
