"""What only another process can show: runs that repeat, and runs that are interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

PROGRAM = """
import hashlib, json, signal, sys, time
import torch
from safetensors.torch import load_file
from adapters import build_head
from zoo.events import EpochEnd
from zoo.data.kinds import IMAGES
from zoo.training.batches import FeatureBatches
from zoo.training.interruption import StopSignal
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import read_options, resolve
from zoo.training.seeds import seed_torch
from zoo.training.strategies import phases

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell starts us with it ignored
torch.set_num_threads(1)
data, options, slow = load_file(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:] == ["slow"]
recipe = resolve(read_options(options)[0], IMAGES)
seed_torch(recipe.seed)
torch.rand(int(time.time()) % 7)  # what was drawn before must not matter to training
shape = {"hidden": recipe.hidden, "batch_norm": recipe.batch_norm, "dropout": recipe.dropout}
head = build_head(recipe.head, 1280, 2, standardize=True, seed=recipe.seed, **shape)
head.fit_standardize(data["train"])
train = FeatureBatches(data["train"], data["train_labels"], 32, seed=recipe.seed)
val = FeatureBatches(data["val"], data["val_labels"], 4096)

def report(event):
    if isinstance(event, EpochEnd):
        print("epoch", event.epoch, flush=True)
        if slow and event.epoch == 2:
            while not stop():
                time.sleep(0.05)
            print("asked once, and the step goes on", flush=True)
            time.sleep(3600)  # a step that takes long

with StopSignal() as stop:
    try:
        state = begin_phase(head, train, val, recipe=recipe, phase=phases(recipe)[0],
                            machine=Machine(torch.device("cpu")))
        result = fit(state, report=report, stop_requested=stop)
        code = stop.exit_code if result.interrupted else 0
        best = [min((e.val_loss, e.epoch) for e in result.history)[1], result.best_epoch, result.epochs]
    except KeyboardInterrupt:
        code, best = 130, None
state = head.state_dict()
digest = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()
history = None if best is None else [[e.train_loss, e.val_loss, e.val_accuracy] for e in result.history]
print(json.dumps({"digest": digest, "history": history, "best": best}), flush=True)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def table(features: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features as a file that another process reads."""
    path = tmp_path_factory.mktemp("features") / "features.safetensors"
    save_file(vars(features), path)
    return path


def start(table: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(table), json.dumps(options), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Read until it prints this line; an end before that shows what it complained of."""
    assert process.stdout is not None
    while (read := process.stdout.readline().strip()) != line:
        assert read, process.stderr.read() if process.stderr else ""


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it prints last. Far longer than it takes on a busy machine, far shorter than it would go on."""
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert err == ""
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def test_a_cpu_run_repeats_bit_for_bit_in_another_process(table: Path) -> None:
    options = {"head": "mlp", "hidden": "32", "batch_norm": True, "epochs": 8, "seed": 3}
    first, second = [finish(run) for run in (start(table, **options), start(table, **options))]
    assert first == second
    assert len({tuple(epoch) for epoch in first["history"]}) == 8


@pytest.mark.fault("T3")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_ends_after_the_step_with_the_best_weights(table: Path, number: int, code: int) -> None:
    run = start(table, epochs=10_000_000, patience=0)
    wait_for(run, "epoch 20")
    run.send_signal(number)
    found = finish(run)
    assert run.returncode == code
    lowest, best, epochs = found["best"]
    assert lowest == best <= epochs
    assert 20 <= epochs < 10_000_000


@pytest.mark.fault("T3")
def test_a_second_ctrl_c_is_immediate_and_the_weights_are_those_of_the_best_epoch(table: Path) -> None:
    run = start(table, "slow", epochs=9, patience=0)
    wait_for(run, "epoch 2")
    run.send_signal(signal.SIGINT)
    wait_for(run, "asked once, and the step goes on")
    run.send_signal(signal.SIGINT)
    found = finish(run)  # the step would have taken an hour
    assert run.returncode == 130
    assert found["digest"] == finish(start(table, epochs=2, patience=0))["digest"]
