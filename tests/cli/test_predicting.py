"""zoo predict: rows as they come, into files, from lists and patterns, and what is true after Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest
from support.commands import Call
from support.tiny import NET, PHOTOS

from zoo.runs.answers import Guess, Prediction
from zoo.runs.using import prediction


def as_values(rows: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    return [(row["path"], row["label"] or "", round(float(row["probability"] or 0), 5)) for row in rows]


def test_files_and_csv_hold_what_json_does(ask: Call, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    what = [NET, tiny / "photos", tmp_path / "broken.png"]
    expected = ask("predict", *what, "--json").json
    assert len(expected) == len(PHOTOS) + 1
    tables: dict[str, list[dict[str, Any]]] = {}
    for suffix in ("csv", "jsonl", "parquet"):
        out = tmp_path / "new" / f"predictions.{suffix}"
        said = ask("predict", *what, "-o", out)
        assert (said.code, said.out) == (5, f"{out}: {len(PHOTOS) + 1} rows, 1 of them cannot be read\n")
        match suffix:
            case "csv":
                tables[suffix] = list(csv.DictReader(io.StringIO(out.read_text())))
            case "jsonl":
                tables[suffix] = [json.loads(line) for line in out.read_text().splitlines()]
            case _:
                tables[suffix] = polars.read_parquet(out).to_dicts()
    tables["stdout"] = list(csv.DictReader(io.StringIO(ask("predict", *what, "--csv").out)))
    for name, rows in tables.items():
        assert as_values(rows) == as_values(expected), name
        assert rows[-1]["error"], name
        assert rows[0]["label_2"] == expected[0]["top"][1]["label"], name
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"predictions.{suffix}" for suffix in ("csv", "jsonl", "parquet")
    ]


def test_nothing_is_overwritten_and_other_formats_are_refused_at_once(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.npz"
    assert ask("embed", NET, tiny / "photos", "-o", out).code == 0
    before = out.read_bytes()
    assert ask("embed", NET, tiny / "photos" / "one.png", "-o", out).code == 2
    assert out.read_bytes() == before
    (tmp_path / "p.csv").write_text("mine")
    assert ask("predict", NET, tiny / "photos", "-o", tmp_path / "p.csv").code == 2
    assert (tmp_path / "p.csv").read_text() == "mine"
    said = ask("predict", NET, tiny / "photos", "-o", tmp_path / "p.xlsx")
    assert said.code == 2
    assert ".csv or .jsonl or .parquet" in said.err


def test_lists_of_files_and_quoted_patterns(
    ask: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paths(*arguments: object) -> list[str]:
        return [Path(row["path"]).name for row in ask("predict", NET, *arguments, "--json").json]

    names = [tiny / "photos" / "four.png", tiny / "photos" / "one.png"]
    listed = tmp_path / "list.txt"
    listed.write_text(f"{names[0]}\r\n\n{names[1]}\n")
    assert paths("--files-from", listed) == ["four.png", "one.png"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{names[1]}\n"))
    assert paths("--files-from", "-") == ["one.png"]
    assert paths(tiny / "photos" / "t*.png") == ["three.png", "two.png"]
    strange = tmp_path / "a[1]*.png"
    strange.write_bytes(names[0].read_bytes())
    assert paths(strange) == ["a[1]*.png"]  # a file of that very name
    missing = ask("predict", NET, tiny / "photos" / "x*.png")
    assert missing.code == 5
    assert "no file fits" in missing.err
    (tmp_path / "empty.txt").write_text("\n")
    assert ask("predict", NET, "--files-from", tmp_path / "empty.txt").code == 2


def test_after_ctrl_c_the_file_has_what_the_sentence_states(
    ask: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = prediction.predict_items

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Prediction]:
        for number, found in enumerate(usual(*arguments, **options)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(prediction, "predict_items", interrupted)
    out = tmp_path / "p.csv"
    said = ask("predict", NET, tiny / "photos", "-o", out)
    assert said.code == 130
    assert f"{out} has the first 2 of {len(PHOTOS)}" in said.err
    assert len(out.read_text().splitlines()) == 3
    said = ask("predict", NET, tiny / "photos")
    assert said.code == 130
    assert f"stopped after 2 of {len(PHOTOS)}" in said.err
    assert len(said.out.splitlines()) == 3
    assert len(ask("predict", NET, tiny / "photos", "--json").json) == 2  # a document, though short


def test_rows_are_printed_before_the_last_is_computed(
    ask: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def slow(*_: Any, **__: Any) -> Iterator[Prediction]:
        for number in range(200):
            if number == 100:
                seen.append(capsys.readouterr().out)
            yield Prediction(Path(f"{number}.png"), "one", 0.5, (Guess("one", 0.5),), None)

    monkeypatch.setattr(prediction, "predict_items", slow)
    last = ask("predict", NET, tiny / "photos" / "one.png").out
    assert len(seen[0].splitlines()) == 65  # the headings and a block
    assert "199.png" in last
    assert "FILE" not in last  # headings stand once
    lines = (seen[0] + last).splitlines()
    assert len(lines) == 201
    assert len({line.index("one") for line in lines[1:]}) == 1  # one column, from the first row to the last


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_each_row_is_flushed_into_a_pipe(
    ask: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    flushed: list[int] = []

    def slow(*_: Any, **__: Any) -> Iterator[Prediction]:
        for number in range(3):
            flushed.clear()
            yield Prediction(Path(f"{number}.png"), "one", 0.5, (Guess("one", 0.5),), None)
            assert flushed, "the row waits in a buffer"

    monkeypatch.setattr(prediction, "predict_items", slow)
    usual = sys.stdout.flush
    monkeypatch.setattr(sys.stdout, "flush", lambda: (flushed.append(1), usual())[1])
    assert ask("predict", NET, tiny / "photos" / "one.png", form).code == 0
