"""The loop on real features: it learns, keeps the best, and survives what goes wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters import HEADS
from zoo.errors import InvalidRecipe, TrainingStopped
from zoo.events import EpochEnd, Event, Note, Progress
from zoo.training.batches import Batch, BatchSource, FeatureBatches
from zoo.training.loop import FitResult
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.recipe import Recipe
from zoo.training.schedules import SCHEDULES
from zoo.training.single_label import balanced_weights

CPU = Machine(torch.device("cpu"))
SHORT = {"epochs": 6, "patience": 0}


class Altered:
    """Another source's batches, one of which is altered on the way."""

    def __init__(self, source: BatchSource, alter: Callable[[int, int, Batch], Batch]) -> None:
        self.source, self.alter = source, alter
        self.batch_size, self.smallest = source.batch_size, source.smallest

    def __len__(self) -> int:
        return len(self.source)

    def epoch(self, number: int, start: int = 0, taken: int = 0, /) -> Iterator[Batch]:
        for step, batch in enumerate(self.source.epoch(number), 1):
            yield self.alter(number, step, batch)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("seed", range(3))
def test_the_default_recipe_learns_ants_and_bees(seed: int, train_on: Any) -> None:
    _, result = train_on(Recipe(seed=seed))
    assert result.best.metrics["accuracy"] >= 0.95
    assert 0 < result.best_epoch <= result.epochs == len(result.history)


def test_a_network_with_weights_of_five_dimensions_learns(features: Any, train_on: Any) -> None:
    """As those with lambda layers."""

    class Lifted(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.deep = nn.Conv3d(1, 1, (1, 1, 1))
            self.last = nn.Linear(width, 2)

        def forward(self, seen: Tensor) -> Tensor:
            lifted: Tensor = self.last(self.deep(seen[:, None, None, None]).flatten(1))
            return lifted

    _, result = train_on(Recipe(epochs=2), head=Lifted(features.train.shape[1]))
    assert result.epochs == 2


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns_under_every_schedule(optimizer: str, schedule: str, train_on: Any) -> None:
    row = OPTIMIZERS[optimizer]
    if row.package:
        pytest.importorskip(row.package)
    if row.averages and schedule != "constant":
        pytest.skip("refused: test_recipe.py")
    _, result = train_on(Recipe(optimizer=optimizer, schedule=schedule, **(SHORT | {"epochs": 10})))
    assert result.best.metrics["accuracy"] >= 0.93
    assert result.history[-1].train_loss < result.history[0].train_loss


@pytest.mark.parametrize(
    "settings",
    [
        *({"head": name} | ({} if row.closed_form else {"epochs": 20}) for name, row in HEADS.items()),
        {"head": "mlp", "batch_norm": True, "epochs": 20},
    ],
)
def test_every_head_learns(settings: dict[str, Any], train_on: Any) -> None:
    _, result = train_on(Recipe(**settings))
    assert result.best.metrics["accuracy"] >= 0.92


def test_the_learning_rate_follows_its_schedule(train_on: Any) -> None:
    _, result = train_on(Recipe(schedule="cosine", lr=0.01, epochs=5, patience=0))
    rates = [epoch.lr for epoch in result.history]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_the_model_ends_with_the_weights_of_its_best_epoch_in_eval_mode(features: Any, train_on: Any) -> None:
    head, result = train_on(Recipe(epochs=40, lr=0.01, patience=0))
    best = min(result.history, key=lambda epoch: epoch.val_loss)
    assert result.best_epoch == best.epoch < result.epochs
    assert not head.training
    found = evaluate(head, features.batches()[1], machine=CPU)
    assert found.loss == pytest.approx(best.val_loss) == result.best.loss
    assert found.metrics == best.metrics == result.best.metrics
    assert equal(head.state_dict(), result.best_state)
    assert [epoch.epoch for epoch in result.history if epoch.best][-1] == best.epoch


def test_training_ends_early_when_validation_gets_no_better(features: Any, train_on: Any) -> None:
    labels = torch.randint(2, (153,), generator=torch.Generator().manual_seed(0))  # nothing to learn there
    _, result = train_on(Recipe(patience=3), val_batches=FeatureBatches(features.val, labels, 4096))
    assert result.stopped_early
    assert result.epochs == result.best_epoch + 3 < 100
    assert not result.interrupted


def test_dropout_works_in_every_epoch_not_only_before_the_first_evaluation(
    train_on: Any, features: Any
) -> None:
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(1280, 2))
    modes: list[bool] = []
    head.register_forward_hook(lambda module, *_: modes.append(module.training))
    train_on(Recipe(**SHORT), head=head)
    steps = math.ceil(245 / 32)
    assert modes == ([True] * steps + [False]) * 6


def test_reported_losses_are_plain_whatever_is_trained(features: Any, train_on: Any) -> None:
    recipe = Recipe(label_smoothing=0.3, l1=0.01, epochs=8, patience=0)
    head, result = train_on(recipe, class_weights=torch.tensor([5.0, 1.0]))
    _, val = features.batches()
    assert result.best.loss == pytest.approx(evaluate(head, val, machine=CPU).loss)
    assert result.history[-1].train_loss < 0.5  # the smoothed, weighted objective cannot get there


def test_class_weights_find_the_rare_class(features: Any, train_on: Any) -> None:
    ants, bees = ((features.train_labels == label).nonzero().flatten() for label in (0, 1))
    rows = torch.cat([ants, bees[:20]])
    few = [0, 20]  # of 1280 features: with all of them both classes are easy
    labels = features.train_labels[rows]
    batches = FeatureBatches(features.train[rows, slice(*few)], labels, 32, seed=0)
    val = FeatureBatches(features.val[:, slice(*few)], features.val_labels, 4096)

    def recall(weights: Tensor | None, seed: int) -> float:
        torch.manual_seed(seed)
        head = nn.Linear(20, 2)
        train_on(Recipe(), head=head, batches=batches, val_batches=val, class_weights=weights)
        with torch.no_grad():
            found = head(val.features).argmax(1)
        return float((found == 1)[features.val_labels == 1].float().mean())

    def mean_recall(weights: Tensor | None) -> float:
        return sum(recall(weights, seed) for seed in range(3)) / 3  # one start may be a lucky one

    assert mean_recall(balanced_weights(labels, 2)) > mean_recall(None) + 0.2


def test_l1_makes_weights_small(train_on: Any) -> None:
    def size(l1: float) -> float:
        head, _ = train_on(Recipe(l1=l1, weight_decay=0.0, epochs=10, patience=0))
        return sum(float(p.detach().abs().sum()) for p in head.parameters())

    assert size(0.01) < 0.7 * size(0.0)


def test_weights_that_training_began_with_come_back_if_no_epoch_beats_them(train_on: Any) -> None:
    head, first = train_on(Recipe())
    before = state_of(head)
    _, result = train_on(Recipe(lr=1.0, patience=3), head=head, start=first.best)
    assert (result.best_epoch, result.epochs, result.stopped_early) == (0, 3, True)
    assert result.best == first.best
    assert equal(head.state_dict(), before)
    assert not any(epoch.best for epoch in result.history)


def test_inputs_may_be_several_tensors_and_outputs_two(features: Any, train_on: Any) -> None:
    class Both(nn.Module):
        def __init__(self, auxiliary: bool) -> None:
            super().__init__()
            self.auxiliary = auxiliary
            self.layer = nn.Linear(1280, 2)

        def forward(self, inputs: tuple[Tensor, Tensor]) -> Any:
            logits = self.layer(torch.cat(inputs, dim=1))
            return (logits, logits) if self.auxiliary and self.training else logits  # as Inception does

    def halves(_number: int, _step: int, batch: Batch) -> Batch:
        return Batch((batch.inputs[:, :640], batch.inputs[:, 640:]), batch.targets, batch.count)

    def trained(auxiliary: bool) -> FitResult:
        torch.manual_seed(0)
        parts = [Altered(part, halves) for part in features.batches()]
        result: FitResult
        _, result = train_on(Recipe(epochs=10), head=Both(auxiliary), batches=parts[0], val_batches=parts[1])
        return result

    plain, result = trained(auxiliary=False), trained(auxiliary=True)
    assert result.best.metrics["accuracy"] > 0.9
    # Adam does not see that a gradient is 1.4 times as large; the reported loss would, were it not plain
    assert result.history[0].train_loss == pytest.approx(plain.history[0].train_loss, rel=0.05)


def test_the_report_ends_every_task_and_tells_every_epoch(train_on: Any) -> None:
    events: list[Event] = []
    _, result = train_on(Recipe(patience=2, lr=0.03), report=events.append)
    assert [event for event in events if isinstance(event, EpochEnd)] == list(result.history)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total == result.epochs * 8
    assert result.stopped_early


@pytest.mark.fault("T9")
def test_a_last_item_that_would_be_alone_does_not_break_batch_norm(features: Any, train_on: Any) -> None:
    batches = FeatureBatches(features.train[:33], features.train_labels[:33], 32, seed=0)
    _, result = train_on(Recipe(head="mlp", batch_norm=True, epochs=3), batches=batches)
    assert result.epochs == 3


@pytest.mark.fault("T9")
def test_batches_of_one_are_refused_before_the_first_step_where_a_batch_norm_learns(
    features: Any, train_on: Any
) -> None:
    norm = nn.BatchNorm1d(1280)
    head = nn.Sequential(norm, nn.Linear(1280, 2))
    before = state_of(head)
    with pytest.raises(InvalidRecipe, match="batch of 1") as caught:
        train_on(Recipe(batch_size=1, epochs=1), head=head)
    assert "--batch-size 2" in str(caught.value)
    assert equal(head.state_dict(), before)
    _, result = train_on(Recipe(batch_size=1, epochs=1))  # no batch norm: one item is a batch
    assert result.best.metrics["accuracy"] > 0.8


def test_a_model_that_is_frozen_throughout_is_refused(train_on: Any) -> None:
    head = nn.Linear(1280, 2).requires_grad_(False)
    with pytest.raises(InvalidRecipe, match="nothing to train"):
        train_on(Recipe(), head=head)


def poison(epoch: int, step: int) -> Callable[[int, int, Batch], Batch]:
    """One value that is no number, in one batch."""

    def alter(number: int, at: int, batch: Batch) -> Batch:
        if (number, at) == (epoch, step):
            batch.inputs[0, 0] = math.nan
        return batch

    return alter


@pytest.mark.fault("T1")
def test_a_loss_that_is_no_number_stops_at_once_with_the_last_good_weights(
    features: Any, train_on: Any
) -> None:
    train, _ = features.batches()
    good, _ = train_on(Recipe(epochs=2, patience=0))
    seen: list[int] = []
    batches = Altered(
        train, lambda number, step, batch: (seen.append(step), poison(3, 5)(number, step, batch))[1]
    )
    with pytest.raises(TrainingStopped) as caught:
        train_on(Recipe(epochs=9, patience=0), batches=batches)
    error = caught.value
    assert len(seen) == 8 + 8 + 5
    assert error.exit_code == 6
    for part in ("nan", "epoch 3, step 5 of 8", "lr 0.001", "0 ×", "1 ×", "nan or infinity"):
        assert part in str(error)
    assert error.result.epochs == 2
    assert equal(error.result.best_state, good.state_dict())


@pytest.mark.fault("T1")
def test_a_rate_that_blows_up_in_the_first_epoch_gives_back_the_weights_it_began_with(
    features: Any, train_on: Any
) -> None:
    torch.manual_seed(0)
    head = nn.Linear(1280, 2)
    before = state_of(head)
    with pytest.raises(TrainingStopped, match=r"ants × \d+") as caught:
        train_on(Recipe(optimizer="sgd", lr=1e38), head=head, classes=("ants", "bees"))
    assert "Try --lr 0.001, or" in str(caught.value)
    assert "kept" not in str(caught.value)  # nothing is: no epoch was finished
    assert caught.value.result.best is None
    assert equal(head.state_dict(), before)


@pytest.mark.fault("T1")
def test_a_nan_in_the_first_validation_stops_and_names_the_epoch(features: Any, train_on: Any) -> None:
    head = nn.Linear(1280, 2)
    before = state_of(head)
    val = FeatureBatches(features.val.clone(), features.val_labels, 32)
    val.features[7] = math.nan
    with pytest.raises(TrainingStopped, match=r"validation loss became nan in epoch 1 \(lr 0\.001\)"):
        train_on(Recipe(), head=head, val_batches=val)
    assert equal(head.state_dict(), before)


class Hungry(nn.Module):
    """Runs out of memory at its n-th step."""

    def __init__(self, at: int, fail: Callable[[], Any]) -> None:
        super().__init__()
        self.layer, self.at, self.fail, self.steps = nn.Linear(1280, 2), at, fail, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.steps += self.training
        if self.steps == self.at:
            self.fail()
        return self.layer(inputs)


def gpu_is_full() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.fault("T2")
@pytest.mark.parametrize("fail", [gpu_is_full, lambda: torch.empty(2**60)], ids=["cuda", "cpu"])
def test_memory_that_does_not_suffice_suggests_half_the_batch(fail: Callable[[], Any], train_on: Any) -> None:
    head = Hungry(20, fail)
    with pytest.raises(TrainingStopped, match="out of memory with batches of 32") as caught:
        train_on(Recipe(), head=head)
    assert "--batch-size 16" in str(caught.value)
    assert caught.value.result.epochs == 2
    assert equal(head.state_dict(), caught.value.result.best_state)
    with pytest.raises(TrainingStopped) as caught:
        train_on(Recipe(batch_size=1), head=Hungry(1, fail))
    assert "--batch-size" not in str(caught.value)


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory(train_on: Any) -> None:
    head = nn.Linear(3, 2)
    before = state_of(head)
    with pytest.raises(RuntimeError, match="shapes"):
        train_on(Recipe(), head=head)
    assert equal(head.state_dict(), before)


@pytest.mark.fault("T3")
def test_a_wish_to_stop_ends_after_the_step_and_keeps_the_best(train_on: Any) -> None:
    asked = iter([False] * 30 + [True] * 9)  # 8 steps and one pass over val per epoch: in the fourth
    notes: list[Event] = []
    head, result = train_on(
        Recipe(epochs=9, patience=0), stop_requested=lambda: next(asked), report=notes.append
    )
    assert result.interrupted
    assert not result.stopped_early
    assert result.epochs == 3
    whole, _ = train_on(Recipe(epochs=3, patience=0))
    assert equal(head.state_dict(), whole.state_dict())
    assert len([note for note in notes if isinstance(note, Note)]) == 1


@pytest.mark.fault("T3")
def test_a_wish_to_stop_in_the_first_epoch_keeps_what_was_learnt(features: Any, train_on: Any) -> None:
    asked = iter([False] * 5 + [True])
    head, result = train_on(Recipe(), stop_requested=lambda: next(asked))
    assert (result.interrupted, result.epochs, result.best_epoch) == (True, 0, 0)
    assert result.best is None
    assert evaluate(head, features.batches()[1], machine=CPU).metrics["accuracy"] > 0.8
    assert equal(head.state_dict(), result.best_state)


@pytest.mark.fault("T3")
def test_a_wish_to_stop_is_heard_in_validation_too(features: Any, train_on: Any) -> None:
    asked = iter([False] * 10 + [True])
    val = FeatureBatches(features.val, features.val_labels, 16)
    _, result = train_on(Recipe(), stop_requested=lambda: next(asked), val_batches=val)
    assert (result.interrupted, result.epochs) == (True, 0)


@pytest.mark.fault("T3")
def test_a_ctrl_c_that_nobody_catches_leaves_the_best_weights_in_the_model(
    features: Any, train_on: Any
) -> None:
    def interrupt(number: int, step: int, batch: Batch) -> Batch:
        if (number, step) == (3, 4):
            raise KeyboardInterrupt
        return batch

    torch.manual_seed(0)
    head = nn.Linear(1280, 2)
    whole = copy.deepcopy(head)
    _, result = train_on(Recipe(patience=0), head=head, batches=Altered(features.batches()[0], interrupt))
    assert (result.interrupted, result.epochs) == (True, 2)
    train_on(Recipe(epochs=2, patience=0), head=whole)
    assert equal(head.state_dict(), whole.state_dict())
