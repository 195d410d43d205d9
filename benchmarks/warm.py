"""One prediction in a process that is warm: the network's bare forward pass against zoo, from a photograph.

    python benchmarks/warm.py [--repeats 60] [--rounds 5] [--threads N] [--small]

The peer is torchvision's MobileNetV2 in eval and inference mode, on a tensor that is there already. zoo reads
the file of the photograph, makes the tensor, computes, and names the class: `zoo.Predictor`, with torch and
with ONNX Runtime, and `predict` of a run, which has a head of its own. "read, then forward" is what the job
costs by PIL, torchvision and the same network. All have the same number of threads. A turn is the median over
as many photographs, after one that does not count.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from images import Photographs
from measuring import Goal, Table, Turn, agree, here, new_parser, race, show
from subjects import Homes, Network, ants_and_bees, mobilenet_v2

import zoo
from zoo.catalogue.registry import load_registry
from zoo.store.store import Store

BARE = "bare forward"
Guess = Callable[[int], Any]


def one_by_one(guess: Guess, items: int) -> Turn:
    """The median of the guesses, and all of them but the first."""
    seconds: list[float] = []

    def work() -> list[Any]:
        found = []
        for index in range(items):
            began = time.perf_counter()
            found.append(guess(index))
            seconds.append(time.perf_counter() - began)
        return found[1:]

    turn = here(work)
    return turn._replace(seconds=statistics.median(seconds[1:]), processor=turn.processor / items)


def bare(network: Network, photographs: Photographs) -> dict[str, Guess]:
    """The forward pass alone, and with what comes before it: the number of the class."""
    classify, inputs = network.open(), [photographs[index][None] for index in range(len(photographs))]

    @torch.inference_mode()
    def forward(index: int) -> int:
        return int(classify(inputs[index]).argmax())

    @torch.inference_mode()
    def read_then_forward(index: int) -> int:
        return int(classify(photographs[index][None]).argmax())

    return {BARE: forward, "read, then forward": read_then_forward}


def ours(homes: Homes, paths: Sequence[Path], *, threads: int, backends: Sequence[str]) -> dict[str, Guess]:
    """`zoo.Predictor`."""
    places = {"registry": load_registry([homes.network.registry]), "store": Store(homes.fresh("predictor"))}
    more: dict[str, Any] = {"device": "cpu", "threads": threads, **places}

    def guess(predictor: zoo.Predictor, index: int) -> int:
        return int(predictor([paths[index]]).probabilities[0].argmax())

    predictors = {name: zoo.Predictor(homes.network.model, backend=name, **more) for name in backends}
    return {f"zoo.Predictor, {name}": partial(guess, predictor) for name, predictor in predictors.items()}


def of_a_run(homes: Homes, data: Path, paths: Sequence[Path]) -> dict[str, Guess]:
    """`predict` of a run of one epoch, and the bare forward pass of its network: the number of the class."""
    home, out = homes.fresh("run"), homes.scratch / "run"
    words = [homes.network.model, data, "--out", out, "--epochs", 1, "--no-report", "--device", "cpu"]
    homes.zoo("finetune", *words, home=home)
    run = zoo.load_run(out, store=Store(home))
    numbers = {name: number for number, name in enumerate(run.classes)}

    def guess(index: int) -> int:
        return numbers[run.predict([paths[index]], top=1, device="cpu", backend="torch")[0].label]

    return {"predict of a run": guess}


def compare(options: Any, scratch: Path) -> Iterator[Table]:
    """The tables."""
    torch.set_num_threads(options.threads)
    few, rounds = (2, 1) if options.small else (None, options.rounds)
    network = mobilenet_v2(options.data, scratch)
    data, homes = ants_and_bees(options.data, scratch, few=few), Homes(network, scratch)
    paths = sorted(data.rglob("*.jpg"))[:: 1 if options.small else 6][: options.repeats + 1]
    guesses = bare(network, Photographs(paths, network.input))
    backends = ["torch"] if options.small else ["torch", "onnx"]
    guesses |= ours(homes, paths, threads=options.threads, backends=backends)
    turns = race({name: partial(one_by_one, guess, len(paths)) for name, guess in guesses.items()}, rounds)
    title = f"One of {len(paths) - 1} photographs at a time, MobileNetV2, threads: {options.threads}"
    agree(title, turns)
    said = {name: "same class" for name in turns if name != BARE}
    goals = {name: Goal(1.2, slower=True) for name in turns if name.startswith("zoo.")}
    yield Table(title, turns, said, goals, memory="added")
    if not options.small:
        guesses = {BARE: guesses[BARE]} | of_a_run(homes, data, paths)
        turns = race(
            {name: partial(one_by_one, guess, len(paths)) for name, guess in guesses.items()}, rounds
        )
        goal = {"predict of a run": Goal(1.2, slower=True)}
        yield Table("The same by a run with two classes of its own", turns, {}, goal, memory="added")


def main() -> None:
    """Print the tables."""
    parser = new_parser(__doc__, rounds=5)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="that compute")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        show(compare(options, Path(scratch)), options, "torch", "torchvision", "onnxruntime")


if __name__ == "__main__":
    main()
