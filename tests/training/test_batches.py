"""Batches of features and of photographs: every item once per pass, and never one alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import preprocess
from zoo.errors import UnreadableFile
from zoo.events import Event, Note
from zoo.training.batches import FeatureBatches, ImageBatches, TextBatches, cut


def source(items: int, batch_size: int, seed: int | None = 0) -> FeatureBatches:
    features = torch.arange(items, dtype=torch.float32).repeat(3, 1).T
    return FeatureBatches(features, torch.arange(items), batch_size, seed=seed)


@pytest.mark.fault("T9")
@pytest.mark.parametrize("batch_size", [2, 3, 8, 32, 100])
@pytest.mark.parametrize("items", [2, 31, 32, 33, 34, 97, 100, 101])
def test_no_batch_holds_a_single_item_and_none_is_lost(items: int, batch_size: int) -> None:
    sizes = cut(items, batch_size)
    assert sum(sizes) == items
    assert min(sizes) > 1
    assert max(sizes) <= batch_size + 1


def test_batches_of_one_are_given_to_whoever_asks_for_them() -> None:
    assert cut(3, 1) == [1, 1, 1]
    assert source(3, 1).smallest == 1


@pytest.mark.parametrize("seed", [None, 7])
def test_a_pass_brings_every_item_once_with_its_own_label(seed: int | None) -> None:
    batches = list(source(33, 16, seed).epoch(1))
    assert [batch.count for batch in batches] == [16, 17]
    targets = torch.cat([batch.targets for batch in batches])
    assert sorted(targets.tolist()) == list(range(33))
    for batch in batches:
        assert isinstance(batch.inputs, torch.Tensor)
        assert torch.equal(batch.inputs[:, 0], batch.targets.float())


def test_a_shuffle_depends_on_seed_and_pass_alone() -> None:
    def order(seed: int, number: int) -> list[int]:
        torch.rand(3)  # whatever was drawn elsewhere
        return torch.cat([batch.targets for batch in source(64, 8, seed).epoch(number)]).tolist()

    assert order(1, 5) == order(1, 5)
    assert len({tuple(order(seed, number)) for seed in (0, 1) for number in (1, 2)}) == 4


def test_without_a_seed_and_for_evaluation_the_order_is_kept() -> None:
    for batches in (source(20, 6, None).epoch(3), source(20, 6, 4).epoch(0)):
        assert torch.cat([batch.targets for batch in batches]).tolist() == list(range(20))


INPUT = ImageInput(size=32, resize=36, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def items(data: Path) -> list[Item]:
    paths = sorted((data / "hymenoptera" / "train" / "ants").glob("*.jpg"))[:9]
    return [Item(path, number) for number, path in enumerate(paths)]


def images(items: list[Item], **settings: Any) -> ImageBatches:
    return ImageBatches(items, INPUT, 4, **settings)


def test_photographs_come_as_the_model_wants_them_with_their_own_label(items: list[Item]) -> None:
    batches = list(images(items, seed=1).epoch(1))
    assert [batch.count for batch in batches] == [4, 5]
    assert len(images(items)) == 2
    for batch in batches:
        assert isinstance(batch.inputs, torch.Tensor)
        for pixels, label in zip(batch.inputs, batch.targets.tolist(), strict=True):
            assert torch.equal(pixels, preprocess(read_image(items[label].path), INPUT))


def test_augmentation_varies_every_pass_and_repeats_with_the_seed_whatever_the_threads(
    items: list[Item],
) -> None:
    def view(seed: int, number: int, workers: int) -> torch.Tensor:
        [first, *_] = images(items, seed=seed, augmentation="strong", workers=workers).epoch(number)
        assert isinstance(first.inputs, torch.Tensor)
        return first.inputs

    assert torch.equal(view(1, 1, 1), view(1, 1, 3))
    assert not torch.equal(view(1, 1, 1), view(1, 2, 1))
    assert not torch.equal(view(1, 1, 1), view(2, 1, 1))


def test_an_evaluation_pass_varies_nothing(items: list[Item]) -> None:
    for batches in (images(items, seed=1, augmentation="strong").epoch(0), images(items).epoch(3)):
        pixels = torch.cat([torch.as_tensor(batch.inputs) for batch in batches])
        assert torch.equal(pixels, torch.stack([preprocess(read_image(item.path), INPUT) for item in items]))


@pytest.mark.fault("I11")
def test_a_file_that_vanished_during_training_is_passed_over_and_told_once(
    items: list[Item], tmp_path: Path
) -> None:
    gone = Item(tmp_path / "gone.jpg", 9)
    notes: list[Event] = []
    batches = images([*items, gone], seed=0, report=notes.append)
    for number in (1, 2):
        assert sum(batch.count for batch in batches.epoch(number)) == 9
    [note] = notes
    assert isinstance(note, Note)
    assert "gone.jpg" in note.message


@pytest.mark.fault("I11")
def test_a_file_that_vanished_stops_training_where_that_was_wished(items: list[Item], tmp_path: Path) -> None:
    batches = images([*items, Item(tmp_path / "gone.jpg", 9)], on_bad="stop")
    with pytest.raises(UnreadableFile, match=r"gone\.jpg"):
        list(batches.epoch(1))


def test_threads_end_when_a_pass_is_left(items: list[Item]) -> None:
    batches = images(items, workers=2).epoch(1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zoo-images")]


def test_texts_come_once_in_every_pass_in_batches_of_like_lengths() -> None:
    ids = [[1 + n % 7] * (1 + n * 37 % 50) for n in range(1001)]
    batches = TextBatches(ids, [n % 3 for n in range(1001)], 16, seed=5, alike=True)
    seen = list(batches.epoch(3))
    assert sum(batch.count for batch in seen) == 1001
    assert len(seen) == len(batches)
    rows = torch.cat(batches.rows_of(3)).tolist()
    assert sorted(rows) == list(range(1001))
    assert torch.cat(batches.rows_of(4)).tolist() != rows
    words = sum(map(len, ids))
    assert sum(batch.inputs.numel() for batch in seen) < 1.2 * words
    assert (
        sum(batch.inputs.numel() for batch in TextBatches(ids, [0] * 1001, 16, seed=5).epoch(3)) > 1.5 * words
    )


def test_texts_keep_their_order_and_labels_without_a_seed_and_for_evaluation() -> None:
    ids, labels = [[3, 1], [2], [], [4, 4, 4]], [1, 0, 2, 1]
    for batches in (TextBatches(ids, labels, 2), TextBatches(ids, labels, 2, seed=1, alike=True)):
        first, second = batches.epoch(0)
        assert first.inputs.tolist() == [[3, 1], [2, 0]]
        assert second.inputs.tolist() == [[0, 0, 0], [4, 4, 4]]
        assert first.targets.tolist() + second.targets.tolist() == labels
