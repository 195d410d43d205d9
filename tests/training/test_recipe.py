"""A recipe says everything that is wrong with it at once, and nothing heavy is needed to ask."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from generate_recipe import TARGET, write_types

from adapters import ENCODERS, HEADS
from zoo.data.kinds import IMAGES, TEXTS, Kind
from zoo.errors import InvalidRecipe
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.recipe import (
    KNOBS,
    LEARNED_ENCODERS,
    Knob,
    Recipe,
    RecipeOptions,
    Resolved,
    find_problems,
    from_json,
    go_on,
    merge,
    read_options,
    resolve,
    to_json,
    wishes_of,
    with_chosen,
)
from zoo.training.recipe.conditions import COMPUTED_HEADS, FROZEN, SOMETHING_TRAINS, TRAINED_HEAD
from zoo.training.recipe.knob import By, Same
from zoo.training.recipe.phases import PhaseKnobs
from zoo.training.recipe.rules import RULES
from zoo.training.recipe.wording import COMMAND_LINE, PYTHON, Problem, plain
from zoo.training.schedules import SCHEDULES
from zoo.training.strategies import phases

ALL = list(KNOBS.values())
LIMITED = [knob for knob in ALL if knob.kind in (int, float)]
RUNS = Path(__file__).parents[1] / "runs" / "schema_1"


def sentences(recipe: Recipe, kind: Kind = IMAGES) -> list[str]:
    """The problems of a recipe, as Python code names things."""
    return [str(problem) for problem in find_problems(recipe, kind)]


def options_of(recipe: Recipe, kind: Kind = IMAGES) -> list[str]:
    """The same, as the command line names things."""
    return [COMMAND_LINE.word(problem.parts) for problem in find_problems(recipe, kind)]


def recipe_for(example: dict[str, Any]) -> tuple[Recipe, Kind]:
    """The recipe and the kind of item that a condition holds for."""
    wishes = dict(example)
    kind = wishes.pop("kind", IMAGES)
    return Recipe(**wishes), kind


@pytest.mark.parametrize("kind", [IMAGES, TEXTS], ids=lambda kind: kind.noun)
def test_the_default_recipe_has_no_problem(kind: Kind) -> None:
    assert find_problems(Recipe(), kind) == []


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(head="mlp", hidden=(64, 32), unfreeze=2, lr=0.5)
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe


def test_a_field_that_nobody_declared_is_refused_in_json() -> None:
    with pytest.raises(msgspec.ValidationError, match="epoch"):
        msgspec.json.decode(b'{"epoch": 3}', type=Recipe)


# --- every knob


@pytest.mark.parametrize("knob", ALL, ids=lambda knob: knob.name)
def test_every_knob_explains_itself_and_allows_its_default(knob: Knob) -> None:
    assert knob.doc.endswith(".")
    assert knob.doc[0].isupper()
    assert knob.heading in ("head", "training", "deeper", "texts", "stopping", "data", "machine")
    values = [knob.default.value, *(value for _, value in knob.default.cases), knob.off]
    for value in values:
        for one in value.values.values() if isinstance(value, By) else [value]:
            assert isinstance(one, Same) or list(knob.problems(one)) == []


@pytest.mark.parametrize("knob", ALL, ids=lambda knob: knob.name)
def test_the_text_of_every_default_is_what_resolve_fills_in(knob: Knob) -> None:
    """Every value that --help shows for a default comes out where its words hold."""
    applies = {key: value for scope in knob.only for key, value in scope.example.items()}
    assert PYTHON.word(knob.default.words()).count(";") == len(knob.default.cases)
    for condition, value in [(None, knob.default.value), *knob.default.cases]:
        example = applies | (dict(condition.example) if condition else {})
        if condition and knob.name in example:
            continue
        if "strategy" in example:
            example.pop("unfreeze", None)
        elif condition and "unfreeze" in applies:
            example.setdefault("unfreeze", applies["unfreeze"])
        for choice in value.values if isinstance(value, By) else [None]:
            wishes = example if choice is None else example | {value.knob: choice}
            recipe = resolve(*recipe_for(wishes))
            found = getattr(recipe, knob.name)
            if isinstance(value, Same):
                assert found == getattr(recipe, value.knob)
                shown = value.knob
            else:
                one = value.values[choice] if isinstance(value, By) else value
                assert found == one
                shown = knob.default.none if one is None else plain(one)
            assert shown in PYTHON.word(knob.default.words())
        if condition:
            assert PYTHON.word(condition.words) in PYTHON.word(knob.default.words())


@pytest.mark.parametrize("knob", [k for k in ALL if k.only], ids=lambda knob: knob.name)
def test_a_knob_given_in_vain_is_a_problem_and_none_where_it_belongs(knob: Knob) -> None:
    """Whatever a knob belongs to: where it holds the knob has an effect, where it does not giving it is one
    problem."""
    value = knob.kind(0.5) if knob.kind is float else 3
    wish = knob.choices[-1] if knob.choices else (3,) if knob.kind is tuple else value
    wish = True if knob.kind is bool else wish
    applies: dict[str, Any] = {key: value for scope in knob.only for key, value in scope.example.items()}
    recipe, kind = recipe_for(applies | {knob.name: wish})
    assert sentences(recipe, kind) == []
    assert getattr(resolve(recipe, kind), knob.name) == wish
    for scope in knob.only:
        lacking = {k: v for k, v in applies.items() if k not in scope.example}
        if scope.example == {"head": "linear"}:  # which is the default
            lacking["head"] = COMPUTED_HEADS[0]
        if scope is FROZEN:  # which is the default too
            lacking["unfreeze"] = 1
        others = next(k for k in (IMAGES, TEXTS) if k is not scope.example.get("kind", TEXTS))
        recipe, _ = recipe_for(lacking | {knob.name: wish})
        kind = lacking.get("kind", others if "kind" in scope.example and len(scope.example) == 1 else kind)
        problems = [p for p in find_problems(recipe, kind) if knob.name in p.knobs]
        assert len(problems) == 1
        assert knob.name in str(problems[0])
        assert knob.option in COMMAND_LINE.word(problems[0].parts)
        if knob.off is not None:
            off = find_problems(msgspec.structs.replace(recipe, **{knob.name: knob.off}), kind)
            assert [problem for problem in off if knob.name in problem.knobs] == []


@pytest.mark.parametrize("knob", ALL, ids=lambda knob: knob.name)
def test_every_choice_of_a_knob_is_allowed_and_a_typo_gets_a_suggestion(knob: Knob) -> None:
    for choice in knob.choices:
        assert list(knob.problems(choice)) == []
        if len(choice) > 3:
            problems = find_problems(Recipe(**{knob.name: choice + "x"}), IMAGES)
            [problem] = [str(found) for found in problems if found.knobs == (knob.name,)]
            assert choice in problem
            assert "Did you mean" in problem


@pytest.mark.parametrize("knob", LIMITED, ids=lambda knob: knob.name)
def test_numbers_beyond_a_limit_are_named_with_the_limit(knob: Knob) -> None:
    one: float = knob.kind(1)
    tests = [
        (knob.low, -one, True),
        (knob.high, one, True),
        (knob.above, -one, False),
        (knob.below, one, False),
    ]
    for limit, outwards, included in tests:
        if limit is None:
            continue
        at = knob.kind(limit)
        assert knob.allows(at) == included
        [problem] = knob.problems(at + outwards)
        assert knob.name in str(problem)
        assert f"{limit:,}" in str(problem)
    assert not knob.allows(float("nan"))
    assert not knob.allows(float("inf"))


def test_the_types_that_editors_read_are_those_of_the_knobs() -> None:
    assert TARGET.read_text("utf-8") == write_types(), "run: python tools/generate_recipe.py"
    assert list(get_type_hints(RecipeOptions)) == list(KNOBS)
    assert Recipe.__struct_fields__ == Resolved.__struct_fields__ == tuple(KNOBS)


def test_the_head_phase_and_the_deeper_one_have_the_same_knobs() -> None:
    for name in PhaseKnobs._fields:
        head, tune = KNOBS[name], KNOBS[f"tune_{name}"]
        assert (head.kind, head.above, head.high) == (tune.kind, tune.above, tune.high)


# --- what is wrong


def test_all_problems_are_named_at_once() -> None:
    recipe, unknown = read_options(
        {"epochs": "many", "dropout": 1.5, "optimizer": "adan", "lr": "-1", "hiden": "12"}
        | {"device": "cudda", "batch_size": 0}
    )
    with pytest.raises(InvalidRecipe) as caught:
        resolve(recipe, IMAGES, more=unknown)
    assert len(caught.value.problems) == 7
    assert caught.value.exit_code == 2
    message = str(caught.value)
    for part in ("'hiden'. Did you mean hidden", "'many'", "1.5", "'adan'", "-1", "cuda", "batch_size"):
        assert part in message


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ({"hidden": (64,)}, 'hidden belongs to head="mlp"; the head is linear'),
        ({"activation": "elu"}, "activation belongs to head"),
        ({"batch_norm": True}, "batch_norm belongs to head"),
        ({"head": "mlp", "hidden": ()}, 'head="mlp" needs at least one width in hidden'),
        ({"head": "mlp", "batch_norm": True, "batch_size": 1}, "batches of 1"),
        ({"momentum": 0.9}, "adam takes no momentum; these do: sgd, nesterov, rmsprop, schedule-free-sgd"),
        ({"momentum": 0.0, "optimizer": "nesterov"}, "momentum above 0"),
        ({"momentum": 0.0, "optimizer": "schedule-free-sgd"}, "schedule-free-sgd needs a momentum above 0"),
        ({"warmup": 0.0, "schedule": "one-cycle"}, "warmup above 0"),
        (
            {"sampling": "balanced", "balance": True},
            'sampling="balanced" draws rare classes more often, and balance=True weighs them up as well',
        ),
        ({"tune_lr": 0.1}, "tune_lr has no effect while the whole backbone stays frozen: add unfreeze=1"),
        ({"augment": "strong"}, "augment has no effect"),
        ({"augment": "strong", "views": 1}, "or views=8"),
        ({"views": 0}, "views must be at least 1"),
        ({"views": 4, "unfreeze": 1}, "views belongs to a head on a frozen backbone"),
        ({"views": 4, "strategy": "full"}, "every image varied anew in each epoch: leave out views"),
        ({"views": 4, "head": "nearest-mean"}, 'head="nearest-mean" is computed, not trained'),
        ({"views": 4, "augment": "none"}, 'the same view many times with augment="none"'),
        ({"views": 4, "mixup": 0.2}, "mixup has no effect while the whole backbone stays frozen"),
        ({"mixup": 0.2}, "mixup has no effect while the whole backbone stays frozen: add unfreeze=1"),
        ({"cutmix": 1.0}, "cutmix has no effect"),
        ({"erase": 0.5}, "erase has no effect"),
        ({"erase": 1.5, "unfreeze": 1}, "erase must be at least 0 and at most 1"),
        ({"mixup": -1.0, "unfreeze": 1}, "mixup must be at least 0"),
        ({"optimizer": "schedule-free", "ema": 0.9}, "keeps an average of its own: leave out ema"),
        ({"optimizer": "schedule-free", "schedule": "cosine"}, "needs no schedule: leave out schedule"),
        (
            {"optimizer": "schedule-free-sgd", "head": "mlp", "batch_norm": True},
            "whose statistics batch_norm does not know",
        ),
        ({"step_epochs": 3}, 'step_epochs belongs to schedule="step"; the schedule is constant'),
        ({"step_factor": 0.5, "schedule": "cosine"}, "step_factor belongs to"),
        ({"step_factor": 1.0, "schedule": "step"}, "step_factor must be above 0 and below 1"),
        ({"step_epochs": 0, "schedule": "step"}, "step_epochs must be at least 1"),
        ({"epochs": 0}, "epochs=0 would train nothing"),
        ({"from_scratch": True}, 'from_scratch=True begins with random weights: add unfreeze="all"'),
        ({"from_scratch": True, "unfreeze": 2}, "begins with random weights"),
        ({"precision": "fp16", "device": "cpu"}, 'precision="fp16" needs a GPU'),
        (
            {"backend": "onnx", "precision": "bf16"},
            'backend="onnx" computes in fp32: leave out precision="bf16"',
        ),
        ({"backend": "onnx", "device": "cuda:1"}, 'computes on the CPU here, not on device="cuda:1"'),
        ({"backend": "onxx"}, "Did you mean onnx"),
        ({"unfreeze": -1}, "unfreeze must be at least 0"),
        ({"unfreeze": "al"}, "Did you mean all"),
        ({"encoder": "cnn"}, "encoder is for texts, and this model takes images"),
        (
            {"strategy": "full", "unfreeze": 2},
            'strategy="full" trains the whole network from the first epoch, and unfreeze=2 says otherwise: '
            "leave one of them out",
        ),
        ({"strategy": "head", "unfreeze": "all"}, "trains the head alone"),
        ({"strategy": "partial", "unfreeze": "all"}, "trains the last stages"),
        ({"strategy": "partial", "unfreeze": 0}, "unfreeze=0 says otherwise"),
        ({"strategy": "lora", "unfreeze": "none"}, 'unfreeze="none" says otherwise'),
        ({"strategy": "auto", "unfreeze": 2}, "chooses itself what is trained"),
        ({"strategy": "lora", "from_scratch": True}, 'use strategy="full"'),
        ({"strategy": "partial", "from_scratch": True}, 'use strategy="full"'),
        ({"rank": 4}, 'rank belongs to strategy="lora"; the strategy is head'),
        ({"rank": 4, "unfreeze": 2}, "the strategy is partial"),
        ({"pull": 0.1, "strategy": "full"}, 'pull belongs to strategy="l2-sp"'),
        ({"strategy": "head", "tune_lr": 0.1}, "stays frozen"),
        ({"strategy": "lorra"}, "Did you mean lora"),
    ],
)
def test_wishes_that_contradict_each_other_are_one_problem(wishes: dict[str, Any], named: str) -> None:
    [problem] = sentences(Recipe(**wishes))
    assert named in problem


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ({"augment": "strong", "unfreeze": "all"}, "augment is for images, and this model takes texts"),
        ({"augment": "light"}, "augment is for images, and this model takes texts"),
        ({"workers": 2}, "workers is for images"),
        ({"views": 4}, "views is for images, and this model takes texts"),
        ({"backend": "onnx"}, "backend is for images, and this model takes texts"),
        ({"mixup": 0.2, "unfreeze": "all"}, "mixup is for images, and this model takes texts"),
        ({"encoder_width": 7}, "encoder_width belongs to a trained encoder: attention, cnn, gru, lstm"),
        ({"tune_lr": 0.1}, 'stays frozen: add unfreeze="all"'),
        ({"new_words": 3}, "no word learns: add unfreeze=2"),
        ({"new_words": 3, "unfreeze": 1}, "no word learns: add unfreeze=2"),
        ({"unfreeze": 4}, "the last first, encoder, new, known; or all"),
        ({"strategy": "lora"}, 'strategy="lora" is for images'),
        ({"strategy": "head", "encoder": "gru"}, "the encoder gru begins with random weights"),
        ({"unfreeze": "layer4"}, "the last first, encoder, new, known; or all"),
        ({"unfreeze": "all", "from_scratch": True, "encoder": "sif"}, "sif is fitted to them"),
        (
            {"unfreeze": "all", "from_scratch": True, "unknown": "fold+ngrams+mean"},
            'knows no vectors, and unknown="ngrams+mean" is made of them',
        ),
    ],
)
def test_wishes_that_texts_cannot_meet_are_one_problem(wishes: dict[str, Any], named: str) -> None:
    [problem] = sentences(Recipe(**wishes), TEXTS)
    assert named in problem


def test_problems_of_every_sort_come_together() -> None:
    """The kind of item, what a knob belongs to, limits and rules: one look at the recipe names them all."""
    assert options_of(Recipe(hidden=(3,), encoder="cnn", tune_lr=1.0)) == [
        "--hidden belongs to --head mlp; the head is linear",
        "--tune-lr has no effect while the whole backbone stays frozen: add --unfreeze 1",
        "--encoder is for texts, and this model takes images",
    ]
    assert len(sentences(Recipe(dropout=2.0, max_words=7, warmup=0.0, schedule="one-cycle"))) == 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_answers_in_the_words_of_its_caller(rule: Any) -> None:
    """What Python code reads names no option, and what the command line reads no keyword."""
    problem = next(found for found in rule_problems() if found[0] is rule)[1]
    assert "--" not in str(problem)
    typed = COMMAND_LINE.word(problem.parts)
    assert f"--{problem.knobs[0].replace('_', '-')}" in typed
    assert not re.search(r"\w=|_", typed)


def rule_problems() -> list[tuple[Any, Problem]]:
    """A problem of every rule."""
    cases: list[dict[str, Any]] = [
        {"head": "mlp", "hidden": ()},
        {"head": "mlp", "batch_norm": True, "batch_size": 1},
        {"optimizer": "nesterov", "momentum": 0.0},
        {"schedule": "one-cycle", "warmup": 0.0},
        {"sampling": "balanced", "balance": True},
        {"optimizer": "schedule-free", "ema": 0.9},
        {"epochs": 0},
        {"unfreeze": "alll"},
        {"strategy": "full", "unfreeze": 2},
        {"kind": TEXTS, "head": "nearest-mean", "encoder": "cnn"},
        {"from_scratch": True},
        {"kind": TEXTS, "from_scratch": True, "unfreeze": "all", "encoder": "sif"},
        {"precision": "fp16", "device": "cpu"},
        {"backend": "onnx", "precision": "bf16"},
        {"views": 4, "augment": "none"},
        {"unfreeze": 1, "shard": True, "ema": 0.9},
    ]
    assert len(cases) == len(RULES)
    found = [find_problems(*recipe_for(case)) for case in cases]
    return [(rule, problem) for rule, [problem] in zip(RULES, found, strict=True)]


def test_a_knob_that_is_wrong_by_itself_is_not_also_a_contradiction() -> None:
    assert len(sentences(Recipe(optimizer="adan", momentum=0.9))) == 1
    assert len(sentences(Recipe(optimizer=["adam"], momentum=0.9))) == 1  # type: ignore[arg-type]
    assert len(sentences(Recipe(unfreeze=-1, tune_lr=0.1))) == 1


def test_typed_texts_become_values() -> None:
    typed = {"epochs": "5", "lr": "1e-2", "head": "mlp", "hidden": "64,32", "unfreeze": "2"}
    recipe, unknown = read_options(typed | {"balance": "true", "clip_norm": None})
    assert recipe == Recipe(epochs=5, lr=0.01, head="mlp", hidden=(64, 32), unfreeze=2, balance=True)
    assert unknown == []
    assert read_options({"unfreeze": "all"})[0].unfreeze == "all"
    assert read_options({"unfreeze": "layer4"})[0].unfreeze == "layer4"
    assert read_options({"hidden": [8]})[0].hidden == (8,)


# --- what is filled in


@pytest.mark.parametrize(
    ("optimizer", "schedule", "head", "unfreeze"),
    list(itertools.product(OPTIMIZERS, SCHEDULES, HEADS, ["none", 0, 2, "all"])),
)
def test_a_resolved_recipe_is_whole_and_valid(
    optimizer: str, schedule: str, head: str, unfreeze: Any
) -> None:
    if OPTIMIZERS[optimizer].averages and schedule != "constant":
        pytest.skip("refused: see above")
    wishes = Recipe(head=head, unfreeze=unfreeze)
    if not HEADS[head].closed_form or unfreeze in (2, "all"):
        wishes = msgspec.structs.replace(wishes, optimizer=optimizer, schedule=schedule)
    recipe = resolve(wishes, IMAGES)
    off = {"clip_norm", "ema", "step_epochs", "workers"}
    assert {name for name in KNOBS if getattr(recipe, name) is None} == off
    written = to_json(recipe, IMAGES)
    assert list(written) == list(KNOBS)
    assert resolve(Recipe(**written), IMAGES) == recipe
    idle = {name for name in KNOBS if written[name] is None}
    only_with_mlp = {"hidden", "activation", "batch_norm"} if head != "mlp" else set()
    deeper = {name for name in KNOBS if name.startswith("tune_")} | {
        "lr_decay", "augment", "erase", "mixup", "cutmix", "accumulate", "shard", "compile",
    }  # fmt: skip
    of_strategies = {"rank", "pull"}
    without = deeper if unfreeze in ("none", 0) else {"views"}
    momentum = {"momentum"} if OPTIMIZERS[optimizer].momentum is None else set()
    computed: set[str] = set()
    if HEADS[head].closed_form:
        scopes = (TRAINED_HEAD, SOMETHING_TRAINS) if without is deeper else (TRAINED_HEAD,)
        computed = {name for name, knob in KNOBS.items() if any(scope in knob.only for scope in scopes)}
    texts = {name for name, knob in KNOBS.items() if knob.heading == "texts"}
    steps = set() if recipe.schedule == "step" else {"step_factor"}
    assert idle == off | only_with_mlp | without | momentum | texts | of_strategies | computed | steps


@pytest.mark.parametrize(("encoder", "unfreeze"), list(itertools.product(ENCODERS, ["none", 1, 2, "all"])))
def test_a_recipe_for_texts_is_whole_and_valid(encoder: str, unfreeze: Any) -> None:
    recipe = resolve(Recipe(encoder=encoder, unfreeze=unfreeze), TEXTS)
    written = to_json(recipe, TEXTS)
    assert resolve(Recipe(**written), TEXTS) == recipe
    texts = {name for name, knob in KNOBS.items() if knob.heading == "texts" and written[name] is None}
    trained = encoder in LEARNED_ENCODERS
    words_learn = unfreeze in (2, "all") or (trained and unfreeze == "none")
    assert texts == (set() if trained else {"encoder_width"}) | (set() if words_learn else {"new_words"})
    learns = unfreeze != "none" or trained
    assert recipe.dropout == (0.5 if learns else 0.2)
    assert [phase.name for phase in phases(recipe)] == (
        ["tune"] if trained else ["head", "tune"] if learns else ["head"]
    )


def test_views_have_a_variation_of_their_own_and_go_where_stages_learn() -> None:
    """What is drawn once and for all is varied strongly unless something else is asked for."""
    recipe = resolve(Recipe(views=4), IMAGES)
    assert (recipe.views, recipe.augment) == (4, "strong")
    assert resolve(Recipe(views=4, augment="light"), IMAGES).augment == "light"
    assert resolve(Recipe(), IMAGES).augment == "none"
    deeper, problems = go_on(recipe, Recipe(unfreeze=1), IMAGES)
    assert (deeper, problems) == (Recipe(unfreeze=1), [])
    auto = resolve(Recipe(views=4, strategy="auto"), IMAGES)
    assert with_chosen(auto, Recipe(strategy="head"), IMAGES) == recipe
    assert with_chosen(auto, Recipe(strategy="partial"), IMAGES).views == 1


def test_wishes_are_not_overwritten() -> None:
    recipe = Recipe(lr=0.5, optimizer="sgd", momentum=0.0, unfreeze=1, tune_epochs=3, augment="none")
    filled = resolve(recipe, IMAGES)
    assert (filled.lr, filled.momentum, filled.tune_epochs, filled.augment) == (0.5, 0.0, 3, "none")


def test_a_frozen_backbone_has_one_phase_and_an_unfrozen_one_two() -> None:
    [head] = phases(resolve(Recipe(), IMAGES))
    assert (head.name, head.precision) == ("head", "fp32")
    head, tune = phases(resolve(Recipe(unfreeze="all", precision="bf16"), IMAGES))
    assert (tune.name, tune.unfreeze, tune.augment, tune.precision) == ("tune", "all", "light", "bf16")
    assert tune.lr < head.lr
    [only] = phases(resolve(Recipe(unfreeze=1, epochs=0), IMAGES))
    assert only.name == "tune"


@pytest.mark.parametrize(
    ("kind", "wishes"),
    [(IMAGES, {"from_scratch": True, "unfreeze": "all"}), (TEXTS, {"encoder": "cnn"})],
    ids=["from scratch", "cnn"],
)
def test_what_is_wished_for_the_head_is_meant_for_the_only_phase(kind: Kind, wishes: dict[str, Any]) -> None:
    given = {"epochs": 3, "lr": 0.002, "weight_decay": 0.0, "patience": 8}
    [phase] = phases(resolve(Recipe(**wishes, **given), kind))
    assert (phase.epochs, phase.lr, phase.weight_decay, phase.patience) == (3, 0.002, 0.0, 8)
    [phase] = phases(resolve(Recipe(**wishes, **given, tune_epochs=4), kind))
    assert phase.epochs == 4
    assert phases(resolve(Recipe(**wishes, epochs=0), kind))[0].epochs > 0


def test_the_wishes_of_two_recipes_are_those_of_the_second_where_they_differ() -> None:
    assert merge(Recipe(lr=0.1, epochs=3), Recipe(epochs=4, balance=False)) == Recipe(
        lr=0.1, epochs=4, balance=False
    )


# --- going on from a run


@pytest.mark.parametrize(
    ("kind", "wishes"),
    [
        (IMAGES, {}),
        (IMAGES, {"head": "mlp", "hidden": (9,), "batch_norm": True, "optimizer": "sgd", "patience": 3}),
        (IMAGES, {"unfreeze": 2, "schedule": "one-cycle", "tune_epochs": 4, "augment": "none"}),
        (IMAGES, {"unfreeze": "all", "from_scratch": True, "epochs": 5, "clip_norm": 1.0}),
        (TEXTS, {"encoder": "gru", "lr": 0.01, "epochs": 7}),
        (TEXTS, {"unfreeze": "all", "new_words": 5, "baseline": False}),
        (TEXTS, {"unfreeze": "new", "unknown": "fold+ngrams"}),
    ],
    ids=lambda value: value.noun if isinstance(value, Kind) else "-".join(value) or "default",
)
def test_a_run_that_goes_on_without_a_wish_has_the_recipe_of_the_first(
    kind: Kind, wishes: dict[str, Any]
) -> None:
    earlier = resolve(Recipe(**wishes), kind)
    assert wishes_of(earlier, kind) == Recipe(**wishes)
    recipe, problems = go_on(earlier, Recipe(), kind)
    assert problems == []
    assert resolve(recipe, kind) == earlier
    assert from_json(json.loads(json.dumps(to_json(earlier, kind))), kind) == earlier


def test_defaults_are_worked_out_anew_when_a_run_goes_on() -> None:
    def further(earlier: Recipe, wishes: Recipe, kind: Kind = IMAGES) -> Resolved:
        recipe, problems = go_on(resolve(earlier, kind), wishes, kind)
        return resolve(recipe, kind, more=problems)

    assert further(Recipe(), Recipe(optimizer="sgd")).lr == 0.01
    assert further(Recipe(lr=0.5), Recipe(optimizer="sgd")).lr == 0.5
    assert further(Recipe(optimizer="sgd", momentum=0.8), Recipe(optimizer="adam")).momentum == 0.0
    assert further(Recipe(unfreeze=2, tune_lr=0.1), Recipe(unfreeze="none")) == resolve(Recipe(), IMAGES)
    assert further(Recipe(encoder="cnn"), Recipe(epochs=3), TEXTS).tune_epochs == 3
    assert further(Recipe(schedule="cosine"), Recipe(schedule="one-cycle")).warmup == 0.3


@pytest.mark.parametrize("knob", [k for k in ALL if k.fixed_on_resume], ids=lambda knob: knob.name)
def test_what_shaped_a_run_cannot_change_when_it_goes_on(knob: Knob) -> None:
    applies = {key: value for scope in knob.only for key, value in scope.example.items()}
    recipe, kind = recipe_for(applies)
    earlier = resolve(recipe, kind)
    value = getattr(earlier, knob.name)
    other = next((choice for choice in knob.choices if choice != value), None) or (
        not value if knob.kind is bool else (7,) if knob.kind is tuple else 7
    )
    _, problems = go_on(earlier, Recipe(**{knob.name: other}), kind)
    [typed] = [COMMAND_LINE.word(problem.parts) for problem in problems]
    assert f"{knob.option} cannot change when a run goes on: it is {plain(value)}" in typed
    assert go_on(earlier, Recipe(**{knob.name: value}), kind)[1] == []


def test_a_wish_that_is_wrong_is_named_once_when_a_run_goes_on() -> None:
    recipe, problems = go_on(resolve(Recipe(), IMAGES), Recipe(head="mpl", hidden=(3,), lr=-1.0), IMAGES)
    with pytest.raises(InvalidRecipe) as caught:
        resolve(recipe, IMAGES, more=problems)
    assert len(caught.value.problems) == 2
    recipe, problems = go_on(resolve(Recipe(), IMAGES), Recipe(head="mlp", hidden=(3,)), IMAGES)
    with pytest.raises(InvalidRecipe) as caught:
        resolve(recipe, IMAGES, more=problems)
    assert caught.value.problems[0].startswith("head cannot change")


@pytest.mark.parametrize(("folder", "kind"), [("images", IMAGES), ("texts", TEXTS)])
def test_the_recipe_of_an_old_run_loads_and_is_written_as_it_was(folder: str, kind: Kind) -> None:
    old = json.loads((RUNS / folder / "run.json").read_text())["recipe"]
    recipe = from_json(old, kind)
    written = to_json(recipe, kind)
    changed = {name: value for name, value in written.items() if value != old.get(name)}
    later = {"sampling": "once", "focal_gamma": 0.0} | (
        {"views": 1, "backend": "auto"} if kind is IMAGES else {}
    )
    assert changed == {"batch_norm": None, **later, "strategy": "head"}
    assert from_json(written, kind) == recipe


def test_checking_a_recipe_imports_no_torch() -> None:
    code = (
        "import sys; from zoo.data.kinds import IMAGES; from zoo.training.recipe import Recipe, resolve;"
        "from zoo.training.strategies import phases;"
        "from zoo.training.interruption import StopSignal; phases(resolve(Recipe(unfreeze=2), IMAGES));"
        "print({'torch', 'numpy', 'accelerate'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
