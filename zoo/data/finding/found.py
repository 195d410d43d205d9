"""What a folder or a table holds before any decision: files or texts by part and class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.dataset import Layout, Part
from zoo.data.names import safe_text, same_form
from zoo.events import Note

ClassFiles = dict[str, list[str]]
"""Paths by class. A text that is not alone in its file has FILE:NUMBER for its path."""


@dataclass(frozen=True)
class Found:
    """Labelled items, sorted within their class.

    parts: by part; the only part is None where the data are not split. Every class is a key. empty: what the
    folders of classes without an item hold. texts: those that were read already, by path. groups: by path,
    where a table has the column that says what belongs together; None without one. names: of the outputs,
    where columns of a table give them; a class of `parts` is then a key of zoo/data/finding/targets. by_line:
    files that hold an item per line. layout: how texts lie in their files.
    contents: sha256 of items that are known by their features, by path. columns: of a table; group_column:
    the one that `groups` are of.
    """

    root: Path
    parts: dict[Part | None, ClassFiles]
    notes: tuple[Note, ...]
    empty: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    by_line: frozenset[str] = frozenset()
    layout: Layout | None = None
    groups: Mapping[str, str] | None = None
    names: tuple[str, ...] | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    group_column: str | None = None


def class_name(name: str) -> str:
    """The class that a folder or a cell stands for: text that JSON takes, in one Unicode form.

    >>> class_name(" cafe\\u0301 ") == "caf\\u00e9"
    True
    """
    return safe_text(same_form(name.strip()))
