"""The YAML of an entry as a person would write it: one field per line, small groups on one line."""

from __future__ import annotations

import json
from textwrap import indent
from typing import Any

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.validation import entry_to_mapping
from zoo.catalogue.yaml_file import is_text

DEFAULTS = {"crop": "center", "channels": 3, "lowercase": False}  # of `input`: not written
FLOW = {"input", "metrics", "speed", "arguments"}  # written on one line


def entry_text(entry: ModelEntry, *, margin: str = "  ") -> str:
    """The lines of one entry. margin: the indentation of its name."""
    mapping = entry_to_mapping(entry)
    mapping["input"] = {k: v for k, v in mapping["input"].items() if DEFAULTS.get(k) != v}
    lines = [f"{_plain(mapping.pop('name'))}:"]
    for field, value in mapping.items():
        if isinstance(value, dict) and field not in FLOW:
            lines.append(f"  {field}:")
            lines += [f"    {key}: {_flow(item)}" for key, item in value.items()]
        else:
            lines.append(f"  {field}: {_flow(value)}")
    return indent("\n".join(lines) + "\n", margin)


def _flow(value: Any) -> str:
    """A value on one line, in YAML's flow style.

    >>> _flow({"size": 224, "mean": [0.5, 0.5], "note": "a, b"})
    '{size: 224, mean: [0.5, 0.5], note: "a, b"}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _plain(value) if isinstance(value, str) else json.dumps(value)


def _plain(text: str) -> str:
    """Text as YAML: without quotes if every reader reads it as the same text."""
    safe = is_text(text) and not set(text) & set(",[]{}#&*!|>'\"%@`\n") and not f"{text} ".count(": ")
    return (
        text
        if safe and text.strip() == text and text[:1] not in "-?:"
        else json.dumps(text, ensure_ascii=False)
    )
