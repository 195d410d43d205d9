"""One photograph in two parts: found by its bytes and by its looks, and said."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Dataset
from zoo.data.leaks import describe_leak, find_copies, find_lookalikes, keep_copies_together, thumbnails
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.preprocessing import preprocess
from zoo.data.scanning import scan_dataset
from zoo.errors import DatasetError

INPUT = ImageInput(size=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def put(root: Path, **contents: bytes) -> Path:
    """Files below root: `train__a__1=b"…"` is train/a/1.jpg."""
    for name, content in contents.items():
        path = root.joinpath(*name.split("__")).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def warnings_of(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes if note.level == "warning")


@pytest.mark.fault("I10")
def test_copies_in_a_split_of_the_user_are_counted_and_warned_about(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        train__a__1=b"one",
        train__a__2=b"two",
        train__b__1=b"three",
        val__a__9=b"one",
        val__b__8=b"four",
        test__a__7=b"two",
    )
    dataset = keep_copies_together(scan_dataset(root))
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (3, 2, 1)
    said = warnings_of(dataset)
    assert "1 of the 2 images in val are copies of training images (" in said
    assert "1 of the 1 images in test are copies of training images" in said


@pytest.mark.fault("I10")
def test_a_split_that_zoo_draws_has_no_copies_across_it(tmp_path: Path) -> None:
    for number in range(60):  # every image twice
        put(tmp_path, **{f"{'ab'[number % 2]}__{number}": bytes([number // 4, number % 2])})
    drawn = scan_dataset(tmp_path)
    dataset = keep_copies_together(drawn)

    def held_twice(dataset: Dataset) -> int:
        seen = {item.path.read_bytes() for item in dataset.train}
        return sum(item.path.read_bytes() in seen for item in dataset.val)

    assert held_twice(drawn) > 0
    assert held_twice(dataset) == 0
    assert len(dataset.items) == 60
    assert set(dataset.split.names) == set(drawn.split.names)
    assert dataset.counts("val") in {(6, 6), (6, 7), (7, 6), (7, 7)}
    assert "copies of one image are kept on one side" in dataset.notes[-1].message
    assert warnings_of(dataset) == ""
    assert keep_copies_together(drawn) == dataset


def test_copies_alone_in_a_class_are_split_all_the_same_and_warned_about(tmp_path: Path) -> None:
    root = put(tmp_path, a__1=b"x", a__2=b"x", a__3=b"x", b__1=b"y", b__2=b"z")
    dataset = keep_copies_together(scan_dataset(root))
    assert dataset.counts("val") == (1, 1)
    assert "1 of the 2 images in val are copies" in warnings_of(dataset)


@pytest.mark.fault("I10")
def test_copies_in_two_classes_are_warned_about(tmp_path: Path) -> None:
    root = put(tmp_path, train__a__1=b"x", train__b__2=b"x", train__b__3=b"y", val__a__1=b"z")
    assert "1 image lies in several classes (" in warnings_of(keep_copies_together(scan_dataset(root)))


@pytest.mark.fault("I10")
def test_classes_that_are_copies_of_each_other_are_refused_with_a_sentence(tmp_path: Path) -> None:
    root = put(tmp_path, **{f"{c}__{n}": bytes([n]) for c in ("cat", "dog") for n in range(6)})
    with pytest.raises(DatasetError, match="nothing is left to validate with: all images of cat, dog lie in"):
        keep_copies_together(scan_dataset(root))
    black = put(tmp_path / "black", **{f"{c}__{n}": b"black" for c in ("cat", "dog") for n in range(6)})
    with pytest.raises(DatasetError, match="nothing is left to validate with"):
        keep_copies_together(scan_dataset(black))


@pytest.mark.fault("I10")
def test_a_class_that_is_part_of_others_is_warned_of_and_the_count_is_that_after_settling(
    tmp_path: Path,
) -> None:
    put(tmp_path, **{f"cat__{n}": bytes([n]) for n in range(20)})
    root = put(tmp_path, **{f"dog__{n}": bytes([n]) for n in range(10)})
    dataset = keep_copies_together(scan_dataset(root))
    assert dataset.counts("val") == (4, 0)
    assert "no image of dog is kept for validation" in warnings_of(dataset)
    assert "4 images (20% of every class, seed 0) kept for validation" in [n.message for n in dataset.notes]


def test_a_dataset_without_copies_is_left_as_it_is(data: Path) -> None:
    dataset = scan_dataset(data / "hymenoptera")
    assert keep_copies_together(dataset) == dataset


def test_only_equal_bytes_are_copies(tmp_path: Path) -> None:
    tail = bytes(5000)
    put(tmp_path, a=b"A" + tail, b=b"B" + tail, c=b"A" + tail, d=b"", e=b"", f=b"A" + tail + b"!")
    paths = sorted(tmp_path.iterdir())
    assert [[paths[i].stem for i in group] for group in find_copies(paths)] == [["a", "c"]]
    assert find_copies([tmp_path / "gone.jpg", paths[0], paths[2]]) == [[1, 2]]


@pytest.mark.fault("I10")
def test_a_photograph_saved_again_smaller_and_worse_is_found_and_no_other(data: Path, tmp_path: Path) -> None:
    dataset = scan_dataset(data / "hymenoptera")
    train = [item.path for item in dataset.train[::4]]
    held_out = [item.path for item in dataset.val[::4]]
    for number in (0, 7, 20, 33):
        image = Image.open(train[number]).convert("RGB")
        image = image.resize((image.width // 2, image.height // 2))
        path = tmp_path / f"{number}.jpg"
        image.save(path, quality=40)
        held_out.insert(number, path)
    shutil.copy(train[5], tmp_path / "exact.jpg")
    held_out.append(tmp_path / "exact.jpg")

    def look(paths: list[Path]) -> torch.Tensor:
        transform = partial(preprocess, input=INPUT)
        return torch.cat([thumbnails(batch.images) for batch in load_batches(paths, transform, 16)])

    pairs = find_lookalikes(look(train), look(held_out))
    assert [(i, held_out[j].stem) for i, j in pairs] == [
        (0, "0"),
        (7, "7"),
        (20, "20"),
        (33, "33"),
        (5, "exact"),
    ]
    note = describe_leak([(train[i], held_out[j]) for i, j in pairs], "val", len(held_out))
    assert note.level == "warning"
    assert note.message.startswith(f"5 of the {len(held_out)} images in val look just like training images (")


def test_thumbnails_ignore_brightness_and_flat_images_are_like_nothing() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    flat = torch.full((1, 3, 64, 64), 0.3)
    looks = thumbnails(torch.cat([image, image * 0.5 + 0.2, flat, flat]))
    assert looks.shape == (4, 256)
    assert find_lookalikes(looks[:1], looks[1:2]) == [(0, 0)]
    assert find_lookalikes(looks[2:3], looks[3:]) == []
    assert find_lookalikes(looks[:0], looks) == []


def test_blocks_find_what_one_product_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = thumbnails(torch.rand(50, 3, 20, 20, generator=torch.Generator().manual_seed(0)))
    held_out = looks[torch.tensor([4, 9, 30, 49])]
    monkeypatch.setattr("zoo.data.leaks._BLOCK", 1)
    assert find_lookalikes(looks, held_out) == [(4, 0), (9, 1), (30, 2), (49, 3)]
