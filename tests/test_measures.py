"""The measures of the code are right on a project of three files."""

from __future__ import annotations

from pathlib import Path

import measures
import pytest


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {
        "zoo/__init__.py": '"""A package."""\n',
        "zoo/store/__init__.py": "",
        "zoo/store/door.py": """
            from typing import TYPE_CHECKING
            from zoo.store import pipe
            if TYPE_CHECKING:
                from zoo.words import Words

            def fetch(name, *, size=0, **options):
                \"""Fetch.

                A second line.
                \"""
                return pipe.inner(name)
            """,
        "zoo/store/pipe.py": """
            TABLE = {"door": ("zoo.words", "load")}

            def inner(name):
                return name

            def lonely():
                def nested(self):
                    return 1
                return nested

            def _private():
                from zoo.words import Words
            """,
        "zoo/words.py": f"""
            from zoo.store.door import fetch
            LONG = "{"x" * 100}"

            class Words:
                def find(self, word, how, many): ...

            def load(): ...
            """,
        "adapters/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line[12:] for line in text.splitlines()) if "\n    " in text else text)
    return tmp_path


def test_rooms_are_counted_with_their_functions(checkout: Path) -> None:
    rows = {row[0]: row for row in measures.room_rows(measures.read_modules(checkout))}
    # room, files, lines, functions, length, with docstring, most parameters, wide lines
    assert rows["store"][1:2] == (3,)
    assert rows["store"][3:] == (5, "2/3/4", "20%", 2, 0)
    assert rows["zoo"][1:] == (2, 9, 2, "1/1/1", "0%", 3, 1)
    assert rows["all"][1] == 6


def test_a_function_that_no_other_file_uses_is_found(checkout: Path) -> None:
    unused = measures.find_unused(measures.read_modules(checkout))
    assert unused["zoo.store.pipe"] == {"lonely"}, "inner is used as an attribute, _private is private"
    assert unused["zoo.store.door"] == set(), "it is imported"
    assert unused["zoo.words"] == set(), "a table names module and function"


def test_circles_are_found_at_run_time_and_with_types(checkout: Path) -> None:
    modules = measures.read_modules(checkout)
    circle = [{"zoo.store.door", "zoo.store.pipe", "zoo.words"}]
    assert measures.find_circles(measures.import_graph(modules)) == circle
    (checkout / "zoo/store/pipe.py").write_text("def inner(name): ...")
    modules = measures.read_modules(checkout)
    assert measures.find_circles(measures.import_graph(modules)) == []
    circle = [{"zoo.store.door", "zoo.words"}]
    assert measures.find_circles(measures.import_graph(modules, types=True)) == circle


def test_every_table_is_printed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measures.main(checkout)
    printed = capsys.readouterr().out
    assert "| store | 3 |" in printed
    assert "| zoo.words | 1 |" in printed
    assert "| at run time | 1 | zoo.store.door zoo.store.pipe zoo.words |" in printed
