"""What `zoo evaluate` draws: the confusions, and how far probabilities are right, at any width."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.commands import Call

from zoo.cli.chart import bar
from zoo.cli.evaluating import _evaluation_parts
from zoo.cli.sink import display_width
from zoo.runs.using.evaluation import ClassEvaluation, measure
from zoo.training.calibration import calibration_figures
from zoo.training.single_label import SINGLE_LABEL


def evaluation(classes: tuple[str, ...], items: int = 400) -> ClassEvaluation:
    """Of answers that are right three times in four."""
    chance = torch.Generator().manual_seed(0)
    labels = torch.randint(len(classes), (items,), generator=chance)
    wrong = torch.rand(items, generator=chance) > 0.75
    answers = torch.where(wrong, torch.randint(len(classes), (items,), generator=chance), labels)
    outputs = torch.zeros(items, len(classes))
    outputs[torch.arange(items), answers] = 6 * torch.rand(items, generator=chance)
    found = measure(SINGLE_LABEL, outputs, labels.tolist(), classes)
    assert isinstance(found, ClassEvaluation)
    return found


NAMES = {
    "two": ("ants", "bees"),
    "eight": tuple(f"hymenoptera {number}" for number in range(8)),
    "twelve in another script": tuple("蜂蟻鳥魚犬猫馬牛羊豚猿熊"),
    "twenty": tuple(f"class-{number}" for number in range(20)),
    "long": tuple("a name that is as long as some sentences are " + str(number) for number in range(5)),
    "thirty": tuple(f"c{number}" for number in range(30)),
    "of a stranger": ("\x1b[31mred", "blue"),
}


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("classes", NAMES.values(), ids=NAMES)
def test_the_matrix_fits_or_another_way_to_see_it_is_named(
    classes: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
    found = evaluation(classes)
    _, _, *rest = _evaluation_parts(found)
    matrix = rest[0]
    assert "\x1b" not in matrix
    if matrix.startswith("The matrix of"):
        assert "--plot confusion.png draws it" in matrix
        assert len(classes) > 8
        assert "MOST CONFUSED" in rest[1]
        return
    lines = matrix.splitlines()
    assert max(map(display_width, lines)) <= width
    assert len(lines) == 1 + len(classes)
    for line, counts in zip(lines[1:], found.confusion, strict=True):
        assert [int(cell) for cell in line.split()[-len(classes) :]] == list(counts)


@pytest.mark.parametrize("classes", [NAMES["eight"], NAMES["twenty"]])
def test_in_a_pipe_the_matrix_is_whole(classes: tuple[str, ...]) -> None:
    _, _, matrix, *_ = _evaluation_parts(evaluation(classes))
    heading, *lines = matrix.splitlines()
    assert all(name in heading for name in classes)
    assert len(lines) == len(classes)


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_bars_fit_and_end_where_answers_are_right(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
    found = evaluation(("ants", "bees"))
    outputs = torch.tensor([[5.0, 0.0]] * 9 + [[0.2, 0.0]] * 11)
    figures = calibration_figures(outputs, torch.tensor([0] * 9 + [0] * 5 + [1] * 6))
    [part] = [
        p for p in _evaluation_parts(replace(found, calibration=figures)) if p.startswith("PROBABILITY ")
    ]
    _, low, high = part.splitlines()
    assert low.split()[:3] == ["0.550", "0.455", "11"]
    assert high.split()[:3] == ["0.993", "1.000", "9"]
    assert max(map(display_width, (low, high))) <= width
    assert low.count("█") < high.count("█")


def test_a_bar_in_ascii_has_its_mark_where_it_should_end() -> None:
    assert bar(0.5, 1.0, 10, plain=True) == "#####    |"
    assert bar(0.0, 0.0, 10, plain=True) == "|"
    assert bar(1.0, 1.0, 10) == "█████████│"
    assert re.fullmatch(r"[#| ]*", bar(0.3, 0.6, 40, plain=True))


def test_pictures_are_drawn_and_refused_before_anything_is_computed(call: Call, tmp_path: Path) -> None:
    from zoo.runs.demo import write_digits

    write_digits(tmp_path / "digits")
    run = tmp_path / "run"
    assert call("finetune", "digits", tmp_path / "digits", "--out", run, "--epochs", 3).code == 0
    plots = [tmp_path / "confusion.png", tmp_path / "reliability.png", tmp_path / "coverage.svg"]
    options = [word for plot in plots for word in ("--plot", plot)]
    said = call("evaluate", run, tmp_path / "digits", *options)
    assert said.code == 0, said.err
    for plot in plots[:2]:
        with Image.open(plot) as picture:
            assert min(picture.size) > 200
    assert "<svg" in plots[2].read_text()
    assert "PROBABILITY  RIGHT" in said.out
    unknown = call("evaluate", run, tmp_path / "digits", "--plot", tmp_path / "confussion.png")
    assert unknown.code == 2
    assert "Did you mean confusion?" in unknown.err
    plain = call("evaluate", "digits", tmp_path / "digits", "--plot", tmp_path / "confusion.svg")
    assert plain.code == 2
    assert "there are pictures of runs alone" in plain.err
