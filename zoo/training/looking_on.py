"""What is reported of a phase between two of its steps, and when it will end."""

from __future__ import annotations

import time

from zoo.events import TrainProgress
from zoo.training.memory import peak_memory
from zoo.training.phase_state import PhaseState
from zoo.training.task import LOSS

_RECENT = 3  # epochs from which the time of the next ones is estimated


def describe_progress(state: PhaseState) -> TrainProgress:
    """Where the phase is, after a step."""
    so_far, phase, pace, monitor = state.so_far, state.phase, state.pace, state.recipe.monitor
    last = state.history[-1] if state.history else None
    part = min(1.0, so_far.steps / len(state.train))
    left, at_most = _seconds_left(state, part)
    return TrainProgress(
        task=f"train {phase.name}",
        done=state.step,
        total=state.steps,
        unit="steps",
        phase=phase.name,
        epoch=state.epoch + 1,
        epochs=phase.epochs,
        part=part,
        loss=None if so_far.loss is None else pace.mean(so_far.loss, so_far.items),
        monitor=monitor,
        value=None if last is None else last.val_loss if monitor == LOSS else last.metrics.get(monitor),
        lr=state.lr,
        items_per_second=pace.items_per_second,
        seconds_left=left,
        at_most=at_most,
        memory=peak_memory(state.machine.device),
    )


def _seconds_left(state: PhaseState, part: float) -> tuple[float | None, bool]:
    """How long the epochs that are left will take, and whether patience or the time limit may end them
    earlier. Epochs take as long as the last ones, validation included; in the first one only its steps are
    known."""
    at_most, left = state.phase.patience > 0, state.phase.epochs - state.epoch - part
    recent = [end.seconds for end in state.history[-_RECENT:]]
    seconds = None
    if recent:
        seconds = left * sum(recent) / len(recent)
    elif part:
        seconds = left * (time.perf_counter() - state.so_far.began) / part
    limit = state.pace.limit.left
    if limit is not None and (seconds is None or limit < seconds):
        return limit, True
    return seconds, at_most
