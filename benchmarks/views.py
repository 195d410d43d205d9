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
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from subjects import measure_held, photographs, write_few

from zoo import finetune_model, load_run
from zoo.catalogue.registry import Registry, load_registry
from zoo.events import silent
from zoo.store.store import Store

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
    parser.add_argument("--loop", type=int, metavar="SEED", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop is not None:
        loop(options.data, options.epochs, options.loop)
        return
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
    own = ["--data", str(options.data), "--epochs", str(options.epochs), "--loop", str(seed)]
    yield "loop", *timed([sys.executable, __file__, *own])
    for views in numbers(options.views):
        with tempfile.TemporaryDirectory() as folder:
            for again in ("", ", again"):
                out = Path(folder) / f"{views}{again}"
                words = ["--views", views, "--epochs", options.epochs, "--patience", 0, "--seed", seed]
                command = ["finetune", NAME, options.data / "hymenoptera", "--out", out, *words]
                settings = {"ZOO_HOME": f"{folder}/home", "ZOO_REGISTRY": str(options.data / "registry.yaml")}
                python = [sys.executable, "-m", "zoo", *map(str, command), "--no-report", "--device", "cpu"]
                taken, accuracy = timed(python, settings)
                yield f"{views} views{again}", taken, accuracy


def timed(command: list[str], settings: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds of a process, and the accuracy that it prints: the first word that is a share."""
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | (settings or {}), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, float(done.stdout.split("accuracy ", 1)[1].split(",")[0].split()[0])


def loop(data: Path, epochs: int, seed: int) -> None:
    """The tutorial's loop in this process; prints the accuracy of its best epoch, as ours does."""
    from features import BATCH_SIZE, mobilenet_v2, put_head
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    torch.manual_seed(seed)
    network, settings = mobilenet_v2(data)
    normalize = transforms.Normalize(settings.mean, settings.std)
    steps = {
        "train": [transforms.RandomResizedCrop(settings.size), transforms.RandomHorizontalFlip()],
        "val": [transforms.Resize(settings.resize), transforms.CenterCrop(settings.size)],
    }
    loaders = {
        part: DataLoader(
            datasets.ImageFolder(
                data / "hymenoptera" / part, transforms.Compose([*step, transforms.ToTensor(), normalize])
            ),
            batch_size=BATCH_SIZE,
            shuffle=part == "train",
            num_workers=2,
        )
        for part, step in steps.items()
    }
    network.requires_grad_(False)
    optimizer = torch.optim.Adam(put_head(network).parameters(), 0.001)
    best = 0.0
    for _ in range(epochs):
        network.eval()  # frozen: its batch norms too
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        with torch.inference_mode():
            right = [(network(images).argmax(1) == labels) for images, labels in loaders["val"]]
        best = max(best, torch.cat(right).float().mean().item())
    print(f"accuracy {best}")


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


def spread(accuracies: list[float]) -> str:
    """Mean, lowest and highest."""
    return f"{statistics.mean(accuracies):8.3f} {min(accuracies):6.3f} {max(accuracies):7.3f}"


if __name__ == "__main__":
    main()
