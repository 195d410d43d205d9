"""The main job on a GPU: skipped, with the reason, where there is none.

ZOO_TEST_DEVICE=cpu tries the tests themselves on a machine without one, as tools/on_gpu.sh is tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kits import Kit, real_kit

from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store

DEVICE = os.environ.get("ZOO_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"
    ),
]


@pytest.fixture
def kit(data: Path) -> Kit:
    """The real data alone: a machine with a GPU may lack scikit-learn, which the tiny set is made from."""
    return real_kit(data)


def test_the_head_learns_on_the_gpu_what_it_learns_on_the_cpu(
    finetune: Callable[..., RunResult], trained: RunResult
) -> None:
    result = finetune(device=DEVICE)
    assert result.frozen_changed == 0
    assert result.val_accuracy >= 0.95
    assert result.val_accuracy == pytest.approx(trained.val_accuracy, abs=0.02)


def test_deeper_stages_train_in_bf16_and_the_run_predicts_on_the_cpu(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store
) -> None:
    result = finetune(device=DEVICE, precision="bf16", unfreeze=2, epochs=10, tune_epochs=2)
    assert result.frozen_changed == 0
    found = load_run(result.run, store=shared_store).evaluate(kit.images, device="cpu")
    assert found.accuracy == pytest.approx(result.val_accuracy, abs=0.03)  # 4 of 153, measured in bf16


def test_two_runs_repeat_bit_for_bit_when_asked_to(kit: Kit, shared_store: Store, tmp_path: Path) -> None:
    """In processes of their own: cuBLAS asks once how it shall work, and an earlier test has answered."""
    options = [
        "--device",
        DEVICE,
        "--deterministic",
        "--unfreeze",
        "1",
        "--epochs",
        "3",
        "--tune-epochs",
        "1",
    ]
    for name in ("a", "b"):
        command = ["finetune", kit.net, kit.images, "--out", tmp_path / name, *options]
        subprocess.run(
            [sys.executable, "-m", "zoo", *command, "--registry", kit.registry_file],
            env=os.environ | {"ZOO_HOME": str(shared_store.home)},
            check=True,
        )
    a, b = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b


@pytest.mark.parametrize("recipe", [{"unfreeze": "all", "epochs": 3}, {"encoder": "cnn"}], ids=str)
def test_texts_train_on_the_gpu_and_the_run_predicts_on_the_cpu(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, recipe: dict[str, Any]
) -> None:
    result = finetune(kit.words, kit.texts, device=DEVICE, tune_epochs=2, **recipe)
    assert result.frozen_changed == 0
    found = load_run(result.run, store=shared_store).evaluate(kit.texts, device="cpu")
    assert found.accuracy == pytest.approx(result.val_accuracy, abs=0.01)  # tuned in half precision
