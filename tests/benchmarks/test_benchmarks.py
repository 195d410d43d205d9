"""Each benchmark runs at its smallest size, and its answers agree with those of its peer.

A benchmark ends with an error where answers differ; what is asserted here is that there was something to
compare. No time is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers
import pytest
import run

FOLDER = Path(__file__).parents[2] / "benchmarks"


def bench(name: str, out: Path, *words: str) -> dict[str, Any]:
    """The tables of a benchmark at its smallest size."""
    command = [sys.executable, FOLDER / f"{name}.py", "--small", "--json", out, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    if done.returncode and "is not installed: python benchmarks/peers.py" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", run.SPEED)
def test_a_benchmark_runs_and_its_answers_agree(name: str, tmp_path: Path, data: Path) -> None:
    found = bench(name, tmp_path / "found.json")
    raced = [table for table in found["tables"] if len(table["rows"]) > 1]
    assert raced, "nothing took turns with anything"
    for table in raced:
        for row in table["rows"]:
            assert 0 < row["min"] <= row["median"] <= row["max"]
            assert row["memory"] >= 0
    assert all(version != "not installed" for version in found["versions"].values()), found["versions"]


def test_a_peer_that_is_nowhere_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PYTHON", Path("/no/such/python"))
    with pytest.raises(SystemExit, match=r"no_such_peer is not installed: python benchmarks/peers\.py"):
        peers.python_of("no_such_peer")
    assert peers.python_of("json") == Path(sys.executable)


def test_the_summary_has_a_line_for_each_goal(tmp_path: Path) -> None:
    rows = [
        {"way": "zoo list", "faster": 0.5, "goal": "≤ 1.6 × as long", "met": False},
        {"way": "zoo predict", "faster": 3.0, "goal": "≥ 2.5 × as fast", "met": True},
        {"way": "peer", "faster": 1.0},
    ]
    (tmp_path / "job.json").write_text(json.dumps({"tables": [{"title": "a job", "rows": rows}]}))
    lines = run.summary([tmp_path / "job.json"]).splitlines()[1:]
    assert [" ".join(line.split()) for line in lines] == [
        "≤ 1.6 × as long 2 NO job: a job: zoo list",
        "≥ 2.5 × as fast 3 yes job: a job: zoo predict",
    ]
