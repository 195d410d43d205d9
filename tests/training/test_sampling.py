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
from zoo.training.batches import FeatureBatches, ImageBatches, Share
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


def seen(source: FeatureBatches, number: int, start: int = 0) -> list[tuple[int, int]]:
    """(item, view) in the order of a pass, as its features say them."""
    rows = [row for batch in source.epoch(number, start) for row in torch.as_tensor(batch.inputs).tolist()]
    return [(int(item), int(view)) for item, view in rows]


@pytest.fixture
def views() -> FeatureBatches:
    """40 items with 4 views each; every feature vector is (item, view), and labels are the items."""
    items = torch.arange(40.0)
    numbered = torch.stack([torch.stack([items, torch.full((40,), float(n))], dim=1) for n in range(4)])
    return FeatureBatches(numbered[0], torch.arange(40), 16, seed=3, varied=numbered[1:])


def test_each_item_of_a_pass_shows_one_view_drawn_anew(views: FeatureBatches) -> None:
    first, second = seen(views, 1), seen(views, 2)
    assert sorted(item for item, _ in first) == list(range(40)), "each item once"
    assert dict(first) != dict(second)
    assert seen(views, 1) == first
    shown = Counter(pair for number in range(1, 401) for pair in seen(views, number))
    assert len(shown) == 160
    assert all(50 < count < 160 for count in shown.values()), "100 of each, give or take"
    for batch in views.epoch(1):
        assert torch.as_tensor(batch.inputs)[:, 0].tolist() == batch.targets.tolist()


def test_measuring_shows_the_plain_view(views: FeatureBatches) -> None:
    assert seen(views, 0) == [(item, 0) for item in range(40)]


def test_what_is_left_of_a_pass_shows_the_views_of_the_whole_pass(views: FeatureBatches) -> None:
    whole = seen(views, 7)
    for start in (16, 20, 32):
        assert seen(views, 7, start) == whole[start:]


def test_several_processes_show_the_views_of_one(views: FeatureBatches) -> None:
    assert views.varied is not None
    shares = [
        FeatureBatches(views.features, views.labels, 16, seed=3, varied=views.varied, share=Share(rank, 3))
        for rank in range(3)
    ]
    together: list[tuple[int, int]] = []
    for parts in zip(*(source.epoch(5) for source in shares), strict=True):
        together += [
            (int(item), int(view)) for part in parts for item, view in torch.as_tensor(part.inputs).tolist()
        ]
    assert together == seen(views, 5)


def test_an_item_that_comes_again_in_an_epoch_draws_its_view_anew() -> None:
    items = torch.tensor([0] * 36 + [1] * 4)
    numbered = torch.stack([torch.full((40, 1), float(n)) for n in range(8)])
    source = FeatureBatches(numbered[0], items, 40, seed=1, sampling="balanced", varied=numbered[1:])
    [batch] = source.epoch(1)
    rare = torch.as_tensor(batch.inputs)[batch.targets == 1]
    assert len(rare) == 20
    assert len(rare.unique()) > 4, "four items, each five times, with more views than items"
