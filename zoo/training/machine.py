"""The machine that a phase trains on: its device, its number format, and one step of an optimizer.

Everything that differs between a CPU, a GPU with a scaled fp16 loss and several processes is behind this one
value; the loop is the same for all.

Why plain torch and not accelerate.Accelerator, measured with a linear head on 1280 features, batch 32, Adam,
one CPU core: 281 µs per step bare, 447 µs through a prepared model and optimizer (its optimizer looks for a
package on disk twice at every step, its zero_grad reads a signature). And its state belongs to the process: a
head in fp32 and a backbone in bf16 cannot follow each other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.training.batch_norms import JointBatchNorms
from zoo.training.compiling import Compiled
from zoo.training.interruption import never
from zoo.training.processes import ALONE, Agreement, Processes

FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}
T = TypeVar("T")


@dataclass(frozen=True)
class Forward:
    """A model as it is called in training. joint: made anew for every call. no_sync: inside it, processes do
    not add their gradients up: those of a later part of the step do it for all. plain: what takes its place
    where `model` is a compiled one that fails. prepare: is given the inputs first, outside of all that."""

    model: Callable[[Any], Any]
    joint: Callable[[], AbstractContextManager[Any]] = nullcontext
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext
    plain: nn.Module | None = None
    prepare: Callable[[Any], object] = lambda _inputs: None

    def __call__(self, inputs: Any) -> Any:
        self.prepare(inputs)
        with self.joint():
            return self.model(inputs)


class Machine:
    """A device and a number format (fp32, bf16, fp16) with the verbs of a training step.

    processes: that work together, each on its own share of every batch.

    fp16 gradients underflow below 6e-8: the loss is scaled up, and a step whose gradients overflow is left
    out (https://pytorch.org/docs/stable/amp.html). bf16 has the range of fp32 and needs none of that.
    """

    def __init__(self, device: torch.device, precision: str = "fp32", processes: Processes = ALONE) -> None:
        self.device = device
        self.processes = processes
        self.precision = precision
        self.format = FORMATS.get(precision)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that reports and writes."""
        return self.processes.is_first

    def sum(self, *parts: Tensor | float) -> list[Tensor]:
        """Each part added up over all processes, as float64 on the CPU: every process gets the same sums."""
        own = [torch.as_tensor(part).detach().cpu().double() for part in parts]
        if self.processes.world == 1:
            return own
        joined = torch.cat([part.flatten() for part in own])
        sums = torch.split(self.processes.add_up(joined), [part.numel() for part in own])
        return [found.reshape(part.shape) for found, part in zip(sums, own, strict=True)]

    def agree(
        self, weight: float, stop_requested: Callable[[], bool] = never, *, bad: bool = False
    ) -> Agreement:
        """What all processes know of the step that begins; see `Agreement`."""
        return self.processes.agree(weight, stop=stop_requested(), bad=bad)

    def parallel(self, model: nn.Module, *, compiled: bool = False) -> Forward:
        """The model as it is called in training: of several processes, its gradients are the mean over all of
        them, and its batch norms learn from whole batches.

        Whatever learns in the model at this moment takes part: make it anew when that changes. The model's
        tensors become those of the first process. compiled: by torch.compile, in one process alone.
        """
        group = self.processes.group
        if group is None:
            return Forward(Compiled(model), plain=model) if compiled else Forward(model)
        from torch import distributed
        from torch.nn.parallel import DistributedDataParallel

        for buffer in model.buffers():
            distributed.broadcast(buffer, 0, group=group)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # torch 2.13 has another word for broadcast_buffers
            replica = DistributedDataParallel(
                model,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                process_group=group,
                broadcast_buffers=False,  # they are equal: see JointBatchNorms
                find_unused_parameters=True,  # such as the vectors of new words where there are none
            )

        # of depthwise convolutions in channels-last memory; it costs a copy of each of these gradients
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)

        return Forward(replica, lambda: JointBatchNorms(group), replica.no_sync)

    def in_parts(self, model: nn.Module) -> Forward:
        """The same for a model that lies in parts on the processes: it adds gradients up by itself."""
        group = self.processes.group
        assert group is not None
        return Forward(model, lambda: JointBatchNorms(group))

    def new_scaler(self) -> torch.amp.GradScaler | None:
        """What scales the loss of one phase; None where the number format needs none."""
        return torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, matrix products and convolutions compute in the machine's number format."""
        if self.format is None:
            return nullcontext()  # 0.2 µs; a disabled autocast costs 4 µs per step
        return torch.autocast(self.device.type, self.format)

    def place(self, data: T) -> T:
        """A tensor, or a tuple of tensors, on the device; what is there already is not copied."""
        if isinstance(data, Tensor):
            return cast(T, data.to(self.device, non_blocking=True))
        return cast(T, tuple(self.place(part) for part in cast(Iterable[Any], data)))

    def backward(self, loss: Tensor, scaler: torch.amp.GradScaler | None = None) -> None:
        """Add the gradients of `loss` to what is there. scaler: as for `step`."""
        torch.autograd.backward(loss if scaler is None else scaler.scale(loss))

    def step(
        self,
        optimizer: Optimizer,
        parameters: list[nn.Parameter],
        clip_norm: float | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """One step of the optimizer down the gradients that are there; longer ones than clip_norm are cut.

        scaler: of the phase, as `new_scaler` gives it.
        """
        if scaler is None:
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, clip_norm)
            optimizer.step()
            return
        if clip_norm is not None:
            scaler.unscale_(optimizer)  # else the scale, not the gradient, would be clipped
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        scaler.step(optimizer)
        scaler.update()

    def watch(self) -> LossWatch:
        """What checks every loss of an epoch, in the way that suits the device."""
        return LossWatch(self.device, late=True if self.processes.world > 1 else None)


class LossWatch:
    """Finds a loss that is nan or infinite, without making a GPU wait.

    On the CPU it looks at once (2 µs). On a GPU reading a value waits for everything that was queued; so the
    loss is copied to pinned memory behind its own event, and read when the next one comes: one step late.
    Of several processes all look that late, so that they can agree on it before the next step.
    """

    def __init__(self, device: torch.device, *, late: bool | None = None) -> None:
        self.device = device
        self.late = device.type == "cuda" if late is None else late
        self.pending: tuple[Tensor, torch.cuda.Event | None, Any] | None = None

    def see(self, loss: Tensor, about: T) -> tuple[float, T] | None:
        """(loss, about) of a step whose loss is not finite; None while all is well."""
        if not self.late:
            value = loss.item()
            return None if math.isfinite(value) else (value, about)
        bad: tuple[float, T] | None = self.last()
        if self.device.type != "cuda":
            self.pending = (loss.detach(), None, about)
            return bad
        host = torch.empty((), dtype=loss.dtype, pin_memory=True)
        host.copy_(loss.detach(), non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        self.pending = (host, event, about)
        return bad

    def last(self) -> Any:
        """The same for the last step, once an epoch is over."""
        if self.pending is None:
            return None
        host, event, about = self.pending
        self.pending = None
        if event is not None:
            event.synchronize()
        value = host.item()
        return None if math.isfinite(value) else (value, about)
