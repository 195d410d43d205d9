"""Tables that are parts of one set, beside each other in a folder: train.csv, val.csv, test.csv."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import Part
from zoo.data.finding.found import ClassFiles, Found
from zoo.data.finding.split_words import Level, read_level
from zoo.data.finding.table import choose_columns, find_in_table
from zoo.data.finding.table_file import is_table, read_table
from zoo.data.finding.walking import is_junk
from zoo.data.kinds import Kind
from zoo.data.names import one_line
from zoo.errors import DatasetError
from zoo.events import Note


def part_tables(root: Path, kind: Kind) -> dict[Part, Path]:
    """The tables of a folder that are named like parts; empty without one for train, and where folders beside
    them hold the parts.

    Raises DatasetError for two tables of one part.
    """
    entries = [path for path in sorted(root.iterdir()) if not is_junk(path.name)]
    tables = {path.stem: path for path in entries if path.is_file() and is_table(path, kind)}
    level = read_level(list(tables))
    if not isinstance(level, Level) or "train" not in level.parts:
        return {}
    folders = read_level([path.name for path in entries if path.is_dir()])
    if isinstance(folders, Level) and any(
        below.is_dir() and not is_junk(below.name)
        for name in folders.parts.get("train", ())
        for below in (root / name).iterdir()
    ):
        return {}
    for part, names in level.parts.items():
        if len(names) > 1:
            both = " and ".join(tables[name].name for name in names)
            raise DatasetError(
                f"{one_line(root)} has {len(names)} tables for the {part} part: {both}",
                hint="Keep one of them.",
            )
    return {part: tables[name] for part, (name,) in level.parts.items()}


def join_tables(
    root: Path, tables: dict[Part, Path], kind: Kind, item_column: str | None, label_column: str | None
) -> Found:
    """What several tables hold, each a part. Raises DatasetError for a table with a split of its own."""
    parts: dict[Part | None, ClassFiles] = {}
    texts: dict[str, str] = {}
    notes = [Note("parts: " + ", ".join(f"{one_line(path.name)} is {part}" for part, path in tables.items()))]
    frame, _ = read_table(tables["train"], kind, named=(item_column, label_column))
    columns = choose_columns(frame, tables["train"], kind, item_column, label_column)
    for part, table in tables.items():
        if part == "test" and columns.label not in read_table(table, kind, named=(columns.item,))[0].columns:
            notes.append(Note(f"{one_line(table)} passed over: it has no column {columns.label}"))
            continue
        found = find_in_table(table, kind, item_column=columns.item, label_column=columns.label)
        if set(found.parts) != {None}:
            raise DatasetError(
                f"{one_line(table)} is the {part} part, and its column of splits says otherwise",
                hint="Remove that column, or give one table with all parts.",
            )
        parts[part] = found.parts[None]
        texts |= found.texts
        notes += found.notes
    return Found(root, parts, tuple(notes), texts=texts, layout=None if kind.in_files else "table")
