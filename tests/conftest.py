"""What all tests share: the real data, and a home of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.loopback import Server

pytest_plugins = ["support.fault_table"]

settings.register_profile("repeatable", derandomize=True)  # a red test is red for everybody
settings.load_profile("repeatable")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell gives its background jobs Ctrl-C ignored, and every process that a test starts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(os.environ.get("ZOO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photographs, weights, words and reviews (see README, "Tests")."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}: set ZOO_TEST_DATA")
    return DATA


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine, with fault modes."""
    running = Server()
    yield running
    running.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ZOO_HOME of this test alone, with every other setting of the environment out of the way."""
    for name in list(os.environ):
        if name.startswith("ZOO_") and name != "ZOO_TEST_DATA":
            monkeypatch.delenv(name)
    folder = tmp_path / "zoo-home"
    monkeypatch.setenv("ZOO_HOME", str(folder))
    return folder
