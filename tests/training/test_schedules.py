"""Learning rates over a phase: what each schedule promises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from zoo.data.kinds import IMAGES
from zoo.training.batches import FeatureBatches
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.schedules import SCHEDULES, Moment, constant, cosine, one_cycle, plateau, step
from zoo.training.strategies import phases


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.01, 0.3])
@pytest.mark.parametrize("steps", [1, 7, 400])
def test_every_factor_is_a_share_of_the_base_rate(name: str, warmup: float, steps: int) -> None:
    factors = [SCHEDULES[name](Moment(step, steps, warmup)) for step in range(steps + 2)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors[:steps]) > 0.7 or steps == 1


@pytest.mark.parametrize("name", ["constant", "cosine", "plateau", "step"])
def test_a_warmup_rises_evenly_to_the_base_rate(name: str) -> None:
    factors = [SCHEDULES[name](Moment(step, 100, warmup=0.1)) for step in range(10)]
    assert factors == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_constant_stays() -> None:
    assert {constant(Moment(step, 50)) for step in range(50)} == {1.0}


@pytest.mark.parametrize(("schedule", "warmup"), [(cosine, 0.0), (cosine, 0.2), (one_cycle, 0.3)])
def test_cosine_and_one_cycle_fall_to_nothing_after_the_warmup(schedule: object, warmup: float) -> None:
    factors = [schedule(Moment(step, 100, warmup)) for step in range(100)]  # type: ignore[operator]
    after = factors[int(100 * warmup) :]
    assert after == sorted(after, reverse=True)
    assert factors[-1] < 1e-4
    assert max(factors) == pytest.approx(1.0, abs=1e-3)


def test_one_cycle_starts_at_a_twentyfifth() -> None:
    assert one_cycle(Moment(0, 100, warmup=0.3)) == pytest.approx(1 / 25)


def test_plateau_cuts_only_when_the_loss_has_not_fallen_for_the_patience() -> None:
    def factors(losses: list[float]) -> list[float]:
        return [plateau(Moment(0, 1, losses=losses[:n], patience=2)) for n in range(len(losses) + 1)]

    assert factors([3, 2, 1]) == [1, 1, 1, 1]
    assert factors([1, 2, 0.9, 1]) == [1, 1, 1, 1, 1]
    assert factors([1, 1, 1, 1, 1, 1]) == pytest.approx([1, 1, 1, 0.3, 0.3, 0.09, 0.09])
    assert factors([math.nan, math.nan]) == pytest.approx([1, 1, 0.3])


@pytest.mark.parametrize(("every", "cut"), [(1, 0.5), (2, 0.1), (3, 0.9)])
def test_step_is_the_schedule_of_torch(every: int, cut: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.StepLR(optimizer, every, cut)
    for epoch in range(9):
        ours = step(Moment(4 * epoch, 36, losses=[1.0] * epoch, every=every, cut=cut))
        assert ours == pytest.approx(peer.get_last_lr()[0])
        optimizer.step()
        peer.step()


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, [1e-2] * 2 + [1e-3] * 2 + [1e-4] * 2),
        ({"step_epochs": 1, "step_factor": 0.5}, [1e-2 / 2**epoch for epoch in range(6)]),
        ({"step_epochs": 9}, [1e-2] * 6),
    ],
)
def test_a_phase_trains_at_the_rates_of_its_steps(wishes: dict[str, Any], expected: list[float]) -> None:
    recipe = resolve(Recipe(schedule="step", epochs=6, patience=0, lr=0.01, **wishes), IMAGES)
    batches = FeatureBatches(torch.randn(20, 3), torch.arange(20) % 2, 10, seed=0)
    [phase] = phases(recipe)
    machine = Machine(torch.device("cpu"))
    state = begin_phase(torch.nn.Linear(3, 2), batches, batches, recipe=recipe, phase=phase, machine=machine)
    assert [end.lr for end in fit(state).history] == pytest.approx(expected)
