"""A recipe as a file: what is written is read again, and what is no recipe is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import InvalidRecipe, UsageError
from zoo.training.recipe import KNOBS, Recipe
from zoo.training.recipe_file import read_recipe, recipe_text, write_recipe

VALUES = {
    bool: st.booleans(),
    int: st.integers(0, 10**9),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    tuple: st.lists(st.integers(1, 4096)).map(tuple),
}
RECIPES = st.fixed_dictionaries(
    {}, optional={name: VALUES[knob.kind] for name, knob in KNOBS.items() if knob.kind is not str}
).map(lambda given: Recipe(**given))
WISHES = Recipe(head="mlp", hidden=(256, 64), lr=1e-5, batch_norm=True, epochs=5, unfreeze="layer4")


@given(RECIPES)
def test_every_value_survives_the_file(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    path = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    write_recipe(recipe, path, "what it is\n\nand more")
    assert read_recipe(path) == recipe


def test_all_three_formats_say_the_same(tmp_path: Path) -> None:
    facts = {name: value for name in KNOBS if (value := getattr(WISHES, name)) is not None}
    texts = {
        "a.toml": recipe_text(WISHES),
        "b.json": json.dumps(facts),
        "c.yaml": yaml.safe_dump(facts | {"hidden": [256, 64]}),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_recipe(tmp_path / name) == WISHES, name


def test_names_may_be_those_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('"--batch-size" = 8\nweight-decay = 0.5\n')
    assert read_recipe(tmp_path / "a.toml") == Recipe(batch_size=8, weight_decay=0.5)


def test_every_name_that_no_recipe_has_is_listed_with_the_close_one(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("learning_rate = 1\nbatchsize = 3\nlr = 0.1\n")
    with pytest.raises(InvalidRecipe) as refused:
        read_recipe(tmp_path / "a.toml")
    assert len(refused.value.problems) == 2
    assert "batch_size" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"lr = 1", "ends with .toml"),
        ("a.toml", b"lr = ", "not valid TOML"),
        ("a.yaml", b"lr: [", "not valid YAML"),
        ("a.json", b"[1, 2]", "no names with values"),
        ("a.toml", b"\xff\xfe", "not valid TOML"),
        ("a.toml", b"[training]\nlr = 1", "is flat"),
        ("a.json", b"[" * 100_000, "not valid JSON"),
        ("a.toml", b"#" * 1_000_001, "more than"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_recipe(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")
