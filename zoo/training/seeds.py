"""Where chance starts: one seed for every generator, one seed per epoch from it, and the user's own kept."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch

CPU = torch.device("cpu")
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def seeded(seed: int, *, device: torch.device = CPU, deterministic: bool = False) -> Iterator[None]:
    """Inside, Python, numpy and torch draw from `seed`; afterwards they go on as if nothing had been drawn.

    On the CPU that makes a run repeat bit for bit, on the same machine with the same number of threads.
    device: whose generator is seeded besides. deterministic: ask for kernels that repeat on a GPU too, which
    are slower. cuBLAS reads its variable when it is first used in a process: whatever ran on the GPU before
    decides for it. Source: https://pytorch.org/docs/stable/notes/randomness.html
    """
    import numpy

    with kept_generators(device), _deterministic_kernels() if deterministic else nullcontext():
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        seed_torch(seed, device)
        yield


@contextmanager
def kept_generators(device: torch.device = CPU) -> Iterator[None]:
    """Afterwards the global generators of Python, numpy, torch and the device are where they were before.

    Networks and dropout draw from them whether they should or not; what the user's own program draws later
    must not depend on that, or a thousand programs draw the same "random" numbers.
    """
    import numpy

    python, array, tensor = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    on_device = _device_state(device)
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(array)
        torch.set_rng_state(tensor)
        if on_device is not None:
            _set_device_state(on_device, device)


def generator_states(device: torch.device = CPU) -> dict[str, torch.Tensor]:
    """Where torch's generators of the CPU and of this device are, by the type of device: uint8."""
    on_device = _device_state(device)
    return {"cpu": torch.get_rng_state()} | ({} if on_device is None else {device.type: on_device})


def set_generators(states: Mapping[str, torch.Tensor], device: torch.device = CPU) -> None:
    """Put torch's generators where they were; the state of a device of another type is passed over."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        _set_device_state(states[device.type], device)


def seed_torch(seed: int, device: torch.device = CPU) -> None:
    """Start torch's generators of the CPU and of this device anew; those of other GPUs are left alone."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.default_generators[_index(device)].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """The seed of one epoch in one process. It depends on these alone, so that a resumed run draws alike."""
    return (seed << 24) + epoch + (rank << 48)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator of one epoch's own."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))


@contextmanager
def _deterministic_kernels() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    variable = os.environ.get(_CUBLAS)
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if variable is None:
            os.environ.pop(_CUBLAS, None)


def _device_state(device: torch.device) -> torch.Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def _set_device_state(state: torch.Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.mps.set_rng_state(state)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
