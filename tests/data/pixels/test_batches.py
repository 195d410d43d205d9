"""Batches that come in order, the same with any number of threads, and leave no thread behind."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.catalogue.entry import ImageInput
from zoo.data.contents import know_files
from zoo.data.pixels.batches import (
    BadFile,
    check_bad_files,
    describe_traits,
    find_obvious,
    load_batches,
    name_bad_files,
)
from zoo.data.pixels.decoding import read_image
from zoo.data.pixels.preprocessing import Draws, augment, preprocess
from zoo.data.scanning import scan_dataset
from zoo.errors import DatasetError, UnreadableFile
from zoo.events import Event, Progress

SMALL = ImageInput(size=32, resize=36, mean=(0.5,) * 3, std=(0.5,) * 3)
PREPARE = partial(preprocess, input=SMALL)


@pytest.fixture
def ants(data: Path) -> list[Path]:
    return sorted((data / "hymenoptera" / "val" / "ants").iterdir())[:23]


def image_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("zoo-images")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 40 small images."""
    for number in range(80):
        path = tmp_path / "set" / ("ant", "bee")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 10), (number, 0, 0)).save(path)
    return tmp_path / "set"


def test_batches_hold_every_image_in_the_order_given(ants: list[Path]) -> None:
    order = list(reversed(range(23)))
    batches = list(load_batches(ants, PREPARE, 5, order=order))
    assert [len(batch.images) for batch in batches] == [5, 5, 5, 5, 3]
    assert torch.cat([batch.indices for batch in batches]).tolist() == order
    expected = torch.stack([PREPARE(read_image(ants[i])) for i in order])
    assert torch.equal(torch.cat([batch.images for batch in batches]), expected)


def test_items_and_a_part_of_them_can_be_given(data: Path) -> None:
    dataset = scan_dataset(data / "hymenoptera")
    indices, images, _ = next(load_batches(dataset.val, PREPARE, 4, order=[7, 3, 7, 1]))
    assert indices.tolist() == [7, 3, 7, 1]
    assert torch.equal(images[0], images[2])


def test_the_number_of_threads_changes_nothing_even_with_random_views(ants: list[Path]) -> None:
    def read(workers: int, epoch: int = 3) -> bytes:
        transform = partial(_view, settings=SMALL)
        batches = load_batches(ants, transform, 4, workers=workers, draws=Draws(1, epoch))
        return torch.cat([batch.images for batch in batches]).numpy().tobytes()

    assert read(1) == read(2) == read(7)
    assert read(1) != read(1, epoch=4)


def _view(image: torch.Tensor, generator: torch.Generator, *, settings: ImageInput) -> torch.Tensor:
    return augment(image, settings, generator)


def test_progress_ends_at_the_total(ants: list[Path]) -> None:
    events: list[Event] = []
    list(load_batches(ants, PREPARE, 10, report=events.append, task="features"))
    assert events == [Progress("features", n, 23, "images") for n in (10, 20, 23)]


def test_reading_ahead_is_bounded(folder: Path) -> None:
    read: list[int] = []

    def transform(image: torch.Tensor) -> torch.Tensor:
        read.append(int(image[0, 0, 0]))
        return image.float()

    with load_batches([p for _, p in numbered(folder)], transform, 4, workers=2) as batches:
        next(batches)
        time.sleep(0.3)
        assert 4 <= len(read) <= 4 + 4 + 2 + 1


def numbered(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in folder.glob("*/*.png"))


def test_no_images_are_no_batches() -> None:
    assert list(load_batches([], PREPARE, 4)) == []


# --- bad files


@pytest.mark.fault("I1")
def test_bad_files_are_set_aside_and_batches_stay_full(folder: Path) -> None:
    paths = [path for _, path in numbered(folder)]
    paths[3].write_bytes(b"")
    paths[4].write_bytes(b"<html>")
    paths[79].write_bytes(paths[79].read_bytes()[:50])
    events: list[Event] = []
    batches = load_batches(paths, PREPARE, 10, report=events.append)
    found = list(batches)
    assert [len(batch.indices) for batch in found] == [10] * 7 + [7]
    assert found[0].indices.tolist() == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert [file.path for file in batches.bad] == [paths[3], paths[4], paths[79]]
    assert batches.bad[0].reason == "is empty (0 bytes)"
    assert "web page" in batches.bad[1].reason
    assert events[-1] == Progress("images", 80, 80, "images")


@pytest.mark.fault("I1")
def test_stopping_at_a_bad_file_names_it_and_what_to_do(folder: Path) -> None:
    paths = [path for _, path in numbered(folder)]
    paths[13].write_bytes(b"")
    with pytest.raises(UnreadableFile, match=r"13\.png is empty") as error:
        list(load_batches(paths, PREPARE, 10, on_bad="stop"))
    assert error.value.hint is not None
    assert "--on-bad skip" in error.value.hint
    del error
    assert image_threads() == []


@pytest.mark.fault("I11")
@pytest.mark.parametrize("on_bad", ["skip", "stop"])
def test_a_file_that_vanishes_meanwhile_is_named(folder: Path, on_bad: str) -> None:
    paths = [path for _, path in numbered(folder)]
    batches = load_batches(paths, PREPARE, 5, on_bad=on_bad)
    next(batches)
    paths[70].unlink()
    paths[71].write_bytes(b"changed")
    if on_bad == "stop":
        with pytest.raises(UnreadableFile, match=r"70\.png does not exist"):
            list(batches)
    else:
        list(batches)
        assert [str(file) for file in batches.bad] == [
            f"{paths[70]} does not exist",
            f"{paths[71]} is not an image of a known format",
        ]


@pytest.mark.fault("I1")
def test_a_few_bad_files_leave_the_dataset_with_a_note(folder: Path) -> None:
    dataset = scan_dataset(folder)
    bad = [BadFile(dataset.train[0].path, "is empty (0 bytes)"), BadFile(dataset.val[-1].path, "is cut off")]
    checked = check_bad_files(dataset, bad)
    assert len(checked.items) == 78
    assert not {file.path for file in bad} & {item.path for item in checked.items}
    assert checked.split.hash != dataset.split.hash
    assert "2 files of 80 passed over" in checked.notes[-1].message
    assert "is empty (0 bytes)" in checked.notes[-1].message
    assert check_bad_files(dataset, []) is dataset
    with pytest.raises(DatasetError, match=r"2 files cannot be read: .*is empty"):
        check_bad_files(dataset, bad, "stop")


@pytest.mark.fault("I1")
def test_more_than_five_percent_of_a_class_is_an_error_anyway(folder: Path) -> None:
    dataset = scan_dataset(folder)
    bees = [item.path for item in dataset.train if item.label == 1]
    assert check_bad_files(dataset, [BadFile(path, "is empty") for path in bees[:2]])
    with pytest.raises(
        DatasetError, match=r"3 of the 40 images of class bee cannot be read \(8%; at most 5%"
    ):
        check_bad_files(dataset, [BadFile(path, "is empty") for path in bees[:3]])


@pytest.mark.fault("I1")
def test_a_class_whose_only_training_image_is_unreadable_is_an_error(plant: Callable[..., Path]) -> None:
    root = plant("train/a/0.jpg", "train/b/0.jpg", *(f"val/{c}/{i}.jpg" for c in "ab" for i in range(1, 20)))
    dataset = scan_dataset(root)
    with pytest.raises(DatasetError, match="no image of class b that can be read is left to train on"):
        check_bad_files(dataset, [BadFile(root / "train/b/0.jpg", "is empty")])


def test_many_bad_files_are_counted_after_the_first_few() -> None:
    bad = [BadFile(Path(f"{i}.jpg"), "is empty") for i in range(9)]
    assert name_bad_files(bad) == "0.jpg is empty; 1.jpg is empty; 2.jpg is empty; and 6 more"


@pytest.mark.fault("I2")
@pytest.mark.fault("I4")
def test_what_had_to_be_converted_is_counted_for_the_report(folder: Path) -> None:
    paths = [path for _, path in numbered(folder)]
    Image.new("CMYK", (9, 9)).save(paths[0].with_suffix(".jpg"))
    Image.new("RGBA", (9, 9)).save(paths[1])
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(paths[2].with_suffix(".gif"), save_all=True, append_images=frames[1:])
    batches = load_batches(
        [paths[0].with_suffix(".jpg"), paths[1], paths[2].with_suffix(".gif"), *paths[3:]], PREPARE, 16
    )
    list(batches)
    note = describe_traits(batches.traits)
    assert note is not None
    assert note.message == (
        "images 1 with several frames or pages: the first was taken; "
        "1 with an alpha channel: laid on white; 1 in CMYK: converted to RGB"
    )
    batches.traits.clear()
    assert describe_traits(batches.traits) is None


# --- threads


def test_no_thread_is_left_after_the_last_batch_an_early_end_or_an_error(ants: list[Path]) -> None:
    list(load_batches(ants, PREPARE, 5))
    assert image_threads() == []
    with load_batches(ants, PREPARE, 5) as batches:
        next(batches)
        assert image_threads()
    assert image_threads() == []
    for _ in load_batches(ants, PREPARE, 5):
        break
    gc.collect()
    assert image_threads() == []

    def fail(image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(load_batches(ants, fail, 5))
    assert image_threads() == []


def test_ctrl_c_ends_reading_and_every_thread(data: Path) -> None:
    """Reading all that is asked for would take an hour; a busy machine may take its time to stop."""
    code = """
import sys, threading, time
from functools import partial
from pathlib import Path
from zoo.catalogue.entry import ImageInput
from zoo.data.pixels.batches import load_batches
from zoo.data.pixels.preprocessing import preprocess
paths = sorted(Path(sys.argv[1]).rglob("*.jpg")) * 1000
wanted = ImageInput(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3)
try:
    for number, batch in enumerate(load_batches(paths, partial(preprocess, input=wanted), 16)):
        if number == 1:
            print("reading", flush=True)
except KeyboardInterrupt:
    left = [t.name for t in threading.enumerate() if t.name.startswith("zoo")]
    print("stopped", left, flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, data / "hymenoptera"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=240)
    finally:
        child.kill()
    assert said == "stopped []\n"
    assert child.returncode == 0


def test_preparing_images_starts_no_threads_of_torchs_own_in_the_threads_that_decode(
    ants: list[Path],
) -> None:
    if torch.get_num_threads() == 1 or not Path("/proc/self/task").is_dir():
        pytest.skip("needs Linux and more than one thread for torch")
    transform = partial(_view, settings=ImageInput(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3))
    before = len(list(Path("/proc/self/task").iterdir()))
    with load_batches(ants, transform, 1, workers=3, draws=Draws(0, 0)) as batches:
        for _ in range(10):
            next(batches)
        most = before + 3 + torch.get_num_threads()  # the caller stacks batches with torch's threads
        assert len(list(Path("/proc/self/task").iterdir())) <= most


@pytest.mark.fault("I1")
def test_files_that_are_certainly_not_images_are_found_by_their_first_bytes(folder: Path) -> None:
    dataset = scan_dataset(folder)
    assert find_obvious(dataset) == []
    page, empty, cut = (item.path for item in dataset.train[:3])
    page.write_text("<!DOCTYPE html><html>404</html>")
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:100])  # only decoding can say so
    reasons = {file.path: file.reason for file in find_obvious(dataset)}
    assert reasons.keys() == {page, empty}
    assert "web page" in reasons[page]
    unusual = know_files([item.path for item in dataset.items]).unusual
    assert unusual == {page, empty}
    assert {file.path for file in find_obvious(dataset, unusual)} == {page, empty}


def test_a_typed_skip_passes_over_any_number_but_leaves_something_to_train_on(folder: Path) -> None:
    dataset = scan_dataset(folder)
    bees = [BadFile(item.path, "is empty") for item in dataset.train if item.label == 1]
    assert len(check_bad_files(dataset, bees[:-1], however_many=True).train) == len(dataset.train) - len(
        bees[:-1]
    )
    with pytest.raises(DatasetError, match="left to train on"):
        check_bad_files(dataset, bees, however_many=True)
