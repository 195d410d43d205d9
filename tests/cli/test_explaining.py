"""`zoo explain` as a person and a program use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import Call


@pytest.fixture(scope="module")
def folder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, of photographs and of texts, and their data beside them."""
    from zoo.catalogue.registry import load_registry
    from zoo.runs.making.finetuning import finetune_model
    from zoo.store.store import Store

    folder = tmp_path_factory.mktemp("explaining")
    for name in ("images", "reviews"):
        (folder / name).symlink_to(tiny / name)
    registry, store = load_registry([tiny / "registry.yaml"]), Store(folder / "home")
    options = {"registry": registry, "store": store, "epochs": 10, "device": "cpu"}
    finetune_model("tiny_net", folder / "images", out=folder / "run", **options)  # type: ignore[arg-type]
    finetune_model("tiny_words", folder / "reviews", out=folder / "run-texts", **options)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def explain(ask: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("ZOO_HOME", str(folder / "home"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: ask("explain", *arguments)


def test_pictures_and_a_table(explain: Call, folder: Path, tmp_path: Path) -> None:
    photos = sorted((folder / "images" / "val" / "five").iterdir())[:3]
    said = explain(folder / "run", *photos)
    assert said.code == 0, said.err
    assert said.out.splitlines()[0].split() == [
        *(
            "FILE",
            "LABEL",
            "SCORE",
            "HOT",
            "COVERED",
            "COLD",
            "COVERED",
            "CONFIRMED",
            "PICTURE",
            "LOOKS",
            "LIKE",
        )
    ]
    assert len(said.out.splitlines()) == 4
    assert len(list((tmp_path / "explained").glob("*.png"))) == 3
    assert f"Next: zoo explain {folder / 'run'}" in said.err


def test_json_has_the_map_the_check_and_what_is_alike(explain: Call, folder: Path) -> None:
    photo = sorted((folder / "images" / "val" / "five").iterdir())[0]
    said = explain(folder / "run", photo, "--label", "five", "--label", "eight", "--nearest", "2", "--json")
    rows = json.loads(said.out)
    assert [row["label"] for row in rows] == ["five", "eight"]
    assert sum(row["score"] for row in rows) == pytest.approx(1, abs=1e-5)
    assert all(Path(row["picture"]).is_file() for row in rows)
    assert len(rows[0]["grid"]) == len(rows[0]["grid"][0]) >= 2
    assert len(rows[0]["nearest"]) == 2
    assert rows[0]["shape"] == [32, 32]
    assert rows[0]["box"] == [0, 0, 32, 32]


def test_a_bad_file_is_a_row_and_the_exit_code_5(explain: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("hello")
    photo = sorted((folder / "images" / "val" / "five").iterdir())[0]
    said = explain(folder / "run", tmp_path / "bad.png", photo, "--out", "pictures")
    assert said.code == 5
    assert "cannot be read" in said.out
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_words_and_their_weights(explain: Call, folder: Path) -> None:
    said = explain(folder / "run-texts", "--text", "a dull , dull film qwertyuiop", "--label", "negative")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("text:1: negative 0.")
    assert "(exact)" in lines[0]
    assert any("++++" in line and line.endswith("dull x2") for line in lines)
    assert "  not known: qwertyuiop" in lines
    assert sum(line.startswith("  like 0.") for line in lines) == 3
    assert "\x1b" not in said.out


def test_a_terminal_shows_signs_and_no_codes_written_out(
    explain: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    said = explain(folder / "run-texts", "--text", "a dull film " * 9)
    assert "++++" in said.out
    assert "x1b" not in said.out
    assert max(map(len, said.out.splitlines())) <= 60


def test_words_as_json(explain: Call, folder: Path) -> None:
    said = explain(folder / "run-texts", "--text", "a wonderful film", "--json")
    (row,) = json.loads(said.out)
    total = row["constant"] + sum(word["weight"] for word in row["words"] if word["weight"] is not None)
    assert total == pytest.approx(row["evidence"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label", "fiv"], "fiv"),
        (["--out", "FILE"], "is a file"),
        (["--data", "nowhere"], "nowhere"),
        (["--method", "gradcam"], "grad-cam"),
    ],
)
def test_what_cannot_be_is_refused_before_a_picture_is_written(
    arguments: list[str], words: str, explain: Call, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "FILE").write_text("mine")
    photo = sorted((folder / "images" / "val" / "five").iterdir())[0]
    said = explain(folder / "run", photo, *arguments)
    assert said.code in (2, 5)
    assert words in said.err
    assert not list(tmp_path.rglob("*.png"))
    assert (tmp_path / "FILE").read_text() == "mine"


def test_a_plain_model_is_explained_too(explain: Call, folder: Path, tiny: Path) -> None:
    said = explain("tiny_net", tiny / "photos" / "three.png")
    assert said.code == 0, said.err
    assert "three" in said.out
    assert "LOOKS LIKE" not in said.out


def test_numbers_and_several_labels(explain: Call, ask: Call, folder: Path, tmp_path: Path) -> None:
    photos = sorted((folder / "images" / "train").glob("*/*.png"))[40:80]
    rows = [f"{p},{'five|odd' if 'five' in p.parts else 'eight'},{i % 7}" for i, p in enumerate(photos)]
    (tmp_path / "t.csv").write_text("\n".join(["file,kinds,size", *rows]))
    for task, column in (("multi-label", "kinds"), ("regression", "size")):
        said = ask(
            *("finetune", "tiny_net", tmp_path / "t.csv", "--task", task, "--label-column", column),
            *("--path-column", "file", "--epochs", "20", "--out", tmp_path / task),
        )
        assert said.code == 0, said.err
    five = next(p for p in photos if "five" in p.parts)
    several = json.loads(explain(tmp_path / "multi-label", five, "--json", "--nearest", "0").out)
    assert {"five", "odd"} >= {row["label"] for row in several}
    (number,) = json.loads(explain(tmp_path / "regression", five, "--json", "--nearest", "0").out)
    assert number["label"] == "size"
    assert number["score"] == pytest.approx(3, abs=4)
    assert number["check"] is None or "hot_fall" in number["check"]
