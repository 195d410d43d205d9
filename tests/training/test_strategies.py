"""Strategies: which phases a recipe has, and that nothing depends on what a phase is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from adapters import attach_head, parameter_groups
from zoo.data.kinds import IMAGES, TEXTS
from zoo.errors import TrainingStopped
from zoo.training.loop import fit
from zoo.training.losses import StartPull
from zoo.training.machine import Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import KNOBS, Recipe, resolve
from zoo.training.strategies import STRATEGIES, Phase, phases

AFTER_A_HEAD = ("partial", "lp-ft", "norms", "l2-sp", "lora", "gradual")


@pytest.mark.parametrize(
    ("options", "strategy", "trains"),
    [
        ({}, "head", ["features"]),
        ({"unfreeze": 0}, "head", ["features"]),
        ({"unfreeze": 2}, "partial", ["features", "items"]),
        ({"unfreeze": "all"}, "lp-ft", ["features", "items"]),
        ({"unfreeze": 2, "epochs": 0}, "partial", ["items"]),
        ({"unfreeze": "all", "epochs": 0}, "full", ["items"]),
        ({"unfreeze": "all", "from_scratch": True}, "full", ["items"]),
        ({"encoder": "cnn"}, "partial", ["items"]),
        ({"encoder": "cnn", "unfreeze": "all"}, "full", ["items"]),
        ({"strategy": "lora", "epochs": 0}, "lora", ["items"]),
        *(({"strategy": name}, name, ["features", "items"]) for name in AFTER_A_HEAD),
        ({"strategy": "head"}, "head", ["features"]),
        ({"strategy": "full"}, "full", ["items"]),
    ],
)
def test_a_recipe_has_the_phases_of_its_strategy(
    options: dict[str, Any], strategy: str, trains: list[str]
) -> None:
    recipe = resolve(Recipe(**options), TEXTS if "encoder" in options else IMAGES)
    assert recipe.strategy == strategy
    assert [phase.trains for phase in phases(recipe)] == trains


def test_every_strategy_of_a_recipe_is_a_row_and_the_other_way_round() -> None:
    assert [*STRATEGIES] == [*KNOBS["strategy"].choices]


def test_unfreeze_alone_means_what_it_always_meant() -> None:
    for unfreeze, strategy in ((2, "partial"), ("all", "lp-ft")):
        one = phases(resolve(Recipe(unfreeze=unfreeze), IMAGES))
        assert one == phases(resolve(Recipe(strategy=strategy, unfreeze=unfreeze), IMAGES))
        assert [(phase.name, phase.unfreeze) for phase in one] == [("head", "none"), ("tune", unfreeze)]
        assert {(phase.opens, phase.rank, phase.pull) for phase in one} == {("stages", 0, 0.0)}


def test_what_a_strategy_has_of_its_own_is_in_its_last_phase() -> None:
    def last(**options: Any) -> Phase:
        return phases(resolve(Recipe(**options), IMAGES))[-1]

    assert (last(strategy="lora", rank=3).opens, last(strategy="lora", rank=3).rank) == ("low rank", 3)
    assert last(strategy="norms").opens == "norms"
    assert last(strategy="norms").lr_decay == last(strategy="lora").lr_decay == 1.0
    assert last(strategy="l2-sp", pull=0.5).pull == 0.5
    assert last(strategy="l2-sp", unfreeze=2).unfreeze == 2
    assert last(strategy="partial").unfreeze == 1
    assert last(strategy="full", lr=0.5, patience=9).lr == 0.5


def test_gradual_has_a_phase_for_every_stage_each_with_its_own_patience() -> None:
    found = phases(resolve(Recipe(strategy="gradual", tune_patience=4, tune_epochs=6), IMAGES), depth=3)
    assert [(phase.name, phase.unfreeze) for phase in found] == [
        ("head", "none"), ("last stage", 1), ("last 2 stages", 2), ("last 3 stages", 3),
    ]  # fmt: skip
    assert {(phase.epochs, phase.patience) for phase in found[1:]} == {(6, 4)}


def test_the_pull_is_half_the_squared_distance_and_replaces_weight_decay_except_in_a_head() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    attach_head(model, 2)
    groups = parameter_groups(model, lr=0.1, weight_decay=0.5)
    pull = StartPull(model, 2.0)
    assert float(pull().detach()) == 0.0
    with torch.no_grad():
        model[0].weight += 3.0
        for parameter in model[1].parameters():
            parameter += 100.0
    assert float(pull().detach()) == pytest.approx(9 * 9)
    decays = {group["name"]: group["weight_decay"] for group in pull.without_decay(groups)}
    assert decays == {"1": 0.5, "1 (no decay)": 0.0, "0": 0.0, "0 (no decay)": 0.0}


def test_a_phase_names_the_option_that_sets_its_own_rate(features: Any) -> None:
    train, val = features.batches()
    [head] = phases(resolve(Recipe(), IMAGES))
    phase = replace(head, name="warm-up", lr=1e38, lr_option="--warm-up-lr")
    state = begin_phase(
        nn.Linear(1280, 2),
        train,
        val,
        recipe=resolve(Recipe(optimizer="sgd"), IMAGES),
        phase=phase,
        machine=Machine(torch.device("cpu")),
    )
    with pytest.raises(TrainingStopped, match=r"Try --warm-up-lr 0\.001, or --clip-norm 1"):
        fit(state)
    assert {phase.lr_option for phase in phases(resolve(Recipe(unfreeze=1), IMAGES))} == {"--lr", "--tune-lr"}
