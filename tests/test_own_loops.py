"""The examples of a loop of one's own run on real photographs, in one process and in two."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def photos(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """35 ants and bees to train on, 30 to validate with."""
    folder = tmp_path_factory.mktemp("photos")
    for part, counts in (("train", (18, 17)), ("val", (15, 15))):
        for label, count in zip(("ants", "bees"), counts, strict=True):
            (folder / part / label).mkdir(parents=True)
            for photo in sorted((data / "hymenoptera" / part / label).iterdir())[:count]:
                shutil.copy(photo, folder / part / label)
    return folder


def run(data: Path, *words: object) -> dict[str, list[float]]:
    """What an example prints: the figures of each phase."""
    weights = data / "weights" / "mobilenet_v2-adb27a5a.pth"
    half = (0.5, 0.5, 0.5)
    known = ("--weights", weights, "--mean", *half, "--std", *half)
    done = subprocess.run(
        [sys.executable, *map(str, (*words, *known))],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(": ") for line in done.stdout.splitlines()]
    return {name: [float(number) for number in re.findall(r"\d\.\d+", rest)] for name, _, rest in lines}


def test_adapters_alone_fine_tune_in_a_plain_loop(data: Path, photos: Path) -> None:
    found = run(data, EXAMPLES / "own_loop.py", photos, "--epochs", 1)
    assert list(found) == ["head alone", "last stage too"]
    assert all(value >= 0.85 for [value] in found.values())


def test_a_loop_of_one_s_own_is_the_same_in_one_process_and_in_two(data: Path, photos: Path) -> None:
    """35 photographs a pass: of the last batch of 3, two processes have 2 and 1."""
    script = EXAMPLES / "own_loop_torchrun.py"
    found = [
        run(data, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", n, script, photos)
        for n in (1, 2)
    ]
    assert list(found[0]) == ["head alone", "last stage too"]
    for name, (loss, accuracy) in found[0].items():
        assert found[1][name] == pytest.approx([loss, accuracy], abs=2e-4)
    assert found[0]["last stage too"][0] < found[0]["head alone"][0]
