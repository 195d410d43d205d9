"""From a plain mapping to a ModelEntry, or to everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from zoo.catalogue.entry import (
    ENTRY_TYPES,
    ImageInput,
    ModelEntry,
    Score,
    Speed,
    TextInput,
    Weights,
    WordModel,
)
from zoo.catalogue.problems import Finding, Step, dotted, quote, suggest
from zoo.errors import InvalidRegistry


def entry_from(name: str, mapping: Mapping[str, Any]) -> ModelEntry:
    """The entry that a plain mapping describes, in the form of a registry file or of `entry_to_mapping`.

    Raises InvalidRegistry with everything that is wrong with it.
    """
    entry, findings = check_entry(name, mapping)
    if entry is None or findings:
        lines = [f"{dotted(('models', name, *finding.path))}: {finding.what}" for finding in findings]
        raise InvalidRegistry("\n".join(lines), hint=findings[0].hint)
    return entry


def entry_to_mapping(entry: ModelEntry) -> dict[str, Any]:
    """An entry as plain JSON values: every known fact, without the file that it was read from.

    `entry_from(entry.name, entry_to_mapping(entry))` returns an equal entry.
    """
    return {field: value for field, value in _known_facts(entry).items() if field != "registry"}


def check_entry(name: str, mapping: object) -> tuple[ModelEntry | None, list[Finding]]:
    """The entry of a mapping, None if it cannot be made, and everything that is wrong with it."""
    from zoo.catalogue.rules import find_faults  # 6 ms of patterns and urllib that `zoo list` does not need

    if not isinstance(mapping, Mapping):
        return None, [Finding((), "expected a mapping of fields")]
    findings = []
    if mapping.get("name", name) != name:
        findings.append(Finding(("name",), f"{mapping['name']!r} differs from the entry's own name"))
    if "registry" in mapping:
        findings.append(Finding(("registry",), "is not a field of a file", "Remove it."))
    task = mapping.get("task")
    if not isinstance(task, str) or task not in ENTRY_TYPES:
        what = "is missing" if task is None else f"no task {task!r}"
        return None, [*findings, Finding(("task",), what, suggest(str(task), ENTRY_TYPES))]
    fields = {key: value for key, value in mapping.items() if key != "registry"} | {"name": name}
    kind = ENTRY_TYPES[task]
    try:
        entry = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        return None, [*findings, _explain(str(error), fields, kind)]
    return entry, findings + find_faults(entry)


STRUCTS: dict[str, type[msgspec.Struct]] = {"weights": Weights, "speed": Speed, "metrics": Score}
PLAIN_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
AT = r"(?P<what>.*?)(?: - at `(?P<where>(?:key in )?\$.*)`)?"


def _known_facts(fact: msgspec.Struct) -> dict[str, Any]:
    """The fields of a registry value that are not empty, defaults filled in; recursively."""
    fields = ((field, getattr(fact, field)) for field in fact.__struct_fields__)
    return {field: _plain_value(value) for field, value in fields if value is not None and value != {}}


def _plain_value(value: Any) -> Any:
    """The JSON form of a field's value."""
    if isinstance(value, msgspec.Struct):
        return _known_facts(value)
    if isinstance(value, Mapping):
        return {key: _plain_value(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _explain(message: str, fields: Mapping[str, Any], kind: type[ModelEntry]) -> Finding:
    """The finding of a msgspec error, in terms of the file that the user wrote."""
    parts = re.fullmatch(AT, message, re.DOTALL)
    assert parts is not None
    what, where = parts["what"], parts["where"] or "$"
    path, value = _walk(fields, where)
    quoted = re.findall(r"`([^`]*)`", what)
    if "unknown field" in what:
        return Finding((*path, quoted[0]), "no such field", suggest(quoted[0], _struct_at(path, kind)))
    if "missing required field" in what:
        return Finding((*path, quoted[0]), "is missing")
    if what.startswith("Invalid enum value"):
        field = next(
            (f for f in msgspec.structs.fields(_struct_type(path[:-1], kind)) if f.name == path[-1]), None
        )
        return Finding(
            path, f"no {path[-1]} {value!r}", suggest(str(value), get_args(field.type) if field else ())
        )
    if what.startswith("Expected") and len(quoted) == 2:
        wanted = [name for name in quoted[0].split(" | ") if name != "null"]
        expected = " or ".join(PLAIN_WORDS.get(name, name) for name in wanted)
        got = PLAIN_WORDS.get(quoted[1], quoted[1])
        shown = f", {value!r}" if isinstance(value, str | int | float) else ""
        needs_quotes = "str" in wanted and isinstance(value, int | float)
        word = str(value).lower() if isinstance(value, bool) else str(value)
        return Finding(path, f"expected {expected}, got {got}{shown}", quote(word) if needs_quotes else None)
    return Finding(path, what)


def _walk(fields: Mapping[str, Any], where: str) -> tuple[tuple[Step, ...], Any]:
    """The steps of msgspec's path (`$.input.mean[1]`) and the value there.

    msgspec writes `[...]` for any key of a mapping: the path stops before it.
    """
    value: Any = fields
    steps: list[Step] = []
    for name, index in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", where.removeprefix("key in ")):
        if index == "...":
            break
        step: Step = name or int(index)
        steps.append(step)
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            value = None
    return tuple(steps), value


def _struct_type(path: Sequence[Step], kind: type[ModelEntry]) -> type[msgspec.Struct]:
    """The type whose fields are at a path of an entry."""
    if not path:
        return kind
    if path[0] == "input":
        return TextInput if issubclass(kind, WordModel) else ImageInput
    return STRUCTS.get(str(path[0]), kind)


def _struct_at(path: Sequence[Step], kind: type[ModelEntry]) -> tuple[str, ...]:
    """The fields that may be written at a path of an entry."""
    return tuple(f for f in _struct_type(path, kind).__struct_fields__ if f not in ("name", "registry"))
