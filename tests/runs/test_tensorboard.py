"""What TensorBoard reads is what history.jsonl has, also of a run that was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import Call
from support.kits import Kit, on_tiny

import zoo
from zoo.errors import Interrupted, UsageError
from zoo.events import EpochEnd, Event, Note
from zoo.store.store import Store
from zoo.tensorboard import tensorboard_report

Scalars = dict[str, list[tuple[int, float]]]


def read_scalars(folder: Path) -> Scalars:
    """What TensorBoard shows of a folder: (step, value) by name."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]
    }


def history(run: Path, phase: str) -> list[dict[str, float]]:
    """The lines of a phase in a run's history.jsonl."""
    lines = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    return [line for line in lines if line["phase"] == phase]


@on_tiny
def test_every_phase_is_there_with_every_epoch(kit: Kit, ask: Call, tmp_path: Path) -> None:
    run, board = tmp_path / "run", tmp_path / "board"
    options = ("--epochs", 3, "--unfreeze", 1, "--tune-epochs", 2, "--tensorboard", board, "--out", run)
    said = ask("finetune", kit.net, kit.images, *options)
    assert said.code == 0, said.err
    for phase, epochs in (("head", 3), ("tune", 2)):
        scalars, lines = read_scalars(board / phase), history(run, phase)
        assert len(lines) == epochs
        measured = ("items_per_second", "peak_memory", "seconds")
        named = (("loss/train", "train_loss"), ("loss/val", "val_loss"), ("rate", "lr"))
        for name, field in (*named, *zip(measured, measured, strict=True)):
            assert [step for step, _ in scalars[name]] == [*range(1, epochs + 1)]
            assert [value for _, value in scalars[name]] == pytest.approx([line[field] for line in lines])
        accuracies = [line["metrics"]["accuracy"] for line in lines]
        assert [value for _, value in scalars["val/accuracy"]] == pytest.approx(accuracies)


@on_tiny
def test_what_cannot_be_written_is_one_warning_and_no_run_is_lost(
    kit: Kit, ask: Call, tmp_path: Path
) -> None:
    board = tmp_path / "board"
    board.mkdir()
    (board / "head").write_text("a file where the phase has its folder")
    options = ("--epochs", 3, "--tensorboard", board, "--out", tmp_path / "run")
    said = ask("finetune", kit.net, kit.images, *options)
    assert said.code == 0, said.err
    assert said.err.count("cannot be written") == 1
    assert "training goes on without TensorBoard" in said.err
    assert len(history(tmp_path / "run", "head")) == 3


@on_tiny
def test_an_interrupted_run_has_each_epoch_once(kit: Kit, store: Store, tmp_path: Path) -> None:
    run, board = tmp_path / "run", tmp_path / "board"
    ended: list[Event] = []
    settings = {"registry": kit.registry, "store": store, "epochs": 8, "patience": 0, "checkpoint_every": 4}
    with pytest.raises(Interrupted):
        zoo.finetune_model(
            kit.net,
            kit.images,
            out=run,
            report=tensorboard_report(board, ended.append),
            stop_requested=lambda: sum(isinstance(event, EpochEnd) for event in ended) >= 6,
            **settings,
        )
    before = read_scalars(board / "head")["loss/val"]
    assert len(before) > 4  # epochs after the checkpoint, which are trained again
    zoo.resume(run, store=store, report=tensorboard_report(board))
    found = read_scalars(board / "head")["loss/val"]
    assert [step for step, _ in found] == [*range(1, 9)]
    assert [value for _, value in found] == pytest.approx([line["val_loss"] for line in history(run, "head")])


def test_every_event_is_handed_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    heard: list[Event] = []
    tensorboard_report(tmp_path / "board", heard.append)(Note("hello"))
    assert heard == [Note("hello")]
    assert not (tmp_path / "board").exists()


def test_without_the_package_a_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.tensorboard.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="TensorBoard is not installed") as refused:
        tensorboard_report(tmp_path / "board")
    assert refused.value.hint == "Install it: pip install 'transfer-zoo[tensorboard]'"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "board").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        tensorboard_report(tmp_path / "board")
