"""A task is one row: regression and several labels train through the loop that knows neither."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch
from support.tasks import MULTI_LABEL, REGRESSION, hot
from torch import nn

from zoo.data.kinds import IMAGES
from zoo.errors import InvalidRecipe, TrainingStopped
from zoo.training.batches import FeatureBatches
from zoo.training.loop import FitResult, fit
from zoo.training.machine import Machine
from zoo.training.metrics import evaluate
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases
from zoo.training.tasks import SINGLE_LABEL, Task

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
    assert list(result.best.metrics) == ["mae", "r2"]
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
    [[(name, value)], *_] = REGRESSION.decide(found.outputs, ["weight"], 5)
    assert (name, value) == ("weight", found.outputs[0].item())


def test_several_labels_are_learned_and_measured_by_name(features: Any, sets: list[tuple[int, ...]]) -> None:
    from sklearn.metrics import f1_score

    head, result = train(MULTI_LABEL, sets, ["ant", "high"], features, monitor="f1")
    assert result.best is not None
    assert result.best.metrics["f1"] > 0.85
    targets = hot(sets[245:], 2)
    with torch.no_grad():
        outputs = head(features.val)
    expected = f1_score(targets.numpy(), (outputs > 0).numpy(), average="macro", zero_division=0.0)
    assert result.best.metrics["f1"] == pytest.approx(expected)
    answers = MULTI_LABEL.decide(outputs, ["ant", "high"], 5)
    assert {len(answer) for answer in answers} == {0, 1, 2}


def test_what_a_task_does_not_have_is_refused_before_training(features: Any, numbers: list[float]) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        train(
            REGRESSION, numbers, ["weight"], features, monitor="accuracy", balance=True, label_smoothing=0.1
        )
    for part in ("monitor accuracy is not measured for regression; these are: loss, mae, r2",
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
    assert list(result.best.metrics) == ["mae"]


def test_the_classes_of_items_are_encoded_ranked_and_counted() -> None:
    assert SINGLE_LABEL.width(["ant", "bee"]) == 2
    assert SINGLE_LABEL.encode([1, 0, 1], 2).tolist() == [1, 0, 1]
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
    ranked = SINGLE_LABEL.decide(logits, ["ant", "bee", "wasp"], 2)
    assert [[name for name, _ in row] for row in ranked] == [["ant", "bee"], ["wasp", "bee"]]
    assert ranked[0][0][1] == pytest.approx(logits[0].softmax(0)[0].item())
    assert SINGLE_LABEL.headline == "accuracy"
    assert SINGLE_LABEL.is_better(0.9, 0.8)
    assert REGRESSION.is_better(0.1, 0.2)
