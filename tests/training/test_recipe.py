"""A recipe says everything that is wrong with it at once, and nothing heavy is needed to ask."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from adapters import ENCODERS, HEADS
from zoo.errors import InvalidRecipe
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.recipe import (
    FIELDS,
    LEARNED_ENCODERS,
    Field,
    Recipe,
    check,
    resolve,
    suit,
)
from zoo.training.schedules import SCHEDULES
from zoo.training.strategies import phases

LIMITED = [field for field in FIELDS.values() if field.kind in (int, float)]


def test_the_default_recipe_has_no_problem() -> None:
    assert Recipe().problems() == []
    check(Recipe())


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(head="mlp", hidden=(64, 32), unfreeze=2, lr=0.5)
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe


def test_a_field_that_nobody_declared_is_refused_in_json() -> None:
    with pytest.raises(msgspec.ValidationError, match="epoch"):
        msgspec.json.decode(b'{"epoch": 3}', type=Recipe)


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_every_field_explains_itself_and_allows_its_default(field: Field) -> None:
    assert field.doc.endswith(".")
    assert field.doc[0].isupper()
    assert field.group in ("head", "training", "deeper", "texts", "stopping", "data", "machine")
    assert field.default is None or list(field.problems(field.default)) == []
    assert field.optional == (not list(field.problems(None)))


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_every_choice_of_a_field_is_allowed_and_a_typo_gets_a_suggestion(field: Field) -> None:
    for choice in field.choices:
        assert list(field.problems(choice)) == []
        if len(choice) > 3:
            [problem] = field.problems(choice + "x")
            assert choice in problem
            assert "Did you mean" in problem


@pytest.mark.parametrize("field", LIMITED, ids=lambda field: field.name)
def test_numbers_beyond_a_limit_are_named_with_the_limit(field: Field) -> None:
    one: float = field.kind(1)
    tests = [
        (field.low, -one, True),
        (field.high, one, True),
        (field.above, -one, False),
        (field.below, one, False),
    ]
    for limit, outwards, included in tests:
        if limit is None:
            continue
        at = field.kind(limit)
        assert field.allows(at) == included
        [problem] = field.problems(at + outwards)
        assert field.name in problem
        assert f"{limit:,}" in problem
    assert not field.allows(float("nan"))
    assert not field.allows(float("inf"))


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidRecipe) as caught:
        Recipe.from_options(
            epochs="many", dropout=1.5, optimizer="adan", lr="-1", hiden="12", device="cudda", batch_size=0
        )
    assert len(caught.value.problems) == 7
    assert caught.value.exit_code == 2
    message = str(caught.value)
    for part in ("'hiden'. Did you mean hidden", "'many'", "1.5", "'adan'", "-1", "cuda", "batch_size"):
        assert part in message


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ({"hidden": (64,)}, "hidden belongs to head mlp"),
        ({"activation": "elu"}, "activation belongs to head mlp"),
        ({"batch_norm": True}, "batch_norm belongs to head mlp"),
        ({"head": "mlp", "hidden": ()}, "at least one hidden width"),
        ({"head": "mlp", "batch_norm": True, "batch_size": 1}, "batches of 1"),
        ({"momentum": 0.9}, "adam takes no momentum; these do: sgd, nesterov, rmsprop"),
        ({"momentum": 0.0, "optimizer": "nesterov"}, "momentum above 0"),
        ({"warmup": 0.0, "schedule": "one-cycle"}, "warmup above 0"),
        ({"tune_lr": 0.1}, "tune_lr has no effect"),
        ({"augment": "strong"}, "augment has no effect"),
        ({"epochs": 0}, "would train nothing"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU"),
    ],
)
def test_wishes_that_contradict_each_other_are_one_problem(wishes: dict[str, Any], named: str) -> None:
    [problem] = Recipe(**wishes).problems()
    assert named in problem


def test_a_field_that_is_wrong_by_itself_is_not_also_a_contradiction() -> None:
    assert len(Recipe(optimizer="adan", momentum=0.9).problems()) == 1
    assert len(Recipe(optimizer=["adam"], momentum=0.9).problems()) == 1  # type: ignore[arg-type]


def test_typed_texts_become_values() -> None:
    recipe = Recipe.from_options(
        epochs="5", lr="1e-2", head="mlp", hidden="64,32", unfreeze="2", balance="true", clip_norm=None
    )
    expected = Recipe(epochs=5, lr=0.01, head="mlp", hidden=(64, 32), unfreeze=2, balance=True)
    assert recipe == expected
    assert Recipe.from_options(unfreeze="all").unfreeze == "all"
    assert Recipe.from_options(hidden=[8], head="mlp").hidden == (8,)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "head", "unfreeze"),
    list(itertools.product(OPTIMIZERS, SCHEDULES, HEADS, ["none", 0, 2, "all"])),
)
def test_a_resolved_recipe_is_whole_and_sound(
    optimizer: str, schedule: str, head: str, unfreeze: Any
) -> None:
    recipe = resolve(Recipe(optimizer=optimizer, schedule=schedule, head=head, unfreeze=unfreeze))
    assert recipe.problems() == []
    assert resolve(recipe) == recipe
    open_fields = {name for name in FIELDS if getattr(recipe, name) is None}
    only_with_mlp = {"hidden", "activation"} if head != "mlp" else set()
    deeper = {name for name in FIELDS if name.startswith("tune_")} | {"lr_decay", "augment"}
    without = deeper if unfreeze in ("none", 0) else set()
    momentum = {"momentum"} if optimizer.startswith("adam") else set()
    texts = {name for name, field in FIELDS.items() if field.group == "texts"}
    assert open_fields == {"clip_norm", "workers"} | only_with_mlp | without | momentum | texts


@pytest.mark.parametrize(("encoder", "unfreeze"), list(itertools.product(ENCODERS, ["none", 1, "all"])))
def test_a_recipe_for_texts_is_whole_and_sound(encoder: str, unfreeze: Any) -> None:
    recipe = resolve(suit(Recipe(encoder=encoder, unfreeze=unfreeze), texts=True))
    assert recipe.problems() == []
    assert resolve(suit(recipe, texts=True)) == recipe
    texts = {name for name, f in FIELDS.items() if f.group == "texts" and getattr(recipe, name) is None}
    learns = unfreeze != "none" or encoder in LEARNED_ENCODERS
    assert texts == ({"encoder_width"} - ({"encoder_width"} if encoder in LEARNED_ENCODERS else set())) | (
        set() if learns else {"new_words"}
    )
    assert recipe.dropout == (0.5 if learns else 0.2)
    assert [phase.name for phase in phases(recipe)] == (
        ["tune"] if encoder in LEARNED_ENCODERS else ["head", "tune"] if learns else ["head"]
    )


def test_wishes_for_texts_and_for_images_are_kept_apart() -> None:
    with pytest.raises(InvalidRecipe) as caught:
        suit(Recipe(encoder="cnn", max_words=7), texts=False)
    assert caught.value.problems == tuple(
        f"{name} is for texts, and this model takes images" for name in ("encoder", "max_words")
    )
    with pytest.raises(InvalidRecipe, match="augment is for images, and this model takes texts"):
        suit(Recipe(augment="strong", unfreeze="all"), texts=True)


def test_several_policies_for_unknown_words_are_tried_in_order_and_a_typo_is_named() -> None:
    assert Recipe(unknown="fold+ngrams").problems() == []
    assert len(Recipe(unknown="fold+ngram").problems()) == 1


def test_what_was_wished_is_not_overwritten() -> None:
    recipe = Recipe(lr=0.5, optimizer="sgd", momentum=0.0, unfreeze=1, tune_epochs=3, augment="none")
    filled = resolve(recipe)
    assert (filled.lr, filled.momentum, filled.tune_epochs, filled.augment) == (0.5, 0.0, 3, "none")


def test_a_frozen_backbone_has_one_phase_and_an_unfrozen_one_two() -> None:
    [head] = phases(Recipe())
    assert (head.name, head.precision) == ("head", "fp32")
    head, tune = phases(Recipe(unfreeze="all", precision="bf16"))
    assert (tune.name, tune.unfreeze, tune.augment, tune.precision) == ("tune", "all", "light", "bf16")
    assert tune.lr < head.lr
    [only] = phases(Recipe(unfreeze=1, epochs=0))
    assert only.name == "tune"


def test_checking_a_recipe_imports_no_torch() -> None:
    code = (
        "import sys; from zoo.training.recipe import Recipe; from zoo.training.strategies import phases;"
        "from zoo.training.interruption import StopSignal; phases(Recipe.from_options(unfreeze='2'));"
        "print({'torch', 'numpy', 'accelerate'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
