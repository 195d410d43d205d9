"""Decoded images that are kept for the next epoch: the same pixels as decoding them anew gives."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.pixels import keeping
from zoo.data.pixels.augmentations import AUGMENTATIONS
from zoo.data.pixels.keeping import HELD, KeptPictures, most_pixels
from zoo.errors import UnreadableFile, UsageError
from zoo.training.batches import ImageBatches

INPUT = ImageInput(size=32, resize=36, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Pictures of several kinds and sizes, one of exactly the size that the network wants."""
    found = []
    generator = torch.Generator().manual_seed(0)
    for number, (size, name) in enumerate(
        [
            ((32, 32), "a.png"),
            ((60, 40), "b.jpg"),
            ((33, 90), "c.png"),
            ((50, 50), "d.jpg"),
            ((32, 32), "e.jpg"),
        ]
    ):
        values = torch.randint(256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(values.numpy()).save(tmp_path / name)
        found.append(Item(tmp_path / name, number % 2))
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded."""
    counted: Counter[str] = Counter()
    plain = keeping.open_picture

    def count(image: Any, **options: Any) -> Any:
        counted[image.path.name] += 1
        return plain(image, **options)

    monkeypatch.setattr(keeping, "open_picture", count)
    return counted


def passes(items: list[Item], kept: int, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    source = ImageBatches(items, INPUT, 2, seed=0, kept=kept, **options)
    for epoch in (1, 2, 3, 0):
        for batch in source.epoch(epoch):
            assert isinstance(batch.inputs, Tensor)
            yield batch.inputs, batch.targets


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("erase", [0.0, 1.0])
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_every_view_of_every_epoch_is_what_decoding_anew_gives(
    augmentation: str, erase: float, workers: int, items: list[Item], decoded: Counter[str]
) -> None:
    options: dict[str, Any] = {"augmentation": augmentation, "erase": erase, "workers": workers}
    plain = [*passes(items, 0, **options)]
    assert not decoded
    kept = [*passes(items, 10**6, **options)]
    assert decoded == {item.path.name: 1 for item in items}
    assert len(plain) == len(kept) == 4 * 2
    for (one, label), (other, its_label) in zip(plain, kept, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(label, its_label)


def test_no_view_writes_into_what_is_kept(items: list[Item]) -> None:
    for augmentation in AUGMENTATIONS:
        source = ImageBatches(items, INPUT, 2, seed=0, kept=10**6, augmentation=augmentation, erase=1.0)
        assert source.kept is not None
        [*source.epoch(1)]
        before = [source.kept.open(item).pixels.clone() for item in items]
        for epoch in range(2, 9):
            [*source.epoch(epoch)]
        after = [source.kept.open(item).pixels for item in items]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_what_is_more_than_may_be_kept_is_decoded_every_time(
    items: list[Item], decoded: Counter[str]
) -> None:
    small = KeptPictures(32 * 32 * 3 + 50 * 50 * 3)
    for _ in range(3):
        for item in items:
            small.open(item)
    assert decoded == {"a.png": 1, "b.jpg": 1, "c.png": 3, "d.jpg": 3, "e.jpg": 3}
    assert len(small) == 2
    assert small.size == 32 * 32 * 3 + 60 * 40 * 3 <= small.most


def test_a_file_that_has_changed_is_read_again(items: list[Item], decoded: Counter[str]) -> None:
    kept = KeptPictures(10**6)
    path = items[0].path
    first = kept.open(items[0]).pixels
    shutil.copy(items[2].path, path)
    second = kept.open(items[0]).pixels
    assert first.shape != second.shape == (3, 90, 33)
    assert kept.size == 90 * 33 * 3
    assert kept.open(items[0]).pixels is second
    assert decoded["a.png"] == 2
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    kept.open(items[0])
    assert decoded["a.png"] == 3


def test_a_file_that_is_gone_or_broken_is_said_to_be(items: list[Item]) -> None:
    kept = KeptPictures(10**6)
    for item in items[:2]:
        kept.open(item)
    items[0].path.unlink()
    items[1].path.write_bytes(b"no picture")
    with pytest.raises(UnreadableFile, match=r"a\.png"):
        kept.open(items[0])
    with pytest.raises(UnreadableFile, match=r"b\.jpg"):
        kept.open(items[1])


def test_the_setting_is_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_pixels() == HELD
    monkeypatch.setenv("ZOO_PIXELS_MEMORY", "2GB")
    assert most_pixels() == 2 * 10**9
    monkeypatch.setenv("ZOO_PIXELS_MEMORY", "0")
    assert most_pixels() == 0
    monkeypatch.setenv("ZOO_PIXELS_MEMORY", "much")
    with pytest.raises(UsageError, match="ZOO_PIXELS_MEMORY: 'much' is not a size"):
        most_pixels()
