"""Curves and bars in characters, for a terminal of any width and for a pipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence

_LINES = {"point": "•", "mark": "│", "axis": "│", "corner": "└", "tick": "┴", "floor": "─"}
_ASCII = {"point": "*", "mark": ":", "axis": "|", "corner": "+", "tick": "+", "floor": "-"}
_MARGIN = 9


def in_ascii() -> bool:
    """Whether to draw in ASCII alone: nobody looks on, or the terminal knows no more."""
    return not sys.stdout.isatty() or "utf" not in (sys.stdout.encoding or "").lower()


def bar(share: float, mark: float, width: int, *, plain: bool = False) -> str:
    """A share, 0..1, as a bar of at most `width` columns, with a mark where it should end. plain: in ASCII.

    >>> bar(0.5, 0.8, 10, plain=True), bar(1.0, 0.5, 10, plain=True)
    ('#####  |', '####|#####')
    """
    full, line = ("#", "|") if plain else ("█", "│")
    cells = [*(full * round(share * width)).ljust(width)]
    cells[min(width, max(1, round(mark * width))) - 1] = line
    return "".join(cells).rstrip()


def chart(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    width: int,
    height: int = 12,
    top: float,
    marks: Mapping[str, float],
    plain: bool = False,
) -> str:
    """A falling and rising curve over a logarithmic axis, in `height` lines of at most `width` columns.

    xs: growing, above 0. ys: as many; what is above `top` is drawn at the top. marks: text -> x, a vertical
    line each, explained below the axis. plain: in ASCII alone.

    >>> print(chart([1, 10, 100], [1, 0.5, 0], width=30, height=3, top=1, marks={"here": 10}, plain=True))
           1 |*****     :
         0.5 |     **********
           0 |          :    *****
             ++---------+--------+
              1e0       1e1
                      here
    """
    signs = _ASCII if plain else _LINES
    columns = max(10, width - _MARGIN - 1)
    low, high = math.log10(xs[0]), math.log10(xs[-1])
    bottom = min(0.0, *ys)

    def column(x: float) -> int:
        return round((math.log10(x) - low) / (high - low) * (columns - 1))

    def row(y: float) -> int:
        return round((top - min(y, top)) / (top - bottom) * (height - 1))

    grid = [[" "] * columns for _ in range(height)]
    for x in marks.values():
        for line in grid:
            line[column(x)] = signs["mark"]
    before: int | None = None
    for at in range(columns):
        here = row(_between(xs, ys, 10 ** (low + (high - low) * at / (columns - 1))))
        first, last = (here, here) if before is None or before == here else _steps(before, here)
        for place in range(first, last + 1):
            grid[place][at] = signs["point"]
        before = here
    labels = {0: top, height // 2: (top + bottom) / 2, height - 1: bottom}
    lines = [
        (f"{labels[at]:>{_MARGIN - 1}.3g} " if at in labels else " " * _MARGIN)
        + signs["axis"]
        + "".join(cells)
        for at, cells in enumerate(grid)
    ]
    lines += [*_axis(low, high, columns, signs), *_pointers(marks, column, columns)]
    return "\n".join(line.rstrip() for line in lines)


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The curve at x, from the points on both sides of it."""
    right = next((at for at, value in enumerate(xs) if value >= x), len(xs) - 1)
    left = max(0, right - 1)
    if left == right or xs[right] == xs[left]:
        return ys[right]
    share = (math.log(x) - math.log(xs[left])) / (math.log(xs[right]) - math.log(xs[left]))
    return ys[left] + (ys[right] - ys[left]) * min(1.0, max(0.0, share))


def _steps(before: int, here: int) -> tuple[int, int]:
    """The rows of a column that joins the row before to this one."""
    return (before + 1, here) if here > before else (here, before - 1)


def _axis(low: float, high: float, columns: int, signs: Mapping[str, str]) -> list[str]:
    """The axis with a mark for every power of ten, and as many labels as there is room for."""
    powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    floor, labels, free = [signs["floor"]] * columns, [" "] * (columns + 6), 0
    for power in powers:
        at = round((power - low) / (high - low) * (columns - 1))
        floor[at] = signs["tick"]
        text = f"1e{power}"
        if at >= free and at + len(text) <= columns + 1:
            labels[at : at + len(text)] = text
            free = at + len(text) + 2
    return [" " * _MARGIN + signs["corner"] + "".join(floor), " " * (_MARGIN + 1) + "".join(labels)]


def _pointers(marks: Mapping[str, float], column: Callable[[float], int], columns: int) -> list[str]:
    """A line for every mark, its text below it."""
    lines = []
    for text, x in marks.items():
        at = max(0, min(column(x) - len(text) // 2, columns - len(text)))
        lines.append(" " * (_MARGIN + 1 + at) + text)
    return lines
