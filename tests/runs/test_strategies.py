"""A strategy is one row: it trains what it should and leaves the rest; what it saves is enough to predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.kits import Kit, on_real_slowly, on_tiny
from torch import Tensor

from zoo.backbones.models import load_model
from zoo.catalogue.entry import ImageModel
from zoo.data.scanning import scan_dataset
from zoo.errors import InvalidRecipe
from zoo.events import EpochEnd, Event, Note
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store
from zoo.training.batches import ImageBatches
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.recipe import Resolved
from zoo.training.strategies import STRATEGIES, Phase, head_then_tune


def test_a_strategy_with_phases_of_its_own_names_trains_them_all(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "digits")

    def own(recipe: Resolved, depth: int | None) -> tuple[Phase, ...]:
        head, tune = head_then_tune(recipe)
        return head, replace(tune, name="last stage", unfreeze=1), replace(tune, name="all stages")

    monkeypatch.setitem(STRATEGIES, "lp-ft", own)
    events: list[Event] = []
    result = finetune_model(
        "digits",
        tmp_path / "digits",
        out=tmp_path / "run",
        store=store,
        report=events.append,
        epochs=2,
        unfreeze="all",
        tune_epochs=1,
        device="cpu",
    )
    assert result.frozen_changed == 0
    ends = [event for event in events if isinstance(event, EpochEnd)]
    assert [(end.phase, end.epoch) for end in ends] == [
        ("head", 1), ("head", 2), ("last stage", 1), ("all stages", 1),
    ]  # fmt: skip
    assert ends[-1].val_loss < ends[0].val_loss


DEEPER = [name for name in STRATEGIES if name not in ("head", "auto")]
QUICK: dict[str, Any] = {"epochs": 0, "tune_epochs": 1, "tune_lr": 1e-3, "batch_size": 8, "augment": "none"}
"""One epoch on the photographs below a new head, which is better than none: its weights are kept."""


def changed(kit: Kit, run: Path, store: Store) -> dict[str, Tensor]:
    """What is not as it was published in the network of a run, but for its head, by name."""
    published = load_model(kit.net, registry=kit.registry, store=store).state_dict()
    own = load_run(run, store=store).classifier.network.state_dict()
    shared = {name for name in own if not name.startswith(f"{kit.head}.")}
    assert shared == {name for name in published if not name.startswith(f"{kit.head}.")}
    return {name: own[name] for name in shared if not torch.equal(own[name], published[name])}


def loss_of(kit: Kit, run: Path, store: Store, folder: Path) -> float:
    """The validation loss of a run that was loaded, with the network as it is."""
    classifier = load_run(run, store=store).classifier
    assert isinstance(classifier.entry, ImageModel)
    batches = ImageBatches(scan_dataset(folder).val, classifier.entry.input, 32)
    return evaluate(classifier.network, batches, machine=Machine(torch.device("cpu"))).loss


@on_real_slowly
@pytest.mark.parametrize("strategy", DEEPER)
def test_a_strategy_trains_what_it_should_and_is_loaded_as_it_was(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, few: Path, strategy: str
) -> None:
    deep = {"unfreeze": 2} if strategy == "gradual" else {}
    result = finetune(folder=few, strategy=strategy, **QUICK, **deep)
    assert result.frozen_changed == 0
    assert result.best_epoch > 0
    run = Path(result.run)
    moved = changed(kit, run, shared_store)
    assert not any("running" in name or "num_batches" in name for name in moved)
    weights = {name for name, tensor in moved.items() if tensor.ndim > 1}
    match strategy:
        case "partial":
            assert all(name.startswith(kit.last_stage) for name in moved)
            assert weights
        case "norms":
            assert moved
            assert not weights
        case "lora":
            assert weights == set(moved)
            assert any(name.startswith(kit.first_stage) for name in moved)
        case "gradual":
            assert any(name.startswith(kit.last_stage) for name in moved)
            assert not any(name.startswith(kit.first_stage) for name in moved)
        case _:
            assert any(name.startswith(kit.first_stage) for name in weights)
    assert loss_of(kit, run, shared_store, few) == pytest.approx(result.val_loss, rel=1e-5)
    found = load_run(run, store=shared_store).evaluate(few, device="cpu")
    assert found.accuracy == pytest.approx(result.val_accuracy)


@on_tiny
def test_of_corrections_nothing_but_themselves_is_saved(
    kit: Kit, finetune: Callable[..., RunResult], few: Path
) -> None:
    result = finetune(folder=few, strategy="lora", rank=1, **QUICK)
    state = load_file(Path(result.run) / "adapter.safetensors")
    assert all(".low_rank." in name or name.startswith(f"{kit.head}.") for name in state)
    assert sum(tensor.numel() for name, tensor in state.items() if not name.endswith("scale")) < 8_000
    assert result.frozen_tensors == kit.frozen_tensors


@on_tiny
@pytest.mark.parametrize(
    "further",
    [
        {"strategy": "lora"},
        {"strategy": "lora", "rank": 2},
        {"unfreeze": 1},
        {"strategy": "head", "epochs": 1},
    ],
    ids=str,
)
def test_a_run_goes_on_from_corrections_with_any_strategy(
    kit: Kit,
    finetune: Callable[..., RunResult],
    shared_store: Store,
    few: Path,
    tmp_path: Path,
    further: dict[str, Any],
) -> None:
    first = finetune(folder=few, strategy="lora", rank=1, **QUICK)
    whole = {"epochs": 1} if further.get("strategy") == "head" else {}
    second = finetune(first.run, folder=few, out=tmp_path / "second", **further | whole)
    assert second.frozen_changed == 0
    assert loss_of(kit, Path(second.run), shared_store, few) == pytest.approx(second.val_loss, rel=1e-5)
    state = load_file(Path(second.run) / "adapter.safetensors")
    assert any(".low_rank." in name for name in state) == (further.get("strategy") == "lora")


@on_tiny
def test_corrections_go_on_from_a_run_of_the_head_or_of_a_stage(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, few: Path, tmp_path: Path
) -> None:
    for number, start in enumerate(({"epochs": 2}, {"unfreeze": 1, **QUICK})):
        first = finetune(folder=few, out=tmp_path / f"{number}", **start)
        second = finetune(
            first.run,
            folder=few,
            out=tmp_path / f"{number}-lora",
            **QUICK | {"strategy": "lora", "epochs": 1},
        )
        assert second.frozen_changed == 0
        assert loss_of(kit, Path(second.run), shared_store, few) == pytest.approx(second.val_loss, rel=1e-5)


@on_tiny
def test_auto_chooses_says_why_and_is_the_strategy_that_it_chose(
    kit: Kit, finetune: Callable[..., RunResult], few: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    chosen = finetune(folder=few, strategy="auto", epochs=2, tune_lr=0.5, report=events.append)
    notes = [event.message for event in events if isinstance(event, Note) and "strategy" in event.message]
    assert notes == ["strategy head: 8 images of a class are too few to train more than the head"]
    named = finetune(folder=few, strategy="head", epochs=2, out=tmp_path / "named")
    a, b = ((Path(run.run) / "adapter.safetensors").read_bytes() for run in (chosen, named))
    assert a == b
    assert load_run(chosen.run).record.recipe == load_run(named.run).record.recipe


@on_tiny
def test_a_strategy_and_a_depth_that_contradict_each_other_are_refused_before_anything_is_read(
    finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    with pytest.raises(InvalidRecipe, match="trains the whole network from the first epoch"):
        finetune(folder=tmp_path / "no such folder", strategy="full", unfreeze=2)


@on_tiny
def test_a_depth_given_later_replaces_the_strategy_of_an_earlier_run(
    finetune: Callable[..., RunResult], few: Path, tmp_path: Path
) -> None:
    first = finetune(folder=few, strategy="full", **QUICK)
    second = finetune(first.run, folder=few, unfreeze=1, out=tmp_path / "second")
    assert (second.frozen_changed, load_run(second.run).record.recipe.strategy) == (0, "partial")


@on_tiny
@pytest.mark.parametrize("strategy", ["head", "partial", "full", "lp-ft", "l2-sp", "gradual", "auto"])
def test_a_strategy_trains_words_too(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, strategy: str
) -> None:
    deeper = {} if strategy == "head" else {"tune_epochs": 2}
    result = finetune(kit.words, folder=kit.texts, strategy=strategy, epochs=2, **deeper)
    assert result.frozen_changed == 0
    run = load_run(result.run, store=shared_store)
    assert run.record.recipe.strategy == ("lp-ft" if strategy == "auto" else strategy)
    assert run.evaluate(kit.texts, device="cpu").accuracy == pytest.approx(result.val_accuracy)
