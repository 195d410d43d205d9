"""What all tests share: a clean environment, a home of their own, the command line, the two data sets."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Call, Said
from support.environment import DATA, HOMES, clean, use
from support.loopback import IMPATIENT, Server

from zoo.store.store import Store

pytest_plugins = ["support.fault_table", "support.quick"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell gives its background jobs Ctrl-C ignored, and every process that a test starts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """torch's generator at 0, where torch is loaded: no test is lucky in one order and not in another."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def store(home: Path) -> Store:
    """An empty store of this test alone, as impatient with servers as tests are."""
    return Store(home, settings=IMPATIENT)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`call("list", "--json")`: runs the command as typed, in this process, which has imported torch.

    No command of any test may end in an error that nobody foresaw.
    """
    from zoo.cli.main import main

    def call(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "fault of zoo" not in err, f"zoo {' '.join(map(str, arguments))}\n{err}"
        return Said(int(left.value.code or 0), out, err)

    return call


@pytest.fixture
def ask(call: Call, tiny: Path) -> Call:
    """The same with the registry of the tiny set: tiny_net and tiny_words."""
    return lambda *arguments: call(*arguments, "--registry", tiny / "registry.yaml")
