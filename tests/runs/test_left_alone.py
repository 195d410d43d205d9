"""A run leaves the process that it trained in as it was."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.errors import Interrupted, TrainingStopped
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.record import RunResult
from zoo.store.store import Store


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@pytest.fixture
def train(store: Store, tmp_path: Path) -> Callable[..., object]:
    """`train("run")`: a short run on digits, of both phases and with chance in every part."""
    write_digits(tmp_path / "digits")
    settings: dict[str, Any] = {
        "store": store, "device": "cpu", "epochs": 2, "tune_epochs": 1, "unfreeze": 1, "dropout": 0.5,
        "augment": "strong",
    }  # fmt: skip
    return lambda out, **more: finetune_model(
        "digits", tmp_path / "digits", out=tmp_path / out, **(settings | more)
    )


@pytest.mark.thorough
@pytest.mark.parametrize("user_seed", [1, 2])
def test_what_the_user_draws_afterwards_is_what_it_would_have_been(
    train: Callable[..., RunResult], user_seed: int
) -> None:
    seed(user_seed)
    expected = [draw() for _ in range(3)]
    seed(user_seed)
    found = [draw()]
    train("run")
    found.append(draw())
    with pytest.raises(TrainingStopped):
        train("broken", optimizer="sgd", lr=1e38)
    assert [*found, draw()] == expected


@pytest.mark.thorough
def test_a_run_that_was_stopped_leaves_the_generators_alone_too(train: Callable[..., RunResult]) -> None:
    seed(3)
    expected = draw()
    seed(3)
    with pytest.raises(Interrupted):
        train("run", stop_requested=iter([False] * 6 + [True] * 99).__next__)
    assert draw() == expected


@pytest.mark.thorough
def test_threads_kernels_and_variables_stay_as_they_were(train: Callable[..., RunResult]) -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            dict(os.environ),
        )

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        before = settings()
        train("run", deterministic=True)
        assert settings() == before
    finally:
        torch.set_num_threads(threads)
