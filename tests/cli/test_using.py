"""predict, evaluate and embed as a program reads them, whatever the files are called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Call

from zoo.cli.sink import printable


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def use_shared_home(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is fetched once for all tests of this file."""
    monkeypatch.setenv("ZOO_HOME", str(shared_home))


def test_predict_json_is_the_promised_list(ask: Call, tiny: Path) -> None:
    said = ask("predict", "tiny_net", tiny / "photos", "--json", "--top", "2")
    rows = said.json
    assert len(rows) == 6
    assert all(row.keys() == {"path", "label", "probability", "top", "error"} for row in rows)
    assert all(len(row["top"]) == 2 and row["top"][0]["label"] == row["label"] for row in rows)
    assert {Path(row["path"]).name: row["label"] for row in rows}["four.png"] == "four"


@pytest.mark.fault("I9")
def test_strange_file_names_keep_the_json_valid(ask: Call, tiny: Path, tmp_path: Path) -> None:
    names = [os.fsencode("Ünï cødé.png"), b"new\nline.png", b"-leading.png", b"not-utf8-\xff.png"]
    for name in names:
        shutil.copy(tiny / "photos" / "four.png", os.fsencode(tmp_path) + b"/" + name)
    rows = ask("predict", "tiny_net", tmp_path, "--json").json
    assert [row["label"] for row in rows] == ["four"] * 4
    assert json.dumps(rows).isascii()
    assert ask("predict", "tiny_net", tmp_path).out.count("four") == 4


@pytest.mark.fault("I2")
def test_finetune_evaluate_and_predict_count_what_is_unusual_about_images_in_one_note(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    from PIL import Image

    for part in ("train", "val"):
        labels = sorted((tiny / "images" / part).iterdir())[:2]
        for label in labels:
            shutil.copytree(label, tmp_path / part / label.name)
        first, second = sorted((tmp_path / part / labels[0].name).iterdir())[:2]
        Image.open(first).convert("RGBA").save(first)
        Image.open(second).convert("I").point(lambda value: value * 257).convert("I;16").save(second)
    words = "1 with an alpha channel: laid on white; 1 with 16 bit or float values: scaled to 8 bit"
    run = tmp_path / "run"
    said = ask("finetune", "tiny_net", tmp_path / "train", "--out", run, "--epochs", "1")
    assert said.code == 0
    assert said.err.count(words) == 1
    assert ask("evaluate", run, tmp_path / "val").err.count(words) == 1
    assert ask("predict", run, tmp_path / "val").err.count(words) == 1
    assert "laid on white" not in ask("predict", run, tiny / "photos").err


def test_a_missing_file_is_named_with_close_ones(ask: Call, tiny: Path) -> None:
    said = ask("predict", "tiny_net", tiny / "photos" / "four.jpeg")
    assert said.code == 5
    assert "four.png" in said.err


@pytest.mark.fault("S6")
def test_an_answer_that_is_not_a_number_is_never_printed_as_a_label(call: Call, tmp_path: Path) -> None:
    from PIL import Image
    from safetensors.torch import load_file, save_file

    for label in ("dark", "light"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for shade in range(8):
            picture = Image.new("L", (28, 28), 200 * (label == "light") + 6 * shade)
            picture.save(tmp_path / "data" / label / f"{shade}.png")
    run = tmp_path / "run"
    assert call("finetune", "digits", tmp_path / "data", "--out", run, "--epochs", "1").code == 0
    head = load_file(run / "adapter.safetensors")
    head[next(iter(head))].view(-1)[0] = float("nan")
    save_file(head, run / "adapter.safetensors")
    for verb in ("predict", "evaluate"):
        said = call(verb, run, tmp_path / "data")
        assert said.code == 3, said
        assert not said.out


def test_a_file_that_cannot_be_read_is_a_row_with_its_error_and_exit_code_5(
    call: Call, tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("L", (28, 28), 99).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_text("<html>not here</html>")
    said = call("predict", "digits", tmp_path, "--json")
    assert said.code == 5
    bad, good = said.json
    assert (Path(bad["path"]).name, bad["label"], bad["top"]) == ("a.png", None, [])
    assert "web page" in bad["error"]
    assert good["error"] is None
    assert "1 of 2 files cannot be read" in said.err
    said = call("predict", "digits", tmp_path)
    assert said.code == 5
    assert "cannot be read: is a web page" in said.out


@pytest.mark.parametrize("thing", ["https://example.org/bee.jpg", "hf://owner/photos/bee.jpg"])
def test_an_address_is_not_taken_for_a_file(call: Call, thing: str) -> None:
    said = call("predict", "digits", thing)
    assert (said.code, said.out) == (2, "")
    assert f"{thing} is an address, not a file" in said.err


@pytest.mark.parametrize("verb", [["predict"], ["evaluate"], ["embed", "-o", "f.npz"]], ids=lambda v: v[0])
def test_a_missing_file_is_named_before_torch_is_imported(tiny: Path, verb: list[str]) -> None:
    code = "import sys; from zoo.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *verb, "digits", "no-such-file.jpg"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 5
    assert done.stdout == "False\n"
    assert "no-such-file.jpg" in done.stderr


def test_a_folder_with_the_name_of_a_model_hides_it_only_if_it_is_a_run(
    ask: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny_net").mkdir()
    (tmp_path / "something").mkdir()
    assert "four" in ask("predict", "tiny_net", tiny / "photos" / "four.png").out
    assert "not a model or a run" in ask("predict", "something", tiny / "photos").err
    assert "not a model or a run" in ask("predict", "./tiny_net", tiny / "photos").err
    assert "./nothing: no such file or folder" in ask("predict", "./nothing", tiny / "photos").err


def test_embed_refuses_a_strange_format_before_anything_is_computed(ask: Call, tmp_path: Path) -> None:
    said = ask("embed", "tiny_net", tmp_path, "-o", tmp_path / "f.xlsx")
    assert said.code == 2
    assert ".npz or .parquet" in said.err


def test_quiet_gives_the_answer_alone(ask: Call, tiny: Path) -> None:
    said = ask("predict", "tiny_net", tiny / "photos" / "four.png", "--quiet")
    assert "four" in said.out
    assert said.err == ""


def test_what_is_no_character_can_be_printed() -> None:
    assert printable(os.fsdecode(b"a\xffb")) == "a\ufffdb"


@pytest.mark.fault("I1")
def test_many_unreadable_files_end_a_run_before_anything_is_fetched_unless_skip_is_typed(
    ask: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    labels = sorted((tiny / "images" / "train").iterdir())[:2]
    for label in labels:
        shutil.copytree(label, data / label.name)
    for path in sorted((data / labels[0].name).iterdir())[:4]:
        path.write_text("<html>404</html>")
    order = ("finetune", "tiny_net", data, "--out", tmp_path / "run", "--epochs", "1")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ZOO_HOME", str(tmp_path / "empty"))
        said = ask(*order)
        assert said.code == 5
        assert "4 of the" in said.err
        assert "with --on-bad skip" in said.err
        assert not list((tmp_path / "empty").rglob("*.safetensors"))
    said = ask(*order, "--on-bad", "skip")
    assert said.code == 0, said.err
    assert "4 files of" in said.err


@pytest.mark.fault("I4")
def test_a_run_keeps_the_range_of_its_12_bit_images_and_predicts_with_it(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image

    for label in sorted((tiny / "images" / "train").iterdir())[:2]:
        (tmp_path / "data" / label.name).mkdir(parents=True)
        for path in label.iterdir():
            values = np.asarray(Image.open(path).convert("L")).astype("uint16") * 16
            Image.fromarray(values).save(tmp_path / "data" / label.name / path.name)
    run, stated = tmp_path / "run", "black to white is integers 0 to 4095"
    said = ask("finetune", "tiny_net", tmp_path / "data", "--out", run, "--epochs", "1")
    assert said.code == 0
    assert said.err.count(stated) == 1
    assert json.loads((run / "run.json").read_text())["data"]["value_range"] == {"integers": [0, 4095]}
    (tmp_path / "dark").mkdir()
    dark = tmp_path / "dark" / "dark.png"
    Image.fromarray(values // 64).save(dark)  # by itself it would be taken for one of 8 bit
    assert stated in ask("predict", run, dark).err
    assert "smallest usual range" in ask("predict", "tiny_net", dark).err
