"""However a run ends, what was good is kept, and the user is told how to go on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.commands import running, start_zoo
from support.kits import Kit, on_tiny

from zoo.errors import TrainingStopped
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store
from zoo.targets import find_target
from zoo.training.schedules import Moment


@pytest.mark.thorough
@on_tiny
@pytest.mark.fault("T3")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_step_and_keeps_the_best_epoch(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "run"
    endless = ["--epochs", "1000000", "--patience", "0", "--registry", kit.registry_file]
    command = ("finetune", kit.net, kit.images, "--out", out, *endless)
    with running(start_zoo(*command, ZOO_HOME=str(shared_store.home)), 120) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("head") and " 1/" not in line)
        process.send_signal(number)
        rest = [line for line in process.stderr if not line.startswith("head")]
        assert process.wait(timeout=60) == code
    assert len(rest) <= 3, rest
    assert rest[-1] == f"Go on: zoo finetune --resume {out}\n"
    run = load_run(out, store=shared_store)
    assert run.record.result.best_epoch >= 1
    assert run.predict(kit.val(kit.classes[0])[:1])[0].label in kit.classes


@on_tiny
@pytest.mark.fault("T1")
def test_a_loss_that_is_no_number_stops_at_once_and_keeps_the_good_epochs(
    finetune: Callable[..., RunResult], shared_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rate explodes in epoch 4: a real overflow, not a raised error."""
    from zoo.training.schedules import SCHEDULES

    def explode(moment: Moment) -> float:
        return 1e38 if len(moment.losses) >= 3 else 1.0

    monkeypatch.setitem(SCHEDULES, "constant", explode)
    with pytest.raises(TrainingStopped) as stopped:
        finetune(epochs=20)
    assert stopped.value.exit_code == 6
    assert "nan" in stopped.value.message or "inf" in stopped.value.message
    assert str(tmp_path / "run") in stopped.value.hint
    run = load_run(tmp_path / "run", store=shared_store)
    assert run.record.result.best_epoch <= 4
    assert all(tensor.isfinite().all() for tensor in run.classifier.network.state_dict().values())


@on_tiny
@pytest.mark.fault("T12")
def test_two_runs_of_one_name_at_once_leave_one_whole_run(trained: RunResult, tmp_path: Path) -> None:
    from zoo.errors import RunExists
    from zoo.runs.folder import new_folder

    out = tmp_path / "run"
    late = new_folder(out)
    (late.__enter__() / "run.json").write_text("late")
    with new_folder(out) as folder:
        (folder / "run.json").write_text("first")
    with pytest.raises(RunExists):
        late.__exit__(None, None, None)
    assert (out / "run.json").read_text() == "first"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.fault("T10")
def test_the_frozen_backbone_is_the_published_one_bit_for_bit(
    kit: Kit, trained: RunResult, shared_store: Store
) -> None:
    from zoo.runs.classifier import load_classifier

    target = find_target(kit.net, registry=kit.registry, store=shared_store)
    published = load_classifier(target, store=shared_store).network.state_dict()
    mine = load_run(trained.run, store=shared_store).classifier.network.state_dict()
    shared = [name for name in published if name in mine and published[name].shape == mine[name].shape]
    assert len(shared) >= kit.frozen_tensors
    assert all(torch.equal(published[name], mine[name]) for name in shared)


@on_tiny
def test_stopping_before_the_first_epoch_leaves_nothing_behind(
    finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    from zoo.errors import Interrupted

    with pytest.raises(Interrupted, match="no best one yet"):
        finetune(stop_requested=lambda: True)
    assert not (tmp_path / "run").exists()
