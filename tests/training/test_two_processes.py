"""Two processes that share every batch train what one trains: mixing, sampling, averages and frozen tensors.

Once over gloo on the CPU; once over NCCL, where there are two GPUs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.pairs import CASES, train_alone, train_pair

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.thorough),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs; there are fewer here"),
        ],
    ),
]
TOLERANCE = {"cpu": 1e-4, "cuda": 1e-3}


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Where to compute."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the images, and of what two processes found."""
    return tmp_path_factory.mktemp(device)


@pytest.fixture(scope="module")
def pair(device: str, folder: Path) -> list[dict[str, Any]]:
    """What each of two processes found, by case."""
    return train_pair(folder, device)


def weights(found: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in found["weights"].items()}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_trains(
    name: str, pair: list[dict[str, Any]], folder: Path, device: str
) -> None:
    """One that gets the shares of both, images mixed inside each of them, as one batch."""
    alone, tolerance = train_alone(name, folder, device), TOLERANCE[device]
    both = pair[0][name]
    assert weights(both).keys() == weights(alone).keys()
    for tensor, expected in weights(alone).items():
        torch.testing.assert_close(
            weights(both)[tensor], expected, rtol=tolerance, atol=tolerance, msg=tensor
        )
    for end, wanted in zip(both["ends"], alone["ends"], strict=True):
        assert end == pytest.approx(wanted, rel=tolerance, abs=tolerance)
    assert both["frozen_changed"] == alone["frozen_changed"] == 0
    assert alone["in_halves"]
    assert both["in_halves"] is (not CASES[name].get("shard"))


def test_both_have_the_same_weights_and_figures(pair: list[dict[str, Any]], device: str) -> None:
    first, second = pair
    for name in CASES:
        assert first[name]["ends"] == second[name]["ends"]
        for tensor, values in weights(first[name]).items():
            torch.testing.assert_close(weights(second[name])[tensor], values, rtol=1e-6, atol=1e-7)
    if device == "cpu":
        assert [first[name]["weights"] for name in CASES] == [second[name]["weights"] for name in CASES]


def test_every_case_is_another_one(pair: list[dict[str, Any]]) -> None:
    found = [str(pair[0][name]["weights"]) for name in CASES if name != "mixup again"]
    assert len({*found}) == len(CASES) - 1


def test_a_repeat_is_the_same_to_the_last_bit(pair: list[dict[str, Any]], device: str) -> None:
    if device != "cpu":
        pytest.skip("sums on a GPU have no fixed order")
    assert pair[0]["mixup again"] == pair[0]["mixup"]
