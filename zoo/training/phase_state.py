"""One phase of training as one value: begin it, save it, load it.

What a phase trains with is fixed when it begins; everything that moves afterwards is in the same value. So
"go on exactly where it stopped" is: begin the phase again, load what was saved, and run the same loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adapters import frozen_fingerprint, parameter_groups
from zoo.backbones.memory_format import channels_last
from zoo.errors import InvalidRecipe, TrainingStopped, WeightsMismatch
from zoo.events import EpochEnd
from zoo.training.averaging import Average
from zoo.training.batches import Batch, BatchSource
from zoo.training.halves import FromImages, Halves
from zoo.training.keeping import KeptBatches
from zoo.training.losses import StartPull
from zoo.training.machine import Forward, Machine
from zoo.training.optimizers import OPTIMIZERS, build_optimizer
from zoo.training.pace import Pace
from zoo.training.recipe import Resolved
from zoo.training.seeds import generator_states
from zoo.training.sharding import like, put_tensors, shard, whole, without_fused_kernels
from zoo.training.single_label import SINGLE_LABEL, balanced_weights
from zoo.training.stopping import EarlyStopping, Score
from zoo.training.strategies import Phase
from zoo.training.task import Loss, Task

BadLoss: TypeAlias = "tuple[float, tuple[int, float, Batch]]"
"""A loss that is not a number, and about it: the step, its rate and its batch."""


@dataclass
class EpochSoFar:
    """The epoch that trains, up to a step. rows: of its order that are behind. steps, items, loss: how many
    there were, and the sum of the losses that are reported; loss is None before the first step. began: the
    moment, of time.perf_counter, from which its seconds count. generators: where torch's generators are, by
    type of device, where the epoch goes on; items, loss and generators are this process's own. seconds: that
    all its steps took, once they are done.
    """

    rows: int = 0
    steps: int = 0
    items: int = 0
    loss: Tensor | None = None
    began: float = field(default_factory=time.perf_counter)
    generators: Mapping[str, Tensor] | None = None
    seconds: float | None = None

    def add(self, batch: Batch, loss: Tensor) -> None:
        """Note a step. loss: the sum over the items of the batch."""
        self.loss = loss if self.loss is None else self.loss + loss
        self.rows = batch.end
        self.items += batch.count
        self.steps += 1


@dataclass
class PhaseState:
    """A phase while it trains. Between epochs chance needs no field: shuffles and dropout depend on
    (seed, epoch) alone.

    Fixed: home: the model that gets the best weights in the end, where a copy of it in parts trains; None
    where it trains itself. kept: the validation items as what learns gets them; None where nothing is kept of
    them. forward: the model as training calls it, see `Machine.parallel`. rates: the base
    rate of each parameter group. objective: the loss that is minimised; plain: the one that is reported,
    without class weights, smoothing and focal exponent; None where they are the same. pull: towards the
    weights that the phase begins with. frozen: sha256 of every frozen tensor. classes: names for messages.
    class_weights: on the CPU. Moving, with the model's own tensors: average: of the weights, which is
    measured and kept in their place. accumulate: in how many parts the items of a step pass. step: steps
    done. history: an EpochEnd per finished epoch. so_far: the one that trains. best: name -> CPU tensor of
    everything that is not frozen, as it was after the best epoch. lr: of the head, in the last step.
    reported: when progress last was. pace: how fast it is. interrupted: somebody asked to stop. out_of_time:
    the time was up. fault: what ended training too early.
    """

    model: nn.Module
    forward: Forward
    train: BatchSource
    val: BatchSource
    recipe: Resolved
    phase: Phase
    task: Task
    machine: Machine
    parameters: list[nn.Parameter]
    rates: list[float]
    objective: Loss
    plain: Loss | None
    pull: StartPull | None
    frozen: Mapping[str, str]
    classes: Sequence[str]
    class_weights: Tensor | None

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    stopping: EarlyStopping
    best: dict[str, Tensor]
    average: Average | None = None
    home: nn.Module | None = None
    kept: KeptBatches | None = None
    accumulate: int = 1
    step: int = 0
    history: list[EpochEnd] = field(default_factory=list)
    so_far: EpochSoFar = field(default_factory=EpochSoFar)
    lr: float = 0.0
    reported: float = 0.0
    pace: Pace = field(default_factory=Pace)
    interrupted: bool = False
    out_of_time: bool = False
    fault: TrainingStopped | None = None

    def weigh(self, batch: Batch) -> float:
        """What a batch counts in the mean over several: its items, by the weights of their classes."""
        if self.class_weights is None or self.task.balance is not balanced_weights:
            return batch.count
        targets = batch.targets.cpu()
        if targets.is_floating_point():  # shares of the classes
            return float((targets @ self.class_weights).sum())
        return float(self.class_weights[targets].sum())

    def measured(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are measured and kept: the averaged ones, if there are."""
        if OPTIMIZERS[self.recipe.optimizer].averages:
            return self._averaged_by_optimizer()
        return nullcontext() if self.average is None else self.average.in_place()

    @contextmanager
    def _averaged_by_optimizer(self) -> Iterator[None]:
        optimizer: Any = self.optimizer
        trained = [parameter.detach().clone() for parameter in self.parameters]
        optimizer.eval()
        try:
            yield
        finally:
            optimizer.train()
            with torch.no_grad():
                for parameter, own in zip(self.parameters, trained, strict=True):
                    parameter.copy_(own)  # there and back is not the same to the last bit

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    @property
    def steps(self) -> int:
        """How many steps the phase has at most."""
        return self.phase.epochs * len(self.train)

    @property
    def done(self) -> bool:
        """Whether no epoch is left, or the patience is used up."""
        return self.epoch >= self.phase.epochs or self.stopping.stop


class SavedPhase(NamedTuple):
    """A phase after an epoch or a step: tensors for safetensors, values for JSON. Nothing to unpickle."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def begin_phase(
    model: nn.Module,
    train: BatchSource,
    val: BatchSource,
    *,
    recipe: Resolved,
    phase: Phase,
    machine: Machine,
    task: Task = SINGLE_LABEL,
    class_weights: Tensor | None = None,
    classes: Sequence[str] = (),
    start: Score | None = None,
) -> PhaseState:
    """A phase that trains what is not frozen in `model`, before its first step.

    The model is moved to the machine's device and set to train mode. class_weights: (width,). classes: names
    for messages. start: how good the model is already; its weights then count as epoch 0, and come back if no
    epoch beats them.

    Raises InvalidRecipe if nothing is trainable, if a batch norm would have to learn from a batch of one, or
    if the recipe asks for what the task does not have.
    """
    group = machine.processes.group
    shards = recipe.shard and phase.trains == "items" and group is not None
    # Channels last: 1.3 times as fast for MobileNetV2 on a CPU, more on tensor cores; nothing to a head.
    channels_last(model.cpu() if shards else model.to(machine.device)).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    _check_trainable(model, parameters, train.smallest // phase.accumulate, phase.accumulate)
    if OPTIMIZERS[recipe.optimizer].averages and _learns_norms(model):
        raise InvalidRecipe(
            [f"{recipe.optimizer} averages weights; a batch norm that learns has no statistics of that"],
            hint="Use another --optimizer, or pretrained weights, whose batch norms stay as they are.",
        )
    if problems := list(task.problems(recipe)):
        raise InvalidRecipe(problems)
    frozen = frozen_fingerprint(model)
    best, home = trainable_state(model, frozen), None
    halves: Halves | None = None
    kept: KeptBatches | None = None
    if shards and group is not None:
        home, model = model, shard(model, machine.device, group, _example(val))
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        forward = machine.in_parts(model)
    elif phase.trains == "items":
        halves = Halves(model)
        if recipe.compile and group is None:
            forward = replace(machine.parallel(model, compiled=True), plain=FromImages(halves))
        else:
            forward = replace(machine.parallel(FromImages(halves)), prepare=halves.prepare)
    else:
        forward = machine.parallel(model)
    if halves is not None and phase.epochs > 1:
        kept = KeptBatches(val, halves, machine)
    groups = parameter_groups(model, phase.lr, decay=phase.lr_decay, weight_decay=phase.weight_decay)
    pull = StartPull(model, phase.pull) if phase.pull else None
    groups = groups if pull is None else pull.without_decay(groups)
    optimizer = build_optimizer(recipe.optimizer, groups, momentum=recipe.momentum)
    if home is not None:
        without_fused_kernels(optimizer)
    weights = None if class_weights is None else class_weights.to(machine.device)
    scale = None if task.scale is None else weights  # numbers of several units have no other common loss
    altered = weights is not scale or recipe.label_smoothing > 0 or recipe.focal_gamma > 0
    stopping = EarlyStopping(
        patience=phase.patience,
        min_delta=recipe.min_delta,
        monitor=recipe.monitor,
        better=task.monitors[recipe.monitor],
    )
    return PhaseState(
        model=model,
        forward=forward,
        train=train,
        val=val,
        recipe=recipe,
        phase=phase,
        task=task,
        machine=machine,
        parameters=parameters,
        rates=[group["lr"] for group in optimizer.param_groups],
        objective=task.loss(weights, recipe.label_smoothing, recipe.focal_gamma),
        plain=task.loss(scale, 0.0) if altered else None,
        pull=pull,
        frozen=frozen,
        classes=classes,
        class_weights=class_weights,
        optimizer=optimizer,
        scaler=machine.new_scaler(),
        stopping=stopping if start is None else stopping.after(0, start),
        best=best,
        home=home,
        kept=kept,
        average=Average(model, recipe.ema, frozen) if recipe.ema and not phase.computed else None,
        accumulate=phase.accumulate,
    )


def _example(source: BatchSource) -> Tensor:
    """Inputs (1, …) of the shape that a model takes."""
    inputs = next(iter(source.epoch(0))).inputs
    assert isinstance(inputs, Tensor)
    return torch.zeros(1, *inputs.shape[1:])


def state_to_save(state: PhaseState) -> SavedPhase:
    """Everything that moved since the phase began. In the middle of an epoch every process calls it, and gets
    what all of them have of that epoch; so they do at any time where the model is in parts."""
    named = {id(parameter): name for name, parameter in state.model.named_parameters()}
    tensors = {f"model/{name}": tensor for name, tensor in trainable_state(state.model, state.frozen).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    if state.average is not None:
        tensors |= {f"average/{name}": _plain_copy(tensor) for name, tensor in state.average.mean.items()}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter, facts in state.optimizer.state.items():
        name = named[id(parameter)]
        for key, value in facts.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{key}/{name}"] = _plain_copy(value)
            else:
                numbers.setdefault(name, {})[key] = value
    values = {
        "step": state.step,
        "epoch": None,
        "accumulate": state.accumulate,
        "lr": state.lr,
        "stopping": msgspec.to_builtins(state.stopping),
        "history": msgspec.to_builtins(state.history),
        "optimizer": numbers,
        "groups": [{key: group[key] for key in _moving(state) if key in group} for group in _groups(state)],
        "scaler": None if state.scaler is None else state.scaler.state_dict(),
    }
    if state.so_far.steps:
        shares, values["epoch"] = _save_epoch(state)
        tensors |= shares
    return SavedPhase(tensors, values)


def _save_epoch(state: PhaseState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The epoch so far: by the number of each process its sum of losses, its items and its generators."""
    from safetensors.torch import load, save

    so_far, machine = state.so_far, state.machine
    loss = torch.zeros(()) if so_far.loss is None else so_far.loss.cpu()
    own = {"loss": loss, "items": torch.tensor(so_far.items)} | generator_states(machine.device)
    shares = enumerate(machine.processes.gather(save(own)))
    tensors = {
        f"epoch/{rank}/{name}": tensor for rank, share in shares for name, tensor in load(share).items()
    }
    seconds = time.perf_counter() - so_far.began
    return tensors, {"rows": so_far.rows, "steps": so_far.steps, "seconds": seconds}


def _load_epoch(
    state: PhaseState, tensors: Mapping[str, Tensor], values: Mapping[str, Any] | None
) -> EpochSoFar:
    """The epoch in the place that was saved. Of more processes than there are now, one takes the sums of
    several, so that none is lost; where there are more now, the new ones draw as at the beginning."""
    if values is None:
        return EpochSoFar()
    rank, world = state.machine.processes.rank, state.machine.processes.world
    shares: dict[int, dict[str, Tensor]] = {}
    for place, tensor in tensors.items():
        number, _, name = place.partition("/")
        shares.setdefault(int(number), {})[name] = tensor
    losses = [share.pop("loss") for number, share in shares.items() if number % world == rank]
    items = [share.pop("items") for number, share in shares.items() if number % world == rank]
    return EpochSoFar(
        values["rows"],
        values["steps"],
        sum(map(int, items)),
        sum(losses[1:], losses[0]).to(state.machine.device) if losses else None,
        time.perf_counter() - values["seconds"],
        shares.get(rank),
    )


def load_phase(state: PhaseState, saved: SavedPhase) -> PhaseState:
    """A phase that has just begun, in the place that was saved: training goes on bit for bit from there.

    Raises WeightsMismatch if what was saved is of another network, or of another phase.
    """
    kinds = ("model", "best", "average", "optimizer", "epoch")
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
    for name, tensor in saved.tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    _check_same_tensors(trainable_state(state.model, state.frozen), parts["model"])
    if state.home is None:
        state.model.load_state_dict(
            parts["model"], strict=False
        )  # strict=False: the frozen rest is not in it
    else:
        put_tensors(state.model, parts["model"])
    state.best = parts["best"]
    if state.average is not None:
        state.average.load(parts["average"])
    _load_optimizer(state, parts["optimizer"], saved.values["optimizer"])
    for group, moved in zip(_groups(state), saved.values.get("groups", ()), strict=False):
        group.update(moved)
    if state.scaler is not None and saved.values["scaler"] is not None:
        state.scaler.load_state_dict(saved.values["scaler"])
    state.stopping = msgspec.convert(saved.values["stopping"], EarlyStopping)
    state.history = msgspec.convert(saved.values["history"], list[EpochEnd])
    state.accumulate = saved.values.get("accumulate", state.accumulate)
    state.step, state.lr = saved.values["step"], saved.values["lr"]
    state.so_far = _load_epoch(state, parts["epoch"], saved.values.get("epoch"))
    return state


def _groups(state: PhaseState) -> list[dict[str, Any]]:
    return state.optimizer.param_groups


def _moving(state: PhaseState) -> tuple[str, ...]:
    """What the optimizer changes in its groups."""
    return OPTIMIZERS[state.recipe.optimizer].moving


def trainable_state(model: nn.Module, frozen: Mapping[str, str]) -> dict[str, Tensor]:
    """A copy on the CPU of every tensor of the model that is not frozen, buffers included."""
    return {name: _plain_copy(tensor) for name, tensor in model.state_dict().items() if name not in frozen}


def _plain_copy(tensor: Tensor) -> Tensor:
    """A copy on the CPU, contiguous whatever the memory format is: safetensors refuses anything else. Of a
    tensor in parts the whole."""
    return whole(tensor.detach()).to("cpu", copy=True, memory_format=torch.contiguous_format)


def bring_frozen_home(state: PhaseState) -> None:
    """Give the model that a copy in parts was made of what was to stay frozen in that copy, so that it can be
    held against what it was; in every process. (After a fault the others may be gone: nothing is brought.)"""
    assert state.home is not None
    own = state.model.state_dict() | dict(state.model.named_buffers())
    there = dict(state.home.named_parameters()) | dict(state.home.named_buffers())
    with torch.no_grad():
        for name in state.frozen:
            there[name].copy_(whole(own[name]))


def _check_trainable(
    model: nn.Module, parameters: Sequence[nn.Parameter], smallest: int, accumulate: int
) -> None:
    """Raise InvalidRecipe if nothing is trainable, or if batch norm would get batches of one. smallest: how
    many items pass at once, at least."""
    if not parameters:
        raise InvalidRecipe(
            ["nothing to train: every parameter is frozen"], hint="Attach a head, or unfreeze a stage."
        )
    if _learns_norms(model) and smallest <= 1:
        more = (
            "--batch-size 2 or more" if accumulate == 1 else "a larger --batch-size, a smaller --accumulate"
        )
        raise InvalidRecipe(
            ["a batch norm cannot learn from a batch of 1 item"],
            hint=f"Use {more}, or keep the batch norms frozen.",
        )


def _learns_norms(model: nn.Module) -> bool:
    """Whether a batch norm of a model in train mode learns statistics."""
    return any(isinstance(module, _BatchNorm) and module.training for module in model.modules())


def _check_same_tensors(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Raise WeightsMismatch unless both have tensors of the same names and shapes."""
    names = sorted(own.keys() | saved.keys())
    odd = [n for n in names if n not in own or n not in saved or own[n].shape != saved[n].shape]
    if odd:
        raise WeightsMismatch(
            f"what was saved is of another network or phase: {', '.join(odd[:3])}",
            hint="Train from the start with the same command.",
        )


def _load_optimizer(
    state: PhaseState, tensors: Mapping[str, Tensor], numbers: Mapping[str, Mapping[str, Any]]
) -> None:
    """Give the optimizer what it knew about each parameter; its groups are those of the recipe already."""
    known: dict[str, dict[str, Any]] = {name: dict(facts) for name, facts in numbers.items()}
    for place, tensor in tensors.items():
        key, _, name = place.partition("/")
        known.setdefault(name, {})[key] = tensor
    named = {id(parameter): name for name, parameter in state.model.named_parameters()}
    facts = state.optimizer.state_dict()
    order = [p for group in state.optimizer.param_groups for p in group["params"]]
    facts["state"] = {i: known[named[id(p)]] for i, p in enumerate(order) if named[id(p)] in known}
    state.optimizer.load_state_dict(facts)
    for parameter, own in state.optimizer.state.items():
        for key, value in own.items():
            # The fused kernels walk through memory: a moment must lie in the order of its parameter.
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                there = torch.empty_like(parameter, dtype=value.dtype)
                own[key] = there.copy_(like(there, value))
