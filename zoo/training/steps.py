"""Forward and backward of one step: in one piece, or in as many parts as the memory needs.

The gradient of a step is that of the mean over its items, however many parts they pass in; so batch size,
order, schedule and checkpoints are the same with any number of parts, and only rounding differs. A batch norm
that learns sees a part at a time.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.events import Note, Report
from zoo.features.portions import is_out_of_memory
from zoo.training.batches import Batch, parts_of
from zoo.training.compiling import describe_failure
from zoo.training.losses import l1_norm, main_output, nothing, objective
from zoo.training.machine import Forward, LossWatch
from zoo.training.moment import Moment
from zoo.training.phase_state import BadLoss, PhaseState


def backward(
    state: PhaseState, batch: Batch, whole: float, watch: LossWatch, report: Report
) -> tuple[Tensor, BadLoss | None]:
    """Add the gradients of a step up; where memory does not suffice, in twice as many parts from then on, and
    where a network cannot be compiled, as it is.

    whole: what all items of the step weigh, in all processes. Returns the sum of the losses that are
    reported, and the first one that is not a number. Raises what torch raises where single items do not fit.
    """
    if state.phase.trains == "features":
        return _in_parts(state, batch, whole, watch)
    before = Moment(state.model, state.machine.device, state.frozen)
    while True:
        failure: Exception | None = None
        try:
            return _in_parts(state, batch, whole, watch)
        except Exception as error:
            lacks_memory = is_out_of_memory(error)
            if not (_can_halve(state, batch) if lacks_memory else state.forward.plain):
                raise
            failure = None if lacks_memory else error
        before.put_back()
        if state.machine.device.type == "cuda":
            torch.cuda.empty_cache()  # what the failed attempt left
        if failure is not None:  # if it is not the compiler's, the plain network raises it again
            assert state.forward.plain is not None
            state.forward = Forward(state.forward.plain)
            report(describe_failure(failure))
            continue
        state.accumulate *= 2
        report(
            Note(
                f"out of memory: the items of a step pass in {state.accumulate} parts from now on",
                hint=f"To begin so: --accumulate {state.accumulate}",
                level="warning",
            )
        )


def _in_parts(
    state: PhaseState, batch: Batch, whole: float, watch: LossWatch
) -> tuple[Tensor, BadLoss | None]:
    """The same, in state.accumulate parts."""
    machine, recipe, world = state.machine, state.recipe, state.machine.processes.world
    total = torch.zeros((), device=machine.device)
    bad: BadLoss | None = None
    state.optimizer.zero_grad(set_to_none=True)
    parts = [*parts_of(batch, state.accumulate, keep_empty=world > 1)]
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        with nullcontext() if last else state.forward.no_sync():
            # forward: what is minimised
            inputs, targets = machine.place(part.inputs), machine.place(part.targets)
            with machine.autocast():
                output = state.forward(inputs)
                loss = objective(state.objective, output, targets) if part.count else nothing(output)
            bad = bad or watch.see(loss, (state.step, state.lr, batch))
            if bad is not None and world == 1:
                return total, bad

            # what is reported: the same loss, unless weights, smoothing or an auxiliary output are in it
            with torch.no_grad():
                if not part.count or (state.plain is None and isinstance(output, Tensor)):
                    total += loss * part.count
                else:
                    plain = state.plain or state.objective
                    total += plain(main_output(output).float(), targets) * part.count

            # backward: the share of this part in the mean over the step; processes average their gradients
            if world > 1 or len(parts) > 1:
                loss = loss * (state.weigh(part) / whole * world)
            if recipe.l1 and last:
                loss = loss + recipe.l1 * l1_norm(state.parameters)
            if state.pull is not None and last:
                loss = loss + state.pull()
            machine.backward(loss, state.scaler)
    return total, bad


def _can_halve(state: PhaseState, batch: Batch) -> bool:
    """Whether a step can pass in twice as many parts. Several processes would have to agree on it; a batch
    norm cannot learn from one item."""
    learning = any(isinstance(module, _BatchNorm) and module.training for module in state.model.modules())
    smallest = batch.count // (2 * state.accumulate)
    return state.machine.processes.world == 1 and smallest > (1 if learning else 0)
