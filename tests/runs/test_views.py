"""A head that learns from several views of each image: computed once, and measured on plain ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kits import Kit, on_tiny
from support.weights import assert_equal_weights, weights_of
from torch.nn.functional import cross_entropy

from adapters import find_classifier
from zoo import load_run
from zoo.errors import InvalidRecipe
from zoo.events import Event, Note, Progress
from zoo.runs.record import RunResult, read_record
from zoo.store.store import Store

pytestmark = on_tiny
Finetune = Callable[..., RunResult]
QUICK = {"epochs": 4, "patience": 0}


@pytest.fixture
def own(tmp_path: Path) -> Store:
    """A store in which nothing was computed yet."""
    return Store(tmp_path / "home")


def counted(told: list[Event], task: str) -> tuple[int, int | None] | None:
    """How many were there before any was computed, and of how many; None where the task did not come up."""
    return next(((e.done, e.total) for e in told if isinstance(e, Progress) and e.task == task), None)


def test_views_are_computed_once_for_every_head_and_seed(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    first: list[Event] = []
    result = finetune(folder=few, views=3, store=own, report=first.append, **QUICK)
    computed = [e for e in first if isinstance(e, Progress) and e.task == "features of views"]
    assert (computed[0].total, computed[-1].done, computed[-1].unit) == (32, 32, "views")
    [note] = [e.message for e in first if isinstance(e, Note) and "views" in e.message]
    assert "3 views of each of 16 training images: the plain one and 2 varied ones (strong)" in note
    assert "0 of 32 from the store" in note
    assert result.views == read_record(tmp_path / "run").recipe.views == 3

    others: list[dict[str, Any]] = [{}, {"head": "mlp", "hidden": (8,)}, {"seed": 5}, {"balance": True}]
    for number, more in enumerate(others):
        told: list[Event] = []
        out = tmp_path / f"again-{number}"
        finetune(folder=few, views=3, store=own, report=told.append, out=out, **QUICK, **more)
        assert counted(told, "features") == (28, 28), "nothing was computed"
        [note] = [e.message for e in told if isinstance(e, Note) and "views" in e.message]
        assert "32 of 32 from the store" in note
    assert_equal_weights(tmp_path / "run", tmp_path / "again-0")


def test_views_that_the_store_does_not_keep_are_a_warning(
    few: Path, finetune: Finetune, own: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_FEATURES_SIZE", "4KB")
    told: list[Event] = []
    finetune(folder=few, views=2, store=own, report=told.append, **QUICK)
    [note] = [e for e in told if isinstance(e, Note) and "views" in e.message]
    assert note.level == "warning"
    assert note.hint is not None
    assert "ZOO_FEATURES_SIZE=20GB" in note.hint


def test_a_new_photograph_and_another_view_compute_only_theirs(
    kit: Kit, few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    finetune(folder=few, views=3, store=own, **QUICK)
    label = kit.classes[0]
    more = sorted((kit.images / "train" / label).iterdir())[8:11]
    for photo in more:
        (few / "train" / label / photo.name).symlink_to(photo)
    told: list[Event] = []
    finetune(folder=few, views=4, store=own, report=told.append, out=tmp_path / "more", **QUICK)
    [note] = [e.message for e in told if isinstance(e, Note) and "views" in e.message]
    assert "4 views of each of 19 training images" in note
    assert "32 of 57 from the store" in note, "2 views of 16"
    told = []
    options = {"views": 3, "augment": "light", "store": own, "report": told.append}
    finetune(folder=few, out=tmp_path / "light", **options, **QUICK)
    [note] = [e.message for e in told if isinstance(e, Note) and "views" in e.message]
    assert "(light), 0 of 38 from the store" in note


def test_validation_and_everything_after_it_see_the_plain_view(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    """What training says of the validation images holds for what a run sees of them."""
    result = finetune(folder=few, views=3, store=own, **QUICK)
    run = load_run(tmp_path / "run", store=own)
    assert run.evaluate(few, device="cpu").accuracy == pytest.approx(result.val_accuracy)
    files = [
        (label, file) for label, name in enumerate(run.classes) for file in (few / "val" / name).iterdir()
    ]
    seen = torch.from_numpy(run.embed([file for _, file in files], device="cpu").features)
    network = run.classifier.network
    logits = network.get_submodule(find_classifier(network)[0])(seen)
    loss = cross_entropy(logits, torch.tensor([label for label, _ in files]))
    assert loss.item() == pytest.approx(result.val_loss, abs=1e-5)


def test_a_head_on_views_is_another_one_and_one_view_is_none(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    told: list[Event] = []
    finetune(folder=few, store=own, out=tmp_path / "none", **QUICK)
    finetune(folder=few, views=1, store=own, out=tmp_path / "one", report=told.append, **QUICK)
    finetune(folder=few, views=3, store=own, out=tmp_path / "three", **QUICK)
    assert_equal_weights(tmp_path / "none", tmp_path / "one")
    assert not [e for e in told if isinstance(e, Note) and "views" in e.message]
    name = next(name for name in weights_of(tmp_path / "one") if name.endswith("weight"))
    assert not torch.equal(weights_of(tmp_path / "one")[name], weights_of(tmp_path / "three")[name])


def test_an_image_that_cannot_be_read_any_more_is_passed_over(
    few: Path, kit: Kit, finetune: Finetune, own: Store
) -> None:
    """It vanishes between the plain views and the others."""
    gone = sorted((few / "train" / kit.classes[1]).iterdir())[0]

    def meddle(event: Event) -> None:
        if isinstance(event, Progress) and event.task == "features" and event.done == event.total:
            gone.unlink(missing_ok=True)

    told: list[Event] = []

    def report(event: Event) -> None:
        told.append(event)
        meddle(event)

    options: dict[str, Any] = {"store": own, "report": report, "on_bad": "skip", **QUICK}
    result = finetune(folder=few, views=2, **options)
    assert result.epochs == 4
    assert any(isinstance(e, Note) and gone.name in e.message for e in told)


def test_several_classes_and_numbers_learn_from_views_as_well(
    few: Path, kit: Kit, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    photos = {part: sorted((few / part).glob("*/*")) for part in ("train", "val")}
    several = [
        {"path": str(p), "label": [p.parent.name, *(["even"] if n % 2 else [])], "split": part}
        for part, paths in photos.items()
        for n, p in enumerate(paths)
    ]
    numbers = [row | {"label": float(n)} for n, row in enumerate(several)]
    for task, rows in (("multi-label", several), ("regression", numbers)):
        table = tmp_path / f"{task}.jsonl"
        table.write_text("\n".join(map(json.dumps, rows)))
        told: list[Event] = []
        finetune(
            folder=table, task=task, views=3, store=own, out=tmp_path / task, report=told.append, **QUICK
        )
        assert any(isinstance(e, Note) and "3 views of each of 16" in e.message for e in told)


@pytest.mark.parametrize("chosen", [{"strategy": "auto"}, {"head": "auto"}])
def test_where_a_choice_leaves_no_room_for_views_that_is_said(
    few: Path, finetune: Finetune, own: Store, chosen: dict[str, Any], tmp_path: Path
) -> None:
    """On a CPU `auto` takes the head alone, which has views; of so few images the nearest mean, without."""
    told: list[Event] = []
    result = finetune(folder=few, views=2, store=own, report=told.append, **chosen, epochs=2)
    said = any(isinstance(e, Note) and e.message.startswith("--views has no effect") for e in told)
    assert (said, result.views) == ((True, 1) if "head" in chosen else (False, 2))


def test_stages_that_learn_take_no_views(few: Path, finetune: Finetune, own: Store) -> None:
    with pytest.raises(InvalidRecipe, match="leave out views"):
        finetune(folder=few, views=2, unfreeze=1, store=own)


def test_a_run_that_goes_on_with_deeper_stages_leaves_views_behind(
    few: Path, finetune: Finetune, own: Store, tmp_path: Path
) -> None:
    finetune(folder=few, views=2, store=own, **QUICK)
    deeper = {"unfreeze": 1, "tune_epochs": 1, "store": own, "out": tmp_path / "deeper"}
    assert finetune(name=tmp_path / "run", folder=few, **deeper).views == 1
