"""The tool that draws the README's picture: what a terminal shows in the end."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import zoo

TOOL = Path(__file__).parents[1] / "tools" / "record_terminal.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record_terminal", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bar_that_was_wiped_is_not_in_the_picture(tool: ModuleType) -> None:
    screen = tool.Screen()
    screen.write("\x1b[?25l\r\x1b[2Kfetch ━━━ 0%\r\x1b[2Kfetch ━━━ 100%\r\x1b[2K\x1b[?25hdone\r\n")
    screen.write("one\r\ntwo\x1b[1A\r\x1b[2K\x1b[31mONE\x1b[0m\r\n")
    assert screen.lines == ["done", "\x1b[31mONE\x1b[0m", "two"]


def test_a_command_is_recorded_as_it_prints(tool: ModuleType, tmp_path: Path) -> None:
    lines = tool.run("zoo --version", tmp_path)
    assert lines == [f"zoo, version {zoo.__version__}"]
    picture = tool.draw([tool.prompt("zoo --version"), *lines], "title")
    assert zoo.__version__ in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    )


def test_a_command_that_fails_is_not_recorded(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no such option '--nothing'[\s\S]*exit code 2"):
        tool.run("zoo list --nothing", tmp_path)
