"""`--strategy auto`, `--head auto`: decided once items are counted and the device is known, and reported."""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo.events import Note, Report, silent
from zoo.runs.plan import Plan
from zoo.training.recipe import AUTO, LEARNED_ENCODERS, Recipe, with_chosen
from zoo.training.suggestion import HeadSuggestion, Suggestion, suggest_head, suggest_strategy


def decide_strategy(plan: Plan, device: torch.device, *, report: Report = silent) -> Plan:
    """The plan with a strategy that suits it, where its recipe leaves the choice; any other as it is."""
    recipe = plan.recipe
    if recipe.strategy != AUTO:
        return plan
    strategy, why = _without_choice(plan) or suggest_strategy(
        len(plan.dataset.train), len(plan.dataset.classes), device.type, plan.dataset.kind
    )
    report(Note(f"strategy {strategy}: {why}", hint=f"Another one: --strategy {_other(strategy)}"))
    return _with(plan, Recipe(strategy=strategy), report)


def decide_head(plan: Plan, *, report: Report = silent) -> Plan:
    """The plan with a head that suits it, where its recipe leaves the choice; its strategy is known."""
    recipe = plan.recipe
    if recipe.head != AUTO:
        return plan
    head, why = _only_linear(plan) or suggest_head(
        len(plan.dataset.train), len(plan.dataset.classes), plan.dataset.kind
    )
    other = "linear" if head != "linear" else "mlp"
    report(Note(f"head {head}: {why}", hint=f"Another one: --head {other}"))
    return _with(plan, Recipe(head=head), report)


def _with(plan: Plan, chosen: Recipe, report: Report) -> Plan:
    """The plan with what was chosen; views that then have no effect are not left out in silence."""
    recipe = with_chosen(plan.recipe, chosen, plan.dataset.kind)
    if plan.recipe.views > recipe.views:
        report(Note("--views has no effect on that: it is for a head that learns on a frozen backbone"))
    return replace(plan, recipe=recipe)


def _only_linear(plan: Plan) -> HeadSuggestion | None:
    """The linear head where a mean of features would mean nothing, or items have no one class."""
    if not plan.task.one_class:
        return HeadSuggestion("linear", f"{plan.task.name} is not one class for each item")
    if plan.recipe.strategy == "full":
        return HeadSuggestion("linear", "the whole network learns from the first epoch")
    return None


def _without_choice(plan: Plan) -> Suggestion | None:
    """The strategy where there are features alone, or something random must learn; None elsewhere."""
    recipe = plan.recipe
    if plan.features is not None:
        return Suggestion("head", "the data are features, not the items themselves")
    if recipe.from_scratch:
        return Suggestion("full", "the network begins with random weights")
    if recipe.encoder in LEARNED_ENCODERS:
        return Suggestion("full", f"the encoder {recipe.encoder} begins with random weights")
    return None


def _other(strategy: str) -> str:
    """A strategy to try beside one."""
    return "partial" if strategy == "head" else "head"
