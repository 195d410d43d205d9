"""The recipes that come with zoo, by name: files of zoo/training/recipes, and which of them a name means.

A new one is a file there; its first line, a comment, says what it is for.
"""

from __future__ import annotations

from pathlib import Path

from zoo.errors import UnknownName
from zoo.events import Note, Report, silent
from zoo.training.recipe import Recipe
from zoo.training.recipe_file import SUFFIXES, read_recipe

FOLDER = Path(__file__).parent / "recipes"
READY: dict[str, Path] = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def describe_ready() -> dict[str, str]:
    """What each ready recipe is for, by its name."""
    return {name: path.read_text("utf-8").splitlines()[0].lstrip("# ") for name, path in READY.items()}


def ready_recipe(name: str) -> Recipe:
    """The ready recipe of that name. Raises UnknownName, with those that there are."""
    if name not in READY:
        raise UnknownName("recipe", name, READY)
    return read_recipe(READY[name])


def find_recipe(given: str, *, report: Report = silent) -> Recipe | str:
    """What `--recipe` means: the name of a ready recipe, or else the recipe of a file.

    A name without a folder and an ending is a ready recipe. Where a file of its name lies in the current
    folder too, a note says which of the two is used.

    Raises UnknownName for neither of them, and what `read_recipe` raises.
    """
    path = Path(given)
    if given in READY:
        rivals = [name for name in (given, *(given + suffix for suffix in SUFFIXES)) if Path(name).is_file()]
        if rivals:
            file = next((name for name in rivals if name != given), f"{given}.toml")
            report(
                Note(
                    f"--recipe {given} is the ready recipe, not the file {rivals[0]} in this folder",
                    hint=f"For the file: --recipe ./{file}",
                )
            )
        return given
    if path.suffix.lower() not in SUFFIXES and not path.exists() and path.name == given:
        error = UnknownName("recipe", given, READY)
        more = f"There are {', '.join(READY)}; or give a file: --recipe my.toml"
        error.hint = f"{error.hint} {more}" if error.hint and "Did you mean" in error.hint else more
        raise error
    if path.stem in READY and path.name == given and path.is_file():
        report(
            Note(
                f"--recipe {given} is the file in this folder, not the ready recipe",
                hint=f"For that: --recipe {path.stem}",
            )
        )
    return read_recipe(path)
