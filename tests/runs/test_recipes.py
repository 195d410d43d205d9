"""The recipe that `finetune_model` takes: a value, options, or both; and what a run goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.data.kinds import IMAGES
from zoo.errors import InvalidRecipe, UsageError
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import choose_recipe, finetune_model
from zoo.runs.record import read_record
from zoo.store.store import Store
from zoo.training.recipe import Recipe


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that every machine has."""
    folder = tmp_path_factory.mktemp("images") / "digits"
    write_digits(folder)
    return folder


def test_options_win_over_the_recipe_that_they_come_with() -> None:
    recipe = choose_recipe(None, Recipe(epochs=3, lr=0.5), {"epochs": 1, "seed": None}, IMAGES)
    assert (recipe.epochs, recipe.lr, recipe.seed) == (1, 0.5, 0)


def test_a_recipe_that_is_not_one_is_refused_with_one_that_is() -> None:
    with pytest.raises(UsageError, match=r"must be a zoo\.Recipe") as caught:
        choose_recipe(None, {"epochs": 3}, {}, IMAGES)  # type: ignore[arg-type]
    assert caught.value.hint == "recipe=zoo.Recipe(epochs=5)"


def test_a_run_is_made_with_a_recipe_and_goes_on_with_its_wishes(
    digits: Path, store: Store, tmp_path: Path
) -> None:
    recipe = Recipe(epochs=2, batch_size=8, patience=0, device="cpu")
    first = finetune_model("digits", digits, out=tmp_path / "run", store=store, recipe=recipe, epochs=1)
    made = read_record(tmp_path / "run").recipe
    assert (first.epochs, made.epochs, made.batch_size, made.weight_decay) == (1, 1, 8, 0.03)
    wishes = Recipe(epochs=0, unfreeze=1, tune_epochs=1)
    finetune_model(first.run, digits, out=tmp_path / "further", store=store, recipe=wishes)
    further = read_record(tmp_path / "further").recipe
    assert (further.epochs, further.batch_size, further.tune_epochs, further.tune_lr) == (0, 8, 1, 1e-4)
    with pytest.raises(InvalidRecipe, match="head cannot change when a run goes on: it is linear there"):
        finetune_model(first.run, digits, out=tmp_path / "other", store=store, head="mlp")


def test_a_stage_that_is_not_there_is_refused_before_the_features(
    digits: Path, store: Store, tmp_path: Path
) -> None:
    events: list[object] = []
    with pytest.raises(InvalidRecipe, match="unfreeze=99: the network has 5 stages before its head"):
        finetune_model(
            *("digits", digits),
            out=tmp_path / "run",
            store=store,
            unfreeze=99,
            device="cpu",
            report=events.append,
        )
    assert not any(getattr(event, "what", "") == "features" for event in events)
    assert not (tmp_path / "run").exists()
