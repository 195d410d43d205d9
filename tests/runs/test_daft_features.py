"""Features by workers of Daft: those of the photographs of the main job."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.commands import Call, running, start_zoo
from support.kits import Kit

from zoo.runs.record import RunResult


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("daft") is None, reason="daft is not installed: pip install 'transfer-zoo[daft]'"
)
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
