"""What an epoch shows: every item once, or every class equally often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from zoo.catalogue.entry import ImageInput
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.errors import InvalidRecipe
from zoo.training.batches import FeatureBatches, ImageBatches
from zoo.training.recipe import Recipe, resolve
from zoo.training.sampling import draw_balanced, draw_once
from zoo.training.seeds import epoch_generator
from zoo.training.tasks import TASKS

SMALL = ImageInput(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@given(some.lists(some.integers(0, 5), min_size=1, max_size=60), some.integers(0, 1000))
def test_each_class_and_each_item_of_a_class_comes_equally_often(labels: list[int], seed: int) -> None:
    rows = draw_balanced(torch.tensor(labels), epoch_generator(seed, 1)).tolist()
    assert len(rows) == len(labels)
    classes = Counter(labels[row] for row in rows)
    assert classes.keys() == set(labels)
    assert max(classes.values()) - min(classes.values()) <= 1
    for label in classes:
        counts = [rows.count(row) for row, own in enumerate(labels) if own == label]
        assert max(counts) - min(counts) <= 1


def test_classes_of_equal_size_are_drawn_once_each() -> None:
    targets = torch.arange(60) % 3
    assert sorted(draw_balanced(targets, epoch_generator(0, 1)).tolist()) == list(range(60))
    assert sorted(draw_once(targets, epoch_generator(0, 1)).tolist()) == list(range(60))


def test_every_epoch_draws_anew_and_the_same_one_again_alike() -> None:
    targets = torch.tensor([0] * 90 + [1] * 10)

    def rows(seed: int, epoch: int) -> list[int]:
        source = FeatureBatches(torch.arange(100)[:, None], targets, 16, seed=seed, sampling="balanced")
        return [
            row for batch in source.epoch(epoch) for row in torch.as_tensor(batch.inputs).flatten().tolist()
        ]

    assert rows(3, 2) == rows(3, 2)
    assert rows(3, 2) != rows(3, 3)
    assert rows(3, 2) != rows(4, 2)
    seen = {row for epoch in range(1, 9) for row in rows(3, epoch)}
    assert seen == set(range(100))  # what one epoch leaves out of a large class, another shows
    source = FeatureBatches(torch.arange(100)[:, None], targets, 100, seed=3, sampling="balanced")
    [batch] = source.epoch(0)
    assert torch.equal(batch.targets, targets)  # evaluation shows everything, once, in order


def test_an_image_that_comes_again_in_an_epoch_is_varied_anew(data: Path) -> None:
    train = scan_dataset(data / "hymenoptera").train
    one_ant, bees = train[0], [item for item in train if item.label == 1][:7]
    source = ImageBatches([one_ant, *bees], SMALL, 8, augmentation="light", seed=0, sampling="balanced")
    [batch] = source.epoch(1)
    assert Counter(batch.targets.tolist()) == {0: 4, 1: 4}
    ants = torch.as_tensor(batch.inputs)[batch.targets == 0]
    assert len({tuple(ant.flatten().tolist()) for ant in ants}) == 4
    plain = ImageBatches([one_ant, *bees], SMALL, 8, augmentation="light", seed=0)
    [whole] = plain.epoch(1)
    first = torch.as_tensor(whole.inputs)[whole.targets == 0][0]
    assert any(torch.equal(first, ant) for ant in ants)  # the first time as in any other epoch of this number


@pytest.mark.parametrize("name", ["multi-label", "regression"])
def test_a_task_without_exactly_one_class_refuses_to_draw_by_class(name: str) -> None:
    recipe = resolve(Recipe(sampling="balanced"), IMAGES)
    [problem] = TASKS[name].problems(recipe)
    assert problem == f"sampling balanced is for items of exactly one class, not for {name}"


def test_a_name_that_is_no_sampling_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="Did you mean balanced"):
        resolve(Recipe(sampling="balance"), IMAGES)
