"""Messages about a recipe in parts, so that Python code and the command line each read their own names.

    Problem(("batch_size",), (Name("batch_size"), " must be at least 1, not 0"))

is `batch_size must be …` to whoever calls `finetune_model`, and `--batch-size must be …` to whoever typed it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Name:
    """A knob of the recipe, by its name."""

    knob: str


@dataclass(frozen=True)
class Setting:
    """A knob with a value, as it is given."""

    knob: str
    value: Any


Part: TypeAlias = str | Name | Setting


@dataclass(frozen=True)
class Language:
    """How a knob is called, and how it is given a value."""

    name: Callable[[str], str]
    setting: Callable[[str, Any], str]

    def word(self, parts: Iterable[Part]) -> str:
        """The parts of a message as one text.

        >>> COMMAND_LINE.word(["add ", Setting("unfreeze", 1)]), PYTHON.word(["add ", Setting("unfreeze", 1)])
        ('add --unfreeze 1', 'add unfreeze=1')
        """
        return "".join(map(self._part, parts))

    def _part(self, part: Part) -> str:
        match part:
            case Name(knob):
                return self.name(knob)
            case Setting(knob, value):
                return self.setting(knob, value)
            case str():
                return part


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a recipe. knobs: those that are wrong, or at odds with each other."""

    knobs: tuple[str, ...]
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return PYTHON.word(self.parts)


def option_name(knob: str) -> str:
    """The option of a knob on the command line.

    >>> option_name("batch_size")
    '--batch-size'
    """
    return "--" + knob.replace("_", "-")


def as_option(knob: str, value: Any) -> str:
    """A knob and its value as they are typed.

    >>> as_option("hidden", (64, 32)), as_option("from_scratch", True), as_option("baseline", False)
    ('--hidden 64,32', '--from-scratch', '--no-baseline')
    """
    if isinstance(value, bool):
        return option_name(knob if value else f"no_{knob}")
    return f"{option_name(knob)} {plain(value)}"


def _as_keyword(knob: str, value: Any) -> str:
    """A knob and its value as a keyword argument.

    >>> _as_keyword("unfreeze", "all")
    'unfreeze="all"'
    """
    return f"{knob}={json.dumps(value) if isinstance(value, str) else repr(value)}"


def plain(value: Any) -> str:
    """A value as a text has it.

    >>> plain(0.0001), plain((64, 32)), plain(True)
    ('0.0001', '64,32', 'yes')
    """
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(map(plain, value))
        case _:
            return str(value)


def listed(names: Iterable[str]) -> str:
    """Names one after the other.

    >>> listed(["adam", "sgd"])
    'adam, sgd'
    """
    return ", ".join(names)


PYTHON = Language(str, _as_keyword)
COMMAND_LINE = Language(option_name, as_option)
