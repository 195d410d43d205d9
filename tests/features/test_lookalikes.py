"""A photograph that is in train and val, saved anew, is found; different photographs are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.pixels.batches import load_batches
from zoo.features import lookalikes, rows
from zoo.features.lookalikes import find_resaved
from zoo.features.rows import new_rows

INPUT = ImageInput(size=64, resize=64, mean=(0.5,) * 3, std=(0.5,) * 3)


def features_of(items: list[Item]) -> torch.Tensor:
    """Grey patches: near for the same photograph, whatever its compression."""
    from functools import partial

    from zoo.data.pixels.preprocessing import preprocess

    paths = [item.path for item in items]
    with load_batches(paths, partial(preprocess, input=INPUT), len(paths)) as batches:
        images = next(batches).images
    return torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1) + 1


@pytest.mark.fault("I10")
def test_a_photograph_that_was_saved_anew_is_found_in_val(data: Path, tmp_path: Path) -> None:
    photos = sorted((data / "hymenoptera" / "train" / "bees").glob("*.jpg"))[:12]
    train = [Item(path, 0) for path in photos[:8]]
    copy = tmp_path / "copy.jpg"
    with Image.open(photos[3]) as image:
        image.resize((image.width // 2, image.height // 2)).save(copy, quality=40)
    val = [Item(path, 0) for path in (*photos[8:], copy)]
    assert find_resaved(train, features_of(train), val, features_of(val), INPUT) == [(photos[3], copy)]


def test_many_photographs_are_compared_in_blocks_and_of_too_many_an_even_draw(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = sorted((data / "hymenoptera" / "val" / "ants").glob("*.jpg"))[:20]
    train, val = [Item(path, 0) for path in photos[:13]], [Item(path, 0) for path in photos[13:]]
    rows = torch.randn(20, 8)
    train_rows, val_rows = rows[:13], rows[13:]
    cosines = torch.nn.functional.cosine_similarity(val_rows[:, None], train_rows[None], dim=2).max(1)
    for block in (1, 14, 40, 1000):
        monkeypatch.setattr(lookalikes, "_BLOCK", block)
        found, nearest = lookalikes._nearest(train_rows, val_rows)
        torch.testing.assert_close(found, cosines.values)
        assert nearest.tolist() == cosines.indices.tolist()
    monkeypatch.setattr(lookalikes, "PRODUCTS", 13 * 3)
    assert lookalikes.choose_compared(13, 7).tolist() == [0, 2, 4]
    assert lookalikes.choose_compared(13, 2).tolist() == [0, 1]
    assert lookalikes.choose_compared(10_000, 7).tolist() == [0]
    assert find_resaved(train, features_of(train), val, features_of(val), INPUT) == []


def test_different_photographs_of_one_class_are_no_copies(data: Path) -> None:
    photos = sorted((data / "hymenoptera" / "val" / "ants").glob("*.jpg"))[:20]
    train, val = [Item(path, 0) for path in photos[:10]], [Item(path, 0) for path in photos[10:]]
    assert find_resaved(train, features_of(train), val, features_of(val), INPUT) == []


def test_the_nearest_in_blocks_of_both_sides_are_those_of_one_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = torch.Generator().manual_seed(0)
    train, held_out = torch.randn(500, 9, generator=draws), torch.randn(70, 9, generator=draws)
    whole = F.normalize(held_out) @ F.normalize(train).T
    stored = new_rows((500, 9), tmp_path)
    stored[torch.arange(500)] = train
    monkeypatch.setattr(rows, "AT_ONCE", 9 * 4 * 128)  # rows of the file at a time
    monkeypatch.setattr(lookalikes, "_BLOCK", 128 * 16)
    for table in (train, stored):
        cosines, nearest = lookalikes._nearest(table, held_out)
        assert torch.allclose(cosines, whole.max(1).values, atol=1e-6)
        assert torch.equal(nearest, whole.argmax(1))
