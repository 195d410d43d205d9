"""The processes of one run: who they are, and what they hand to each other between two steps.

A run of several processes is the same program in each of them, started by torchrun or by `--processes`. Each
takes its share of every batch; the first one alone reports, writes, and trains what is too small to share.

Gradients travel in the group that suits the device (NCCL on GPUs). What is agreed between two steps travels
in a group of its own on the CPU (gloo): to read a number there makes no GPU wait.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Timer
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from zoo.errors import TrainingStopped
from zoo.events import Note, Report, silent
from zoo.training.batches import Share
from zoo.training.device import pick_device
from zoo.training.ranks import MEETING, are_several, mark_lost, whole_number

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

PATIENCE = "ZOO_PROCESS_TIMEOUT"
"""Variable: seconds that a process waits for another; a machine that is cut off is noticed after them."""
_PATIENCE = 1800
_SOON = 20.0  # seconds after which somebody who waits for the others wants to know it
ALIVE = 10.0  # seconds between two signs of life of a process that the others wait for
_SIGN, _MESSAGE, _NOTHING = 0, 1, 2


class Agreement(NamedTuple):
    """What all processes know of a step. weight: of all items in it, by the task's weights. stop: somebody
    asked to stop. bad: how many found a loss that is not a number in the step before."""

    weight: float
    stop: bool
    bad: int


@dataclass(frozen=True)
class Processes:
    """rank: which of them this one is, from 0; world: how many there are. local_rank, local_world: the same
    on this machine. group: for gradients; control: for everything else. Both None where there is one process.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    group: ProcessGroup | None = None
    control: ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that reports and writes."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Which part of every batch is this process's own."""
        return Share(self.rank, self.world)

    def sum(self, *parts: float) -> list[float]:
        """Each number added up over all processes."""
        if self.control is None:
            return [*parts]
        found: list[float] = self.add_up(torch.tensor(parts, dtype=torch.float64)).tolist()
        return found

    def add_up(self, sums: Tensor) -> Tensor:
        """A tensor on the CPU, added up over all processes, in place."""
        from torch import distributed

        if self.control is not None:
            distributed.all_reduce(sums, group=self.control)
        return sums

    def agree(self, weight: float, *, stop: bool, bad: bool) -> Agreement:
        """What all processes together have of this step; each of them calls it, and gets the same."""
        if self.control is None:
            return Agreement(weight, stop, int(bad))
        whole, stops, bads = self.sum(weight, float(stop), float(bad))
        return Agreement(whole, stops > 0, int(bads))

    def all_done(self, done: bool = True) -> bool:
        """Whether all have finished a piece of work. Each calls it now and then while it works, and once it
        has finished until the answer is yes: so who waits long knows that the others are alive."""
        return self.sum(float(done)) == [self.world]

    def send(self, content: bytes | None) -> None:
        """In the first process: hand bytes to all others; None that there is nothing to come."""
        self._head(_NOTHING if content is None else _MESSAGE, 0 if content is None else len(content))
        if content:
            self._broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def show_life(self, last: float) -> float:
        """In the first process, while the others wait for what it sends: let them know that it still works,
        if the last time is a while ago. Takes and returns a moment of time.monotonic()."""
        now = time.monotonic()
        if now - last < ALIVE:
            return last
        self._head(_SIGN, 0)
        return now

    def receive(self) -> bytes | None:
        """In the others: what the first process sends."""
        kind, size = _SIGN, 0
        while kind == _SIGN:
            kind, size = self._head(0, 0)
        if kind == _NOTHING:
            return None
        content = torch.empty(size, dtype=torch.uint8)
        if size:
            self._broadcast(content)
        return content.numpy().tobytes()

    def take_leave(self) -> None:
        """Wait until all are about to end, where all raise an error of the same gathering: who left first
        would take the connections of who still reads it, and another error would be shown than the cause."""
        with suppress(RuntimeError):  # the others have gone already: all was read
            self.sum(0.0)

    def gather(self, content: bytes) -> list[bytes]:
        """What each process has, by rank; every process gets all of it."""
        if self.control is None:
            return [content]
        from torch import distributed

        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        distributed.all_gather(sizes, torch.tensor([len(content)]), group=self.control)
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(content)] = torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8)[
            : len(content)
        ]
        parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.world)]
        distributed.all_gather(parts, padded, group=self.control)
        return [part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]

    def _head(self, kind: int, size: int) -> tuple[int, int]:
        head = torch.tensor([kind, size])
        self._broadcast(head)
        return int(head[0]), int(head[1])

    def _broadcast(self, tensor: Tensor) -> None:
        from torch import distributed

        distributed.broadcast(tensor, 0, group=self.control)


ALONE = Processes()


def own_device(name: str = "auto") -> torch.device:
    """The device of that name; of several processes on a machine with GPUs, each has its own.

    Raises TrainingStopped for a device that this machine does not have, and for more processes than GPUs.
    """
    device = pick_device(name)
    if not are_several() or device.type != "cuda":
        return device
    if device.index not in (None, 0):
        raise TrainingStopped(
            f"{name} is one GPU, and this run has several processes",
            hint="Use --device cuda, or one process.",
        )
    here, gpus = whole_number("LOCAL_WORLD_SIZE", 1), torch.cuda.device_count()
    if here > gpus:
        raise TrainingStopped(
            f"{here} processes on a machine with {gpus} GPU{'s' * (gpus != 1)}: each needs its own",
            hint=f"Use --processes {gpus}, or --device cpu.",
        )
    device = torch.device("cuda", whole_number("LOCAL_RANK", 0))
    torch.cuda.set_device(device)
    return device


@contextmanager
def meet(device: torch.device, report: Report = silent) -> Iterator[Processes]:
    """The processes that this one was started with; ALONE where there are none. device: where it computes.
    report: gets a warning while the others do not come: torchrun may have started a program that started zoo.

    A program that has a process group of its own keeps it. Raises UsageError where the variables of torchrun
    make no sense, TrainingStopped where the others do not come.
    """
    if not are_several():
        yield ALONE
        return
    from torch import distributed

    own = not distributed.is_initialized()
    rank, world = whole_number("RANK", 0), whole_number("WORLD_SIZE", 1)
    place = os.environ.get(MEETING)
    if place and sys.platform.startswith("linux"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine, whatever its name is
    seconds = whole_number(PATIENCE, _PATIENCE)
    patience = timedelta(seconds=seconds)
    warning = Timer(min(_SOON, seconds / 3), report, [_describe_waiting(rank, world)])
    warning.daemon = True
    warning.start()
    try:
        if own:
            settings: dict[str, Any] = {"rank": rank, "world_size": world} if place else {}
            distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                init_method=f"file://{place}" if place else "env://",
                timeout=patience,
                **settings,
            )
        control = distributed.new_group(backend="gloo", timeout=patience)
    except (RuntimeError, ValueError) as error:
        raise TrainingStopped(
            f"the {world} processes of this run did not find each other: {_first_line(error)}",
            hint="Every machine must reach the first one, at the address that torchrun was given.",
        ) from error
    finally:
        warning.cancel()
    local = whole_number("LOCAL_RANK", rank), whole_number("LOCAL_WORLD_SIZE", world)
    processes = Processes(
        distributed.get_rank(),
        distributed.get_world_size(),
        *local,
        cast("ProcessGroup", distributed.group.WORLD),
        cast("ProcessGroup", control),
    )
    ended_well = False
    try:
        yield processes
        processes.sum(0.0)  # who leaves first would take the connections of who still speaks
        ended_well = True
    finally:
        if own and ended_well:
            del processes, control
            distributed.destroy_process_group()


def _describe_waiting(rank: int, world: int) -> Note:
    return Note(
        f"this is process {rank} of {world} (RANK and WORLD_SIZE), and waits for the others",
        hint="If there are no others, unset RANK and WORLD_SIZE.",
        level="warning",
    )


def is_lost_process(error: BaseException) -> bool:
    """Whether an error means that another process has ended, or cannot be reached."""
    from torch import distributed

    if not distributed.is_available() or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, distributed.DistError) or "gloo/transport" in str(error)


def lost_process(error: BaseException) -> TrainingStopped:
    """The error for another process that has ended."""
    stopped = TrainingStopped("another process of this run has ended, or cannot be reached any more")
    stopped.__cause__ = error
    mark_lost()
    return stopped


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
