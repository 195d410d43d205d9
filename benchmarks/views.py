"""A head on varied photographs: views computed once, against the plain loop that computes them every epoch.

    python benchmarks/views.py [--data ../shared/data] [--seeds 3] [--epochs 20] [--views 1,4,8,16]
    python benchmarks/views.py --only quality --items 5,10,20,122 --seeds 10

speed: per seed, in turns and in one process each, the loop of PyTorch's transfer learning tutorial (frozen
MobileNetV2, a new linear head, every photograph decoded, varied as the tutorial varies it and sent through
the whole network in every epoch), and `zoo finetune --views K` of as many epochs, in a store that is empty,
and again with its features there. A row has the mean seconds, imports and all, and the mean and range of the
accuracy on the 153 validation photographs, in the epoch that was best there: of the loop by accuracy, of zoo
by loss.

quality: heads on so many photographs of each class, drawn by the seed; a quarter as many others choose the
epoch, and the 153 photographs, which neither has seen, are measured. `all` of 122 has no others: the epoch is
chosen on the 153, and the seed decides the first weights and the order alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring import ROOT, Turn, command, spread
from subjects import Homes, Network, measure_held, mobilenet_v2, photographs, write_few

from zoo import finetune_model, load_run
from zoo.catalogue.registry import Registry, load_registry
from zoo.events import silent
from zoo.store.store import Store

LOOP = ROOT / "benchmarks" / "loops" / "tutorial.py"
NAME = "mobilenet_v2_demo"
ALL = 122


def main() -> None:
    """Print the rows that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20, help="of the loop and of its counterparts")
    parser.add_argument("--views", default="1,4,8,16", help="with commas")
    parser.add_argument("--strengths", default="light,strong", help="of views, with commas")
    parser.add_argument("--items", default="5,10,20", help="of each class, with commas")
    parser.add_argument("--only", choices=("speed", "quality"))
    options = parser.parse_args()
    if options.only != "quality":
        compare_times(options)
    if options.only != "speed":
        compare_quality(options)


def numbers(text: str) -> list[int]:
    """Those of an option."""
    return [int(part) for part in text.split(",")]


# --- speed


def compare_times(options: argparse.Namespace) -> None:
    """A row per way, over the seeds."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(options.seeds):
        for name, seconds, accuracy in one_turn(options, seed):
            found.setdefault(name, []).append((seconds, accuracy))
            print(
                f"  seed {seed}: {name} {seconds:.1f} s, {accuracy:.3f}, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    loops = statistics.mean(seconds for seconds, _ in found["loop"])
    print(f"\n{options.epochs} epochs\n{'way':26} {'seconds':>8} {'ratio':>7} {'accuracy':>8} lowest highest")
    for name, pairs in found.items():
        seconds = statistics.mean(taken for taken, _ in pairs)
        print(f"{name:26} {seconds:8.1f} {loops / seconds:6.1f}x {spread([right for _, right in pairs])}")


def one_turn(options: argparse.Namespace, seed: int) -> Iterator[tuple[str, float, float]]:
    """(way, seconds of its process, accuracy) of every way, one after the other."""
    words = ["--epochs", options.epochs, "--seed", seed]
    with tempfile.TemporaryDirectory() as folder:
        network, photos = mobilenet_v2(options.data, Path(folder)), options.data / "hymenoptera"
        yield "loop", *timed(loop(network, photos, *words))
        homes = Homes(network, Path(folder))
        for views in numbers(options.views):
            home = homes.fresh(f"{views} views")
            for again in ("", ", again"):
                out = Path(folder) / f"run-{views}{again}"
                more = ["--out", out, "--views", views, "--patience", 0, "--no-report", "--device", "cpu"]
                yield (
                    f"{views} views{again}",
                    *timed(homes.zoo("finetune", network.model, photos, *words, *more, home=home)),
                )


def loop(network: Network, photos: Path, *words: object) -> Turn:
    """The tutorial's loop, whose frozen network is fixed indeed, as ours is."""
    options = ["--frozen-norms", *words]
    return command([sys.executable, LOOP, photos, *network.words(), *options], read=json.loads)


def timed(turn: Turn) -> tuple[float, float]:
    """Seconds of a process, and the accuracy that it printed."""
    return turn.seconds, turn.answer["val_accuracy"]


# --- quality


def compare_quality(options: argparse.Namespace) -> None:
    """A row per number of items and kind of views."""
    registry = load_registry([options.data / "registry.yaml"])
    print(f"\n{'items':>5} {'views':>5} {'augment':9} {'accuracy':>8} lowest highest    loss")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "home")
        for items in numbers(options.items):
            for views in numbers(options.views):
                for strength in options.strengths.split(",") if views > 1 else [None]:
                    found = [
                        measure(options.data, items, views, strength, seed, registry, store)
                        for seed in range(options.seeds)
                    ]
                    loss = statistics.mean(loss for _, loss in found)
                    row = spread([accuracy for accuracy, _ in found])
                    print(f"{items:5} {views:5} {strength or '':9} {row} {loss:7.3f}", flush=True)


def measure(
    data: Path, items: int, views: int, strength: str | None, seed: int, registry: Registry, store: Store
) -> tuple[float, float]:
    """The accuracy and the loss of a head on the validation photographs."""
    each = photographs(data)
    with tempfile.TemporaryDirectory() as folder:
        table, out = data / "hymenoptera", Path(folder) / "run"
        if items < ALL:
            table = Path(folder) / "few.jsonl"
            write_few(table, each, items, seed)
        more = {} if strength is None else {"augment": strength}
        settings = {"registry": registry, "store": store, "report": silent, "device": "cpu", "seed": seed}
        finetune_model(NAME, table, out=out, views=views, **settings, **more)
        return measure_held(load_run(out, store=store), each)


if __name__ == "__main__":
    main()
