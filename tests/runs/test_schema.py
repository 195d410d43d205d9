"""Runs that earlier versions wrote: schema_1 holds one on images and one on texts, as they were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from zoo.errors import IntegrityError
from zoo.runs.demo import write_digits
from zoo.runs.folder import read_history, write_history
from zoo.runs.record import read_record, write_record
from zoo.runs.run import load_run
from zoo.store.store import Store

OLD = Path(__file__).parent / "schema_1"


@pytest.mark.parametrize(("kind", "accuracy", "loss"), [("images", 0.82, 0.9914), ("texts", 1.0, 0.6416)])
def test_a_run_of_schema_1_reads_with_its_metrics_by_name(kind: str, accuracy: float, loss: float) -> None:
    result = read_record(OLD / kind).result
    assert result.metrics == {"accuracy": accuracy}
    assert result.val_accuracy == accuracy
    assert result.val_loss == pytest.approx(loss, abs=1e-4)
    assert result.task == "single-label"
    history = read_history(OLD / kind)
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert history[result.best_epoch - 1].metrics == {"accuracy": accuracy}


def test_the_baseline_of_a_run_of_schema_1_keeps_its_accuracy() -> None:
    baseline = read_record(OLD / "texts").result.baseline
    assert baseline is not None
    assert baseline.metrics == {"accuracy": baseline.val_accuracy}
    written = json.loads((OLD / "texts" / "run.json").read_text())
    assert baseline.val_accuracy == written["result"]["baseline"]["val_accuracy"]


def test_a_run_on_images_of_schema_1_answers_as_it_did_then(store: Store, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    run = load_run(OLD / "images", store=store)
    files = sorted((tmp_path / "digits" / "val").rglob("000.png"))
    found = run.predict(files, device="cpu")
    assert [p.label for p in found] == [p.path.parent.name for p in found]
    probabilities = [0.31560415, 0.42680725, 0.27014226, 0.58016026, 0.47946915]
    assert [p.probability for p in found] == pytest.approx(probabilities, abs=1e-4)


def test_a_run_on_texts_of_schema_1_answers_as_it_did_then(store: Store) -> None:
    found = load_run(OLD / "texts", store=store).predict(
        ["the film was great", "a poor and dull story"], device="cpu"
    )
    assert [p.label for p in found] == ["positive", "negative"]
    assert [p.probability for p in found] == pytest.approx([0.5140897, 0.5250635], abs=1e-5)


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_what_is_written_now_reads_the_same(kind: str, tmp_path: Path) -> None:
    record, history = read_record(OLD / kind), read_history(OLD / kind)
    write_record(record, tmp_path)
    write_history(history, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["schema"] == record.schema == 3
    assert read_record(tmp_path) == record
    assert read_history(tmp_path) == history


def test_metrics_of_any_name_travel_through_the_run_folder(tmp_path: Path) -> None:
    record = read_record(OLD / "images")
    metrics = {"mean absolute error": 0.25, "r2": -0.5}
    result = msgspec.structs.replace(record.result, metrics=metrics, task="regression")
    write_record(msgspec.structs.replace(record, result=result), tmp_path)
    found = read_record(tmp_path).result
    assert (found.task, found.metrics) == ("regression", metrics)
    assert found.facts()["val_r2"] == -0.5
    with pytest.raises(KeyError):
        _ = found.val_accuracy


@pytest.mark.parametrize("line", [b"{", b'{"phase": "head"}', b"[]", b'{"val_accuracy": 1}'])
def test_a_damaged_history_is_named(line: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(OLD / "images", folder)
    (folder / "history.jsonl").write_bytes(line + b"\n")
    with pytest.raises(IntegrityError, match=r"history\.jsonl is damaged"):
        read_history(folder)
    (folder / "history.jsonl").unlink()
    with pytest.raises(IntegrityError, match=r"history\.jsonl is missing"):
        read_history(folder)


def test_the_names_of_the_split_have_a_file_of_their_own(tmp_path: Path) -> None:
    record = read_record(OLD / "images")
    write_record(record, tmp_path)
    split = json.loads((tmp_path / "run.json").read_text())["data"]["split"]
    assert not {"train", "val", "test", "contents"} & split.keys()
    assert split["hash"] == record.data["split"]["hash"]
    lines = [json.loads(line) for line in (tmp_path / "split.jsonl").read_text().splitlines()]
    assert [name for part, name in lines if part == "train"] == list(record.data["split"]["train"])
    assert "train" not in read_record(tmp_path, names=False).data["split"]


@pytest.mark.parametrize("damage", ["missing", "changed", "shorter"])
def test_a_split_that_is_not_the_written_one_is_refused(damage: str, tmp_path: Path) -> None:
    write_record(read_record(OLD / "images"), tmp_path)
    names = tmp_path / "split.jsonl"
    content = names.read_bytes()
    if damage == "missing":
        names.unlink()
    else:
        names.write_bytes(content.replace(b"0", b"1", 1) if damage == "changed" else content[:-40])
    with pytest.raises(IntegrityError, match=r"split\.jsonl"):
        read_record(tmp_path)


def test_a_run_of_schema_2_with_its_names_inside_is_read(tmp_path: Path) -> None:
    record = read_record(OLD / "images")
    write_record(record, tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    facts |= {"schema": 2}
    facts["data"]["split"] = dict(record.data["split"])
    (tmp_path / "run.json").write_text(json.dumps(facts))
    (tmp_path / "split.jsonl").unlink()
    assert read_record(tmp_path) == record
