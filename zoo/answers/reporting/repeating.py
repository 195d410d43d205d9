"""The command that makes a run again: what differs from the defaults, and nothing more."""

from __future__ import annotations

import shlex
from typing import Any

from zoo.errors import ZooError
from zoo.runs.record import RunRecord
from zoo.training.recipe import KNOBS, Recipe, Resolved, resolve, wishes_of


def repeat_command(record: RunRecord) -> str:
    """What to type to make the run again: with the same seed, versions and device, the same run.

    DATA stands for the folder or table, whose place a run does not know.
    """
    words = ["zoo", "finetune", record.model["name"], "DATA"]
    if record.result.task != "single-label":
        words += ["--task", record.result.task]
    if (group_by := record.data["split"].get("group_by")) is not None:
        words += ["--group-by", group_by]
    for name, value in needed_wishes(record).items():
        words += _option(name, value)
    return " ".join(map(shlex.quote, [*words, "--out", record.result.run]))


def needed_wishes(record: RunRecord) -> dict[str, Any]:
    """The knobs that must be given for the recipe to come out as it was; the others follow from them."""
    wishes = _given(wishes_of(record.recipe, record.kind))
    for name in list(wishes):
        rest = {other: value for other, value in wishes.items() if other != name}
        if _resolved(rest, record) == record.recipe:
            wishes = rest
    return wishes


def _given(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name in KNOBS if (value := getattr(recipe, name)) is not None}


def _resolved(wishes: dict[str, Any], record: RunRecord) -> Resolved | None:
    try:
        return resolve(Recipe(**wishes), record.kind)
    except ZooError:
        return None


def _option(name: str, value: Any) -> list[str]:
    """A knob as it is typed.

    >>> _option("hidden", (64, 32)), _option("balance", True)
    (['--hidden', '64,32'], ['--balance'])
    """
    option = KNOBS[name].option
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    if isinstance(value, tuple):
        return [option, ",".join(map(str, value))]
    return [option, str(value)]
