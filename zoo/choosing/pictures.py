"""Pictures: figures without a screen, in the formats that a suffix names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def check_picture(out: Path) -> None:
    """Raise UsageError, before anything is computed, for a picture that could not be written."""
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: a picture ends with {', '.join(FORMATS)}", hint=f"Like {out.stem}.png")
    if out.exists():
        raise UsageError(f"{out} is there already", hint="Name another file: nothing is overwritten.")
    new_figure()


def new_figure(width: float = 7.0, height: float = 4.5) -> Figure:
    """An empty figure of so many inches. It has no window, and leaves the user's own figures and backend
    alone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure, beside and renamed. Raises UsageError as `check_picture` does."""
    check_picture(out)
    replace_figure(figure, out)


def replace_figure(figure: Figure, out: Path) -> None:
    """Write a figure to a file of our own, beside and renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.partial")  # of this process: others may draw the same
    try:
        figure.savefig(draft, format=out.suffix[1:].lower(), dpi=150)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
