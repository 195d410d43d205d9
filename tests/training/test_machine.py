"""Devices and number formats: what is picked, what is refused, and how a step is made."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from zoo.errors import TrainingStopped, UnknownName
from zoo.training.device import pick_device, precision_for
from zoo.training.machine import LossWatch, Machine

CPU = torch.device("cpu")
GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="no CUDA device on this machine")


def test_auto_picks_the_best_there_is() -> None:
    expected = "cuda" if GPU else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == CPU


@pytest.mark.fault("T11")
@pytest.mark.parametrize("name", ["cuda:99", *([] if GPU else ["cuda", "cuda:0"])])
def test_a_gpu_that_is_not_there_is_named_with_what_there_is(name: str) -> None:
    with pytest.raises(TrainingStopped, match=f"no device '{name}'") as caught:
        pick_device(name)
    assert caught.value.exit_code == 6
    assert "--device auto" in str(caught.value)


def test_a_word_that_is_no_device_is_answered_with_those_that_are() -> None:
    with pytest.raises(UnknownName, match="Did you mean cuda"):
        pick_device("cudda")


@pytest.mark.thorough
@pytest.mark.fault("T11")
def test_without_a_gpu_auto_falls_to_the_cpu_without_a_word() -> None:
    code = (
        "from zoo.training.device import pick_device; notes = [];"
        "print(pick_device('auto', report=notes.append).type, notes)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert run.stdout.strip() in ("cpu []", "mps []")
    assert run.stderr == ""


def test_the_number_format_follows_the_device() -> None:
    assert precision_for(CPU) == "fp32"
    assert precision_for(CPU, "bf16") == "bf16"
    with pytest.raises(TrainingStopped, match="fp16 needs a GPU"):
        precision_for(CPU, "fp16")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast_computes_in_the_number_format_and_keeps_weights_in_fp32(precision: str) -> None:
    machine, layer = Machine(CPU, precision), nn.Linear(8, 2)
    with machine.autocast():
        output = layer(torch.ones(4, 8))
    assert output.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.clone()
    machine.backward(output.float().sum())
    machine.step(optimizer, list(layer.parameters()))
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(before, layer.weight)


def test_a_long_gradient_is_cut_to_the_clip_norm_and_a_short_one_is_not() -> None:
    for clip_norm, moved in [(None, 5.0), (1.0, 1.0), (100.0, 5.0)]:
        weight = nn.Parameter(torch.zeros(2))
        loss = (weight * torch.tensor([3.0, 4.0])).sum()
        Machine(CPU).backward(loss)
        Machine(CPU).step(torch.optim.SGD([weight], lr=1.0), [weight], clip_norm)
        assert weight.norm().item() == pytest.approx(moved, rel=1e-5)


def test_inputs_may_be_a_tuple_of_tensors() -> None:
    ids, lengths = torch.arange(3), torch.ones(1)
    placed = Machine(CPU).place((ids, lengths))
    assert [part.data_ptr() for part in placed] == [ids.data_ptr(), lengths.data_ptr()]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_seen_in_its_own_step_on_the_cpu(value: float) -> None:
    watch = LossWatch(CPU)
    assert watch.see(torch.tensor(1.0), "fine") is None
    found = watch.see(torch.tensor(value), "bad")
    assert found is not None
    assert found[1] == "bad"
    assert watch.last() is None


@pytest.mark.gpu
@needs_gpu
def test_a_loss_that_is_no_number_is_seen_one_step_late_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    watch = LossWatch(device)
    assert watch.see(torch.tensor(math.nan, device=device), "bad") is None
    found = watch.see(torch.tensor(1.0, device=device), "fine")
    assert found is not None
    assert found[1] == "bad"
    watch.see(torch.tensor(math.nan, device=device), "last")
    assert watch.last()[1] == "last"


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gpu_trains_in_half_precision(precision: str) -> None:
    device = torch.device("cuda", 0)
    machine, layer = Machine(device, precision), nn.Linear(8, 1).to(device)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    inputs, losses, scaler = torch.ones(4, 8, device=device), [], machine.new_scaler()
    for _ in range(20):
        with machine.autocast():
            output = layer(inputs)
        loss = (output.float() - 3).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        machine.backward(loss, scaler)
        machine.step(optimizer, list(layer.parameters()), clip_norm=1.0, scaler=scaler)
    assert losses[-1] < losses[0] / 10
