"""The range test of learning rates on a phase of training, which is afterwards as it was before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from zoo.choosing.rates.curve import FEWEST, Curve
from zoo.errors import Interrupted, TrainingStopped
from zoo.events import Progress, Report, silent
from zoo.training.batches import Batch
from zoo.training.interruption import never
from zoo.training.loop import REPORT_EVERY
from zoo.training.phase_state import PhaseState, load_phase, state_to_save
from zoo.training.seeds import epoch_seed, kept_generators, seed_torch
from zoo.training.steps import backward

TASK = "learning rates"
_MEMORY = 0.9  # of the running mean that decides when to stop
_GROWTH = 4.0  # as fastai: beyond four times its lowest value a loss does not come back
_LARGE = 0.5  # of two classes that are guessed the loss is 0.69; of numbers, in units of their variance, 1


def try_rates(
    state: PhaseState,
    *,
    lowest: float,
    highest: float,
    steps: int,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
) -> Curve:
    """Train for so many steps, at rates that grow by the same factor each time, and note the losses.

    It ends early where the loss diverges: where its running mean is beyond four times the lowest, and above
    where it began. Every group of parameters keeps its ratio to the head's rate. The phase, its network and
    the generators are afterwards bit for bit as they were.

    state: of a phase that has just begun, in one process. lowest, highest: rates of the head. Raises
    TrainingStopped where the loss is not a number from the first steps on.
    """
    before = state_to_save(state)
    rates = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    try:
        with kept_generators(state.machine.device):
            for rate, batch in zip(rates, _batches(state), strict=False):
                if stop_requested():
                    raise Interrupted("stopped: nothing was kept", hint="The same command begins again.")
                loss = _step(state, batch, rate, report)
                if not math.isfinite(loss):
                    break
                losses.append(loss)
                _report(state, len(losses), steps, report)
                if _diverges(losses):
                    break
    finally:
        load_phase(state, before)
        state.reported = 0.0
        state.model.train()
    report(Progress(TASK, steps, steps, "steps"))
    if len(losses) < FEWEST:
        raise _too_early(losses, rates)
    return Curve(tuple(rates[: len(losses)]), tuple(losses), steps)


def _batches(state: PhaseState) -> Iterator[Batch]:
    """The batches of one pass after the other, as they would be trained on."""
    number = 0
    while True:
        number += 1
        seed_torch(epoch_seed(state.recipe.seed, number), state.machine.device)
        state.model.train()
        yield from state.train.epoch(number)


def _step(state: PhaseState, batch: Batch, rate: float, report: Report) -> float:
    """One step at this rate; returns the mean loss of its items before it, as training reports losses."""
    for group, base in zip(state.optimizer.param_groups, state.rates, strict=True):
        group["lr"] = base * (rate / state.phase.lr)
    state.lr = rate
    found, bad = backward(state, batch, state.weigh(batch), state.machine.watch(), report)
    loss = float(found) / batch.count if bad is None else math.nan
    if math.isfinite(loss):
        state.machine.step(state.optimizer, state.parameters, state.recipe.clip_norm, state.scaler)
    return loss


def _diverges(losses: list[float]) -> bool:
    """Whether the running mean of the losses has left the range in which training is.

    Where a head has learned the items already the lowest loss is nearly 0, and four times that is noise.
    """
    mean, weight, means = 0.0, 0.0, []
    for loss in losses:
        mean, weight = _MEMORY * mean + (1 - _MEMORY) * loss, _MEMORY * weight + 1 - _MEMORY
        means.append(mean / weight)
    return means[-1] > max(_GROWTH * min(means), means[min(FEWEST, len(means) // 2)], _LARGE)


def _report(state: PhaseState, done: int, steps: int, report: Report) -> None:
    if (now := time.perf_counter()) - state.reported > REPORT_EVERY:
        report(Progress(TASK, done, steps, "steps"))
        state.reported = now


def _too_early(losses: list[float], rates: list[float]) -> TrainingStopped:
    """The error where the test ends before there is a curve."""
    if not losses:
        return TrainingStopped(
            f"the loss is not a number in the first step already, at a rate of {rates[0]:g}",
            hint="Look at the items and the numbers to be learned: zoo check DATA",
        )
    return TrainingStopped(
        f"the loss diverges within {len(losses)} steps, at a rate of {rates[len(losses) - 1]:.1e}",
        hint=f"Begin lower: --from {rates[0] / 1000:.0e}",
    )
