"""Strategies: which phases a recipe has, and that nothing depends on what a phase is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from zoo.data.kinds import IMAGES, TEXTS
from zoo.errors import TrainingStopped
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import STRATEGIES, choose_strategy, phases


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({}, "head"),
        ({"unfreeze": 0}, "head"),
        ({"unfreeze": 2}, "head-then-tune"),
        ({"unfreeze": "all"}, "head-then-tune"),
        ({"unfreeze": 2, "epochs": 0}, "tune"),
        ({"unfreeze": "all", "from_scratch": True}, "tune"),
        ({"encoder": "cnn", "unfreeze": 2}, "tune"),
    ],
)
def test_a_recipe_has_the_phases_of_its_strategy(options: dict[str, Any], strategy: str) -> None:
    recipe = resolve(Recipe(**options), TEXTS if "encoder" in options else IMAGES)
    assert choose_strategy(recipe) == strategy
    assert phases(recipe) == STRATEGIES[strategy](recipe)
    trains = {"head": ["features"], "tune": ["items"], "head-then-tune": ["features", "items"]}
    assert [phase.trains for phase in phases(recipe)] == trains[strategy]


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
