"""Several classes and numbers, from a table to predictions, as they are typed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from support.commands import Call
from support.kits import Kit, on_tiny

pytestmark = on_tiny


@pytest.fixture
def table(kit: Kit, tmp_path: Path) -> Path:
    """Photographs with labels (their class, and whether their number is even), and two numbers. Every seventh
    validates: drawn by their names, which part they are in would depend on where the tests run."""
    rows = ["path,split,tags,size,other"]
    for label in kit.classes:
        for number, path in enumerate(sorted((kit.images / "train" / label).iterdir())[:30]):
            tags = label + "|even" * (number % 2 == 0)
            part = "val" if number % 7 == 5 else "train"
            rows.append(f"{path},{part},{tags},{20.5 if label == 'eight' else 10.25},{number}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return tmp_path / "t.csv"


def test_several_labels_are_trained_measured_and_predicted(
    kit: Kit, ask: Call, table: Path, tmp_path: Path
) -> None:
    run, photo = tmp_path / "run", kit.val("eight")[0]
    said = ask("finetune", kit.net, table, "--task", "multi-label", "--out", run, "--epochs", 30)
    assert said.out.startswith("val map 0.")
    assert "each class as often as in training: map" in said.out
    record = json.loads((run / "run.json").read_text())
    assert record["classes"] == ["eight", "even", "five"]
    assert len(record["thresholds"]) == 3
    found = ask("evaluate", run, table, "--json").json
    assert found["map"] == pytest.approx(record["result"]["metrics"]["map"], abs=1e-3)
    low, high = found["intervals"]["map"]
    assert low < found["map"] < high
    assert [score["label"] for score in found["per_class"]] == record["classes"]
    [row] = ask("predict", run, photo, "--json").json
    assert "eight" in row["labels"]
    assert "five" not in row["labels"]
    assert {guess["label"] for guess in row["top"]} == set(record["classes"])
    [line] = csv.DictReader(io.StringIO(ask("predict", run, photo, "--csv").out))
    assert line["labels"].split("|") == row["labels"]
    assert ", ".join(row["labels"]) in ask("predict", run, photo).out
    again = ask("finetune", run, table, "--out", tmp_path / "again", "--epochs", 1)
    assert again.code == 0, again.err  # the task is that of the run
    assert ask("finetune", run, table, "--task", "regression", "--out", tmp_path / "x").code == 2


def test_numbers_are_trained_measured_and_predicted(kit: Kit, ask: Call, table: Path, tmp_path: Path) -> None:
    run, photo = tmp_path / "run", kit.val("eight")[0]
    options = ("--task", "regression", "--label-column", "size", "--epochs", 60)
    said = ask("finetune", kit.net, table, *options, "--out", run)
    assert said.out.startswith("val mae ")
    assert "always the mean: mae 5.1" in said.out
    found = ask("evaluate", run, table, "--json").json
    assert found["mae"] < 3
    low, high = found["intervals"]["r2"]
    assert low < found["r2"] < high  # a tiny set: how wide it is depends on the machine's rounding
    assert found["r2"] > 0.5
    [row] = ask("predict", run, photo, "--json").json
    assert set(row) == {"path", "error", "values"}
    assert row["values"]["size"] == pytest.approx(20.5, abs=4)
    ask("predict", run, photo, "-o", tmp_path / "p.csv")
    [line] = csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text()))
    assert float(line["size"]) == pytest.approx(row["values"]["size"])
    shown = ask("predict", run, photo).out.split()
    assert shown[:2] == ["FILE", "size"]
    several = ask("finetune", kit.net, table, "--task", "regression", "--label-column", "size,other",
                  "--out", tmp_path / "two", "--epochs", 2)  # fmt: skip
    assert "size 10.25 to 20.5" in several.err
    both = ask("evaluate", tmp_path / "two", table, "--json").json
    assert set(both["per_number"]) == {"size", "other"}
    assert sum(row["mae"] for row in both["per_number"].values()) / 2 == pytest.approx(both["mae"])
    assert "NUMBER  MAE" in ask("evaluate", tmp_path / "two", table).out


def test_several_classes_of_an_item_have_no_sets_and_no_calibration(
    kit: Kit, ask: Call, table: Path, tmp_path: Path
) -> None:
    run, photo = tmp_path / "run", kit.val("eight")[0]
    ask("finetune", kit.net, table, "--task", "multi-label", "--out", run, "--epochs", 1)
    for words, says in (
        (("predict", run, photo, "--sets", 0.9), "gives any number of classes already"),
        (("predict", run, photo, "--abstain-below", 0.9), "answers for each class apart"),
        (("calibrate", run, table), "can be calibrated"),
    ):
        said = ask(*words)
        assert said.code == 2
        assert says in said.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--task", "regression", "--label-column", "tags"], "no number in tags"),
        (
            ["--task", "regression", "--label-column", "size", "--balance"],
            "--balance needs classes|balance needs",
        ),
        (
            ["--task", "multi-label", "--label-column", "tags", "--monitor", "accuracy"],
            "not measured for multi-label",
        ),
        (["--task", "segmentation"], "segmentation"),
    ],
)
def test_what_a_task_cannot_be_given_is_refused(
    kit: Kit, ask: Call, table: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    said = ask("finetune", kit.net, table, *options, "--out", tmp_path / "run")
    assert said.code in (2, 5)
    assert any(part in said.err for part in says.split("|"))
    assert not (tmp_path / "run").exists()
