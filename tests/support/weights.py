"""What runs have trained, held against each other bit by bit."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """The tensors that a run has trained, by name."""
    return load_file(run / "adapter.safetensors")


def assert_equal_weights(one: Path, other: Path) -> None:
    """Two runs have the same tensors, each equal to the last bit."""
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
