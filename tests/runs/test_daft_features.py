"""Features by workers of Daft: those of the photographs of the main job."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.commands import Call, running, start_zoo
from support.kits import Kit

from zoo.catalogue.registry import load_registry
from zoo.errors import DatasetError, TrainingStopped
from zoo.events import Event
from zoo.runs.daft.engine import import_daft
from zoo.runs.daft.review import review_files
from zoo.runs.record import RunResult
from zoo.runs.workers import Featurizer

NEEDS_DAFT = pytest.mark.skipif(
    find_spec("daft") is None, reason="daft is not installed: pip install 'transfer-zoo[daft]'"
)


@pytest.mark.slow
@NEEDS_DAFT
def test_two_workers_compute_what_the_head_of_the_main_job_is_trained_on(
    call: Call, kit: Kit, trained: RunResult, tmp_path: Path
) -> None:
    known = ("--registry", kit.registry_file, "--device", "cpu")
    out = tmp_path / "features"
    words = ("embed", kit.net, kit.images, "--out", out, "--engine", "daft", "--workers", 2, *known)
    with running(start_zoo(*words), 200) as process:  # Daft leaves files open
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert call("embed", kit.net, kit.images, "--out", tmp_path / "e.parquet", *known).code == 0
    found, expected = pl.read_parquet(out / "*.parquet"), pl.read_parquet(tmp_path / "e.parquet")
    found, expected = (table.sort("path") for table in (found, expected))
    for name in ("path", "label", "split", "sha256"):
        assert found[name].equals(expected[name]), name
    vectors = [table["features"].to_numpy() for table in (found, expected)]
    np.testing.assert_allclose(*vectors, atol=1e-4)
    said = call("finetune", kit.net, out, "--out", tmp_path / "run", "--json", *known)
    assert said.code == 0, said.err
    assert said.json["metrics"]["accuracy"] == pytest.approx(trained.metrics["accuracy"], abs=0.02)


@NEEDS_DAFT
def test_number_formats_that_workers_did_not_keep_are_named_and_two_are_refused(
    tiny: Path, tmp_path: Path
) -> None:
    import_daft()
    registry = load_registry([tiny / "registry.yaml"])
    photos = sorted((tiny / "images" / "val").glob("*/*"))[:4]
    found = Featurizer("tiny_net", registry=registry, device="cpu")([*photos, b"none"])
    frame = found.frame.with_columns(path=pl.Series([*map(str, photos), "none.png"]))
    told: list[Event] = []
    paths = frame["path"].to_list()
    (tmp_path / "one").mkdir()
    frame.write_parquet(tmp_path / "one" / "a.parquet")
    written = review_files(str(tmp_path / "one"), paths, found.features.shape[1], {}, "bf16", told.append)
    assert (written.rows, written.failed, written.precision, written.classes) == (5, 1, "fp32", ())
    assert told[0].message.startswith("skipped: none.png is ")
    assert [note.message for note in told[1:]] == [
        "1 of 5 files cannot be read",
        "features in fp32: bf16 does not agree with it on the workers",
    ]
    half = pl.col("zoo_features").str.replace('"precision":"fp32"', '"precision":"bf16"', literal=True)
    frame.head(2).write_parquet(tmp_path / "one" / "a.parquet")
    frame.tail(3).with_columns(half).write_parquet(tmp_path / "one" / "b.parquet")
    with pytest.raises(DatasetError, match="the features are in bf16 and fp32: not all workers found"):
        review_files(str(tmp_path / "one"), paths, found.features.shape[1], {}, "bf16", told.append)


@NEEDS_DAFT
@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ([0, 1], "2 rows for 4 photographs, 2 of which have none"),
        ([0, 1, 2, 3, 3], "5 rows for 4 photographs, 0 of which have none"),
        ([0, 1, 2, 2], "4 rows for 4 photographs, 1 of which have none"),
        ([], "0 rows for 4 photographs, 4 of which have none"),
    ],
)
def test_rows_that_are_not_those_of_the_photographs_are_no_finished_work(
    rows: list[int], answer: str, tmp_path: Path
) -> None:
    import_daft()
    paths = [f"{number}.jpg" for number in range(4)]
    texts = {"path": pl.String, "model": pl.String, "zoo_features": pl.String, "error": pl.String}
    for number in rows:
        table = pl.DataFrame({"path": [paths[number]], "model": "m", "error": None}, schema_overrides=texts)
        table = table.with_columns(zoo_features=pl.lit("{}"))
        table.write_parquet(tmp_path / f"{len([*tmp_path.iterdir()])}.parquet")
    with pytest.raises(TrainingStopped, match=f"^Daft ended before its work was done: {answer}\n"):
        review_files(str(tmp_path), paths, 4, {}, "fp32", lambda event: None)
