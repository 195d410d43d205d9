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
from safetensors.torch import load_file
from support.kits import Kit, real_kit

from zoo.answers.run import load_run as load_answering_run
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


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"compile": True},
            marks=pytest.mark.skipif(
                DEVICE == "cpu", reason="minutes on a CPU; test_compiled_runs.py has it"
            ),
        ),
        {"batch_size": "auto"},
        {"ema": 0.9},
        {"mixup": 0.2, "cutmix": 1.0},
        {"augment": "randaugment", "erase": 0.25},
        {"focal_gamma": 2, "sampling": "balanced"},
        {"strategy": "lora", "unfreeze": "all"},
        {"accumulate": 4, "clip_norm": 1.0},
    ],
    ids=str,
)
def test_every_way_to_train_deeper_keeps_what_is_frozen_on_the_gpu(
    kit: Kit, few: Path, finetune: Callable[..., RunResult], shared_store: Store, options: dict[str, Any]
) -> None:
    settings = {"unfreeze": 1, "epochs": 10, "tune_epochs": 2, **options}
    result = finetune(folder=few, device=DEVICE, **settings)
    assert result.frozen_changed == 0
    run = load_run(result.run, store=shared_store)
    assert isinstance(run.record.recipe.batch_size, int)
    assert run.evaluate(few, device="cpu").metrics["accuracy"] >= 0.5


def test_answers_about_a_run_are_those_of_the_cpu(kit: Kit, trained: RunResult, shared_store: Store) -> None:
    """What is novel, and where a class is seen: computed on the GPU, equal but for rounding."""
    run, photos = load_answering_run(trained.run, store=shared_store), kit.val(kit.classes[0])[:8]
    here, there = (
        run.predict(photos, false_alarms=0.1, data=kit.images, device=device) for device in ("cpu", DEVICE)
    )
    assert [one.distance for one in there] == pytest.approx([one.distance for one in here], abs=0.01)
    [one], [two] = (run.explain(photos[:1], nearest=0, device=device) for device in ("cpu", DEVICE))
    assert two.label == one.label


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


@pytest.mark.fault("T7")
@pytest.mark.parametrize("precision", ["bf16", "fp16" if DEVICE == "cuda" else "fp32"])
def test_a_run_that_is_stopped_in_the_tune_phase_is_resumed_bit_for_bit(
    kit: Kit, few: Path, shared_store: Store, tmp_path: Path, precision: str
) -> None:
    """fp16 has a scaler, whose state is part of the run."""
    environment = os.environ | {"ZOO_HOME": str(shared_store.home)}
    options = (
        f"--unfreeze 1 --epochs 3 --tune-epochs 8 --tune-patience 0 --batch-size 8 --precision {precision}"
    )
    settings = ["--registry", kit.registry_file, "--device", DEVICE, "--deterministic", *options.split()]
    zoo = [sys.executable, "-m", "zoo", "finetune"]
    command = [*zoo, kit.net, few, *settings, "--out"]
    subprocess.run([*command, tmp_path / "whole"], env=environment, check=True)
    with subprocess.Popen(
        [*command, tmp_path / "run"], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("tune"))
        process.terminate()
        process.stderr.read()
    assert process.returncode == 143
    subprocess.run([*zoo, "--resume", tmp_path / "run"], env=environment, check=True)
    whole, run = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("whole", "run"))
    assert run == whole


@pytest.mark.parametrize("recipe", [{"unfreeze": "all", "epochs": 3}, {"encoder": "cnn"}], ids=str)
def test_texts_train_on_the_gpu_and_the_run_predicts_on_the_cpu(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, recipe: dict[str, Any]
) -> None:
    result = finetune(kit.words, kit.texts, device=DEVICE, tune_epochs=2, **recipe)
    assert result.frozen_changed == 0
    found = load_run(result.run, store=shared_store).evaluate(kit.texts, device="cpu")
    assert found.accuracy == pytest.approx(result.val_accuracy, abs=0.01)  # tuned in half precision


def test_two_gpus_train_and_answer_as_one(kit: Kit, shared_store: Store, tmp_path: Path) -> None:
    """And where there is one, a second process is refused: each needs its own."""
    if DEVICE == "cuda" and torch.cuda.device_count() < 2:
        said = zoo(
            shared_store, kit, "finetune", kit.net, kit.images, "--processes", 2, "--out", tmp_path / "two"
        )
        assert said.returncode == 6
        assert "2 processes on a machine with 1 GPU: each needs its own" in said.stderr
        return
    for count in (1, 2):
        out, rows = tmp_path / f"run-{count}", tmp_path / f"rows-{count}.csv"
        more = ("--processes", count, "--device", DEVICE)
        trained = ("--unfreeze", 1, "--epochs", 3, "--tune-epochs", 2, "--dropout", 0, "--precision", "fp32")
        assert (
            zoo(shared_store, kit, "finetune", kit.net, kit.images, "--out", out, *trained, *more).returncode
            == 0
        )
        said = zoo(shared_store, kit, "predict", out, kit.images / "val", "--out", rows, *more)
        assert said.returncode == 0, said.stderr
    one, two = (load_file(tmp_path / f"run-{count}" / "adapter.safetensors") for count in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-2, atol=1e-3, msg=name)
    first, second = (
        [line.split(",")[:2] for line in (tmp_path / f"rows-{count}.csv").read_text().splitlines()]
        for count in (1, 2)
    )
    assert [row[0] for row in first] == [row[0] for row in second]
    assert sum(one != two for one, two in zip(first, second, strict=True)) <= 2


def zoo(store: Store, kit: Kit, *words: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "zoo", *map(str, words)],
        env=os.environ | {"ZOO_HOME": str(store.home), "ZOO_REGISTRY": str(kit.registry_file)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
