"""A look at the items before they are trained on: what `zoo check` would show first, in a moment.

The features are there already, so that it costs some hundredths of a second. Copies, unreadable files and
uneven classes are reported where they are found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.data.dataset import Dataset, Item, relative_name
from zoo.data.names import one_line, shortened
from zoo.events import Note
from zoo.features.rows import Rows, read_rows
from zoo.features.suspects import doubt_labels, find_unusual

MOST = 5_000
"""Items that are looked at, drawn from more: the time grows with the square of their number."""
_FAR = 5.0
"""As `find_unusual` measures it. Measured: one of 398 photographs, 5 of 1,797 digits, none of 60 drawn from a
normal distribution; from 3.5 on, which `zoo check` lists with the pictures, it is six, dozens and one."""
_SHOWN = 3


def review_items(dataset: Dataset, items: Sequence[Item], features: Rows, data: str) -> Note | None:
    """What may be wrong with items that are about to be trained on; None where nothing stands out.

    features: (items, width) of single-label items. data: as the user named them. It is a remark, not a
    warning: some photographs are unlike all others and right.
    """
    rows = np.arange(len(items))
    if len(items) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(len(items), MOST, replace=False))
    seen = read_rows(features, rows).numpy()
    unlike = [row for row, far in find_unusual(seen) if far > _FAR]
    doubts = doubt_labels(seen, np.array([item.label for item in items], dtype=np.int64)[rows])

    def name(row: int) -> str:
        return shortened(relative_name(items[int(rows[row])].path, dataset.root), 60)

    rather = [f"{name(one.row)} (rather {one_line(dataset.classes[one.suggested])})" for one in doubts]
    count = dataset.kind.count
    found = [
        f"{count(len(each))} {what}: {', '.join(each[:_SHOWN])}{', …' * (len(each) > _SHOWN)}"
        for each, what in (
            ([name(row) for row in unlike], "unlike all others"),
            (rather, "with a label that may be wrong"),
        )
        if each
    ]
    if not found:
        return None
    among = f"of {MOST:,} looked at, " if len(items) > MOST else ""
    return Note(among + "; ".join(found), hint=f"Look at them: zoo check {shortened(data)}")
