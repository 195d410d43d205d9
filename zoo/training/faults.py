"""How a phase ends when something goes wrong: with its best weights, and an error that says what to type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import torch

from zoo.data.dataset import Item
from zoo.errors import TrainingStopped
from zoo.events import Note, Report
from zoo.features.portions import is_out_of_memory
from zoo.training.batches import Batch, BatchSource, ImageBatches
from zoo.training.metrics import Stopped
from zoo.training.phase_state import BadLoss, PhaseState, trainable_state
from zoo.training.processes import is_lost_process, lost_process

MOST_LOST = 0.05  # share of the training images that may disappear before an epoch is not worth its name
SAFE_LR = 1e-3  # the highest rate worth a try after one that blew up: a tenth of 1e30 is not


@contextmanager
def ends_with_its_best(state: PhaseState, report: Report) -> Iterator[None]:
    """However the block ends, the model has the weights of its best epoch, in eval mode.

    A wish to stop, a loss that is not a number and a lack of memory end the block and are noted in the state;
    everything else is raised.
    """
    try:
        yield
    except (Stopped, KeyboardInterrupt) as wish:  # Ctrl-C in a program of one's own, or twice in the command
        if state.home is not None and not isinstance(wish, Stopped):
            raise  # the other processes know nothing of it: there is no whole network to be had
        state.interrupted = True
        if state.stopping.best is None:
            with state.measured():
                state.best = trainable_state(state.model, state.frozen)
        how = "the step is finished, " if isinstance(wish, Stopped) else ""
        report(Note(f"stopping: {how}the best weights so far are kept"))
    except TrainingStopped as fault:
        state.fault = fault
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and is_lost_process(error):
            state.fault = lost_process(error)
            return
        if not is_out_of_memory(error):
            raise
        state.fault = _stopped_by_memory(state, error)
    finally:
        model = state.home or state.model
        model.load_state_dict(state.best, strict=False)  # strict=False: the frozen rest is not in it
        model.to(memory_format=torch.contiguous_format).eval()  # safetensors takes nothing else


def check_read(source: BatchSource, which: str, passed: int, *, expected: int | None = None) -> None:
    """Raise TrainingStopped where many images that were read before cannot be read now: every figure would be
    that of the others, and of none the loss would be 0.

    which: "training" or "validation". passed: how many images passed, in all processes. expected: how many
    should have; all of a pass by default.
    """
    if not isinstance(source, ImageBatches):
        return
    expected = sum(source.sizes) if expected is None else expected
    lost = expected - passed
    if lost > max(1, MOST_LOST * expected):  # a single one is passed over, however few there are
        first = next(iter(source.bad.values()), None)
        raise TrainingStopped(
            f"{lost:,} of {expected:,} {which} images can no longer be read"
            + ("" if first is None else f": {first}"),
            hint="Are they still where they were?",
        )
    if (alike := _class_that_is_gone(source)) is not None:
        first = next(source.bad[item.path] for item in alike)
        raise TrainingStopped(
            f"none of the {len(alike)} {which} images of one class can be read any more: {first}",
            hint="Are they still where they were?",
        )


def _class_that_is_gone(source: ImageBatches) -> list[Item] | None:
    """The items of a class of which none can be read, if it had more than one; None where there is no such
    class. Not of several processes: none of them knows what the others read."""
    if source.share.world > 1 or not source.bad:
        return None
    classes: dict[tuple[int, ...], list[Item]] = {}
    for item in source.items:
        classes.setdefault(item.labels, []).append(item)
    return next(
        (
            items
            for labels, items in classes.items()
            if labels and len(items) > 1 and all(item.path in source.bad for item in items)
        ),
        None,
    )


def stopped_by_loss(state: PhaseState, bad: BadLoss | None) -> TrainingStopped:
    """The error for a loss that is not a number: where it happened, at which rate, and on what.

    bad: None if it was another process's; all of them call this, and raise the same.
    """
    own = None if bad is None else _describe_loss(state, bad)
    if state.machine.processes.world == 1:
        assert own is not None
        return own
    sent = b"" if own is None else msgspec.json.encode((own.message, own.hint))
    message, hint = next(msgspec.json.decode(text) for text in state.machine.processes.gather(sent) if text)
    return TrainingStopped(message, hint=hint)


def _describe_loss(state: PhaseState, bad: BadLoss) -> TrainingStopped:
    loss, (step, lr, batch) = bad
    inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
    poisoned = not all(bool(part.isfinite().all()) for part in inputs if part.is_floating_point())
    found = "; its inputs hold nan or infinity" if poisoned else ""
    per_epoch = len(state.train)
    return TrainingStopped(
        f"the loss became {loss} in epoch {state.epoch + 1}, step {step % per_epoch + 1} of {per_epoch} "
        f"(lr {lr:g}; batch of {_describe_targets(state, batch)}{found})",
        hint="Look at these items: the rate is not at fault." if poisoned else _lower_lr(state, lr),
    )


def stopped_by_validation(state: PhaseState, loss: float) -> TrainingStopped:
    """The error for a validation loss that is not a number."""
    return TrainingStopped(
        f"the validation loss became {loss} in epoch {state.epoch + 1} (lr {state.lr:g})",
        hint=_lower_lr(state, state.lr),
    )


def _describe_targets(state: PhaseState, batch: Batch) -> str:
    """The classes of a batch with their counts, or how many items it has where targets are not classes.

    "ants × 20, bees × 12"
    """
    if batch.targets.is_floating_point() or batch.targets.ndim != 1:
        return f"{batch.count} items"
    counts = Counter(batch.targets.tolist())
    names = [
        f"{state.classes[label] if state.classes else label} × {count}"
        for label, count in counts.most_common(5)
    ]
    return ", ".join(names) + (", …" if len(counts) > 5 else "")


def _lower_lr(state: PhaseState, lr: float) -> str:
    """What to type when training blew up."""
    return f"Try {state.phase.lr_option} {min(lr / 10, SAFE_LR):g}, or --clip-norm 1."


def _stopped_by_memory(state: PhaseState, error: Exception) -> TrainingStopped:
    """The error for memory that did not suffice, with what to try."""
    size, parts = state.train.batch_size, state.accumulate
    hint = "Try a smaller model, or --precision bf16."
    if parts < size:
        in_turn = f", or --accumulate {2 * parts}" if state.phase.trains == "items" else ""
        hint = f"Try --batch-size {size // 2}{in_turn}."
    passing = f" that pass in {parts} parts" if parts > 1 else ""
    fault = TrainingStopped(f"out of memory with batches of {size}{passing}", hint=hint)
    fault.__cause__ = error
    return fault
