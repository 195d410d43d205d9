"""What travels to a machine with a GPU is small, whole, and runs there without polars or a network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from zoo.words.vectors.word_vectors import WordVectors

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def packed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that tools/on_gpu.sh leaves, but for its wheels."""
    folder = tmp_path_factory.mktemp("gpu") / "packed"
    command = ["bash", "tools/on_gpu.sh", "--no-wheels", "--data", str(data), "--into", str(folder)]
    environment = os.environ | {"OWN_PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    printed = done.stdout.rstrip().splitlines()[-1].strip()
    assert printed == f"bash {folder}/run.sh {folder}/out"
    assert len(printed) < 2000
    return folder


def test_every_photograph_travels_smaller_and_the_registry_states_the_true_hashes(
    packed: Path, data: Path
) -> None:
    names = [path.relative_to(data) for path in (data / "hymenoptera").rglob("*.*")]
    assert names
    assert all((packed / "data" / name).is_file() for name in names)
    with Image.open(packed / "data" / "photos" / "cat_720p.jpg") as image:
        assert min(image.size) == 288
    models = yaml.safe_load((packed / "data" / "registry.yaml").read_text("utf-8"))["models"]
    for entry in models.values():
        file = packed / "data" / entry["weights"]["url"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["weights"]["sha256"]


def test_the_packed_vectors_are_those_of_the_text_file_and_open_without_polars(
    packed: Path, data: Path, tmp_path: Path
) -> None:
    from zoo.backbones.models import load_model
    from zoo.catalogue.registry import load_registry
    from zoo.store.store import Store

    store = Store(tmp_path / "home")
    ours, theirs = (
        load_model("glove_demo", registry=load_registry([folder / "registry.yaml"]), store=store)
        for folder in (packed / "data", data)
    )
    assert isinstance(ours, WordVectors)
    assert list(ours.index_to_key) == list(theirs.index_to_key)
    assert np.array_equal(ours.vectors, theirs.vectors)
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "from pathlib import Path\nfrom zoo.backbones.models import load_model\n"
        "from zoo.catalogue.registry import load_registry\nfrom zoo.store.store import Store\n"
        f"registry = load_registry([Path({str(packed / 'data' / 'registry.yaml')!r})])\n"
        f"print(len(load_model('glove_demo', registry=registry, store=Store(Path({str(tmp_path / 'b')!r})))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [str(len(ours))], done.stderr


@pytest.mark.slow
def test_the_printed_command_runs_the_tests_and_the_benchmark_and_leaves_one_table(
    packed: Path, tmp_path: Path
) -> None:
    sizes = [
        "--device",
        "cpu",
        "--network",
        "resnet18",
        "--batches",
        "1",
        "--rounds",
        "1",
        "--batch-size",
        "2",
    ]
    done = subprocess.run(
        ["bash", packed / "run.sh", tmp_path, *sizes],
        cwd=ROOT,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "gpu.md").read_text()
    assert "| test_the_head_learns_on_the_gpu_what_it_learns_on_the_cpu |" in table
    assert "features, images/s" in table
    assert "error" not in table


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "tools/on_gpu.sh", "--no-wheels", "--data", str(tmp_path), "--into", str(tmp_path / "to")],
        cwd=ROOT,
        env=os.environ | {"OWN_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"{tmp_path} holds no real data" in done.stderr
