"""A network as torch.compile makes it, for the steps of training. What fails there, the plain network does.

It is compiled beside the network, not in its place: names of tensors, checkpoints, averages, validation and
the frozen proof see the plain one. Sizes are static: torch would make them dynamic where it meets a second
one; the code for a batch would depend on what came before, and a resumed run end in other last digits.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from zoo.data.names import one_line
from zoo.events import Note

BACKEND = "inductor"
_MOST_SHOWN = 200  # characters of what a compiler says


class Compiled:
    """A network that is compiled when it is called first; what cannot be is raised there."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.call: Any = None

    def __call__(self, inputs: Any) -> Any:
        if self.call is None:
            # a remark on standard error about every machine without a GPU
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
            torch.compiler.reset()  # variants of an earlier phase count against the limit of this one
            self.call = torch.compile(self.model, dynamic=False, backend=BACKEND)
        return self.call(inputs)


def describe_failure(error: Exception) -> Note:
    """The warning where a network cannot be compiled, with the first line of the reason."""
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return Note(
        f"the network could not be compiled, training goes on without: {one_line(reason)[:_MOST_SHOWN]}",
        hint="torch.compile needs a C++ compiler on a CPU, Triton on a GPU: see TORCH_LOGS=dynamo.",
        level="warning",
    )
