"""What all tests share: a clean environment, a home of their own, the real data."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.environment import HOMES, clean, use
from support.loopback import IMPATIENT, Server

from zoo.store.store import Store

pytest_plugins = ["support.fault_table"]

settings.register_profile("repeatable", derandomize=True)  # a red test is red for everybody
settings.load_profile("repeatable")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell gives its background jobs Ctrl-C ignored, and every process that a test starts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(os.environ.get("ZOO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    """Clean the environment before any test module is imported: libraries read it when they are."""
    place = tempfile.TemporaryDirectory(prefix="zoo-tests-")
    config.add_cleanup(place.cleanup)
    use(clean(os.environ, Path(place.name)))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photographs, weights, words and reviews (see docs/architecture.md, "Tests")."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}: set ZOO_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny set, which is made from what is installed: the main job, everywhere."""
    from support.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine, with fault modes."""
    running = Server()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ZOO_HOME of this test alone, and an empty home of its user."""
    for name in HOMES:
        monkeypatch.setenv(name, str(tmp_path / "user-home"))
    folder = tmp_path / "zoo-home"
    monkeypatch.setenv("ZOO_HOME", str(folder))
    return folder


@pytest.fixture
def store(home: Path) -> Store:
    """An empty store of this test alone, as impatient with servers as tests are."""
    return Store(home, settings=IMPATIENT)
