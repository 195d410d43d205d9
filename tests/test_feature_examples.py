"""Engines that spread work: two workers of each, the features of embed, data for finetune and for embed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.bucket import Bucket, serve_bucket
from support.commands import Call, running, start_zoo, wait_until

ROOT = Path(__file__).parents[1]


def needs(name: str) -> pytest.MarkDecorator:
    reason = f"{name} is not installed: pip install 'transfer-zoo[{name}]'"
    return pytest.mark.skipif(find_spec(name) is None, reason=reason)


ENGINES = [pytest.param(name, marks=needs(name)) for name in ("daft", "ray")]
QUIET = {"DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture
def photos(tiny: Path, tmp_path: Path) -> Path:
    """48 photographs of two classes in two parts, a web page that is called one, and what is none."""
    folder = tmp_path / "some photos"
    for source in sorted((tiny / "images").glob("*/*")):
        place = folder / source.relative_to(tiny / "images")
        place.mkdir(parents=True)
        for photo in sorted(source.iterdir())[:12]:
            shutil.copy(photo, place)
    (folder / "train" / "five" / "page.jpg").write_bytes(b"<html>moved</html>")
    (folder / "train" / "five" / "Thumbs.db").write_bytes(b"no photograph")
    return folder


def run_engine(
    engine: str, photos: object, out: object, tiny: Path, *more: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The features of tiny_net by two workers: by the command, or by the example where there is none."""
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ZOO_REGISTRY": str(tiny / "registry.yaml")}
    command = [str(ROOT / "examples" / "ray_features.py"), "tiny_net", str(photos), str(out)]
    if engine == "daft":
        command = ["-m", "zoo", "embed", "tiny_net", str(photos), "--out", str(out), "--engine", "daft"]
    return subprocess.run(
        [sys.executable, *command, "--workers", "2", "--device", "cpu", *more],
        env={**os.environ, **settings, **QUIET, **variables},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_two_workers_write_the_features_of_embed_and_finetune_takes_them(
    engine: str, ask: Call, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features"
    done = run_engine(engine, photos, out, tiny)
    assert done.returncode == 0, done.stderr
    page = str(photos / "train" / "five" / "page.jpg")
    if engine == "daft":
        assert done.stdout == f"{out}: 48 files, 96 features each, 2 classes\n"
        assert f"warning: skipped: {page} is a web page, not an image" in done.stderr
        assert "warning: 1 of 49 files cannot be read" in done.stderr
    else:
        assert f"{page}: is a web page, not an image" in done.stdout
        assert f"{out}: 49 photographs, 1 without features" in done.stdout

    assert ask("embed", "tiny_net", photos, "-o", tmp_path / "e.parquet").code == 0
    expected = pl.read_parquet(tmp_path / "e.parquet").sort("path")
    check_features(pl.read_parquet(out / "*.parquet").sort("path"), expected, page)

    said = ask("finetune", "tiny_net", out, "--out", tmp_path / "run", "--epochs", 2, "--on-bad", "skip")
    assert said.code == 0, said.err
    assert "page.jpg" in said.err
    said = ask("embed", "tiny_net", out, "--out", tmp_path / "one.parquet")
    assert said.code == 0, said.err
    assert pl.read_parquet(tmp_path / "one.parquet").sort("path")["path"].equals(expected["path"])
    again = run_engine(engine, photos, out, tiny)
    assert again.returncode == (2 if engine == "daft" else 1)
    assert "already" in again.stderr


def check_features(found: pl.DataFrame, expected: pl.DataFrame, page: str) -> None:
    """What an engine wrote is what zoo embed writes, with a row more for what is no image."""
    bad = found.filter(pl.col("features").is_null())
    assert bad.select("path", "zoo_features").rows() == [(page, None)]
    found = found.filter(pl.col("features").is_not_null())
    for name in ("path", "label", "split", "sha256"):
        assert found[name].to_list() == expected[name].to_list()
    vectors = (np.array(table["features"].to_list()) for table in (found, expected))
    np.testing.assert_allclose(*vectors, atol=1e-4)
    assert found["zoo_features"].n_unique() == 1
    assert found["model_license"].unique().to_list() == ["apache-2.0"]


@pytest.fixture
def bucket(photos: Path) -> Iterator[Bucket]:
    """The photographs in storage that speaks as S3 does, with a name that is hard to write."""
    with serve_bucket() as server:
        for file in photos.rglob("*.*"):
            server.objects[f"/b/some photos/{file.relative_to(photos)}"] = file.read_bytes()
        odd = photos / "val" / "five" / "a [1] %20+é.jpg"
        shutil.copy(next(photos.glob("val/five/*.png")), odd)
        server.objects[f"/b/some photos/{odd.relative_to(photos)}"] = odd.read_bytes()
        server.objects["/b/some photos/val/.hidden/1.png"] = odd.read_bytes()
        server.objects["/b/some photos/"] = b""
        yield server


def fetch(bucket: Bucket, prefix: str, folder: Path) -> Path:
    """What is below a prefix, in a folder."""
    folder.mkdir()
    for name, content in bucket.objects.items():
        if name.startswith(prefix):
            (folder / name.removeprefix(prefix)).write_bytes(content)
    return folder


@pytest.mark.slow
@needs("daft")
def test_storage_is_read_and_written_as_a_folder_is(
    ask: Call, photos: Path, bucket: Bucket, tiny: Path, tmp_path: Path
) -> None:
    said = run_engine("daft", "s3://b/some photos/", "s3://b/features/", tiny, "--json", **bucket.variables)
    assert said.returncode == 0, said.stderr
    facts = json.loads(said.stdout)
    assert (facts["out"], facts["files"], facts["failed"]) == ("s3://b/features/", 49, 1)
    assert facts["classes"] == ["eight", "five"]
    out = fetch(bucket, "/b/features/", tmp_path / "features")
    found = pl.read_parquet(out / "*.parquet").with_columns(
        pl.col("path").str.replace("s3://b/some photos", str(photos), literal=True)
    )
    assert ask("embed", "tiny_net", photos, "-o", tmp_path / "e.parquet").code == 0
    page = str(photos / "train" / "five" / "page.jpg")
    check_features(found.sort("path"), pl.read_parquet(tmp_path / "e.parquet").sort("path"), page)
    one = ask("embed", "tiny_net", out, "--out", tmp_path / "one.parquet")
    assert one.code == 0, one.err
    assert "s3://b/some photos/val/five/a [1] %20+é.jpg" in pl.read_parquet(tmp_path / "one.parquet")["path"]

    before = len(bucket.objects)
    again = run_engine("daft", "s3://b/some photos", "s3://b/features", tiny, **bucket.variables)
    assert (again.returncode, len(bucket.objects)) == (2, before)
    assert "s3://b/features has files already, and nothing is overwritten" in again.stderr
    none = run_engine("daft", "s3://b/nothing/", tmp_path / "n", tiny, **bucket.variables)
    assert (none.returncode, none.stdout) == (5, "")
    assert none.stderr.startswith("error: no image below s3://b/nothing/: it holds nothing\n")
    assert not (tmp_path / "n").exists()


@pytest.mark.slow
@needs("daft")
def test_storage_that_refuses_leaves_its_words(
    photos: Path, bucket: Bucket, tiny: Path, tmp_path: Path
) -> None:
    bucket.forbidden = "PUT"
    said = run_engine("daft", photos, "s3://b/features/", tiny, **bucket.variables)
    assert said.returncode == 4, said.stderr
    assert "error: s3://b/features does not answer as it should: " in said.stderr
    assert "AccessDenied" in said.stderr
    assert "Whatever is below s3://b/features/ now is a part: remove it." in said.stderr
    bucket.forbidden = "LIST"
    said = run_engine("daft", "s3://b/some photos/", tmp_path / "f", tiny, **bucket.variables)
    assert said.returncode == 4, said.stderr
    assert "AccessDenied" in said.stderr
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
@needs("daft")
def test_a_table_of_addresses_gets_the_features_of_its_photographs(
    ask: Call, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    assert ask("embed", "tiny_net", photos, "-o", tmp_path / "e.parquet").code == 0
    expected = pl.read_parquet(tmp_path / "e.parquet").sort("path")
    page = str(photos / "train" / "five" / "page.jpg")
    rows = [(*row, "mine") for row in expected.select("path", "label").rows()] + [(page, "five", "mine")]
    inventory = pl.DataFrame(rows, schema=["address", "label", "owner"], orient="row")
    inventory.write_parquet(tmp_path / "inventory.parquet")
    words = [
        sys.executable,
        ROOT / "examples" / "daft_features.py",
        "tiny_net",
        tmp_path / "inventory.parquet",
    ]
    words += [tmp_path / "features", "--column", "address", "--workers", "2", "--device", "cpu"]
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ZOO_REGISTRY": str(tiny / "registry.yaml")}
    done = subprocess.run(
        words,
        env={**os.environ, **settings, **QUIET},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'features'}: 49 photographs, 1 without features" in done.stdout
    found = pl.read_parquet(tmp_path / "features" / "*.parquet").sort("path")
    assert found["owner"].unique().to_list() == ["mine"]
    check_features(found.with_columns(split=None), expected.with_columns(split=None), page)
    said = ask("finetune", "tiny_net", tmp_path / "features", "--out", tmp_path / "run", "--epochs", 2)
    assert said.code == 0, said.err


@pytest.mark.slow
@needs("daft")
def test_a_folder_without_one_photograph_that_can_be_read_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "pages" / "a").mkdir(parents=True)
    for number in range(30):
        (tmp_path / "pages" / "a" / f"{number}.jpg").write_bytes(b"<html>moved</html>")
    said = run_engine("daft", tmp_path / "pages", tmp_path / "f", tiny)
    assert said.returncode == 5
    assert said.stderr.count("is a web page") == 20
    assert "30 of 30 files cannot be read; 20 of them are named, the column error has all" in said.stderr
    assert said.stderr.endswith(
        "error: none of the 30 files can be read\nThe reasons are above, a line for each.\n"
    )
    assert [each.name for each in tmp_path.iterdir() if "f" in each.name] == []


@pytest.mark.slow
@needs("daft")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_work_that_is_stopped_leaves_no_folder_no_socket_and_no_worker(
    number: signal.Signals, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    (own := tmp_path / "own").mkdir()
    for copy in range(40):
        shutil.copytree(photos, tmp_path / "many" / "train" / str(copy))
    words = ("embed", "tiny_net", tmp_path / "many", "--out", tmp_path / "f", "--engine", "daft")
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ZOO_REGISTRY": str(tiny / "registry.yaml")}
    started = start_zoo(*words, "--workers", 2, "--json", **settings, **QUIET, TMPDIR=str(own))
    with running(started, 120) as process:
        wait_until(lambda: len(workers_of(process.pid)) == 2 or process.poll() is not None, 60)
        workers = workers_of(process.pid)
        time.sleep(3)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), err
        assert out == ""
        if number != signal.SIGKILL:
            assert json.loads(err.splitlines()[-1])["error"]["message"].endswith(": nothing was written"), err
            assert [path for path in own.rglob("*") if path.is_socket() or path.name[:4] == "zoo-"] == []
        wait_until(lambda: not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers), 5)
    assert not (tmp_path / "f").exists()
    left = [each.name for each in tmp_path.iterdir() if each.name.startswith(".f.")]
    assert len(left) == (number == signal.SIGKILL)


@pytest.mark.slow
@needs("daft")
def test_folders_whose_names_are_patterns_and_photographs_that_daft_cannot_name(
    ask: Call, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    """A name in Latin-1, and one that is called what is printed of it."""
    place = photos / "val" / "five"
    odd, named = (place / os.fsdecode(name) for name in (b"l\xe9.png", b"l\\xe9.png"))
    pictures = sorted(place.glob("*.png"))[:2]
    for source, copy in zip(pictures, (odd, named), strict=True):
        try:
            shutil.copy(source, copy)
        except OSError:
            pytest.skip("this disk takes no such names")
    (photos / "train" / "five" / "page.jpg").unlink()
    for name in ("a{b}", "c\\d [1]*é"):
        out = tmp_path / name / "f"
        said = run_engine("daft", photos, out, tiny)
        assert said.returncode == 0, said.stderr
        assert said.stderr.count("has a name that is not UTF-8, and Daft takes no other names") == 1
        assert "1 of 50 files. Rename them" in said.stderr
        [file] = out.iterdir()
        found = pl.read_parquet(file, glob=False).sort("path")
        assert found["path"].n_unique() == len(found) == 49
        shas = dict(zip(found["path"], found["sha256"], strict=True))
        assert shas[str(named)] == shas[str(pictures[1])] != shas[str(pictures[0])]


STOPPED = """
import os, signal, sys, threading, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
from contextlib import suppress
from zoo.events import Note
from zoo.runs.daft import engine, faults
from zoo.runs.daft.photographs import list_photographs
import zoo
if __name__ == "__main__":
    engine.import_daft()
    import daft
    daft.set_execution_config(parquet_target_filesize=2000, parquet_target_row_group_size=2000)
    if sys.argv[3] == "daft":
        faults._interruptible = suppress
    out = Path(sys.argv[2])
    photographs = list_photographs(Path(sys.argv[1]))
    def stop():
        while not any(file.stat().st_size for file in out.parent.glob(".f.*/*.parquet")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    if sys.argv[3] != "nobody":
        threading.Thread(target=stop, daemon=True).start()
    network = zoo.Featurizer("tiny_net", device="cpu")
    try:
        told = []
        plan = engine.Workers(2, 1, 0.0)
        done = engine.embed_photographs(network, photographs, out, plan, at_once=8, report=told.append)
        notes = [isinstance(event, Note) for event in told]
        whole = done.rows == len(photographs.paths)
        print("bar, notes" if any(notes) and notes == sorted(notes) else notes, whole)
    except BaseException as error:
        print(type(error).__name__, error, out.exists(), len(list(out.parent.glob(".f.*"))))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.slow
@needs("daft")
@pytest.mark.parametrize(
    ("by", "answer"),
    [
        ("zoo", r"KeyboardInterrupt  False 0\n"),
        ("daft", r"TrainingStopped Daft ended before its work was done: .+\n.+ False 0\n"),
        ("nobody", r"bar, notes True\n"),
    ],
)
def test_work_that_ends_quietly_where_ctrl_c_is_ignored_is_not_finished(
    by: str, answer: str, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    for copy in range(20):
        shutil.copytree(photos, tmp_path / "many" / "train" / str(copy))
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ZOO_REGISTRY": str(tiny / "registry.yaml")}
    (tmp_path / "stopped.py").write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, tmp_path / "stopped.py", tmp_path / "many", tmp_path / "f", by],
        env={**os.environ, **settings, **QUIET},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert re.fullmatch(answer, done.stdout), done.stdout + done.stderr


def workers_of(pid: int) -> list[int]:
    """The workers that a process started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        tasks = children.parent.parent.glob("*/children")
        pids = [int(word) for task in tasks for word in task.read_text().split()]
        return [pid for pid in pids if b"udf_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:  # gone in between
        return []
