"""A head that is computed does all that a trained one does, in the same commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.commands import Call
from support.kits import Kit, on_tiny

from zoo.errors import InvalidRecipe, UsageError
from zoo.events import Event, Note
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.record import RunResult, read_record
from zoo.runs.run import load_run
from zoo.store.store import Store


def test_the_means_of_sixteen_photographs_are_a_whole_run(
    kit: Kit, few: Path, finetune: Callable[..., RunResult], shared_store: Store, tmp_path: Path
) -> None:
    result = finetune(None, few, head="nearest-mean")
    assert (result.epochs, result.best_epoch, result.frozen_changed) == (1, 1, 0)
    assert result.val_accuracy >= 0.75
    assert result.trained_parameters == 2 * kit.width + 1
    record = read_record(tmp_path / "run")
    written = json.loads((tmp_path / "run/run.json").read_text())["recipe"]
    assert (record.recipe.head, record.recipe.standardize) == ("nearest-mean", False)
    assert [written[name] for name in ("epochs", "lr", "optimizer", "dropout")] == [None] * 4
    names = {name.removeprefix(f"{kit.head}.") for name in load_file(tmp_path / "run/adapter.safetensors")}
    assert names == {"layers.output.weight", "layers.output.scale", "layers.output.center"}
    run = load_run(tmp_path / "run", store=shared_store)
    found = run.evaluate(few)
    assert found.metrics["accuracy"] == pytest.approx(result.val_accuracy)
    again = finetune(None, few, head="nearest-mean", out=tmp_path / "again")
    assert (again.metrics, again.val_loss) == (result.metrics, result.val_loss)


def test_the_commands_take_it(ask: Call, tiny: Path, tmp_path: Path) -> None:
    out, photo = tmp_path / "run", next((tiny / "images/val/five").iterdir())
    said = ask("finetune", "tiny_net", tiny / "images", "--head", "nearest-mean", "--out", out, "--json")
    assert (said.code, json.loads(said.out)["epochs"]) == (0, 1)
    rows = json.loads(ask("predict", out, photo, "--json").out)
    assert sum(label["probability"] for label in rows[0]["top"]) == pytest.approx(1)
    assert ask("evaluate", out, tiny / "images").code == 0
    assert ask("embed", out, photo, "-o", tmp_path / "features.npz").code == 0
    words = ("tiny_words", tiny / "reviews", "--head", "nearest-mean", "--out", tmp_path / "texts")
    assert ask("finetune", *words).code == 0


def test_stages_may_learn_below_it_afterwards(
    few: Path, finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    result = finetune(
        None, few, head="nearest-mean", unfreeze=1, tune_epochs=1, batch_size=8, ema=0.9, augment="none"
    )
    assert (result.epochs, result.frozen_changed) == (2, 0)
    first = json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[0])
    assert (first["phase"], first["best"], first["epochs"]) == ("head", True, 1)


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        (
            {"lr": 0.1, "epochs": 3, "optimizer": "sgd"},
            ['epochs has no effect: head="nearest-mean" is computed', "lr has no effect", "optimizer has no"],
        ),
        ({"strategy": "full"}, ['strategy="full" trains all from the first epoch']),
        ({"from_scratch": True, "unfreeze": "all"}, ["from_scratch=True begins with random weights"]),
    ],
    ids=["steps", "full", "from scratch"],
)
def test_what_it_has_no_use_for_is_refused(
    options: dict[str, Any], sentences: list[str], tiny: Path, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        finetune_model("digits", tiny, out=tmp_path / "run", store=store, head="nearest-mean", **options)
    assert len(caught.value.found) == len(sentences)
    assert all(sentence in str(caught.value) for sentence in sentences)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_it_needs_one_class_for_each_item(task: str, tiny: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=f"gives every item one class, and {task} does not"):
        finetune_model("digits", tiny, out=tmp_path / "r", store=store, head="nearest-mean", task=task)


def test_tune_says_that_there_is_nothing_to_search(call: Call, tmp_path: Path) -> None:
    from zoo.runs.demo import write_digits

    write_digits(tmp_path / "digits")
    said = call("tune", "digits", tmp_path / "digits", "--head", "nearest-mean", "--out", tmp_path / "tuned")
    assert said.code == UsageError.exit_code
    assert "nothing to search for head nearest-mean" in said.err


@on_tiny
def test_auto_takes_the_mean_where_items_are_few_and_says_why(
    kit: Kit, few: Path, finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    told: list[Event] = []
    finetune(None, few, head="auto", lr=0.5, report=told.append)  # the rate is for a head that learns
    record = read_record(tmp_path / "run")
    assert record.recipe.head == "nearest-mean"
    [why] = [event for event in told if isinstance(event, Note) and event.message.startswith("head ")]
    assert why.message == "head nearest-mean: 8 images of a class are too few to learn from"
    assert why.hint == "Another one: --head linear"
    finetune(None, few, head="auto", strategy="full", tune_epochs=1, out=tmp_path / "full")
    assert read_record(tmp_path / "full").recipe.head == "linear"


@on_tiny
def test_auto_takes_the_linear_head_where_items_are_many(
    kit: Kit, finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    finetune(head="auto", lr=0.002, epochs=2)
    recipe = read_record(tmp_path / "run").recipe
    assert (recipe.head, recipe.lr, recipe.epochs) == ("linear", 0.002, 2)
