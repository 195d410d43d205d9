"""The training loop: one function that reads from top to bottom.

The same loop trains a head on cached features and a partly frozen network on photographs; what differs is in
the model, the batches and the phase.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adapters import FrozenCheck, compare_frozen, frozen_fingerprint, parameter_groups
from zoo.errors import InvalidRecipe, TrainingStopped
from zoo.events import EpochEnd, Note, Progress, Report, silent
from zoo.training.batches import Batch, BatchSource
from zoo.training.interruption import never
from zoo.training.losses import l1_norm, main_output, objective
from zoo.training.machine import Machine
from zoo.training.metrics import Stopped, evaluate
from zoo.training.optimizers import Groups, build_optimizer
from zoo.training.recipe import Resolved
from zoo.training.schedules import SCHEDULES, Moment
from zoo.training.seeds import epoch_seed
from zoo.training.stopping import EarlyStopping, Score
from zoo.training.strategies import Phase
from zoo.training.tasks import SINGLE_LABEL, Task

REPORT_EVERY = 0.1  # seconds between two Progress events
SAFE_LR = 1e-3  # the highest rate that is worth a try after one that blew up: a tenth of 1e30 is none


@dataclass
class TrainingState:
    """How far a phase is: tensors and plain values only, so that it can be saved without pickle.

    With the model's trainable tensors, the optimizer's state and the recipe this is all that a resumed run
    needs: shuffles and dropout depend on (seed, epoch), schedules on (step, history).
    """

    stopping: EarlyStopping
    best: dict[str, Tensor]
    step: int = 0
    history: list[EpochEnd] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class FitResult:
    """What a phase came to. The model holds best_state and is in eval mode.

    best_epoch: counted from 1; 0 if no epoch beat the weights that it began with. epochs: that were finished.
    best_state: name -> CPU tensor of everything that is not frozen: parameters, and buffers such as the
    statistics of batch norms that train. best: how good these weights are; None when nothing was evaluated.
    frozen_tensors, frozen_changed: how many parameters and buffers were to stay as they are, and did not.
    """

    best_epoch: int
    epochs: int
    stopped_early: bool
    interrupted: bool
    history: tuple[EpochEnd, ...]
    best_state: dict[str, Tensor]
    best: Score | None
    frozen_tensors: int
    frozen_changed: int


def fit(
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    *,
    recipe: Resolved,
    phase: Phase,
    machine: Machine,
    task: Task = SINGLE_LABEL,
    groups: Groups | None = None,
    class_weights: Tensor | None = None,
    classes: Sequence[str] = (),
    start: Score | None = None,
    report: Report = silent,
    stop_requested: Callable[[], bool] = never,
) -> FitResult:
    """Train what is not frozen in `model`, in place, and leave it with the weights of its best epoch.

    groups: parameter groups with `lr` and `weight_decay`; None makes those of the phase. class_weights:
    (classes,). classes: names for messages. start: how good the model is already; its weights then count as
    epoch 0, and come back if no epoch beats them. torch's global generators are seeded anew every epoch.

    Losses that are reported are without class weights and smoothing, of train (in train mode, while weights
    move) and val alike: smoothing puts a floor under a loss and weights change its scale; without them the
    losses of two runs, and of train and val, can be compared. When stop_requested returns True the current
    step is finished and the best weights so far come back; in a first epoch, when there are none, the weights
    stay as they are.

    Raises TrainingStopped, after restoring the best weights, for a loss that is no number and for memory that
    does not suffice; its `result` is the FitResult so far. Raises InvalidRecipe, before anything is trained,
    if nothing is trainable, if a batch norm would have to learn from a batch of one, or if the recipe asks
    for what the task does not have.
    """
    if problems := list(task.problems(recipe)):
        raise InvalidRecipe(problems)
    # Channels last: 1.3 times as fast for MobileNetV2 on a CPU, more on tensor cores; nothing to a head.
    model.to(machine.device).to(memory_format=torch.channels_last).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    refuse_the_hopeless(model, parameters, train)
    frozen = frozen_fingerprint(model)
    if groups is None:
        groups = parameter_groups(model, phase.lr, decay=phase.lr_decay, weight_decay=phase.weight_decay)
    optimizer = build_optimizer(recipe.optimizer, groups, momentum=recipe.momentum)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = SCHEDULES[recipe.schedule]
    steps = phase.epochs * len(train)
    weights = None if class_weights is None else class_weights.to(machine.device)
    loss_of, plain_loss = task.loss(weights, recipe.label_smoothing), task.loss(None, 0.0)
    altered = weights is not None or recipe.label_smoothing > 0  # what is made small is not what is reported

    stopping = EarlyStopping(
        patience=phase.patience,
        min_delta=recipe.min_delta,
        monitor=recipe.monitor,
        better=task.monitors[recipe.monitor],
    )
    if start is not None:
        stopping = stopping.after(0, start)
    state = TrainingState(stopping, best=trainable_state(model, frozen))
    fault: TrainingStopped | None = None
    reported = 0.0
    try:
        for epoch in range(1, phase.epochs + 1):
            began = time.perf_counter()
            # What dropout draws from; batches have generators of their own.
            torch.manual_seed(epoch_seed(recipe.seed, epoch))
            watch = machine.watch()
            total = torch.zeros((), device=machine.device)
            items = 0
            lr = phase.lr
            losses = [end.val_loss for end in state.history]

            for batch in train.epoch(epoch):
                factor = schedule(Moment(state.step, steps, recipe.warmup, losses, plateau_patience(phase)))
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                lr = phase.lr * factor

                inputs, targets = machine.place(batch.inputs), machine.place(batch.targets)
                with machine.autocast():
                    output = model(inputs)
                    loss = objective(loss_of, output, targets)
                bad = watch.see(loss, (state.step, lr, batch))
                if bad is not None:
                    raise stopped_by_loss(
                        *bad, epoch=epoch, per_epoch=len(train), classes=classes, phase=phase
                    )
                with torch.no_grad():
                    plain = not altered and isinstance(output, Tensor)  # else an auxiliary output is in it
                    reported_loss = loss if plain else plain_loss(main_output(output).float(), targets)
                    total += reported_loss * batch.count
                if recipe.l1:
                    loss = loss + recipe.l1 * l1_norm(parameters)
                machine.step(loss, optimizer, parameters, recipe.clip_norm)

                state.step += 1
                items += batch.count
                if (now := time.perf_counter()) - reported > REPORT_EVERY:
                    report(Progress(f"train {phase.name}", state.step, steps, "steps"))
                    reported = now
                if stop_requested():
                    raise Stopped

            bad = watch.settle()
            if bad is not None:
                raise stopped_by_loss(*bad, epoch=epoch, per_epoch=len(train), classes=classes, phase=phase)
            found = evaluate(model, val, machine=machine, task=task, stop_requested=stop_requested)
            if not math.isfinite(found.loss):
                raise TrainingStopped(
                    f"the validation loss became {found.loss} in epoch {epoch} (lr {lr:g})",
                    hint=lower_lr(phase, lr),
                )
            state.stopping = state.stopping.after(epoch, Score(found.loss, found.metrics))
            best = state.stopping.best_epoch == epoch
            if best:
                state.best = trainable_state(model, frozen)
            end = EpochEnd(
                phase=phase.name,
                epoch=epoch,
                epochs=phase.epochs,
                train_loss=float(total) / max(1, items),
                val_loss=found.loss,
                metrics=found.metrics,
                lr=lr,
                seconds=time.perf_counter() - began,
                best=best,
            )
            state.history.append(end)
            report(end)
            if state.stopping.stop:
                break
    except Stopped:
        state.interrupted = True
        if state.stopping.best is None:
            state.best = trainable_state(model, frozen)
        report(Note("stopping: the step is finished, the best weights so far are kept"))
    except TrainingStopped as stopped:
        fault = stopped
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        fault = stopped_by_memory(error, train)
    finally:
        model.load_state_dict(state.best, strict=False)  # strict=False: the frozen rest is not in it
        model.to(memory_format=torch.contiguous_format).eval()  # safetensors takes nothing else

    report(Progress(f"train {phase.name}", state.step, state.step, "steps"))
    result = result_of(state, compare_frozen(model, frozen))
    if fault is not None:
        fault.result = result
        raise fault
    return result


def refuse_the_hopeless(model: nn.Module, parameters: Sequence[nn.Parameter], train: BatchSource) -> None:
    """Raise InvalidRecipe for what could only fail, or train nothing. The model is in train mode."""
    if not parameters:
        raise InvalidRecipe(
            ["nothing to train: every parameter is frozen"], hint="Attach a head, or unfreeze a stage."
        )
    learning = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
    if learning and train.smallest == 1:
        raise InvalidRecipe(
            ["a batch norm cannot learn from a batch of 1 item"],
            hint="Use --batch-size 2 or more, or keep the batch norms frozen.",
        )


def trainable_state(model: nn.Module, frozen: Mapping[str, str]) -> dict[str, Tensor]:
    """A copy on the CPU of every tensor of the model that is not frozen, buffers included.

    Contiguous whatever the memory format is: safetensors refuses anything else.
    """
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if name not in frozen
    }


def result_of(state: TrainingState, check: FrozenCheck) -> FitResult:
    """What a phase came to."""
    return FitResult(
        best_epoch=state.stopping.best_epoch,
        epochs=len(state.history),
        stopped_early=state.stopping.stop,
        interrupted=state.interrupted,
        history=tuple(state.history),
        best_state=state.best,
        best=state.stopping.best,
        frozen_tensors=check.checked,
        frozen_changed=len(check.changed),
    )


def plateau_patience(phase: Phase) -> int:
    """Epochs that the schedule `plateau` waits: a third of the patience, so it cuts twice before the end."""
    return max(1, (phase.patience or 10) // 3)


def stopped_by_loss(
    loss: float,
    about: tuple[int, float, Batch],
    *,
    epoch: int,
    per_epoch: int,
    classes: Sequence[str],
    phase: Phase,
) -> TrainingStopped:
    """The error for a loss that is no number: where it happened, at which rate, and on what."""
    step, lr, batch = about
    inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
    poisoned = not all(bool(part.isfinite().all()) for part in inputs if part.is_floating_point())
    counts = Counter(batch.targets.tolist())
    names = [f"{classes[label] if classes else label} × {count}" for label, count in counts.most_common(5)]
    more = ", …" if len(counts) > 5 else ""
    where = f"epoch {epoch}, step {step % per_epoch + 1} of {per_epoch}"
    found = "; its inputs hold values that are no numbers" if poisoned else ""
    return TrainingStopped(
        f"the loss became {loss} in {where} (lr {lr:g}; batch of {', '.join(names)}{more}{found})",
        hint="Look at these items: the rate is not at fault." if poisoned else lower_lr(phase, lr),
    )


def lower_lr(phase: Phase, lr: float) -> str:
    """What to type when training blew up."""
    return f"Try {phase.lr_option} {min(lr / 10, SAFE_LR):g}, or --clip-norm 1."


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory did not suffice. The CPU's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def stopped_by_memory(error: RuntimeError, train: BatchSource) -> TrainingStopped:
    """The error for memory that did not suffice, with half the batch size to try."""
    size = train.batch_size
    hint = f"Try --batch-size {size // 2}." if size > 1 else "Try a smaller model, or --precision bf16."
    fault = TrainingStopped(f"out of memory with batches of {size}", hint=hint)
    fault.__cause__ = error
    return fault
