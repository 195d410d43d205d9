"""A user's settings never reach a test, and a test never reaches the user's home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.environment import clean

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "HF_TOKEN": "hf_secret",
    "HF_HOME": "/no/such/hub",
    "ZOO_HOME": "/no/such/store",
    "ZOO_LICENSE_POLICY": "mit",
    "ZOO_OFFLINE": "1",
    "TORCH_HOME": "/no/such/torch",
    "XDG_CACHE_HOME": "/no/such/cache",
    "https_proxy": "http://127.0.0.1:9",
    "NO_COLOR": "1",
}
LOOK = """
import json, os, subprocess, sys
from pathlib import Path

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"
AT_IMPORT = dict(os.environ)

def test_that_looks(tmp_path):
    here = dict(os.environ)
    child = json.loads(subprocess.check_output([sys.executable, "-c", SHOW]))
    Path(os.environ["FOUND"]).write_text(json.dumps([AT_IMPORT, here, child, str(tmp_path)]))
"""


@pytest.mark.thorough
def test_no_setting_of_the_user_reaches_a_test_or_what_it_starts(tmp_path: Path) -> None:
    (tmp_path / "test_look.py").write_text(LOOK)
    found = tmp_path / "found.json"
    options = ["-c", os.devnull, "--rootdir", ROOT / "tests", "--confcutdir", ROOT, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "conftest", tmp_path / "test_look.py"],
        env=os.environ | SETTINGS | {"PYTHONPATH": str(ROOT / "tests"), "FOUND": str(found)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    at_import, in_test, in_child, place = json.loads(found.read_text())
    for environment in (at_import, in_test, in_child):
        assert not [name for name, value in SETTINGS.items() if environment.get(name) == value]
        assert environment["HOME"] != os.environ["HOME"]
    assert in_test["HOME"] == in_child["HOME"] == f"{place}/user-home"
    assert in_test["ZOO_HOME"] == in_child["ZOO_HOME"] == f"{place}/zoo-home"


def test_what_every_process_needs_stays() -> None:
    kept = clean({"PATH": "/bin", "ZOO_TEST_DATA": "/data", "LANG": "C", "HF_TOKEN": "x"}, Path("/tmp/x"))
    assert kept == {
        "PATH": "/bin",
        "ZOO_TEST_DATA": "/data",
        "LANG": "C",
        "HOME": "/tmp/x",
        "USERPROFILE": "/tmp/x",
        "ZOO_REPORT": "no",
    }


@pytest.mark.parametrize("name", ["HOME", "USERPROFILE"])
def test_the_home_of_a_test_is_its_own_and_empty(tmp_path: Path, name: str) -> None:
    assert Path(os.environ[name]) == tmp_path / "user-home"
    assert not Path.home().exists()
