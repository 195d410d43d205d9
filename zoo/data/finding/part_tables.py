"""Tables that are parts of one set, beside each other in a folder: train.csv, val.csv, test.csv."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.data.dataset import SINGLE, Layout, Part
from zoo.data.finding.found import ClassFiles, Found
from zoo.data.finding.split_columns import NO_COLUMN
from zoo.data.finding.split_words import Level, read_level
from zoo.data.finding.table import Named, NoLabels, choose, find_in_cells
from zoo.data.finding.table_file import is_table, read_table
from zoo.data.finding.walking import is_junk
from zoo.data.kinds import Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note

_SHARD = re.compile(r"(.+?)-\d{3,6}-of-\d{3,6}(-[0-9a-f]{8,})?")
"""Names of the pieces that Hugging Face datasets save: train-00000-of-00002-0123456789abcdef."""


def part_tables(root: Path, kind: Kind) -> dict[Part, tuple[Path, ...]]:
    """The tables of a folder that are named like parts, and those in its folder data, if it has no others.

    Empty without one for train, and where folders beside them hold the parts. Raises DatasetError for two
    tables of one part that are not numbered pieces of it.
    """
    entries = [path for path in sorted(root.iterdir()) if not is_junk(path.name)]
    tables: dict[str, list[Path]] = {}
    for path in entries:
        if path.is_file() and is_table(path, kind):
            shard = _SHARD.fullmatch(path.name.partition(".")[0])
            tables.setdefault(shard[1] if shard else path.name, []).append(path)
    level = read_level(list(tables))
    folders = [path for path in entries if path.is_dir()]
    if not isinstance(level, Level) or "train" not in level.parts:
        inside = [path for path in folders if path.name.lower() == "data"]
        return part_tables(inside[0], kind) if len(folders) == len(inside) == 1 and not tables else {}
    named = read_level([path.name for path in folders])
    if isinstance(named, Level) and any(
        below.is_dir() and not is_junk(below.name)
        for name in named.parts.get("train", ())
        for below in (root / name).iterdir()
    ):
        return {}
    twice = {part: names for part, names in level.parts.items() if len(names) > 1}
    for part, names in twice.items():
        both = " and ".join(one_line(path.name) for name in names for path in tables[name])
        raise DatasetError(
            f"{one_line(root)} has {len(names)} tables for the {part} part: {both}", hint="Keep one of them."
        )
    return {part: tuple(tables[name]) for part, (name,) in level.parts.items()}


def join_tables(root: Path, tables: Mapping[Part, Sequence[Path]], kind: Kind, named: Named) -> Found:
    """What several tables hold, each in one part. Raises as `find_in_table`."""
    parts: dict[Part | None, ClassFiles] = {}
    texts: dict[str, str] = {}
    groups: dict[str, str] | None = None
    names: tuple[str, ...] | None = None
    seen: list[Found] = []
    listed = ", ".join(f"{one_line(paths[0].name)} is {part}" for part, paths in tables.items())
    notes = [Note(f"parts by the names of tables: {listed}")]
    first = tables["train"][0]
    columns = choose(read_table(first, kind, named=named.columns), kind, named)[0]
    label = columns.label if named.task == SINGLE else None
    same = Named(columns.item, label, NO_COLUMN, named.group, named.task, columns.labels)
    for part, paths in tables.items():
        for path in paths:
            table = read_table(path, kind, named=(columns.item, columns.label))
            if part == "test" and columns.label not in table.columns:
                notes.append(
                    Note(f"{one_line(path)} passed over: it has no column {one_line(columns.label)}")
                )
                continue
            try:
                found = find_in_cells(table, kind, same, part)
            except NoLabels:
                if part != "test":
                    raise
                notes.append(Note(f"{one_line(path)} passed over: it has no labels"))
                continue
            for name, files in found.parts[None].items():
                parts.setdefault(part, {}).setdefault(name, []).extend(files)
            texts |= found.texts
            names = found.names
            seen.append(found)
            if found.groups is not None:
                groups = {**(groups or {}), **found.groups}
            notes += found.notes
    layout: Layout | None = None if kind.in_files else "table"
    return Found(
        root,
        parts,
        tuple(notes),
        texts=texts,
        layout=layout,
        groups=groups,
        names=names,
        columns=next((found.columns for found in seen), ()),
        group_column=next((found.group_column for found in seen if found.group_column), None),
    )
