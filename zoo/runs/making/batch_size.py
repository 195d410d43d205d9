"""`--batch-size auto`: decided once the network is there, by trying larger and larger batches on a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import msgspec
import torch
from torch import Tensor, nn

from zoo.backbones.memory_format import channels_last
from zoo.catalogue.entry import ImageModel
from zoo.events import Note
from zoo.features.portions import is_out_of_memory
from zoo.runs.session import PreparedModel, Session
from zoo.training.device import precision_for
from zoo.training.machine import Machine
from zoo.training.recipe import AUTO
from zoo.training.seeds import kept_generators
from zoo.training.stages import count_opened, open_phase
from zoo.training.strategies import Phase, phases

USUAL = 32
MOST = 256
STEPS = 8
"""An epoch has at least so many: with fewer, larger batches, nothing is learned in it."""
_SPARE = 4
"""Copies of what learns that are kept besides gradients: an optimizer's two moments, an average, buckets."""


def decide_batch_size(session: Session, model: PreparedModel) -> Session:
    """The session with a batch size that suits its network, items and device, where its recipe leaves it."""
    if session.recipe.batch_size != AUTO:
        return session
    planned = phases(session.recipe, count_opened(model.network, session.recipe))
    deeper = [phase for phase in planned if phase.trains == "items"]
    if not deeper:
        size, why = USUAL, "only the head is trained, and that takes no memory"
    elif session.device.type != "cuda" or not isinstance(session.plan.entry, ImageModel):
        size, why = USUAL, "the usual one; a larger one is tried for images on a GPU alone"
    else:
        size, why = _try_batches(session, model.network, session.plan.entry.input.size, deeper[-1])
    session.report(Note(f"batch size {size}: {why}", hint="Another one: --batch-size N"))
    recipe = msgspec.structs.replace(session.recipe, batch_size=size)
    return replace(session, plan=replace(session.plan, recipe=recipe))


def _try_batches(session: Session, network: nn.Module, size: int, phase: Phase) -> tuple[int, str]:
    """The batch size that the device's memory allows for a phase, and why it is that. size: of an image."""
    processes = session.processes
    items = len(session.plan.dataset.train)
    most = min(MOST, max(USUAL, items // STEPS)) // processes.world
    with kept_generators(session.device):
        own = largest_batch(_trial(session, network, size, phase), max(1, most))
    found = [msgspec.json.decode(part, type=int) for part in processes.gather(msgspec.json.encode(own))]
    whole = min(found) * processes.world
    limit = f"{MOST} or an eighth of the items"
    return whole, f"the largest power of two that memory holds, up to {limit}, in each of {processes.world}"


def largest_batch(attempt: Callable[[int], object], most: int) -> int:
    """The largest power of two up to `most` for which an attempt does not lack memory; 1 if none does."""
    size = 1
    while 2 * size <= most and _fits(attempt, 2 * size):
        size *= 2
    return size


def _fits(attempt: Callable[[int], object], size: int) -> bool:
    try:
        attempt(size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _trial(session: Session, network: nn.Module, size: int, phase: Phase) -> Callable[[int], None]:
    """A training step of a phase on a batch of noise, with a copy of the network."""
    device = session.device
    trained = channels_last(copy.deepcopy(network).to(device)).train()
    open_phase(trained, phase, session.recipe)
    learning = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    spare = torch.empty(_SPARE * learning, device=device)
    machine = Machine(device, precision_for(device, phase.precision))

    def attempt(items: int) -> None:
        assert spare.numel() == _SPARE * learning  # held while it is tried
        try:
            images = torch.randn(items, 3, size, size, device=device)
            with machine.autocast():
                output = trained(images)
            parts = (output,) if isinstance(output, Tensor) else [p for p in output if p is not None]
            machine.backward(torch.stack([part.float().square().mean() for part in parts]).sum())
        finally:
            trained.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()

    return attempt
