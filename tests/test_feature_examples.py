"""The examples for engines that spread work: two workers, the features of embed, data for finetune."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.commands import Call

ROOT = Path(__file__).parents[1]
ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            find_spec(name) is None, reason=f"{name} is not installed: pip install 'transfer-zoo[{name}]'"
        ),
    )
    for name in ("daft", "ray")
]
QUIET = {"DAFT_PROGRESS_BAR": "0", "DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0"}


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


def run_example(engine: str, photos: Path, out: Path, tiny: Path) -> subprocess.CompletedProcess[str]:
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ZOO_REGISTRY": str(tiny / "registry.yaml")}
    script = ROOT / "examples" / f"{engine}_features.py"
    return subprocess.run(
        [sys.executable, script, "tiny_net", photos, out, "--workers", "2", "--device", "cpu"],
        env={**os.environ, **settings, **QUIET},
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
    done = run_example(engine, photos, out, tiny)
    assert done.returncode == 0, done.stderr
    page = str(photos / "train" / "five" / "page.jpg")
    assert f"{page}: is a web page, not an image" in done.stdout
    assert f"{out}: 49 photographs, 1 without features" in done.stdout

    found = pl.read_parquet(out / "*.parquet").sort("path")
    assert ask("embed", "tiny_net", photos, "-o", tmp_path / "e.parquet").code == 0
    expected = pl.read_parquet(tmp_path / "e.parquet").sort("path")
    bad = found.filter(pl.col("features").is_null())
    assert bad.select("path", "zoo_features").rows() == [(page, None)]
    found = found.filter(pl.col("features").is_not_null())
    for name in ("path", "label", "split", "sha256"):
        assert found[name].to_list() == expected[name].to_list()
    vectors = (np.array(table["features"].to_list()) for table in (found, expected))
    np.testing.assert_allclose(*vectors, atol=1e-4)
    assert found["zoo_features"].n_unique() == 1
    assert found["model_license"].unique().to_list() == ["apache-2.0"]

    said = ask("finetune", "tiny_net", out, "--out", tmp_path / "run", "--epochs", 2, "--on-bad", "skip")
    assert said.code == 0, said.err
    assert "page.jpg" in said.err
    again = run_example(engine, photos, out, tiny)
    assert again.returncode == 1
    assert "is there already" in again.stderr
