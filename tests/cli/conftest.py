"""The command line called in this process: importing torch once per test would take the suite's time."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import Call, Said

from zoo.cli.main import main


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`call("list", "--json")`: runs the command as typed."""

    def call(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(int(left.value.code or 0), out, err)

    return call


@pytest.fixture
def ask(call: Call, tiny: Path) -> Call:
    """The same with the registry of the tiny set: tiny_net and tiny_words."""
    return lambda *arguments: call(*arguments, "--registry", tiny / "registry.yaml")
