"""Batches of features in a file: what they hold, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zoo.features.rows import StoredRows, new_rows
from zoo.training.batches import Batch, FeatureBatches, StoredBatches

ITEMS, WIDTH = 1003, 6
HELD = 40 * 10 * WIDTH * 4  # half of it is 20 blocks of 10 rows


def store(table: torch.Tensor, folder: Path) -> StoredRows:
    rows = new_rows(tuple(table.shape), folder)
    rows[torch.arange(len(table))] = table
    return rows


def draw(seed: int) -> torch.Tensor:
    return torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredBatches, "BLOCK", 10 * WIDTH * 4)


def batches(folder: Path, *, held: int = HELD, seed: int | None = 3, **options: object) -> StoredBatches:
    labels = torch.arange(ITEMS) % 3
    return StoredBatches(store(draw(0), folder), labels, 32, held=held, seed=seed, **options)  # type: ignore[arg-type]


def together(found: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.inputs for batch in found if isinstance(batch.inputs, torch.Tensor)])


@pytest.mark.parametrize("sampling", ["once", "balanced"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_pass_shows_the_rows_of_its_order_with_their_labels(
    number: int, sampling: str, tmp_path: Path
) -> None:
    source = batches(tmp_path, sampling=sampling)
    order, found = source.order(number), [*source.epoch(number)]
    assert torch.equal(together(found), draw(0)[order])
    assert torch.equal(torch.cat([batch.targets for batch in found]), order % 3)
    assert [batch.count for batch in found] == source.sizes
    if sampling == "once" or not number:
        assert sorted(order.tolist()) == [*range(ITEMS)]
    assert torch.equal(order, torch.arange(ITEMS)) == (number == 0)


def test_a_pass_reads_as_many_rows_as_may_be_held_and_few_blocks_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, asked = batches(tmp_path), list[torch.Tensor]()
    read = source.features.read
    monkeypatch.setattr(source.features, "read", lambda places: asked.append(places) or read(places))
    assert [*source.epoch(1)]
    assert len(asked) == 6  # 101 blocks of ten rows, 17 at a time
    assert max(map(len, asked)) <= 200 + 32
    blocks = [len(torch.unique(places // 10)) for places in asked]
    assert source.groups == 6
    assert max(blocks) <= 2 * 101 // 6 + 2  # of all 101: its own, and those of the batch after them
    assert any(torch.diff(places).abs().max() > 300 for places in asked)  # from all over the items
    assert not torch.equal(source.order(1), source.order(2))


def test_a_group_has_as_much_of_each_class_where_items_are_sorted(tmp_path: Path) -> None:
    source = batches(tmp_path)
    group = source.draw_groups(1)
    assert sorted(torch.bincount(group).tolist()) == [16, 17, 17, 17, 17, 17]
    for start in range(0, 96, 6):  # of six blocks that follow each other each group has one
        assert sorted(group[start : start + 6].tolist()) == [*range(6)]
    assert not torch.equal(group, source.draw_groups(2))


def test_passes_depend_on_seed_number_and_what_is_held_alone(tmp_path: Path) -> None:
    one, other = batches(tmp_path / "a"), batches(tmp_path / "b")
    assert torch.equal(one.order(5), other.order(5))
    assert not torch.equal(one.order(5), batches(tmp_path / "c", held=HELD // 2).order(5))
    assert not torch.equal(one.order(5), batches(tmp_path / "d", seed=4).order(5))


@pytest.mark.parametrize("start", [32, 640, 650, 1000])
def test_what_is_left_of_a_pass_is_the_rest_of_the_whole_one(start: int, tmp_path: Path) -> None:
    varied = [store(draw(1), tmp_path)]
    source = batches(tmp_path, varied=varied)
    whole = together([*source.epoch(2)])
    assert torch.equal(together([*source.epoch(2, start, 1)]), whole[start:])


def test_views_are_drawn_as_those_in_memory_are(tmp_path: Path) -> None:
    """Where all rows are of one group, the order is that of memory, and so is each view."""
    tables = [draw(number) for number in (1, 2)]
    labels = torch.arange(ITEMS) % 3
    memory = FeatureBatches(draw(0), labels, 32, seed=3, varied=torch.stack(tables))
    stored = batches(tmp_path, held=10**9, varied=[store(table, tmp_path) for table in tables])
    for number in (0, 1, 7):
        assert torch.equal(together([*stored.epoch(number)]), together([*memory.epoch(number)]))
    shown = together([*stored.epoch(1)])
    plain = draw(0)[stored.order(1)]
    assert 0.2 < (shown == plain).all(1).float().mean() < 0.5  # a third


def test_a_pass_that_is_dropped_leaves_no_thread(tmp_path: Path) -> None:
    import threading

    passing = batches(tmp_path).epoch(1)
    next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("zoo-features")]
