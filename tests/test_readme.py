"""The README is true: every command and every piece of Python in it runs, in order."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

# The README's models, under their published names: real files that need no network.
REGISTRY = """
models:
  mobilenet_v2:
    family: mobilenet
    task: image-classification
    architecture: torchvision/mobilenet_v2
    weights:
      url: weights.pth
      sha256: adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645
    input: {size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: bilinear}
    classes: imagenet-1k
    license: apache-2.0
  glove-wiki-gigaword-50:
    family: glove
    task: word-vectors
    architecture: words/glove-text
    weights:
      url: words.txt
      sha256: 2d8fa35506bd7464854734aee496524bd7409e843725203162dcc5b55a726f6b
    input: {dimension: 50, lowercase: true}
    license: pddl
"""


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A folder as the README's reader has it: photos/, photo.jpg, and an empty store."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "photos").symlink_to(data / "hymenoptera")
    (folder / "photo.jpg").symlink_to(data / "photos" / "cat_720p.jpg")
    shutil.copy(data / "weights" / "mobilenet_v2-adb27a5a.pth", folder / "weights.pth")
    shutil.copy(data / "words" / "glove.6B.50d.head.txt", folder / "words.txt")
    (folder / "registry.yaml").write_text(REGISTRY)
    (folder / "reviews").mkdir()
    for name in ("positive", "negative"):  # 500 of each: the tests of runs take them all
        lines = (data / "reviews" / f"{name}.txt").read_text("utf-8").split("\n")[:500]
        (folder / "reviews" / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    return folder


def run(desk: Path, arguments: list[str]) -> str:
    """Run a command at the desk; returns what it printed."""
    settings = {"ZOO_HOME": str(desk / "home"), "ZOO_REGISTRY": str(desk / "registry.yaml")}
    done = subprocess.run(
        arguments, cwd=desk, env=os.environ | settings, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_runs(desk: Path):
    commands = [
        line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")
    ]
    assert len(commands) >= 10
    assert all(command.startswith("zoo ") for command in commands)
    done = set()
    for command in dict.fromkeys(commands[2:] + commands[:2]):
        verb, *rest = shlex.split(command)[1:]
        done.add(verb)
        printed = run(desk, [sys.executable, "-m", "zoo", verb, *rest])
        assert printed.strip(), command
    assert {"finetune", "predict", "evaluate", "embed", "coverage", "demo"} <= done


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_piece_of_python_runs(desk: Path):
    pieces = blocks("python")
    assert len(pieces) >= 2
    for piece in pieces:
        assert run(desk, [sys.executable, "-c", piece]).strip()


def test_the_registry_entry_that_is_shown_is_valid(tmp_path: Path):
    from zoo.catalogue.registry import read_registry_file

    (shown,) = blocks("yaml")
    (tmp_path / "registry.yaml").write_text(shown)
    assert list(read_registry_file(tmp_path / "registry.yaml")) == list(yaml.safe_load(shown)["models"])


def test_the_drawing_of_the_house_names_every_room():
    (drawing,) = [block for block in blocks("") if block.startswith("registry.yaml")]
    rooms = {path.name for path in (ROOT / "zoo").iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(re.findall(r"^  (\w+)/", drawing, flags=re.M))


def test_the_exit_codes_are_those_of_the_errors():
    from zoo import errors

    stated = {
        int(code)
        for code in re.findall(
            r"(?:^|· )(\d+) \w", README.partition("## Exit codes")[2].partition("##")[0], re.M
        )
    }
    raised = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ZooError)
    }
    assert raised <= stated
