"""The last stage trained with the head: the tutorial's loop against `zoo finetune`, whole processes.

    python benchmarks/partial.py [--network resnet18] [--epochs 5] [--rounds 1] [--small] [--also OPTIONS]

The peer is PyTorch's transfer learning tutorial with the same stages frozen (benchmarks/loops/tutorial.py
--learn), random crops and flips of its own. zoo (--unfreeze 1) trains a head on the frozen network first, for
as many epochs, then that head and the last stage, each photograph varied anew in every epoch (--augment
light); it has an empty store but for the weights. As many parameters learn in both. ResNet-18 has random
weights: what is said of its accuracy is that of random features.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from head import CLOSE, PEER, Loop, Ours, check_frozen, said, same_job
from measuring import Goal, Table, agree, new_parser, race, show
from subjects import NETWORKS, ants_and_bees


def compare(options: Any, scratch: Path) -> Iterator[Table]:
    """The table."""
    few, epochs, rounds = (4, 1, 1) if options.small else (None, options.epochs, options.rounds)
    network = NETWORKS[options.network](options.data, scratch)
    data = ants_and_bees(options.data, scratch, few=few)
    words: list[object] = ["--learn", network.last]
    words += ["--workers", 0] if options.small else []
    more = ["--unfreeze", 1, "--epochs", epochs, "--tune-epochs", epochs, "--tune-patience", 0]
    ours = Ours(data, network, scratch, more)
    loop = Loop("tutorial", Path(sys.executable), data, network, words, epochs, epochs)
    ways = {PEER: loop, "zoo": ours.first}
    ways |= {f"zoo {also}": partial(ours.first, also) for also in options.also}
    turns = race(ways, rounds)
    title = f"The last stage of {network.name}, {epochs} epochs"
    close = 1 if options.small or options.network == "resnet18" else CLOSE
    agree(title, turns, partial(same_job, close=close))
    check_frozen(turns)
    yield Table(title, turns, {name: said(found[-1]) for name, found in turns.items()}, {"zoo": Goal(3)})


def main() -> None:
    """Print the table."""
    parser = new_parser(__doc__, rounds=1)
    parser.add_argument("--network", choices=NETWORKS, default="mobilenet_v2")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--also", action="append", default=[], metavar="OPTIONS", help="another way of zoo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "torchvision")


if __name__ == "__main__":
    main()
