"""The example package, really installed: its scheme and its network work like our own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.loopback import Server

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "zoo-lab"
README = (EXAMPLE / "README.md").read_text("utf-8")
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

Python = Callable[..., subprocess.CompletedProcess[str]]

MAKE = """
import sys
from safetensors.torch import save_file
from zoo_lab.networks import WIDTHS, TinyNet
save_file(TinyNet(WIDTHS["tinynet"], channels=3, classes=3).state_dict(), sys.argv[1])
"""
USE = """
import numpy, sys, torch, zoo
from pathlib import Path
from PIL import Image
from adapters import stages
network = zoo.load_model("lab-net")
assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
assert network.zoo_entry.license == "LicenseRef-lab"
assert len(stages(network)) >= 3
random = numpy.random.default_rng(0)
for label, level in (("dark", 60), ("light", 200)):
    for number in range(12):
        path = Path("photos", label, f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(level - 50, level + 50, (80, 80, 3), dtype="uint8")).save(path)
result = zoo.finetune_model("lab-net", "photos", out="run", epochs=30)
assert (result.frozen_changed, result.val_accuracy) == (0, 1.0), result
print([p.label for p in zoo.load_run("run").predict(["photos/dark/0.png", "photos/light/0.png"])])
"""
LOOK = """
import atexit, sys
atexit.register(lambda: print(*(m for m in ("torch", "zoo_lab") if m in sys.modules), file=sys.stderr))
from zoo.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip has installed the example into."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")
    target = folder / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", target, folder / "source"]
    subprocess.run([*command, "--no-deps", "--no-index", "--no-build-isolation"], check=True, timeout=120)
    return target


@pytest.fixture
def python(installed: Path, server: Server, tmp_path: Path) -> Python:
    """`python("-c", "…")`: a process in which the example is installed, at an empty desk."""
    path = os.pathsep.join([str(installed), str(ROOT)])
    settings = {"PYTHONPATH": path, "LAB_SERVER": server.url, "ZOO_REGISTRY": str(tmp_path / "registry.yaml")}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=300,
        )

    (tmp_path / "registry.yaml").write_text(README.partition("```yaml\n")[2].partition("```")[0])
    return call


@pytest.mark.slow
def test_a_model_of_the_example_is_fetched_loaded_and_fine_tuned(
    python: Python, server: Server, tmp_path: Path
) -> None:
    assert python("-c", MAKE, "net.safetensors").returncode == 0
    body = (tmp_path / "net.safetensors").read_bytes()
    server.add("/nets/tinynet.safetensors", body)
    registry = tmp_path / "registry.yaml"
    registry.write_text(registry.read_text().replace(SHA256, hashlib.sha256(body).hexdigest()))
    used = python("-c", USE)
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip() == "['dark', 'light']"
    assert server.offsets("/nets/tinynet.safetensors") == [0]


def test_other_bytes_than_the_entry_states_are_refused(python: Python, server: Server) -> None:
    server.add("/nets/tinynet.safetensors", b"x" * 1000)
    said = python("-m", "zoo", "fetch", "lab-net")
    assert said.returncode == 3
    assert f"expected {SHA256}" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [(["list", "lab*"], ""), (["show", "lab-net"], ""), (["registry", "lint", "registry.yaml"], "zoo_lab")],
    ids=["list", "show", "lint"],
)
def test_the_package_is_imported_when_it_is_needed_and_never_torch(
    python: Python, arguments: list[str], imported: str
) -> None:
    said = python("-c", LOOK, *arguments)
    assert said.returncode == 0
    assert said.stdout
    assert said.stderr.strip() == imported


def test_doctor_lists_the_plugins(python: Python) -> None:
    said = python("-m", "zoo", "doctor")
    assert "plugin         lab://…\n" in said.stdout
    assert "plugin         lab/…\n" in said.stdout
    assert "problem" not in said.stdout.replace("No problem", "")


def test_what_the_plugin_itself_refuses_is_said_in_its_words(python: Python) -> None:
    said = python("-c", f"import os; del os.environ['LAB_SERVER']\n{LOOK}", "fetch", "lab-net")
    assert said.returncode == 2
    assert "LAB_SERVER is not set" in said.stderr
