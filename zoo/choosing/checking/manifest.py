"""The data set without what is wrong, as a table that finetune takes. No file is moved or deleted."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection
from pathlib import Path

from zoo.choosing.checking.evidence import WHOLE, Evidence
from zoo.data.dataset import Item
from zoo.data.names import safe_text
from zoo.errors import UsageError


def write_manifest(evidence: Evidence, culprits: Collection[Item], out: Path) -> int:
    """Write every item but the culprits to a CSV file with path (or text), label and, where the user made
    one, split. Paths are relative to the table. Returns how many items it has.

    Raises UsageError where the file is there already, or does not end in .csv, or an item has no path of its
    own.
    """
    if out.suffix.lower() != ".csv":
        raise UsageError(f"cannot write {out.name}: a list of items ends in .csv")
    if out.exists():
        raise UsageError(f"{out} is there already", hint="Name another file: nothing is overwritten.")
    kept = [item for item in evidence.items if item not in culprits]
    kind = evidence.dataset.kind
    split = any(evidence.part(item) != WHOLE for item in kept)
    rows = [
        [_cell(item, out), evidence.dataset.classes[item.label], *([evidence.part(item)] if split else [])]
        for item in kept
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.partial")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path" if kind.in_files else "text", "label", *(["split"] if split else [])])
            writer.writerows(rows)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return len(kept)


def _cell(item: Item, out: Path) -> str:
    """What a table holds of an item: its path from the table's folder, or the text itself."""
    if item.text is not None:
        return item.text
    if not item.path.exists():
        raise UsageError(
            f"{item.path} lies inside another file: a list of paths cannot name it",
            hint="Unpack the archive, and check the folder.",
        )
    return safe_text(os.path.relpath(item.path.absolute(), out.absolute().parent).replace(os.sep, "/"))
