"""Write zoo/training/recipe/options.py: the types of a recipe, from the table of its knobs.

    python tools/generate_recipe.py

Editors and type checkers read these types, so they must stand in a file; the table of knobs is their only
source, and tests/training/test_recipe.py compares the two.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.training.recipe.knob import Knob

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "zoo/training/recipe/options.py"
WIDTH = 110


def write_types() -> str:
    """The text of options.py."""
    from zoo.training.recipe.table import KNOBS

    wishes = "\n".join(f"    {name}: {annotation(knob)} | None = None" for name, knob in KNOBS.items())
    values = "\n".join(
        f"    {name}: {annotation(knob)}{' | None' if knob.optional else ''}" for name, knob in KNOBS.items()
    )
    typed = "\n".join(f"    {name}: {typed_annotation(knob)}" for name, knob in KNOBS.items())
    return f'''"""The types of a recipe. Written by tools/generate_recipe.py from its knobs: do not edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import msgspec


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, repr_omit_defaults=True):
    """What a fine-tuning run should be like; what is not given is chosen to suit the rest.

    `finetune_model(…, recipe=Recipe(epochs=1))`. Values are checked there, all problems at once.

    Args:
{documented()}
    """

{wishes}


class Resolved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe with a value for every knob; made by `resolve`. None means off, or chosen by the machine."""

{values}


class RecipeOptions(TypedDict, total=False):
    """The keyword arguments of `finetune_model` that are fields of a Recipe; None means not given."""

{typed}
'''


def annotation(knob: Knob) -> str:
    """The type of a value as it is written."""
    return knob.annotation.__name__ if isinstance(knob.annotation, type) else str(knob.annotation)


def typed_annotation(knob: Knob) -> str:
    """The type of a keyword argument: names one by one, so that editors offer them."""
    if knob.kind is tuple:
        kind = "Sequence[int]"
    elif knob.kind is str and knob.choices and not knob.pattern:
        kind = f"Literal[{', '.join(f'{choice!r}' for choice in knob.choices)}]".replace("'", '"')
    else:
        kind = annotation(knob)
    row = f"    {knob.name}: {kind} | None"
    if len(row) <= WIDTH:
        return f"{kind} | None"
    return f"(\n        {kind} | None\n    )"


def documented() -> str:
    """A line or more for each knob, as the section Args of a docstring has them."""
    from zoo.training.recipe.table import KNOBS
    from zoo.training.recipe.wording import PYTHON

    lines = []
    for name, knob in KNOBS.items():
        parts = [knob.doc]
        if any(scope.words for scope in knob.only):
            only = " and ".join(PYTHON.word(scope.words) for scope in knob.only if scope.words)
            parts.append(f"Only {only}.")
        if knob.choices and not knob.pattern:
            known = [f'"{choice}"' for choice in knob.choices]
            parts.append(f"One of: {', '.join(known)}.")
        parts.append(f"Default: {PYTHON.word(knob.default.words())}.")
        lines += textwrap.wrap(
            f"{name}: {' '.join(parts)}",
            WIDTH,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(write_types(), "utf-8")
