"""Batches of cached features: every item once per pass, and never one alone."""

from __future__ import annotations

import pytest
import torch

from zoo.training.batches import FeatureBatches, cut


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
