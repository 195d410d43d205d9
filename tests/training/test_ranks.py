"""Two processes that share every batch measure what one measures alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.training.batches import ALONE, FeatureBatches, Share, TextBatches
from zoo.training.machine import Machine

pytestmark = pytest.mark.thorough

PROGRAM = """
import json, sys
from contextlib import ExitStack
import torch
from torch import nn
from zoo.training.batches import FeatureBatches, Share
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.processes import meet

torch.set_num_threads(1)
place, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
device = torch.device("cpu")
meeting = ExitStack()
machine = Machine(device, processes=meeting.enter_context(meet(device)))
summed = machine.sum(torch.tensor([1, 10 * rank]), 2.5, torch.tensor([[float(rank)]]))
generator = torch.Generator().manual_seed(0)
items, labels = torch.randn(100, 5, generator=generator), torch.randint(3, (100,), generator=generator)
layer = nn.Linear(5, 3)
with torch.no_grad():
    layer.weight.copy_(torch.randn(3, 5, generator=generator))
    layer.bias.zero_()
batches = FeatureBatches(items, labels, 1, share=machine.processes.share)  # half of them empty
one = evaluate(layer, batches, machine=machine)
seven = evaluate(layer, FeatureBatches(items, labels, 7, share=Share(rank, world)), machine=machine)
print(json.dumps({
    "first": machine.is_first, "rank": machine.processes.rank, "world": machine.processes.world,
    "sum": [part.tolist() for part in summed],
    "found": [[m.loss, dict(m.metrics), m.items] for m in (one, seven)],
}))
machine = None  # a group that outlives its destruction ends the process by force
meeting.close()
"""


def run(place: Path, world: int) -> list[dict[str, Any]]:
    """What each of so many processes found."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(place), str(rank), str(world)],
            env={**os.environ, "ZOO_MEETING": str(place), "RANK": str(rank), "WORLD_SIZE": str(world)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        said = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * world, said
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def test_two_processes_find_the_sums_and_figures_of_one(tmp_path: Path) -> None:
    [alone] = run(tmp_path / "alone", 1)
    pair = run(tmp_path / "pair", 2)
    assert [found["first"] for found in pair] == [True, False]
    assert [(found["rank"], found["world"]) for found in pair] == [(0, 2), (1, 2)]
    assert pair[0]["sum"] == pair[1]["sum"] == [[2, 10], 5.0, [[1.0]]]
    assert alone["sum"] == [[1, 0], 2.5, [[0.0]]]
    assert pair[0]["found"] == pair[1]["found"]
    for (loss, metrics, items), (expected, *exactly) in zip(pair[0]["found"], alone["found"], strict=True):
        assert loss == pytest.approx(expected, rel=1e-6)
        assert [metrics, items] == exactly
        assert items == 100


def test_one_process_sums_without_company() -> None:
    machine = Machine(torch.device("cpu"))
    assert (machine.processes.world, machine.is_first) == (1, True)
    [sums] = machine.sum(torch.tensor([1, 2]))
    assert sums.dtype == torch.float64
    assert sums.tolist() == [1, 2]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("sampling", ["once", "balanced"])
@pytest.mark.parametrize("kind", ["features", "texts"])
def test_the_shares_of_all_processes_are_every_item_of_every_batch_once(
    world: int, kind: str, sampling: str
) -> None:
    def source(share: Share) -> FeatureBatches | TextBatches:
        labels = torch.arange(50) if sampling == "once" else torch.arange(50) ** 2 // 700
        how: dict[str, Any] = {"seed": 3, "share": share, "sampling": sampling}
        if kind == "features":
            return FeatureBatches(torch.zeros(50, 2), labels, 8, **how)
        return TextBatches([[1] * (n % 5) for n in range(50)], labels, 8, alike=True, **how)

    for number in (0, 1, 2):
        whole = [batch.targets.tolist() for batch in source(ALONE).epoch(number)]
        shares = [list(source(Share(rank, world)).epoch(number)) for rank in range(world)]
        assert {len(batches) for batches in shares} == {len(whole)}
        for targets, *parts in zip(whole, *shares, strict=True):
            assert [label for part in parts for label in part.targets.tolist()] == targets
            assert all(part.count == len(part.inputs) == len(part.targets) for part in parts)
            assert max(part.count for part in parts) - min(part.count for part in parts) <= 1
