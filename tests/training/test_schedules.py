"""Learning rates over a phase: what each schedule promises."""

from __future__ import annotations

import math

import pytest

from zoo.training.schedules import SCHEDULES, Moment, constant, cosine, one_cycle, plateau


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.01, 0.3])
@pytest.mark.parametrize("steps", [1, 7, 400])
def test_every_factor_is_a_share_of_the_base_rate(name: str, warmup: float, steps: int) -> None:
    factors = [SCHEDULES[name](Moment(step, steps, warmup)) for step in range(steps + 2)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors[:steps]) > 0.7 or steps == 1


@pytest.mark.parametrize("name", ["constant", "cosine", "plateau"])
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
