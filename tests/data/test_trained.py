"""Nobody measures what was learned: training items are found again by their content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from zoo.data.dataset import EvaluationSet
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.data.trained import with_contents
from zoo.errors import DatasetError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of ten files, each with bytes of its own."""
    root = tmp_path / "photos"
    for c in "ab":
        (root / c).mkdir(parents=True)
        for n in range(10):
            (root / c / f"{n}.jpg").write_bytes(f"{c}{n}".encode())
    return root


def said(found: EvaluationSet) -> str:
    return "\n".join(note.message for note in found.notes)


def test_a_folder_that_lost_a_file_is_still_the_one_that_was_trained_on(photos: Path) -> None:
    dataset = with_contents(scan_dataset(photos))
    assert len(dataset.split.contents) == 16
    dataset.train[0].path.unlink()
    found = scan_evaluation(photos, dataset.classes, split=dataset.split)
    assert [item.path for item in found.items] == [item.path for item in dataset.val]
    assert "15 images that the run was trained on are left out" in said(found)


@pytest.mark.parametrize("renamed", [False, True])
def test_copies_elsewhere_and_under_other_names_are_left_out(
    photos: Path, tmp_path: Path, renamed: bool
) -> None:
    dataset = with_contents(scan_dataset(photos))
    other = tmp_path / "other"
    for item in (*dataset.train[:4], *dataset.train[-4:], *dataset.val):
        folder = other / "val" / item.path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, folder / (f"x{item.path.name}" if renamed else item.path.name))
    for c in "ab":
        (other / "train" / c).mkdir(parents=True)
    found = scan_evaluation(other, dataset.classes, split=dataset.split)
    assert found.part == "val"
    assert len(found.items) == 4
    assert "8 images that the run was trained on are left out" in said(found)


def test_the_training_folder_alone_leaves_nothing_to_measure(photos: Path, tmp_path: Path) -> None:
    dataset = with_contents(scan_dataset(photos))
    for item in dataset.train:
        (tmp_path / "train" / item.path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, tmp_path / "train" / item.path.parent.name)
    with pytest.raises(DatasetError, match="was trained on all 16 images: nothing is left to measure on"):
        scan_evaluation(tmp_path / "train", dataset.classes, split=dataset.split)


def test_the_parts_of_the_run_stay_what_they_were_with_a_warning_on_copies(photos: Path) -> None:
    for part in ("train", "val"):
        shutil.copytree(photos, photos.parent / "split" / part)
    for n in range(1, 10):
        (photos.parent / "split" / "val" / "a" / f"{n}.jpg").write_bytes(f"new {n}".encode())
        (photos.parent / "split" / "val" / "b" / f"{n}.jpg").write_bytes(f"newer {n}".encode())
    dataset = with_contents(scan_dataset(photos.parent / "split"))
    found = scan_evaluation(photos.parent / "split", dataset.classes, split=dataset.split)
    assert len(found.items) == 20
    assert "left out" not in said(found)
    note = next(note for note in found.notes if note.level == "warning")
    assert note.message.startswith("2 images of those measured are copies of training images")


def test_new_photographs_under_the_names_of_old_ones_are_all_measured(photos: Path, tmp_path: Path) -> None:
    dataset = with_contents(scan_dataset(photos))
    for c in "ab":
        (tmp_path / "new" / c).mkdir(parents=True)
        for n in range(10):
            (tmp_path / "new" / c / f"{n}.jpg").write_bytes(f"new {c}{n}".encode())
    found = scan_evaluation(tmp_path / "new", dataset.classes, split=dataset.split)
    assert len(found.items) == 20


def test_a_dataset_without_bad_files_keeps_its_contents(photos: Path) -> None:
    dataset = with_contents(scan_dataset(photos))
    assert dataset.without({dataset.train[0].path}).split.contents == dataset.split.contents
