"""Tables show their answer whatever the width of the terminal, and no cell commands it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

import pytest

from zoo.cli.sink import Fit, Mode, Sink, display_width, printable, shorten, table

FIT = {"next": Fit.TEXT, "path": Fit.PATH, "task": Fit.DROP}
COLUMNS = {
    "path": "FILE",
    "label": "LABEL",
    "probability": "PROBABILITY",
    "next": "NEXT BEST",
    "task": "TASK",
}
ROW = {
    "path": "/home/somebody/photographs/summer/the-garden-behind-the-house/ants-and-bees/bee-0001.jpg",
    "label": "American Staffordshire terrier",
    "probability": "0.976",
    "next": "ants 0.020, wasps 0.003, hoverflies 0.001",
    "task": "image-classification",
}


class Screen(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`draw(width, rows)`: the lines of a table on a terminal of that width."""

    def call(width: int, *rows: dict[str, object], fit: dict[str, Fit] | None = FIT) -> list[str]:
        monkeypatch.setattr(sys, "stdout", Screen())
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
        return table(rows, COLUMNS, fit).splitlines()

    return call


@pytest.mark.parametrize("width", [61, 80, 100, 120, 200])
def test_the_answer_is_whole_at_every_width(draw: Callable[..., list[str]], width: int) -> None:
    heading, line = draw(width, ROW)
    assert display_width(line) <= width
    assert "American Staffordshire terrier  0.976" in line
    assert "LABEL" in heading
    assert "PROBABILITY" in heading
    assert line.split("  ")[0].endswith("001.jpg")


def test_what_does_not_fit_even_so_is_wrapped_by_the_terminal_and_not_cut(
    draw: Callable[..., list[str]],
) -> None:
    assert "American Staffordshire terrier  0.976" in draw(40, ROW)[1]


def test_a_column_that_says_the_same_in_every_row_goes_first(draw: Callable[..., list[str]]) -> None:
    heading, *_ = draw(190, ROW, {**ROW, "label": "bee"})
    assert "TASK" not in heading
    assert "NEXT BEST" in heading


def test_a_table_that_fits_is_drawn_whole(draw: Callable[..., list[str]]) -> None:
    assert draw(250, ROW)[1].endswith(ROW["task"])


def test_a_table_that_cannot_give_way_is_cut(draw: Callable[..., list[str]]) -> None:
    assert draw(30, ROW, fit=None)[1].endswith("…")
    assert max(map(len, draw(30, ROW, fit=None))) == 30


def test_in_a_pipe_nothing_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
    line = table([ROW], COLUMNS, FIT).splitlines()[1]
    assert all(str(value) in line for value in ROW.values())


def test_wide_characters_keep_their_columns_straight(draw: Callable[..., list[str]]) -> None:
    lines = draw(200, {**ROW, "label": "蜜蜂"}, {**ROW, "label": "ant"})
    places = [display_width(line[: line.index("0.976")]) for line in lines[1:]]
    assert len(set(places)) == 1


@pytest.mark.parametrize("width", range(2, 12))
@pytest.mark.parametrize("fit", [Fit.PATH, Fit.TEXT])
@pytest.mark.parametrize("text", ["photographs/bee.jpg", "写真/蜜蜂の写真.jpg"])
def test_a_shortened_text_is_never_wider_than_asked(text: str, fit: Fit, width: int) -> None:
    assert display_width(shorten(text, width, fit)) <= width


@pytest.mark.parametrize(
    "hostile", ["\x1b]0;title\x07", "\x1b[2J", "\r", "\x9b31m", "\u202e", "\x00", "\x7f"]
)
def test_no_word_commands_the_terminal(capsys: pytest.CaptureFixture[str], hostile: str) -> None:
    assert hostile not in printable(f"a{hostile}b")
    assert printable("tab\tand\nline, 蜂, é") == "tab\tand\nline, 蜂, é"
    Sink(Mode.HUMAN).answer({}, lambda: table([{"word": f"a{hostile}b"}], {"word": "WORD"}))
    assert hostile not in capsys.readouterr().out.replace("\r\n", "\n")


def test_a_line_feed_in_a_cell_breaks_no_row() -> None:
    assert len(table([{"path": "two\nlines"}], {"path": "FILE"}).splitlines()) == 2


def test_quiet_prints_answers_and_no_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    sink = Sink(Mode.QUIET)
    sink.answer(["x"], lambda: "the answer")
    sink.done(["x"], lambda: "what was done")
    assert capsys.readouterr().out == "the answer\n"
    Sink(Mode.JSON).done({"a": 1}, lambda: "what was done")
    assert '"a": 1' in capsys.readouterr().out
