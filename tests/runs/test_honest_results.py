"""A result stands beside its interval and what always answering one class reaches; mistakes are listed."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import polars
import pytest
from PIL import Image
from support.commands import Call
from support.kits import Kit, on_tiny
from support.tiny import NET

from zoo.errors import DatasetError
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.runs.using.evaluation import ClassEvaluation
from zoo.store.store import Store

pytestmark = on_tiny


def uneven(kit: Kit, out: Path, train: dict[str, int], val: dict[str, int]) -> Path:
    """A copy of the digits with so many of each class."""
    for part, counts in {"train": train, "val": val}.items():
        for name, count in counts.items():
            (out / part / name).mkdir(parents=True)
            for path in sorted((kit.images / part / name).iterdir())[:count]:
                shutil.copy(path, out / part / name)
    return out


def test_the_result_has_its_interval_and_the_majority(trained: RunResult) -> None:
    assert trained.val_items == 60
    low, high = trained.val_interval or (1.0, 0.0)
    assert low < trained.val_accuracy <= high
    assert high - low > 0.02
    assert trained.majority is not None
    assert trained.majority.metrics == {"accuracy": 0.5}
    facts = trained.facts()
    assert facts["majority"]["val_accuracy"] == 0.5
    assert facts["val_interval"] == (low, high)


def test_few_items_and_a_result_below_the_majority_are_remarked(kit: Kit, ask: Call, tmp_path: Path) -> None:
    data = uneven(kit, tmp_path / "photos", {"eight": 50, "five": 4}, {"eight": 10, "five": 1})
    said = ask("finetune", NET, data, "--out", tmp_path / "run", "--epochs", 1, "--lr", 1e-9)
    assert said.code == 0, said.err
    assert "of 11 items; always eight: 0.9091" in said.out
    assert "So few validation items say little" in said.out
    assert "not better than always eight" in said.out


def test_a_rate_that_is_far_too_high_is_remarked(kit: Kit, ask: Call, tmp_path: Path) -> None:
    """Its accuracy may be fine: the loss is that of an answer that is sure and wrong."""
    said = ask("finetune", NET, kit.images, "--out", tmp_path / "run", "--epochs", 3, "--lr", 1e9)
    assert said.code == 0, said.err
    assert "The loss is above that of equal chances (0.6931): the probabilities are far too sure." in said.out
    assert "zoo lr-find" in said.out
    usual = ask("finetune", NET, kit.images, "--out", tmp_path / "usual", "--epochs", 3)
    assert "equal chances" not in usual.out


def test_items_between_which_the_network_sees_no_difference_are_refused(
    kit: Kit, ask: Call, tmp_path: Path
) -> None:
    """They differ in what is cut off before the network sees them; a head could say one thing only."""
    for part, count in (("train", 6), ("val", 3)):
        for label in kit.classes:
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for number in range(count):
                shade = Image.new(
                    "RGB", (64, 64 + number + 10 * (part == "val") + 20 * (label == "five")), "white"
                )
                shade.save(tmp_path / "photos" / part / label / f"{number}.png")
    said = ask("finetune", NET, tmp_path / "photos", "--out", tmp_path / "run", "--epochs", 1)
    assert said.code == DatasetError.exit_code
    assert "sees no difference between the 12 training images: their features are all equal" in said.err
    assert f"zoo check {tmp_path / 'photos'}" in said.err
    assert not (tmp_path / "run").exists()
    deeper = ("--unfreeze", 1, "--tune-epochs", 1, "--batch-size", 4, "--no-report")
    said = ask("finetune", NET, tmp_path / "photos", "--out", tmp_path / "run", "--epochs", 1, *deeper)
    assert said.code == 0, said.err
    assert "their features are all equal" in said.err
    assert "far too sure" not in said.out


def test_a_batch_of_more_than_there_is_is_remarked(kit: Kit, ask: Call, tmp_path: Path) -> None:
    options = "--epochs", 1, "--val-fraction", 0.5, "--batch-size", 100_000
    said = ask("finetune", NET, kit.images / "val", "--out", tmp_path / "run", *options)
    assert said.code == 0, said.err
    assert "a batch of 100,000 is more than there is: each step takes all 30" in said.err


def test_runs_of_earlier_versions_have_no_interval(trained: RunResult) -> None:
    from msgspec.structs import replace

    old = replace(trained, val_items=None, majority=None)
    assert old.val_interval is None
    assert old.facts()["majority"] is None


def test_mistakes_are_listed_the_surest_first_and_written(
    kit: Kit, ask: Call, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    data = tmp_path / "photos"
    shutil.copytree(kit.images / "val", data)
    shutil.move(min((data / "five").iterdir()), data / "eight" / "is-a-five.png")
    found = load_run(trained.run, store=shared_store).evaluate(data, device="cpu")
    assert isinstance(found, ClassEvaluation)
    wrong = found.wrong
    assert "is-a-five.png" in {Path(one.path).name for one in wrong}
    assert all(one.label != one.predicted for one in wrong)
    assert [one.probability for one in wrong] == sorted((o.probability for o in wrong), reverse=True)
    assert len(wrong) == sum(sum(row) for row in found.confusion) - round(found.accuracy * found.items)
    assert sum(count for *_, count in found.confused()) == len(wrong)
    out = tmp_path / "wrong.csv"
    said = ask("evaluate", trained.run, data, "-o", out)
    assert "SUREST MISTAKES" in said.out
    assert [row["path"] for row in csv.DictReader(io.StringIO(out.read_text()))] == [o.path for o in wrong]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_of_no_mistakes_has_its_columns(
    kit: Kit, ask: Call, trained: RunResult, shared_store: Store, tmp_path: Path, suffix: str
) -> None:
    right = load_run(trained.run, store=shared_store).predict(sorted((kit.images / "val").rglob("*.png")))
    for one in right:
        if one.error is None and one.path.parent.name == one.label:
            (tmp_path / "right" / one.label).mkdir(parents=True, exist_ok=True)
            shutil.copy(one.path, tmp_path / "right" / one.label)
    out = tmp_path / f"wrong{suffix}"
    assert ask("evaluate", trained.run, tmp_path / "right", "-o", out, "--json").json["wrong"] == []
    columns = ["path", "label", "predicted", "probability"]
    if suffix == ".parquet":
        assert (polars.read_parquet(out).columns, polars.read_parquet(out).height) == (columns, 0)
    else:
        assert out.read_text() == {".csv": ",".join(columns) + "\n", ".jsonl": ""}[suffix]


@pytest.mark.parametrize(("column", "items"), [("none", 6), ("part", 3)])
def test_the_column_of_parts_can_be_named_or_passed_over(
    kit: Kit, ask: Call, trained: RunResult, tmp_path: Path, column: str, items: int
) -> None:
    rows = ["path,label,part"]
    for name, tests in zip(kit.classes, (2, 1), strict=True):
        for number, path in enumerate(sorted((kit.images / "val" / name).iterdir())[:3]):
            rows.append(f"{path},{name},{'test' if number < tests else 'train'}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows))
    found = ask("evaluate", trained.run, table, "--split-column", column, "--json")
    assert found.json["items"] == items


def test_a_run_shows_its_data_and_its_recipe(kit: Kit, ask: Call, trained: RunResult) -> None:
    facts = ask("show", trained.run, "--json").json
    assert facts["items"] == {part: dict.fromkeys(kit.classes, n) for part, n in (("train", 60), ("val", 30))}
    assert facts["recipe"]["optimizer"] == "adam"
    assert None not in facts["recipe"].values()
