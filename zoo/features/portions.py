"""What is done where memory does not hold a batch: it passes in portions that it does hold."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from zoo.errors import TrainingStopped
from zoo.events import Note, Report, silent

_LACKS = (
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "CUDA error: out of memory",  # of pinned memory
    "CUBLAS_STATUS_ALLOC_FAILED",  # a library's own workspace, on a GPU that is full
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""What plain RuntimeErrors say of memory; torch.OutOfMemoryError is raised by its allocators of GPUs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice.

    >>> is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")), is_out_of_memory(
    ...     RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    ... )
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _LACKS)


class Portions:
    """A function of batches, (items, …) -> (items, …), that halves one where memory does not hold it.

    So are those after it, and each halving is reported. Raises TrainingStopped if there is no memory for a
    single item.
    """

    noun: ClassVar[str] = "image"
    smaller: ClassVar[str] = "Use a smaller model"

    def __init__(self, device: torch.device, report: Report = silent) -> None:
        self.device = device
        self.report = report
        self.most: int | None = None

    def apply(self, items: Tensor) -> Tensor:
        """What the function is, for a batch that memory holds."""
        raise NotImplementedError

    @torch.inference_mode()
    def __call__(self, items: Tensor) -> Tensor:
        found: list[Tensor] = []
        done = 0
        while done < max(1, len(items)):
            part = items[done:] if self.most is None else items[done : done + self.most]
            answers = self._compute(part)
            if answers is None:  # not in a handler: the error holds the tensors of the failed pass
                self._halve(len(part))
            else:
                found.append(answers)
                done += max(1, len(part))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _compute(self, items: Tensor) -> Tensor | None:
        """The answers; None if there is no memory for so many items."""
        try:
            return self.apply(items)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(items) > 1:
                return None
            raise TrainingStopped(
                f"{self.device} has not enough memory for one {self.noun}",
                hint=self.smaller + (", or --device cpu." if self.device.type != "cpu" else "."),
            ) from error

    def _halve(self, size: int) -> None:
        self.most = size // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        at_once = f"{self.most:,} {self.noun}{'s' if self.most > 1 else ''} at a time from now on"
        self.report(Note(f"out of memory: {at_once}, not {size:,}", level="warning"))
