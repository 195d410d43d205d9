"""The training loop: four steps that read from top to bottom.

The same loop trains a head on cached features and a partly frozen network on photographs; what differs is in
the model, the batches, the phase and the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from adapters import Head, compare_frozen
from adapters.splitting import NotSplit
from zoo.events import EpochEnd, Note, Progress, Report, silent
from zoo.training.faults import check_read, ends_with_its_best, stopped_by_loss, stopped_by_validation
from zoo.training.interruption import never
from zoo.training.looking_on import describe_progress
from zoo.training.machine import LossWatch
from zoo.training.memory import peak_memory
from zoo.training.metrics import Measurement, Stopped, evaluate
from zoo.training.phase_state import BadLoss, EpochSoFar, PhaseState, bring_frozen_home, trainable_state
from zoo.training.schedules import SCHEDULES, Moment
from zoo.training.seeds import epoch_seed, kept_generators, seed_torch, set_generators
from zoo.training.steps import backward
from zoo.training.stopping import Score
from zoo.training.strategies import Phase
from zoo.training.time_limit import UNLIMITED, TimeLimit

UNFINISHED = Note(
    "the time is up before one epoch was finished: what its steps have trained is measured as it is",
    level="warning",
)
REPORT_EVERY = 0.1  # seconds between two Progress events


@dataclass(frozen=True)
class FitResult:
    """The result of a phase. The model holds best_state and is in eval mode.

    best_epoch: counted from 1; 0 if no epoch beat the weights that it began with. epochs: that were finished.
    best_state: name -> CPU tensor of everything that is not frozen: parameters, and buffers such as the
    statistics of batch norms that train. best: how good these weights are; None when nothing was evaluated.
    frozen_tensors, frozen_changed: how many parameters and buffers were to stay as they are, and did not.
    """

    best_epoch: int
    epochs: int
    stopped_early: bool
    interrupted: bool
    out_of_time: bool
    history: tuple[EpochEnd, ...]
    best_state: dict[str, Tensor]
    best: Score | None
    frozen_tensors: int
    frozen_changed: int


class AfterSteps(NamedTuple):
    """What is done in the middle of an epoch. call: with the phase, in every process: each knows its part of
    what is saved. every: how many steps lie between two calls; None for one alone, where somebody asks for an
    end."""

    call: Callable[[PhaseState], object]
    every: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether it is to be called after so many steps."""
        return self.every is not None and step % self.every == 0


def keep_nothing(state: PhaseState) -> None:
    """Keep nothing of a phase between two epochs."""


def fit(
    state: PhaseState,
    *,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
    after_epoch: Callable[[PhaseState], object] = keep_nothing,
    after_steps: AfterSteps | None = None,
    limit: TimeLimit = UNLIMITED,
) -> FitResult:
    """Train a phase to its end, and leave its model with the weights of its best epoch.

    state: as `begin_phase` or `load_phase` returns it. after_epoch: called with it between two epochs, when
    it can be saved; of several processes, in the first alone, and in all of them where the model is in parts.
    after_steps: what is done in the middle of an epoch, in all of them.

    Losses that are reported are without class weights, smoothing and focal exponent, of train (in train mode,
    while weights move) and val alike: smoothing puts a floor under a loss and weights change its scale;
    without them the losses of two runs, and of train and val, can be compared. When stop_requested returns
    True the current step is finished and the best weights so far come back; in a first epoch, when there are
    none, the weights stay as they are. When the time of `limit` is up the step is finished too; in a first
    epoch, when nothing was measured yet, what its steps have trained is, and counts as an epoch.

    Raises TrainingStopped, after restoring the best weights, for a loss that is not a number and for memory
    that does not suffice; its `result` is the FitResult so far.
    """
    report = report if state.machine.is_first else silent
    state.pace.limit = limit
    with kept_generators(state.machine.device), ends_with_its_best(state, report):
        while not state.done and not state.out_of_time:
            stop = _or_when_time_is_up(state, stop_requested, limit)
            try:
                if state.phase.computed:
                    train_loss = compute_head(state)
                else:
                    train_loss = train_epoch(
                        state, report=report, stop_requested=stop, after_steps=after_steps
                    )
                first = state.stopping.best is None
                found = validate(state, stop_requested=stop_requested if first else stop)
            except Stopped as stopped:
                if after_steps is not None and state.step and not state.phase.computed:
                    after_steps.call(state)
                if limit.seconds is None or state.machine.agree(0.0, stop_requested).stop:
                    raise
                state.out_of_time = True
                if state.stopping.best is not None:
                    break
                report(UNFINISHED)
                train_loss, found = stopped.loss, validate(state, stop_requested=stop_requested)
            close_epoch(state, train_loss, found, report=report)
            if (state.machine.is_first or state.home is not None) and not state.out_of_time:
                after_epoch(state)

    report(Progress(f"train {state.phase.name}", state.step, state.step, "steps"))
    result = _result_of(state)
    if state.fault is not None:
        state.fault.result = result
        raise state.fault
    return result


def _or_when_time_is_up(
    state: PhaseState, stop_requested: Callable[[], bool], limit: TimeLimit
) -> Callable[[], bool]:
    """A wish to stop, or the end of the time; where nothing was measured yet one step is done in any case."""
    if limit.seconds is None:
        return stop_requested

    def stop() -> bool:
        return stop_requested() or ((state.stopping.best is not None or state.step > 0) and limit.is_up())

    return stop


def train_epoch(
    state: PhaseState,
    *,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
    after_steps: AfterSteps | None = None,
) -> float:
    """Train on every batch that is left of an epoch; returns its mean loss per item, as it is reported.

    Raises Stopped after a step, and TrainingStopped for a loss that is not a number.
    """
    model, optimizer, machine, recipe, phase = (
        state.model, state.optimizer, state.machine, state.recipe, state.phase
    )  # fmt: skip
    schedule, steps = SCHEDULES[recipe.schedule], state.steps
    moment = Moment(
        step=state.step,
        steps=steps,
        warmup=recipe.warmup,
        losses=[end.val_loss for end in state.history],
        patience=_plateau_patience(phase),
        every=recipe.step_epochs or max(1, phase.epochs // 3),
        cut=recipe.step_factor,
    )
    epoch, so_far = state.epoch + 1, state.so_far
    if not so_far.steps:
        so_far.began = time.perf_counter()
    watch = machine.watch()
    model.train()
    # for dropout, which differs between processes; batches have generators of their own
    if so_far.generators is None:
        seed_torch(epoch_seed(recipe.seed, epoch, machine.processes.rank), machine.device)
    else:
        set_generators(so_far.generators, machine.device)
    bad = None
    state.pace.begin()

    for batch in state.train.epoch(epoch, so_far.rows, so_far.steps):
        # of several processes: how much of this step is here, and whether all go on
        whole = machine.agree(state.weigh(batch), stop_requested, bad=bad is not None)
        if whole.bad:
            raise stopped_by_loss(state, bad)
        if whole.stop:
            if after_steps is not None:
                check_last_loss(state, watch, bad)
            raise Stopped(_mean_loss(state))

        # the learning rate of this step
        factor = schedule(replace(moment, step=state.step))
        for group, rate in zip(optimizer.param_groups, state.rates, strict=True):
            group["lr"] = rate * factor
        state.lr = phase.lr * factor

        # forward and backward, in as many parts as the memory needs
        found, bad = backward(state, batch, whole.weight, watch, report)
        if bad is not None and machine.processes.world == 1:
            raise stopped_by_loss(state, bad)

        # one step down the gradient
        machine.step(optimizer, state.parameters, recipe.clip_norm, state.scaler)
        state.step += 1
        if state.average is not None:
            state.average.update(state.step)
        before = so_far.rows
        so_far.add(batch, found)

        # say how far it is
        state.pace.step(so_far.rows - before, now := time.perf_counter())
        if now - state.reported > REPORT_EVERY:
            report(describe_progress(state))
            state.reported = now

        # keep where it is
        if after_steps is not None and after_steps.is_due(state.step):
            check_last_loss(state, watch, bad)
            check_read(state.train, "training", _passed(state), expected=so_far.rows)
            bad = None
            after_steps.call(state)

    check_last_loss(state, watch, bad)
    check_read(state.train, "training", _passed(state))
    so_far.seconds = time.perf_counter() - so_far.began
    return _mean_loss(state)


def check_last_loss(state: PhaseState, watch: LossWatch, bad: BadLoss | None) -> None:
    """Raise TrainingStopped, in all processes, if the last step's loss is not a number in one of them: of a
    GPU it is known only after the step. bad: one that is known already."""
    bad = watch.last() if bad is None else bad
    if state.machine.agree(0.0, bad=bad is not None).bad:
        raise stopped_by_loss(state, bad)


def _passed(state: PhaseState) -> int:
    """How many items have passed in this epoch, in all processes."""
    return int(state.machine.sum(0.0, state.so_far.items)[1])


def _mean_loss(state: PhaseState) -> float:
    """The mean loss of the items that passed in this epoch, over all processes."""
    so_far = state.so_far
    whole_loss, whole_items = state.machine.sum(0.0 if so_far.loss is None else so_far.loss, so_far.items)
    return float(whole_loss) / max(1, int(whole_items))


def compute_head(state: PhaseState) -> float:
    """Compute the head from all training features at once; returns its mean loss on them.

    Raises InvalidHead for features that are not numbers.
    """
    batches = [*state.train.epoch(0)]
    features = torch.cat([batch.inputs for batch in batches if isinstance(batch.inputs, Tensor)])
    labels = torch.cat([batch.targets for batch in batches])
    assert isinstance(state.model, Head)
    state.model.fit(state.machine.place(features), state.machine.place(labels))
    state.step = state.steps
    return evaluate(state.model, state.train, machine=state.machine, task=state.task).loss


def validate(state: PhaseState, *, stop_requested: Callable[[], bool] = never) -> Measurement:
    """Measure the model on the validation items. Raises TrainingStopped for a loss that is not a number."""
    with state.measured():
        found = _measure(state, stop_requested)
    check_read(state.val, "validation", found.items)
    if not math.isfinite(found.loss):
        raise stopped_by_validation(state, found.loss)
    return found


def _measure(state: PhaseState, stop_requested: Callable[[], bool]) -> Measurement:
    """The same, from what was kept of the items where that works."""
    ask = partial(
        evaluate,
        machine=state.machine,
        task=state.task,
        loss=state.plain or state.objective,
        stop_requested=stop_requested,
    )
    kept = state.kept
    if kept is not None and kept.works:
        try:
            return ask(kept.network(), kept)
        except NotSplit:
            kept.give_up()
    return ask(state.model, state.val)


def close_epoch(
    state: PhaseState, train_loss: float, found: Measurement, *, report: Report = silent
) -> EpochEnd:
    """Note what the epoch found, keep the weights if they are the best so far, and report it."""
    epoch = state.epoch + 1
    state.stopping = state.stopping.after(epoch, Score(found.loss, found.metrics))
    best = state.stopping.best_epoch == epoch
    if best:
        with state.measured():
            state.best = trainable_state(state.model, state.frozen)
    so_far = state.so_far
    end = EpochEnd(
        phase=state.phase.name,
        epoch=epoch,
        epochs=state.phase.epochs,
        train_loss=train_loss,
        val_loss=found.loss,
        metrics=found.metrics,
        lr=state.lr,
        seconds=time.perf_counter() - so_far.began,
        best=best,
        mixed=state.phase.mixes,
        items_per_second=so_far.rows / so_far.seconds if so_far.rows and so_far.seconds else None,
        peak_memory=peak_memory(state.machine.device),
    )
    state.history.append(end)
    state.so_far = EpochSoFar()
    report(end)
    return end


def _plateau_patience(phase: Phase) -> int:
    """Epochs that the schedule `plateau` waits: a third of the patience, so it cuts twice before the end."""
    return max(1, (phase.patience or 10) // 3)


def _result_of(state: PhaseState) -> FitResult:
    if state.home is not None and state.fault is None:
        bring_frozen_home(state)
    check = compare_frozen(state.home or state.model, state.frozen)
    return FitResult(
        best_epoch=state.stopping.best_epoch,
        epochs=state.epoch,
        stopped_early=state.stopping.stop,
        interrupted=state.interrupted,
        out_of_time=state.out_of_time,
        history=tuple(state.history),
        best_state=state.best,
        best=state.stopping.best,
        frozen_tensors=check.checked,
        frozen_changed=len(check.changed),
    )
