"""`--strategy auto`: decided once the items are counted and the device is known, and reported in one line."""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo.events import Note, Report, silent
from zoo.runs.plan import Plan
from zoo.training.recipe import AUTO, LEARNED_ENCODERS, Resolved, with_chosen
from zoo.training.suggestion import Suggestion, suggest_strategy


def decide_strategy(plan: Plan, device: torch.device, *, report: Report = silent) -> Plan:
    """The plan with a strategy that suits it, where its recipe leaves the choice; any other as it is."""
    recipe = plan.recipe
    if recipe.strategy != AUTO:
        return plan
    strategy, why = _without_choice(recipe) or suggest_strategy(
        len(plan.dataset.train), len(plan.dataset.classes), device.type, plan.dataset.kind
    )
    report(Note(f"strategy {strategy}: {why}", hint=f"Another one: --strategy {_other(strategy)}"))
    return replace(plan, recipe=with_chosen(recipe, strategy, plan.dataset.kind))


def _without_choice(recipe: Resolved) -> Suggestion | None:
    """The strategy where something random must learn, whatever the items are; None elsewhere."""
    if recipe.from_scratch:
        return Suggestion("full", "the network begins with random weights")
    if recipe.encoder in LEARNED_ENCODERS:
        return Suggestion("full", f"the encoder {recipe.encoder} begins with random weights")
    return None


def _other(strategy: str) -> str:
    """A strategy to try beside one."""
    return "partial" if strategy == "head" else "head"
