"""The table that `make faults` prints: a line per row, red for a row without a test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.fault_table import NOT_YET, ROWS

TESTS = """
import pytest

@pytest.mark.fault("D1")
@pytest.mark.fault("D2")
@pytest.mark.parametrize("number", [1, 2])
def test_that_passes(number): pass

@pytest.mark.fault("D2")
def test_that_fails(): raise OSError

@pytest.mark.fault("D3")
def test_that_cannot_run(): pytest.skip("no namespaces here")

{more}
"""


def run_tests(folder: Path, *options: str, more: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text('pytest_plugins = ["support.fault_table"]')
    (folder / "test_some.py").write_text(TESTS.format(more=more))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", folder, folder, *options],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.thorough
@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_row_has_a_line_with_what_became_of_it(tmp_path: Path, workers: str) -> None:
    done = run_tests(tmp_path, "--faults", "-n", workers)
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()[:1]}
    assert lines["D1"].endswith("  2 passed")
    assert lines["D2"].endswith("  1 failed, 2 passed")
    assert lines["D3"].endswith("  1 skipped (no namespaces here)")
    assert lines["D4"].endswith("  NO TEST")
    assert lines.keys() >= ROWS.keys()
    assert done.returncode == 1


@pytest.mark.thorough
def test_a_row_without_a_test_makes_the_run_red_although_every_test_passes(tmp_path: Path) -> None:
    options = ("--deselect", "test_some.py::test_that_fails", "-n", "0")
    assert run_tests(tmp_path, *options).returncode == 0
    assert run_tests(tmp_path, *options, "--faults").returncode == 1


@pytest.mark.thorough
def test_a_mark_that_names_no_row_is_a_mistake(tmp_path: Path) -> None:
    done = run_tests(tmp_path, "-n", "0", more='@pytest.mark.fault("D99")\ndef test_x(): pass')
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "there is no fault 'D99'" in done.stdout + done.stderr


def test_every_row_that_should_have_a_test_has_one() -> None:
    """By the marks in the files: a row that lost its last test turns the whole suite red."""
    marked = set()
    for path in set(Path(__file__).parent.rglob("test_*.py")) - {Path(__file__)}:  # its samples are no tests
        marked |= set(re.findall(r'mark\.fault\("(\w+)"', path.read_text("utf-8")))
    assert set(ROWS) - marked - set(NOT_YET) == set()
