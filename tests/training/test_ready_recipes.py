"""The ready recipes suit every kind of item, are listed where one looks, and are never taken for a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import Call

from zoo.data.kinds import IMAGES, TEXTS, Kind
from zoo.errors import InvalidRecipe, UnknownName, UsageError
from zoo.events import Event, Note
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import choose_recipe, finetune_model
from zoo.runs.record import read_record
from zoo.store.store import Store
from zoo.training.ready_recipes import READY, describe_ready, find_recipe, ready_recipe
from zoo.training.recipe import KNOBS, Recipe
from zoo.training.recipe_file import read_recipe


def test_there_are_three_and_each_says_what_it_is_for() -> None:
    assert list(READY) == ["accurate", "quick", "tiny-data"]
    assert all(len(words) > 20 for words in describe_ready().values())


@pytest.mark.parametrize("kind", [IMAGES, TEXTS], ids=lambda kind: kind.noun)
@pytest.mark.parametrize("name", READY)
def test_a_ready_recipe_suits_images_and_texts_and_does_something(name: str, kind: Kind) -> None:
    recipe = choose_recipe(None, name, {}, kind)
    assert recipe != choose_recipe(None, None, {}, kind)


@pytest.mark.parametrize("name", READY)
def test_what_is_typed_wins_over_a_ready_recipe(name: str) -> None:
    assert choose_recipe(None, name, {"epochs": 3, "head": "mlp"}, IMAGES).epochs == 3
    computed = choose_recipe(None, name, {"head": "nearest-mean", "strategy": "head"}, IMAGES)
    assert computed.head == "nearest-mean"  # the rate and the epochs of the recipe are passed over
    with pytest.raises(InvalidRecipe, match="lr has no effect"):
        choose_recipe(None, name, {"head": "nearest-mean", "strategy": "head", "lr": 0.1}, IMAGES)
    with pytest.raises(InvalidRecipe) as caught:
        choose_recipe(None, name, {"epochs": "x", "lr": -1, "learn": 2}, IMAGES)
    assert len(caught.value.found) == 3


def test_a_name_is_the_ready_recipe_and_a_path_is_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[Event] = []
    assert find_recipe("quick", report=told.append) == "quick"
    assert told == []
    for name in ("quick.toml", "quick"):
        (tmp_path / name).write_text("lr = 0.5\n")
    assert find_recipe("quick", report=told.append) == "quick"
    assert find_recipe("quick.toml", report=told.append) == Recipe(lr=0.5)
    assert find_recipe("./quick.toml", report=told.append) == Recipe(lr=0.5)
    assert [(note.message, note.hint) for note in told if isinstance(note, Note)] == [
        (
            "--recipe quick is the ready recipe, not the file quick in this folder",
            "For the file: --recipe ./quick.toml",
        ),
        ("--recipe quick.toml is the file in this folder, not the ready recipe", "For that: --recipe quick"),
    ]


def test_an_unknown_name_lists_the_ready_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match=r"no recipe 'quik'\nDid you mean quick.*accurate, quick, tiny"):
        find_recipe("quik")
    with pytest.raises(UnknownName, match="There are accurate, quick, tiny-data; or give a file"):
        find_recipe("zzz")
    (tmp_path / "zzz").write_text("lr = 1\n")
    with pytest.raises(UsageError, match="a recipe is a file that ends with"):
        find_recipe("zzz")
    with pytest.raises(UsageError, match="cannot read the recipe"):
        find_recipe("nowhere.toml")
    with pytest.raises(UnknownName, match="accurate, quick, tiny-data"):
        choose_recipe(None, "zzz", {}, IMAGES)


def test_a_file_with_a_wrong_name_and_wrong_values_is_told_of_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('learnrate = 1\nepochs = "x"\nlr = -1\n')
    with pytest.raises(InvalidRecipe) as caught:
        read_recipe(path)
    assert len(caught.value.found) == 3


def test_the_files_name_nothing_that_is_a_default_already() -> None:
    for name in READY:
        given = ready_recipe(name)
        wishes = {knob: value for knob in KNOBS if (value := getattr(given, knob)) is not None}
        defaults = choose_recipe(None, None, {}, IMAGES)
        same = [knob for knob, value in wishes.items() if getattr(defaults, knob) == value]
        assert set(same) <= {"strategy", "baseline"}, name


@pytest.mark.parametrize("name", READY)
def test_a_run_is_made_with_each(name: str, store: Store, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    finetune_model(
        "digits", tmp_path / "digits", out=tmp_path / "run", store=store, recipe=name, device="cpu", epochs=2
    )
    made = read_record(tmp_path / "run").recipe
    assert (made.head, made.strategy) == ("nearest-mean" if name == "tiny-data" else "linear", "head")


def test_the_command_lists_them_and_prints_one(call: Call, tmp_path: Path) -> None:
    text = " ".join(call("finetune", "--help").out.split())
    assert "--recipe NAME|FILE" in text
    assert "accurate, quick, tiny-data" in text
    run = ("finetune", "digits", tmp_path, "--out", tmp_path / "run", "--recipe")
    said = call(*run, "quick", "--lr", "0.5", "--print-recipe", "--json")
    values = json.loads(said.out)
    assert (values["epochs"], values["lr"], values["schedule"]) == (20, 0.5, "cosine")
    said = call(*run, "quik")
    assert said.code == 2
    assert "Did you mean quick?" in said.err
