"""The prose of the code is plain English: docstrings, comments, messages and names.

Not a matter of taste but of readers: "is no file" is German word order for "is not a file", and a private
word for a public idea has to be learned before the code can be read.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Rooms to be cleaned. A room that is clean fails here until its name is deleted.
NOT_YET_CLEAN: set[str] = set()

FORMS = {
    "is no …: is not a …": (
        r"(?<!there )\b(?:is|are|was|were|be) no "
        r"(?!longer\b|more\b|less\b|better\b|worse\b|larger\b|smaller\b|faster\b|slower\b)"
    ),
    "is none: is not one": r"(?<!there )\b(?:is|are|was|were) (?-i:none)\b",
    "comes to: becomes, is, costs": r"\b(?:come|comes|came) to\b",
    "is meant: means, is wanted": r"\b(?:is|are|was|were) meant\b",
    "tell: report, state, show, distinguish": r"\b(?:tell|tells|telling|told)\b",
    "said: reported, stated": r"\bsaid\b",
    "a private word": r"\b(?:wished|alien|homeless|hopeless|settle|settles|settled)\b",
}
PRIVATE_NAMES = {
    *("Hold", "settle", "settle_copies", "look", "Seen", "Start", "Side", "Fitted", "Job", "wished", "typed"),
    *("suit", "sound", "alien", "homeless", "refuse_the_hopeless", "tell", "told", "said", "beside"),
}


def rooms() -> dict[str, list[Path]]:
    """The files of each room: a folder of zoo, a file directly in it, or adapters."""
    found: dict[str, list[Path]] = {"adapters": sorted((ROOT / "adapters").rglob("*.py"))}
    for path in sorted((ROOT / "zoo").rglob("*.py")):
        found.setdefault(path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py"), []).append(path)
    return found


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment and string of a file; an f-string is one text, with {} for its values."""
    text = path.read_text("utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    inside = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that a file names, without leading underscores."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name.lstrip("_")
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg.lstrip("_")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id.lstrip("_")
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr.lstrip("_")


def find_faults(text: str) -> list[str]:
    """What is wrong with a text: the advice of each form that it has."""
    plain = " ".join(text.split())
    return [advice for advice, form in FORMS.items() if re.search(form, plain, re.IGNORECASE)]


def faults_of(path: Path) -> list[str]:
    """Every fault of a file, with its line."""
    where = path.relative_to(ROOT)
    faults = [
        f"{where}:{line}: {advice}: {' '.join(text.split())[:160]}"
        for line, text in prose_of(path)
        for advice in find_faults(text)
    ]
    return faults + [
        f"{where}:{line}: the name {name}: a standard term"
        for line, name in names_of(path)
        if name in PRIVATE_NAMES
    ]


@pytest.mark.parametrize("room", rooms())
def test_a_room_is_written_in_plain_english(room: str) -> None:
    faults = [fault for path in rooms()[room] for fault in faults_of(path)]
    if room in NOT_YET_CLEAN:
        assert faults, f"{room} is clean: delete it from NOT_YET_CLEAN"
    else:
        assert not faults, "\n".join(faults)


def test_a_room_to_be_cleaned_is_there() -> None:
    assert set(rooms()) >= NOT_YET_CLEAN


@pytest.mark.parametrize(
    "text",
    [
        "{} is no file",
        "names that are no model's",
        "a rule that is none",
        "what one epoch came to",
        "if the new ones are meant",
        "nobody is told",
        "as the Hub said",
        "normed if wished",
    ],
)
def test_a_form_of_the_old_dialect_is_found(text: str) -> None:
    assert find_faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no such file",
        "{} is not a file",
        "it is no longer here",
        "is no larger than it was",
        "None is",
    ],
)
def test_plain_english_is_left_alone(text: str) -> None:
    assert not find_faults(text)
