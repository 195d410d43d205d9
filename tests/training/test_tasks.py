"""A task is one row: regression and several labels train through the loop that knows neither."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from adapters import build_head
from zoo.data.kinds import IMAGES
from zoo.errors import InvalidRecipe, TrainingStopped
from zoo.training.batches import FeatureBatches
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.multi_label import MULTI_LABEL, choose_thresholds
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.regression import REGRESSION
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.strategies import phases
from zoo.training.task import Task

CPU = Machine(torch.device("cpu"))


def train(task: Task, targets: Any, names: Any, features: Any, **options: Any) -> tuple[nn.Module, FitResult]:
    """A head on the real features of ants and bees; targets: of the items of both parts, train first."""
    torch.manual_seed(0)
    width = task.width(names)
    encoded = task.encode(targets, width)
    cut = len(features.train)
    recipe = resolve(Recipe(epochs=40), IMAGES)
    recipe = msgspec.structs.replace(recipe, **options)
    [phase] = phases(recipe)
    head = nn.Linear(1280, width)
    state = begin_phase(
        head,
        FeatureBatches(features.train, encoded[:cut], 32, seed=0),
        FeatureBatches(features.val, encoded[cut:], 50),
        recipe=recipe,
        phase=phase,
        machine=CPU,
        task=task,
        classes=names,
    )
    return head, fit(state)


@pytest.fixture
def numbers(features: Any) -> list[float]:
    """What a number of each item could be: a rule over its features, and some noise."""
    vectors = torch.cat([features.train, features.val])
    generator = torch.Generator().manual_seed(0)
    rule = torch.randn(1280, generator=generator)
    return (vectors @ rule / 10 + 0.1 * torch.randn(len(vectors), generator=generator)).tolist()


@pytest.fixture
def sets(features: Any) -> list[tuple[int, ...]]:
    """No, one or two labels per item: whether it is an ant, and whether a feature is high."""
    vectors = torch.cat([features.train, features.val])
    labels = torch.cat([features.train_labels, features.val_labels])
    high = vectors[:, 5] > vectors[:, 5].median()
    return [
        (0,) * (label == 0) + (1,) * bool(is_high)
        for label, is_high in zip(labels.tolist(), high, strict=True)
    ]


@pytest.mark.parametrize("monitor", ["loss", "mae", "r2"])
def test_numbers_are_learned_and_measured_by_name(features: Any, numbers: list[float], monitor: str) -> None:
    head, result = train(REGRESSION, numbers, ["weight"], features, monitor=monitor, optimizer="adam")
    assert result.best is not None
    assert list(result.best.metrics) == ["mae", "rmse", "r2"]
    assert result.best.metrics["r2"] > 0.5
    best = {
        "loss": min(result.history, key=lambda end: end.val_loss),
        "mae": min(result.history, key=lambda end: end.metrics["mae"]),
        "r2": max(result.history, key=lambda end: end.metrics["r2"]),
    }[monitor]
    assert best.epoch == result.best_epoch
    found = evaluate(
        head,
        FeatureBatches(features.val, torch.tensor(numbers[245:])[:, None], 7),
        machine=CPU,
        task=REGRESSION,
        keep_outputs=True,
    )
    assert found.metrics == pytest.approx(result.best.metrics, rel=1e-4)
    assert found.outputs is not None
    assert found.targets is not None
    errors = (found.outputs - found.targets).abs()
    assert found.metrics["mae"] == pytest.approx(errors.mean().item(), rel=1e-5)
    answer = REGRESSION.decide(found.outputs, ["weight"], 5, None)[0]
    assert answer.values == {"weight": found.outputs[0].item()}
    assert (answer.ranking, answer.labels) == ((), ())


def test_the_loss_of_numbers_does_not_depend_on_their_units(features: Any, numbers: list[float]) -> None:
    """A large unit would decide alone which epoch is best, and a loss of 1 would not mean "as the mean"."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(numbers), generator=generator).tolist()

    def losses(unit: float) -> tuple[int, list[float]]:
        both = [(number, unit * other) for number, other in zip(numbers, noise, strict=True)]
        encoded = REGRESSION.encode(both, 2)
        recipe = resolve(Recipe(epochs=6), IMAGES)
        assert REGRESSION.scale is not None
        head = build_head("linear", 1280, 2, rescale=True, dropout=0.0, seed=0)
        head.fit_rescale(encoded[:245])
        state = begin_phase(
            head,
            FeatureBatches(features.train, encoded[:245], 32, seed=0),
            FeatureBatches(features.val, encoded[245:], 50),
            recipe=recipe,
            phase=phases(recipe)[0],
            machine=CPU,
            task=REGRESSION,
            class_weights=REGRESSION.scale(encoded[:245], 2),
            classes=["one", "other"],
        )
        result = fit(state)
        return result.best_epoch, [end.val_loss for end in result.history]

    best, found = losses(1.0)
    assert 0.3 < found[0] < 3
    assert losses(1000.0) == (best, pytest.approx(found, rel=1e-3))


def test_several_labels_are_learned_and_measured_by_name(features: Any, sets: list[tuple[int, ...]]) -> None:
    from sklearn.metrics import f1_score

    head, result = train(MULTI_LABEL, sets, ["ant", "high"], features, monitor="f1")
    assert result.best is not None
    assert result.best.metrics["f1"] > 0.85
    targets = MULTI_LABEL.encode(sets[245:], 2)
    with torch.no_grad():
        outputs = head(features.val)
    expected = f1_score(targets.numpy(), (outputs > 0).numpy(), average="macro", zero_division=0.0)
    assert result.best.metrics["f1"] == pytest.approx(expected)
    answers = MULTI_LABEL.decide(outputs, ["ant", "high"], 5, None)
    assert {len(answer.labels) for answer in answers} == {0, 1, 2}
    assert all(len(answer.ranking) == 2 for answer in answers)


def test_what_a_task_does_not_have_is_refused_before_training(features: Any, numbers: list[float]) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        train(
            REGRESSION, numbers, ["weight"], features, monitor="accuracy", balance=True, label_smoothing=0.1
        )
    for part in ("monitor accuracy is not measured for regression; these are: loss, mae, rmse, r2",
                 "balance needs classes", "label_smoothing does not apply to regression"):  # fmt: skip
        assert part in str(refused.value)


def test_a_loss_that_blows_up_on_numbers_counts_items_instead_of_classes(
    features: Any, numbers: list[float]
) -> None:
    broken = [*numbers[:40], float("inf"), *numbers[41:]]
    with pytest.raises(TrainingStopped, match=r"batch of 32 items"):
        train(REGRESSION, broken, ["weight"], features)


def test_a_metric_that_is_not_defined_is_left_out(features: Any) -> None:
    """R² of targets that are all the same: JSON has no nan, and nobody could compare it."""
    _, result = train(REGRESSION, [1.0] * 398, ["weight"], features, epochs=1)
    assert result.best is not None
    assert list(result.best.metrics) == ["mae", "rmse"]


def test_the_classes_of_items_are_encoded_ranked_and_counted() -> None:
    assert SINGLE_LABEL.width(["ant", "bee"]) == 2
    assert SINGLE_LABEL.encode([1, 0, 1], 2).tolist() == [1, 0, 1]
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
    answers = SINGLE_LABEL.decide(logits, ["ant", "bee", "wasp"], 2, None)
    assert [[name for name, _ in one.ranking] for one in answers] == [["ant", "bee"], ["wasp", "bee"]]
    assert [one.labels for one in answers] == [("ant",), ("wasp",)]
    assert answers[0].ranking[0][1] == pytest.approx(logits[0].softmax(0)[0].item())
    assert SINGLE_LABEL.headline == "accuracy"
    assert SINGLE_LABEL.is_better(0.9, 0.8)
    assert REGRESSION.is_better(0.1, 0.2)


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_figures_of_several_labels_are_those_of_scikit_learn(share: float) -> None:
    from sklearn.metrics import accuracy_score, average_precision_score, f1_score

    chance = torch.Generator().manual_seed(0)
    targets = (torch.rand(2000, 5, generator=chance) < share).float()
    outputs = 2 * torch.randn(2000, 5, generator=chance) + 1.5 * targets
    found = MULTI_LABEL.figures(outputs, targets)
    chosen = (outputs > 0).numpy()
    assert found["map"] == pytest.approx(average_precision_score(targets, outputs, average="macro"), abs=2e-3)
    assert found["f1"] == pytest.approx(f1_score(targets, chosen, average="macro"))
    assert found["exact"] == pytest.approx(accuracy_score(targets, chosen))


def test_a_label_that_no_item_has_counts_for_nothing() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    found = MULTI_LABEL.figures(torch.tensor([[3.0, -3.0], [-3.0, -3.0]]), targets)
    assert found == {"map": 1.0, "f1": 1.0, "exact": 1.0}
    assert "map" not in MULTI_LABEL.figures(torch.zeros(2, 1), torch.zeros(2, 1))


def test_thresholds_give_the_highest_f1_of_all() -> None:
    from sklearn.metrics import f1_score

    chance = torch.Generator().manual_seed(0)
    targets = (torch.rand(60, 3, generator=chance) < 0.3).float()
    targets[:, 2] = 0
    outputs = torch.randn(60, 3, generator=chance) + targets
    chosen = choose_thresholds(outputs, targets)
    assert chosen[2] == 0.5
    for label in range(2):
        probabilities = outputs[:, label].sigmoid()
        best = max(
            f1_score(targets[:, label], probabilities >= threshold, zero_division=0.0)
            for threshold in [0.0, *probabilities.tolist()]
        )
        assert f1_score(targets[:, label], probabilities.double() >= chosen[label]) == pytest.approx(best)
    names = ["a", "b", "c"]
    answers = MULTI_LABEL.decide(outputs, names, 3, chosen)
    assert all(
        set(answer.labels) == {n for n, p, t in zip(names, row, chosen, strict=True) if p >= t}
        for answer, row in zip(answers, outputs.sigmoid().tolist(), strict=True)
    )


def test_figures_of_numbers_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    chance = torch.Generator().manual_seed(0)
    targets = torch.randn(500, 2, generator=chance) * torch.tensor([1.0, 40.0]) + 7
    outputs = targets + torch.randn(500, 2, generator=chance)
    found = REGRESSION.figures(outputs, targets)
    assert found["mae"] == pytest.approx(mean_absolute_error(targets, outputs), rel=1e-5)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(targets, outputs), rel=1e-5)
    assert found["r2"] == pytest.approx(r2_score(targets, outputs), rel=1e-5)


@pytest.mark.parametrize("task", [SINGLE_LABEL, MULTI_LABEL, REGRESSION], ids=lambda task: task.name)
def test_figures_of_parts_add_up_to_those_of_the_whole(task: Task) -> None:
    chance = torch.Generator().manual_seed(0)
    outputs = torch.randn(40, 3, generator=chance)
    targets: Any = {
        "single-label": torch.arange(40) % 3,
        "multi-label": (torch.rand(40, 3, generator=chance) < 0.4).float(),
        "regression": torch.randn(40, 3, generator=chance),
    }[task.name]
    for name, metric in task.metrics.items():
        parts = [metric.sums(outputs[a:b], targets[a:b]).double() for a, b in ((0, 7), (7, 40))]
        assert metric.value(sum(parts), 40) == pytest.approx(task.figures(outputs, targets)[name])


def test_who_knows_the_training_targets_alone_guesses() -> None:
    name, outputs = SINGLE_LABEL.guess(torch.tensor([0, 1, 1, 2]), 3)
    assert (name, int(outputs.argmax())) == ("always {0}", 1)
    _, outputs = MULTI_LABEL.guess(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]), 2)
    assert outputs.sigmoid().tolist() == pytest.approx([0.75, 0.25])
    _, outputs = REGRESSION.guess(torch.tensor([[1.0], [3.0]]), 1)
    assert outputs.tolist() == [2.0]


def test_smoothing_and_balance_of_several_labels() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert MULTI_LABEL.balance is not None
    assert MULTI_LABEL.balance(targets, 2).tolist() == pytest.approx([1 / 3, 3.0])
    outputs = torch.tensor([[0.3, -0.2]]).expand(4, 2)
    plain, smooth = MULTI_LABEL.loss(None, 0.0), MULTI_LABEL.loss(None, 1.0)
    assert float(smooth(outputs, targets)) == pytest.approx(
        float((plain(outputs, targets) + plain(outputs, 1 - targets)) / 2)
    )
