"""While a phase trains it says where it is, how fast, how well, and when it will be over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from zoo.data.kinds import IMAGES
from zoo.events import EpochEnd, Event, TrainProgress
from zoo.training.batches import Batch, FeatureBatches
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.memory import peak_memory
from zoo.training.pace import Pace
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases
from zoo.training.time_limit import TimeLimit

STEP = 0.11  # seconds: longer than what lies between two events


class Slow(FeatureBatches):
    """Batches that take their time."""

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        for batch in super().epoch(number, start, taken):
            time.sleep(STEP if number else 0)
            yield batch


def watched(wishes: Recipe, *, device: str = "cpu", **told: Any) -> list[Event]:
    """What a phase of three steps an epoch reports."""
    recipe, events = resolve(wishes, IMAGES), list[Event]()
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(12, 4, generator=generator).to(device)
    labels = (items[:, 0] > 0).long()
    torch.manual_seed(0)
    state = begin_phase(
        nn.Linear(4, 2),
        Slow(items, labels, 4, seed=0),
        FeatureBatches(items, labels, 64),
        recipe=recipe,
        phase=phases(recipe)[0],
        machine=Machine(torch.device(device)),
    )
    fit(state, report=events.append, **told)
    return events


def steps_of(events: list[Event]) -> list[TrainProgress]:
    return [event for event in events if isinstance(event, TrainProgress)]


def test_every_step_of_a_slow_phase_says_where_it_is_and_how_well_it_goes() -> None:
    events = watched(Recipe(epochs=3, patience=0, lr=0.01))
    steps, ends = steps_of(events), [event for event in events if isinstance(event, EpochEnd)]
    assert [(step.phase, step.epoch, step.epochs, step.done, step.total) for step in steps] == [
        ("head", number // 3 + 1, 3, number + 1, 9) for number in range(9)
    ]
    assert [step.part for step in steps] == pytest.approx([1 / 3, 2 / 3, 1] * 3)
    assert [step.lr for step in steps[2::3]] == [end.lr for end in ends]
    assert [step.loss for step in steps[2::3]] == pytest.approx([end.train_loss for end in ends])
    assert {step.monitor for step in steps} == {"loss"}
    assert [step.value for step in steps] == [*[None] * 3, *[ends[0].val_loss] * 3, *[ends[1].val_loss] * 3]


def test_what_is_monitored_is_what_chooses_the_best_epoch() -> None:
    events = watched(Recipe(epochs=2, patience=0, monitor="accuracy"))
    end = next(event for event in events if isinstance(event, EpochEnd))
    last = steps_of(events)[-1]
    assert (last.monitor, last.value) == ("accuracy", end.metrics["accuracy"])


def test_items_per_second_and_the_time_that_is_left_are_those_of_the_clock() -> None:
    events = watched(Recipe(epochs=4, patience=0))
    for step in steps_of(events):
        assert step.items_per_second is not None
        assert 0.2 * 4 / STEP < step.items_per_second <= 4 / STEP
        left = (12 - step.done) * STEP
        assert step.seconds_left is not None
        assert left <= step.seconds_left < 5 * left + 0.001
        assert not step.at_most
    for end in (event for event in events if isinstance(event, EpochEnd)):
        assert end.items_per_second is not None
        assert 12 / end.seconds <= end.items_per_second <= 12 / (3 * STEP)


def test_where_patience_or_a_limit_may_end_it_the_time_is_at_most_that() -> None:
    assert all(step.at_most for step in steps_of(watched(Recipe(epochs=2, patience=5))))
    limited = steps_of(watched(Recipe(epochs=1000, patience=0), limit=TimeLimit(0.8)))
    assert limited
    for step in limited:
        assert step.at_most
        assert step.seconds_left is not None
        assert step.seconds_left <= 0.8


def test_pauses_between_epochs_are_not_counted_as_training() -> None:
    pace = Pace()
    pace.begin()
    began = pace.last
    pace.step(10, began + 1.0)
    pace.last = began + 100.0  # as `begin` does after a long validation
    pace.step(10, began + 101.0)
    assert pace.items_per_second == pytest.approx(10)


def test_the_rate_follows_the_last_steps() -> None:
    pace = Pace(last=0.0)
    for second in range(1, 100):
        pace.step(10 if second < 50 else 20, float(second))
    assert pace.items_per_second == pytest.approx(20, rel=0.01)


def test_peak_memory_grows_with_what_was_taken() -> None:
    before = peak_memory(torch.device("cpu"))
    assert before is not None
    taken = torch.ones(before // 4 + 2**25)  # more than everything before it, and then 128 MiB
    del taken
    after = peak_memory(torch.device("cpu"))
    assert after is not None
    assert after - before > 2**26


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_what_is_said_makes_no_gpu_wait() -> None:
    device = torch.device("cuda")
    total, pace = torch.ones((), device=device) * 6, Pace()
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert pace.mean(total, 3) is None
        assert peak_memory(device) == torch.cuda.max_memory_allocated(device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert pace.mean(total, 3) == 2.0
    steps = steps_of(watched(Recipe(epochs=2, patience=0), device="cuda"))
    assert all(step.loss is not None for step in steps[1:3])
