"""A strict reader of YAML: plain values, with the line of each.

Refused: duplicate keys, tags (`!!python/…`), anchors and aliases, several documents, deep nesting, large
files, and plain words that YAML readers read differently (`no`, `0123`, `12e4`): those need quotes. Values
are text, true, false, null and numbers, as in YAML 1.2. Nothing is constructed from a tag and nothing
recurses, so that a hostile file causes an error and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from zoo.catalogue.problems import Problem, Step, dotted, quote, shorten

MOST_BYTES = 8 * 2**20  # about 12,000 entries
MOST_DEPTH = 12
TOO_DEEP = f"nested deeper than {MOST_DEPTH} levels"

Value: TypeAlias = "str | bool | int | float | Section | list[Value] | None"
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml: 11 ms for 110 entries; pure Python: 120 ms

WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
TRUTH_OF_YAML_11 = frozenset(("y", "n", "yes", "no", "on", "off"))
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?")
TWO_MEANINGS = re.compile(
    r"""
      [-+]?0[0-9_]+                                     # octal in YAML 1.1
    | [-+]?0(?:x[0-9a-f_]+|o[0-7]+|b[01_]+)
    | [-+]?[0-9]*_[0-9_.]*                              # 1_000
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?  # base 60
    | [-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?
    | [-+]?\.(?:inf|nan)
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*                  # a date
    """,
    re.IGNORECASE | re.VERBOSE,
)
CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Section(dict[str, "Value"]):
    """A mapping with the line on which it starts, and the line of each key."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class NotPlain(Exception):
    """The rest of the file cannot be read; `problem` states why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file. Raises NotPlain when it is too large or not UTF-8, OSError as `open` does."""
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise NotPlain(Problem(1, "", f"larger than {most_bytes:,} bytes", "Split it into several files."))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8: byte 0x{content[error.start]:02x}"
        raise NotPlain(Problem(line, "", what, "Save the file as UTF-8.")) from error


def parse_yaml(text: str) -> tuple[Section, list[Problem]]:
    """The mapping of a YAML text, and the problems that do not stop the reading.

    Raises NotPlain for those that do: broken syntax, tags, anchors, depth, a second document, no mapping.
    """
    try:
        return _build(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        what = (
            TOO_DEEP if "nesting depth" in reason else f"not YAML: {reason}"
        )  # libyaml 0.2.6 has a limit too
        raise NotPlain(Problem(line, "", what)) from error
    except yaml.YAMLError as error:  # a character that YAML forbids; `position` counts bytes or characters
        position = getattr(error, "position", 0)
        line = text.encode("utf-8", "surrogatepass").count(b"\n", 0, position) + 1
        raise NotPlain(Problem(line, "", f"not YAML: {getattr(error, 'reason', error)}")) from error


class _Builder:
    """The values read so far, the nodes that are still open, and the current position in them."""

    def __init__(self) -> None:
        self.root: list[Value] = []
        self.problems: list[Problem] = []
        self.nodes: list[Section | list[Value]] = [self.root]
        # For each open node: the key whose value comes next (None: the next scalar is a key), or an index.
        self.steps: list[Step | None] = [0]

    def field(self) -> str:
        """The current position, dotted."""
        return dotted([step for step in self.steps[1:] if step is not None])

    def take_scalar(self, event: ScalarEvent) -> None:
        """Take a scalar as the next key or value."""
        if event.anchor is not None or event.tag is not None:
            raise NotPlain(_refusal(event, self.field()))
        if not event.value.isprintable() and CONTROL.search(event.value):
            what = f"control character {CONTROL.findall(event.value)[0]!r}"
            raise NotPlain(Problem(_line_number(event), self.field(), what))
        if self.steps[-1] is None:
            self.take_key(event)
            return
        value: Value = event.value
        if event.implicit[0]:  # without quotes
            try:
                value = _plain(event.value)
            except ValueError:
                what = f"{shorten(event.value)} means different things to different YAML readers"
                self.problems.append(Problem(_line_number(event), self.field(), what, quote(event.value)))
        self.put(value)
        self.move_on()

    def take_key(self, event: ScalarEvent) -> None:
        """Record a key and its line; a duplicate is a problem."""
        section, key, line = self.nodes[-1], event.value, _line_number(event)
        assert isinstance(section, Section)
        self.steps[-1] = key
        if key in section.lines:
            what = f"is given twice, first on line {section.lines[key]}"
            self.problems.append(Problem(line, self.field(), what, "Remove one of the two."))
        elif event.implicit[0] and not is_text(key):
            self.problems.append(Problem(line, self.field(), "the key is not text", quote(key)))
        section.lines[key] = line

    def open_node(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        """Begin a mapping or a list inside the innermost open node."""
        if event.anchor is not None or event.tag is not None:
            raise NotPlain(_refusal(event, self.field()))
        if len(self.nodes) > MOST_DEPTH:
            raise NotPlain(Problem(_line_number(event), self.field(), TOO_DEEP))
        if self.steps[-1] is None:
            raise NotPlain(Problem(_line_number(event), self.field(), "a key must be text"))
        is_mapping = isinstance(event, MappingStartEvent)
        node: Section | list[Value] = Section(_line_number(event)) if is_mapping else []
        self.put(node)
        self.nodes.append(node)
        self.steps.append(None if is_mapping else 0)

    def close_node(self) -> None:
        """End the innermost open node."""
        self.nodes.pop()
        self.steps.pop()
        self.move_on()

    def put(self, value: Value) -> None:
        """Store a value at the current position."""
        node = self.nodes[-1]
        if isinstance(node, list):
            node.append(value)
        else:
            node[str(self.steps[-1])] = value

    def move_on(self) -> None:
        """Go to the next key or index."""
        step = self.steps[-1]
        self.steps[-1] = step + 1 if isinstance(step, int) else None


def is_text(word: str) -> bool:
    """Whether every YAML reader reads a word without quotes as text."""
    try:
        return isinstance(_plain(word), str)
    except ValueError:
        return False


def line_of(value: Value, path: Sequence[Step]) -> int:
    """The line of the innermost mapping key on the way to `path`."""
    line = value.line if isinstance(value, Section) else 1
    for step in path:
        if isinstance(value, Section) and isinstance(step, str):
            line = value.lines.get(step, line)
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
            line = value.line if isinstance(value, Section) else line
        else:
            break
    return line


def _build(text: str) -> tuple[Section, list[Problem]]:
    """Build values from the stream of libyaml's events: a loop, not a recursion."""
    builder = _Builder()
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, ScalarEvent):
            builder.take_scalar(event)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            builder.open_node(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            builder.close_node()
        elif isinstance(event, AliasEvent):
            raise NotPlain(_refusal(event, builder.field()))
        elif isinstance(event, DocumentStartEvent) and builder.root:
            raise NotPlain(Problem(_line_number(event), "", "a second document starts here"))
    root = builder.root[0] if builder.root else None
    if not isinstance(root, Section):
        raise NotPlain(Problem(1, "", "is not a mapping"))
    return root, builder.problems


def _plain(word: str) -> str | bool | int | float | None:
    """The value of a word without quotes, the same in YAML 1.2 and 1.1.

    Raises ValueError if they differ.

    >>> [_plain(w) for w in ("bilinear", "224", "0.5", "true", "~", "adb27a5a")]
    ['bilinear', 224, 0.5, True, None, 'adb27a5a']
    """
    if word in WORDS:
        return WORDS[word]
    first = word[0]
    if first.isalpha():
        if len(word) <= 3 and word.lower() in TRUTH_OF_YAML_11:
            raise ValueError(word)
        return word
    if INTEGER.fullmatch(word) and len(word) < 64:  # 64: a sha256 of digits alone; int() itself ends at 4,300
        return int(word)
    if DECIMAL.fullmatch(word):
        return float(word)
    if TWO_MEANINGS.fullmatch(word) or INTEGER.fullmatch(word):
        raise ValueError(word)
    return word


def _line_number(event: Event) -> int:
    """The line on which an event starts, counted from 1."""
    mark = event.start_mark
    return 1 if mark is None else mark.line + 1


def _refusal(event: NodeEvent, field: str) -> Problem:
    """Why a node with a tag, an anchor or an alias is not read."""
    line = _line_number(event)
    tag = getattr(event, "tag", None)
    if tag is not None:
        short = tag.replace("tag:yaml.org,2002:", "!!")
        return Problem(line, field, f"the tag {short} is not allowed", "Write the plain value.")
    sign = "*" if type(event) is AliasEvent else "&"
    return Problem(line, field, f"{sign}{event.anchor}: anchors and aliases are not allowed", "Write it out.")
