"""One seed starts every generator, and the generators of the user's own program are left as they were."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from zoo.training.seeds import epoch_generator, kept_generators, seed_torch, seeded

GPU = torch.cuda.is_available()


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_one_seed_starts_every_generator() -> None:
    with seeded(3):
        first = draw()
    with seeded(3):
        assert draw() == first
    with seeded(4):
        assert len({*draw(), *first}) == 6


@pytest.mark.parametrize("inside", [seeded, lambda _seed: kept_generators()], ids=["seeded", "kept"])
def test_what_is_drawn_afterwards_is_what_would_have_been(inside: Callable[..., Any]) -> None:
    for start in (1, 2):  # the user's own seeds
        with seeded(start):
            expected = [draw() for _ in range(3)]
        with seeded(start):
            found = [draw()]
            with inside(9):
                draw()
            found.append(draw())
            with pytest.raises(ZeroDivisionError), inside(9):
                _ = draw()[0] / 0
            found.append(draw())
        assert found == expected


def test_deterministic_kernels_are_asked_for_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def flags() -> tuple[object, ...]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = flags()
    with seeded(0, deterministic=True):
        assert flags() == (True, False, False, ":4096:8")
    assert flags() == before
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        before = flags()
        with seeded(0, deterministic=True):
            assert flags() == (True, False, False, ":16:8")
        assert flags() == before
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="no CUDA device on this machine")
def test_the_generator_of_the_gpu_is_seeded_and_kept_too() -> None:
    device = torch.device("cuda", 0)

    def one() -> float:
        return torch.rand((), device=device).item()

    torch.cuda.manual_seed(5)
    expected = [one() for _ in range(3)]
    torch.cuda.manual_seed(5)
    found = [one()]
    with seeded(9, device=device):
        first = one()
        seed_torch(9, device)
        assert one() == first
    found.append(one())
    with kept_generators(device):
        one()
    assert [*found, one()] == expected


def test_an_epoch_draws_from_a_generator_of_its_own() -> None:
    draws = {
        torch.randint(2**62, (), generator=epoch_generator(seed, epoch)).item()
        for seed in (0, 1, 2**32 - 1)
        for epoch in range(5)
    }
    assert len(draws) == 15
