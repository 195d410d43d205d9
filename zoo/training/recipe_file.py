"""A recipe as a file: TOML, YAML or JSON, a line for each knob that is not left to its default.

lr = 0.003
hidden = [256, 64]
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from zoo.errors import InvalidRecipe, UsageError
from zoo.training.recipe import KNOBS, Recipe, read_options

MOST_BYTES = 1_000_000
SUFFIXES = (".toml", ".yaml", ".yml", ".json")


def read_recipe(path: Path) -> Recipe:
    """The recipe of a file. Its values are checked when it is used, all of them at once.

    Names may be written as on the command line, batch-size. Raises UsageError for a file that is not one, and
    InvalidRecipe with every name that no recipe has, and every value that none of them can have.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a recipe is a file that ends with {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path} is not a recipe: it has more than {MOST_BYTES:,} bytes")
    facts = _parse(path, content)
    given = {str(name).lstrip("-").replace("-", "_"): value for name, value in facts.items()}
    recipe, problems = read_options(given)
    if problems:
        problems += [each for name, knob in KNOBS.items() for each in knob.problems(getattr(recipe, name))]
        raise InvalidRecipe(problems, hint=f"They are in {path}.")
    return recipe


def _parse(path: Path, content: bytes) -> Mapping[str, Any]:
    """The names and values of a file. Raises UsageError with the place of what cannot be parsed."""
    import tomllib

    import yaml

    try:
        text = content.decode("utf-8-sig")
        match path.suffix.lower():
            case ".toml":
                facts: Any = tomllib.loads(text)
            case ".json":
                facts = json.loads(text)
            case _:
                facts = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from error
    facts = {} if facts is None else facts
    if not isinstance(facts, dict):
        raise UsageError(f"{path} is not a recipe: it has no names with values", hint="Like this: lr = 0.003")
    nested = [str(name) for name, value in facts.items() if isinstance(value, dict)]
    if nested:
        raise UsageError(
            f"{path}: {', '.join(nested[:3])} holds names of its own, and a recipe is flat",
            hint="Write each as a line of the file: lr = 0.003",
        )
    return facts


def recipe_text(values: Recipe | Mapping[str, Any], comment: str = "") -> str:
    """The recipe as TOML; what is None is left out. comment: lines that stand above it.

    >>> print(recipe_text(Recipe(lr=0.003, hidden=(256, 64), batch_norm=True, head="mlp")), end="")
    head = "mlp"
    hidden = [256, 64]
    batch_norm = true
    lr = 0.003
    """
    found = {name: getattr(values, name) for name in KNOBS} if isinstance(values, Recipe) else values
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{name} = {_toml(value)}" for name, value in found.items() if value is not None]
    return "".join(f"{line}\n" for line in lines)


def write_recipe(recipe: Recipe, path: Path, comment: str = "") -> None:
    """Write a recipe as TOML, beside and renamed: whoever reads it meanwhile has the old one or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    draft.write_text(recipe_text(recipe, comment), "utf-8")
    draft.replace(path)


def _toml(value: Any) -> str:
    """A plain value as TOML has it: JSON but for numbers, which must have a point or no exponent."""
    if isinstance(value, float):
        text = repr(value)
        return text if set(text) & set(".n") else text.replace("e", ".0e") if "e" in text else f"{text}.0"
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
