"""A head on a frozen network: the loops that others write against `zoo finetune`, each a whole process.

    python benchmarks/head.py [--network mobilenet_v2] [--epochs 20] [--loop-epochs N] [--rounds 1]

The peers are PyTorch's transfer learning tutorial ("ConvNet as fixed feature extractor") and fastai's frozen
learner, where it is installed (benchmarks/loops/): every photograph passes through the whole network in every
epoch. zoo has an empty store but for the weights, for "again" what the run before it left there; it writes
no page about the run, as the others do not. ResNet-18 has random weights: what is said of its accuracy is
that of random features. Beside a run in bf16 is what `zoo evaluate`, in fp32, finds of it.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from measuring import (
    ROOT,
    Disagreement,
    Goal,
    Table,
    Turn,
    Turns,
    Way,
    agree,
    command,
    new_parser,
    race,
    show,
)
from peers import NoPeer, python_of, version_of
from subjects import NETWORKS, Homes, Network, ants_and_bees

LOOPS = ROOT / "benchmarks" / "loops"
PEER, FASTAI = "tutorial's loop", "fastai, frozen"
GOALS = {"zoo": Goal(35), "zoo --precision bf16": Goal(50)}
AGAIN = ("--head mlp", "--lr 0.003")
CLOSE = 0.1  # accuracies of heads that learn alike; of 153 photographs, two standard errors are 0.04


class Loop(NamedTuple):
    """A loop of benchmarks/loops. epochs: what is run. of: how many the job has; those that are not run take
    as long as those that are, and the start, which is once, is not multiplied."""

    name: str
    python: Path
    data: Path
    network: Network
    words: list[object]
    epochs: int
    of: int

    def __call__(self) -> Turn:
        """The answer is the JSON that it prints."""
        words = [*self.network.words(), *self.words, "--epochs", self.epochs]
        turn = command([self.python, LOOPS / f"{self.name}.py", self.data, *words], read=json.loads)
        more = turn.answer["seconds_of_epochs"] * (self.of / self.epochs - 1)
        factor = 1 + more / turn.seconds
        return turn._replace(seconds=turn.seconds * factor, processor=turn.processor * factor)


class Ours:
    """`zoo finetune` on a network."""

    def __init__(self, data: Path, network: Network, scratch: Path, words: list[object]) -> None:
        self.data, self.scratch, self.homes = data, scratch, Homes(network, scratch)
        self.words = ["--device", "cpu", "--no-report", *words]
        self.home = scratch
        self.runs = 0

    def first(self, more: str = "") -> Turn:
        """With an empty store. more: options."""
        self.home = self.homes.fresh(more)
        return self.again(more)

    def again(self, more: str) -> Turn:
        """With what the last run left there."""
        self.runs += 1
        words = [self.homes.network.model, self.data, "--out", self.scratch / f"run-{self.runs}", *self.words]
        return self.homes.zoo("finetune", *words, *shlex.split(more), home=self.home)

    def accuracy_in_fp32(self, run: str) -> float:
        """What `zoo evaluate` says."""
        return float(self.homes.zoo("evaluate", run, self.data, "--device", "cpu").answer["accuracy"])


def said(turn: Turn) -> str:
    """The accuracy, and of how many."""
    return f"accuracy {turn.answer['val_accuracy']:.3f} of {turn.answer['val_items']}"


def compare(options: Any, scratch: Path) -> Iterator[Table]:
    """The table."""
    few, epochs, rounds = (4, 2, 1) if options.small else (None, options.epochs, options.rounds)
    network = NETWORKS["mobilenet_v2" if options.small else options.network](options.data, scratch)
    data = ants_and_bees(options.data, scratch, few=few)
    ours = Ours(data, network, scratch, ["--epochs", epochs, "--patience", 0])
    words: list[object] = ["--workers", 0 if options.small else 2]
    run = min(options.loop_epochs or epochs, epochs)
    peers = {PEER: Loop("tutorial", Path(sys.executable), data, network, words, run, epochs)}
    if python := fastai():
        peers[FASTAI] = Loop("fastai_frozen", python, data, network, words, run, epochs)
    ways: dict[str, Way] = {"zoo": ours.first}
    if not options.small:
        ways |= {f"zoo again {more}": partial(ours.again, more) for more in AGAIN}
        ways |= {f"zoo {more}": partial(ours.first, more) for more in ("--precision bf16", *options.also)}
    turns = race(peers | ways, rounds)
    title = f"Head of a frozen {network.name}, {epochs} epochs"
    close = 1 if options.small or run < epochs or options.network == "resnet18" else CLOSE
    agree(title, turns, partial(same_accuracy, close=close))
    agree(title, {name: turns[name] for name in (PEER, "zoo")}, partial(same_job, close=close))
    check_frozen(turns)
    facts = {name: said(found[-1]) for name, found in turns.items()}
    if run < epochs:
        facts |= {name: f"{facts[name]} ({run} of {epochs} epochs run, and multiplied)" for name in peers}
    for name in turns.keys() & {"zoo --precision bf16"}:
        facts[name] += f", {ours.accuracy_in_fp32(turns[name][-1].answer['run']):.3f} in fp32"
    yield Table(title, turns, facts, GOALS | {f"zoo again {more}": Goal(90) for more in AGAIN})


def same_accuracy(one: dict[str, Any], other: dict[str, Any], close: float) -> bool:
    """Whether accuracies differ by no more."""
    return abs(one["val_accuracy"] - other["val_accuracy"]) <= close


def same_job(one: dict[str, Any], other: dict[str, Any], close: float) -> bool:
    """Whether as many parameters learned, measured on as many photographs, and as well."""
    same = all(one[fact] == other[fact] for fact in ("trained_parameters", "val_items"))
    return same and same_accuracy(one, other, close)


def check_frozen(turns: Turns) -> None:
    """Raise Disagreement where zoo changed what it froze."""
    for name, found in turns.items():
        for turn in found:
            if changed := turn.answer.get("frozen_changed"):
                raise Disagreement(f"{name}: {changed} frozen tensors changed")


def fastai() -> Path | None:
    """The interpreter that has it; None, which is said, where none has."""
    try:
        return python_of("fastai")
    except NoPeer as error:
        print(f"without fastai: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Print the table."""
    parser = new_parser(__doc__, rounds=1)
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--loop-epochs", type=int, metavar="N", help="run so many of them, and multiply")
    parser.add_argument("--also", action="append", default=[], metavar="OPTIONS", help="another way of zoo")
    options = parser.parse_args()
    versions = {} if (python := fastai()) is None else {"fastai": version_of("fastai", python)}
    with tempfile.TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "torchvision", **versions)


if __name__ == "__main__":
    main()
