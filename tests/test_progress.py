"""Functions of the library show how far they are where a person looks on, and nowhere else."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from support.kits import tiny_kit

from zoo.errors import Interrupted
from zoo.events import EpochEnd, Event, Note, Progress, TrainProgress, silent
from zoo.progress import Bars, usual_report
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.run import load_run
from zoo.store.store import Store


class Terminal(io.StringIO):
    """A stream that is looked at."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_nothing_a_terminal_and_a_notebook_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert usual_report() is silent
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(usual_report(), Bars)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert isinstance(usual_report(), Bars)


def test_bars_show_the_task_the_metrics_and_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    report = usual_report()
    report(Progress("train head", 1, 4, "steps"))
    report(EpochEnd("head", 1, 2, 0.5, 0.4, {"accuracy": 0.75}, 0.1, 0.1, True))
    report(Note("one photograph is flat", hint="Look at it.", level="warning"))
    report(Note("all tensors loaded", level="detail"))
    report(Progress("train head", 4, 4, "steps"))
    shown = screen.getvalue()
    assert "train head" in shown
    assert "warning: one photograph is flat\n  Look at it." in shown
    assert "tensors" not in shown


def test_a_training_is_one_line_of_figures_that_goes_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    report = usual_report()
    for done in (1, 2):
        report(
            TrainProgress(
                "train tune", done, 4, "steps", phase="tune", epoch=1, epochs=2, part=done / 2,
                loss=0.5 / done, monitor="loss", value=None, lr=0.01, items_per_second=7.25,
                seconds_left=65.0, at_most=True, memory=2_500_000_000,
            )
        )  # fmt: skip
    line = "tune 1/2  100 %  loss 0.2500  lr 0.01  7.2 items/s  at most 1:05  2.5 GB"
    assert screen.getvalue().rstrip().split("\r")[-1].strip() == line
    report(Progress("train tune", 4, 4, "steps"))
    assert screen.getvalue().split("\r")[-2].strip() == ""


def test_finetuning_in_python_draws_a_bar_and_ctrl_c_keeps_the_best_epoch(
    tiny: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit, screen, out = tiny_kit(tiny), Terminal(), tmp_path / "run"
    monkeypatch.setattr(sys, "stderr", screen)
    common: dict[str, Any] = {"registry": kit.registry, "store": store, "device": "cpu", "patience": 0}
    finetune_model(kit.net, kit.images, out=out, epochs=2, **common)
    assert "features" in screen.getvalue()

    def press(event: Event) -> None:
        if isinstance(event, EpochEnd) and event.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="epoch"):
        finetune_model(kit.net, kit.images, out=tmp_path / "cut", epochs=9, report=press, **common)
    run = load_run(tmp_path / "cut", store=store)
    assert len(run.history) == 3
    assert run.predict([kit.photos])
