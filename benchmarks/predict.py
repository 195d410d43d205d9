"""Labels of many photographs, the whole process: a plain PyTorch loop against `zoo predict`.

    python benchmarks/predict.py [--data ../shared/data] [--files 2000] [--small] [--also OPTIONS]

The peer is what one writes (benchmarks/loops/inference.py). Both start from nothing, imports included, and
read the same files (copies of the photographs of ants and bees, no two equal). --also: another way of `zoo
predict`, by its options.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from measuring import ROOT, Goal, Table, Turn, agree, command, new_parser, race, show
from subjects import many_photographs

from zoo.backbones.labels import synset_ids

LOOP = ROOT / "benchmarks" / "loops" / "inference.py"
NAME, WEIGHTS = "mobilenet_v2_demo", Path("weights") / "mobilenet_v2-adb27a5a.pth"
Labels = dict[str, str]


def loop(folder: Path, weights: Path, scratch: Path) -> Turn:
    """The plain loop; the answer: the first class of each file."""
    import numpy

    turn = command([sys.executable, LOOP, folder, weights, scratch / "loop.npy"])
    ids, first = synset_ids("imagenet-1k"), numpy.load(scratch / "loop.npy").argmax(1)
    names = [path.name for path in sorted(folder.iterdir())]
    return turn._replace(answer={name: ids[at] for name, at in zip(names, first, strict=True)})


def ours(folder: Path, env: dict[str, str], words: list[str]) -> Turn:
    """`zoo predict`."""
    zoo = [sys.executable, "-m", "zoo", "predict", NAME, folder, "--top", "1", "--json"]

    def read(printed: str) -> Labels:
        return {Path(row["path"]).name: row["top"][0]["id"] for row in json.loads(printed)}

    return command([*zoo, *words], env, read)


def share(one: Labels, other: Labels) -> float:
    """How many of the labels are the same."""
    return sum(other[name] == label for name, label in one.items()) / len(one)


def compare(options: Any, scratch: Path) -> Iterator[Table]:
    """The table."""
    files, rounds = (40, 1) if options.small else (options.files, options.rounds)
    folder = many_photographs(options.data, scratch, files)
    env = {"ZOO_HOME": str(scratch / "home"), "ZOO_REGISTRY": str(options.data / "registry.yaml")}
    command([sys.executable, "-m", "zoo", "fetch", NAME], env)
    ways = {"plain loop": partial(loop, folder, options.data / WEIGHTS, scratch)}
    words = ["--backend torch", *(() if options.small else ("--backend onnx",)), *options.also]
    ways |= {f"zoo predict {way}".strip(): partial(ours, folder, env, shlex.split(way)) for way in words}
    turns = race(ways, rounds)
    title = f"{files:,} files, MobileNetV2"
    agree(title, turns, lambda one, other: share(one, other) >= 0.99)
    labels = {name: found[-1].answer for name, found in turns.items()}
    said = {name: f"same label {share(labels['plain loop'], own):.2%}" for name, own in labels.items()}
    goals = {"zoo predict --backend torch": Goal(2.5), "zoo predict --backend onnx": Goal(4)}
    yield Table(title, turns, said, goals)
    torch = race({"import torch": partial(command, [sys.executable, "-c", "import torch"])}, rounds)
    yield Table("Of this, torch's own import", torch)


def main() -> None:
    """Print the tables."""
    parser = new_parser(__doc__, rounds=3)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--also", action="append", default=[], metavar="OPTIONS", help="another way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "torchvision", "onnxruntime")


if __name__ == "__main__":
    main()
