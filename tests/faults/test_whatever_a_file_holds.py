"""Whatever bytes a file holds, each verb that opens it answers, or says in words what is wrong with it.

The command line on what the fuzzers write: `call` fails where a command ends in an error that nobody foresaw.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.commands import Call
from support.fuzzing import JSON_FILES, REGISTRIES, SAFETENSORS, TARS, VECTORS, broken, examples, pack

from zoo.errors import IntegrityError
from zoo.runs.calibration import Calibration, write_calibration
from zoo.runs.record import read_record, write_record

OLD = Path(__file__).parents[1] / "runs" / "schema_1"
CODES = range(8)
"""Every exit code of an error that is foreseen, and 0."""


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def type_(call: Call, shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`call`, with a home for all examples, in which the network is converted once."""
    monkeypatch.setenv("ZOO_HOME", str(shared_home))

    def type_(*arguments: object) -> None:
        assert call(*arguments, "--quiet", "--offline").code in CODES, arguments

    return type_


def picture_of(kind: str) -> bytes:
    """A small picture in a format."""
    buffer = io.BytesIO()
    picture = Image.radial_gradient("L").resize((40, 30))
    (picture.convert("RGB") if kind == "JPEG" else picture).save(buffer, kind)
    return buffer.getvalue()


PICTURES = st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]).map(picture_of).flatmap(broken)
TABLE = b"path,label\na.png,one\nb.png,two\nsub/c.png,one\n"
TABLES = broken(TABLE) | broken(TABLE.replace(b",", b"\t")) | broken(TABLE.decode().encode("utf-16"))
TEXTS = broken(b"good\tpositive\nbad\tnegative\nfine film\tpositive\nno\tnegative\n")


@examples(60)
@given(content=REGISTRIES)
def test_any_registry(type_: Call, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    type_("list", "--registry", path)
    type_("show", "net", "--registry", path)
    type_("registry", "lint", path)
    type_("registry", "diff", path, path)


@examples(60)
@given(content=JSON_FILES)
def test_any_lock_file(type_: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "zoo.lock").write_bytes(content)
    type_("fetch", "--locked", tmp_path / "zoo.lock")
    type_("fetch", "resnet18", "--locked", tmp_path / "zoo.lock", "--dry-run")


@examples(60)
@given(content=TARS | TARS.map(pack) | st.binary(max_size=80))
def test_any_bundle(type_: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "models.tar").write_bytes(content)
    type_("unbundle", tmp_path / "models.tar", "--runs-to", tmp_path / "runs")


@examples(60)
@given(content=VECTORS)
def test_any_word_vectors(type_: Call, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    type_("similar", path, "the")
    type_("analogy", path, "the", "+", "of")
    type_("show", path)
    type_("rm", path)


@examples(30)
@given(content=SAFETENSORS | st.binary(max_size=80))
def test_any_weights(type_: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    registry = tmp_path / "registry.yaml"
    registry.write_text(
        "models:\n  net:\n    family: resnet\n    task: image-features\n    architecture: timm/test_resnet\n"
        f"    weights: {{url: net.safetensors, sha256: {hashlib.sha256(content).hexdigest()}}}\n"
        "    input: {size: 32, resize: 32, mean: [0, 0, 0], std: [1, 1, 1]}\n    license: mit\n"
    )
    (tmp_path / "photo.png").write_bytes(picture_of("PNG"))
    type_("embed", "net", tmp_path / "photo.png", "-o", tmp_path / "f.npz", "--registry", registry)


@examples(30)
@given(content=PICTURES)
def test_any_picture(type_: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photo").write_bytes(content)
    type_("predict", "digits", tmp_path / "photo")
    (tmp_path / "photo.png").write_bytes(content)
    type_("predict", "digits", tmp_path)


@examples(30)
@given(content=TABLES)
def test_any_table_of_pictures(type_: Call, tmp_path: Path, content: bytes) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture_of("PNG"))
    (tmp_path / "table.csv").write_bytes(content)
    type_("evaluate", OLD / "images", tmp_path / "table.csv")
    type_("finetune", "digits", tmp_path / "table.csv", "--out", tmp_path / "run", "--epochs", "1")
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


@examples(30)
@given(content=TEXTS)
def test_any_table_of_texts(type_: Call, tmp_path: Path, content: bytes) -> None:
    for name in ("texts.tsv", "texts.txt", "texts.csv"):
        (tmp_path / name).write_bytes(content)
        type_("evaluate", OLD / "texts", tmp_path / name)
        type_("predict", OLD / "texts", tmp_path / name)


@pytest.mark.parametrize("file", sorted(OLD.rglob("*.*")), ids=lambda file: f"{file.parent.name}-{file.name}")
@examples(30)
@given(draw=st.data())
def test_any_run(type_: Call, tmp_path: Path, file: Path, draw: st.DataObject) -> None:
    run, kind = tmp_path / "run", file.parent.name
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(file.parent, run)
    (run / file.name).write_bytes(draw.draw(broken(file.read_bytes())))
    (tmp_path / "photo.png").write_bytes(picture_of("PNG"))
    type_("show", run)
    type_("runs", tmp_path)
    type_("predict", run, *([tmp_path / "photo.png"] if kind == "images" else ["--text", "a good film"]))


NOW = ("run.json", "split.jsonl", "history.jsonl", "calibration.json")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images with every file that one may have now."""
    run = tmp_path_factory.mktemp("now") / "run"
    shutil.copytree(OLD / "images", run)
    record = read_record(run)
    write_record(record, run)
    known = Calibration(
        created=record.created,
        adapter_sha256=record.adapter_sha256,
        data="digits",
        items=3,
        contents=("0123456789abcdef",),
        temperature=1.5,
        scores=(0.1, 0.2, 0.9),
    )
    write_calibration(known, run)
    return run


@pytest.mark.parametrize("file", NOW)
@examples(20)
@given(draw=st.data())
def test_any_run_that_is_shown_to_people(
    type_: Call, tmp_path: Path, calibrated: Path, file: str, draw: st.DataObject
) -> None:
    run, page = tmp_path / "run", tmp_path / "page.html"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(calibrated, run)
    (run / file).write_bytes(draw.draw(broken((run / file).read_bytes())))
    (tmp_path / "photo.png").write_bytes(picture_of("PNG"))
    type_("runs", tmp_path)
    type_("report", run, "--out", page)
    type_("predict", run, tmp_path / "photo.png", "--sets", "0.5")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("data",), {}),
        (("data", "root"), None),
        (("data", "items"), None),
        (("data", "items", "train"), "many"),
        (("data", "counts"), [1]),
        (("data", "skipped"), [{"path": 3}]),
        (("data", "split"), {}),
        (("data", "split", "origin"), "guessed"),
        (("data", "split", "hash"), 7),
        (("data", "split", "sha256"), 7),
        (("data", "split", "group_by"), ["a"]),
        (("result", "task"), "ranking"),
        (("result", "metrics"), {}),
        (("versions",), {"torch": "<script>"}),
        (("schema",), "3"),
        (("schema",), None),
    ],
    ids=str,
)
def test_a_run_with_an_odd_record_is_shown_or_refused(
    type_: Call, tmp_path: Path, calibrated: Path, where: tuple[str, ...], value: object
) -> None:
    run = tmp_path / "run"
    shutil.copytree(calibrated, run)
    facts = json.loads((run / "run.json").read_text())
    place = facts
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    (run / "run.json").write_text(json.dumps(facts))
    type_("runs", tmp_path, "--sort", "score")
    type_("show", run)
    type_("report", run, "--out", tmp_path / "page.html")
    type_("compare", run, run, tmp_path)


@pytest.mark.parametrize(
    "line", ['["hash", "x"]', '["root", "x"]', '["train", 3]', '"train"', "{", '["train"]']
)
def test_names_of_a_split_that_are_none_are_refused(
    call: Call, tmp_path: Path, calibrated: Path, line: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(calibrated, run)
    facts = json.loads((run / "run.json").read_text())
    (run / "split.jsonl").write_text(line)
    facts["data"]["split"]["sha256"] = hashlib.sha256(line.encode()).hexdigest()
    (run / "run.json").write_text(json.dumps(facts))
    said = call("show", run)
    assert said.code == IntegrityError.exit_code
    assert "split.jsonl" in said.err
