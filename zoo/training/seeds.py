"""Where chance starts: one seed for every generator, and one seed per epoch from it."""

from __future__ import annotations

import os
import random

import torch


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Start the generators of Python, numpy and torch (every device) anew.

    On the CPU that makes a run repeat bit for bit, on the same machine with the same number of threads.
    deterministic: ask for kernels that repeat on a GPU too; holds for the whole process, and is slower.
    cuBLAS reads its variable when it is first used, so call this before anything ran on the GPU.
    Source: https://pytorch.org/docs/stable/notes/randomness.html
    """
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch. It depends on these two alone, so that a resumed run draws alike."""
    return (seed << 24) + epoch


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator of one epoch's own."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))
