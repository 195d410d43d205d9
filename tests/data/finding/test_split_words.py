"""Folders of parts under all the names that people give them, above and below the classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.data.dataset import Dataset, describe_classes
from zoo.data.finding.split_words import Ambiguous, Level, read_level
from zoo.data.kinds import TEXTS
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.errors import DatasetError, UsageError


def said(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


def sizes(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.val), len(dataset.test)


def fill(*folders: str, count: int = 2) -> list[str]:
    """Names of images of two classes in each folder; @ stands for the class."""
    return [f"{folder.replace('@', c)}/{i}.jpg" for folder in folders for c in "ab" for i in range(count)]


# --- words


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training_set", "validation_set", "test_set"),
        ("Training Set", "Dev Set", "Test Set"),
        ("seg_train", "seg_val", "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("TrainImages", "ValidImages", "TestImages"),
        ("TRAIN", "EVAL", "HOLDOUT"),
        ("flowers-training", "flowers-dev", "flowers-testing"),
        ("trainset", "valset", "testset"),
        ("hymenoptera.train", "hymenoptera.valid", "hymenoptera.hold-out"),
        ("images_train", "images_evaluation", "images_held_out"),
        ("train", "val", "test1"),
        ("train_raw", "validate", "all_test_photos"),
    ],
)
def test_parts_are_recognised_by_their_words(
    plant: Callable[..., Path], train: str, val: str, test: str
) -> None:
    root = plant(*fill(f"{train}/@", f"{val}/@", f"{test}/@"))
    dataset = scan_dataset(root)
    assert sizes(dataset) == (4, 4, 4)
    assert dataset.classes == ("a", "b")
    assert dataset.split.origin == "folders"
    assert {name.split("/")[0] for name in dataset.split.test} == {test}
    unusual = {n for n in (train, val, test) if n.lower() not in ("train", "val", "test")}
    assert all(f"{name} for " in said(dataset) for name in unusual)


@pytest.mark.parametrize(
    "names",
    [
        ["train", "car", "bus"],
        ["train station", "train track"],
        ["pregnancy test", "blood test"],
        ["latest", "strain", "invalid"],
        ["train station", "test tube", "bus"],
        ["part 1", "part 2", "rest"],
        ["1", "2"],
        ["pos", "neg", "unsup"],
    ],
)
def test_classes_are_not_parts_because_of_a_word_in_their_names(names: list[str]) -> None:
    assert read_level(names) is None


@pytest.mark.parametrize(
    "names",
    [
        ["trainA", "trainB", "testA", "testB"],
        ["images_train", "images_val", "labels_train", "labels_val"],
        ["fold_1", "fold_2", "train"],
        ["fold1", "fold2", "cats"],
        ["train", "crash test", "car"],
    ],
)
def test_names_that_may_be_parts_in_several_ways_are_refused_with_what_was_found(
    plant: Callable[..., Path], names: list[str]
) -> None:
    assert isinstance(read_level(names), Ambiguous)
    root = plant(*fill(*(f"{name}/@" for name in names)))
    with pytest.raises(
        DatasetError, match=r"it is not clear which folders of .* are parts of the data"
    ) as error:
        scan_dataset(root)
    assert sum(name in error.value.message for name in names) >= 2
    assert "rename" in str(error.value.hint)


def test_a_level_of_parts_lists_what_lies_beside_them() -> None:
    level = read_level(["train", "valid", "train_extra", "docs", "pred"])
    assert level == Level(
        {"train": ("train",), "val": ("valid",)}, unlabelled=("pred",), others=("train_extra", "docs")
    )


# --- parts without labels


@pytest.mark.parametrize("name", ["seg_pred", "unsup", "unlabeled", "Unlabelled", "submission", "predict"])
def test_a_part_without_labels_is_passed_over_and_said(plant: Callable[..., Path], name: str) -> None:
    prefix = "seg_" if name == "seg_pred" else ""
    root = plant(*fill(f"{prefix}train/@", f"{prefix}test/@"), f"{name}/1.jpg", f"{name}/2.jpg")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert dataset.classes == ("a", "b")
    assert sizes(dataset) == (2, 2, 4)
    assert f"1 folder ({name}) passed over: it has no labels" in said(dataset)


@pytest.mark.parametrize("name", ["unsup", "Unlabeled", "unlabelled_data", "UNSUPERVISED"])
@pytest.mark.parametrize("above", ["", "train/"])
def test_a_folder_without_labels_beside_classes_is_not_a_class(
    plant: Callable[..., Path], above: str, name: str
) -> None:
    root = plant(*fill(f"{above}@"), f"{above}{name}/1.jpg", f"{above}{name}/2.jpg")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert dataset.classes == ("a", "b")
    assert len(dataset.items) == 4
    assert "it has no labels" in said(dataset)


def test_a_test_folder_beside_classes_is_refused_unless_it_holds_the_same_classes(
    plant: Callable[..., Path],
) -> None:
    root = plant("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg", "test/1.jpg", "test/2.jpg")
    for name in ("test", "val", "pred"):
        with pytest.raises(DatasetError, match=f"it is not clear .*: {name}, cat, dog"):
            scan_dataset(root)
        (root / name).rename(root / {"test": "val", "val": "pred", "pred": "holdout_set"}[name])
    plant("holdout_set/cat/9.jpg", "holdout_set/dog/9.jpg")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert dataset.classes == ("cat", "dog")
    assert sizes(dataset) == (2, 2, 2)
    assert "the class folders beside holdout_set are taken for the train part" in said(dataset)


def test_photographs_of_train_and_test_without_class_folders_are_refused(plant: Callable[..., Path]) -> None:
    root = plant("train/cat.1.jpg", "train/dog.1.jpg", "test1/1.jpg")
    with pytest.raises(DatasetError, match=r"train holds 2 images but no class folders") as error:
        scan_dataset(root)
    assert "train is taken for a part of the data" in str(error.value.hint)


def test_a_train_folder_beside_folders_that_hold_no_images_is_the_training_part(
    plant: Callable[..., Path],
) -> None:
    root = plant(*fill("train/@"), "annotations/a.xml", "docs/readme.txt")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert dataset.classes == ("a", "b")
    assert "2 folders (annotations, …) beside train passed over" in said(dataset)
    plant("raw/1.jpg")
    with pytest.raises(DatasetError, match=r"it is not clear"):
        scan_dataset(root)


# --- folds and pieces


def test_of_numbered_folds_the_first_is_kept_for_validation(plant: Callable[..., Path]) -> None:
    root = plant(*fill(*(f"fold_{n}/@" for n in (10, 1, 2)), "test/@"))
    dataset = scan_dataset(root)
    assert sizes(dataset) == (8, 4, 4)
    assert all(name.startswith("fold_1/") for name in dataset.split.val)
    assert "3 folds (fold_1, fold_2, fold_10): fold_1 is kept for validation" in said(dataset)


def test_numbered_pieces_of_one_set_are_taken_together(plant: Callable[..., Path]) -> None:
    root = plant(*fill("Part 1/@"), "Part 2/a/7.jpg", "Part 2/c/8.jpg", "Part 2/c/9.jpg")
    dataset = scan_dataset(root, val_fraction=0.4)
    assert dataset.classes == ("a", "b", "c")
    assert len(dataset.items) == 7
    assert "Part 1, Part 2 are taken together" in said(dataset)


def test_numbered_folders_that_may_be_pieces_or_classes_are_refused(plant: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"it is not clear .*: part1, part2"):
        scan_dataset(plant("part1/1.jpg", "part1/2.jpg", "part2/1.jpg", "part2/2.jpg"))


# --- parts below the classes


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("@/train", "@/val", "@/test"), (4, 4, 4)),
        (("@/Training", "@/Testing"), (2, 2, 4)),
        (("@/@_train", "@/@_dev"), (4, 4, 0)),
        (("@/images/train", "@/images/valid"), (4, 4, 0)),
        (("@/fold1", "@/fold2"), (4, 4, 0)),
        (("@", "@/test"), (2, 2, 4)),
    ],
)
def test_parts_below_the_classes_are_recognised(
    plant: Callable[..., Path], folders: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    root = plant(*fill(*folders))
    dataset = scan_dataset(root, val_fraction=0.5)
    assert dataset.classes == ("a", "b")
    assert sizes(dataset) == expected
    assert "folders inside the class folders are taken as parts" in said(dataset)
    found = scan_evaluation(root, dataset.classes, split=dataset.split)
    assert found.part == ("test" if expected[2] else "val")


def test_a_class_without_the_parts_that_others_have_is_refused(plant: Callable[..., Path]) -> None:
    root = plant("a/train/1.jpg", "a/train/2.jpg", "a/test/1.jpg", "b/1.jpg", "b/2.jpg")
    with pytest.raises(DatasetError, match=r"no folder for training in b of .* there is one in a: train"):
        scan_dataset(root)


def test_files_without_labels_or_part_below_a_class_are_counted_and_left_out(
    plant: Callable[..., Path],
) -> None:
    root = plant(*fill("@/train", "@/val"), "a/cover.jpg", "a/unsup/1.jpg", "b/unsup/2.jpg")
    dataset = scan_dataset(root)
    assert sizes(dataset) == (4, 4, 0)
    assert "2 images passed over: in folders of no labels (unsup)" in said(dataset)
    assert "1 image beside the parts in the class folders passed over" in said(dataset)


# --- levels of classes


def test_folders_inside_classes_are_said_and_can_be_made_the_classes(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{a}/{c}/{i}.jpg" for a, c in ("xa", "xb", "yc") for i in range(2)))
    top = scan_dataset(root, val_fraction=0.5)
    assert top.classes == ("x", "y")
    note = next(n for n in top.notes if "folders inside 2 class folders (x/a, …)" in n.message)
    assert "--class-level 2" in str(note.hint)
    dataset = scan_dataset(root, val_fraction=0.5, class_level=2)
    assert dataset.classes == ("a", "b", "c")
    assert "folders inside" not in said(dataset)
    assert {item.path.parent.name for item in scan_evaluation(root, ("c", "b", "a")).items} == set("abc")


@pytest.mark.parametrize("layout", ["train/{}/{}", "{}/train/{}", "{}/{}/train"])
def test_classes_of_the_second_level_may_have_parts_above_between_and_below(
    plant: Callable[..., Path], layout: str
) -> None:
    pairs = ("xa", "xb", "yc")
    names = [layout.format(*pair).replace("train", part) for pair in pairs for part in ("train", "val")]
    root = plant(*(f"{name}/{i}.jpg" for name in names for i in range(2)))
    dataset = scan_dataset(root, class_level=2)
    assert dataset.classes == ("a", "b", "c")
    assert sizes(dataset) == (6, 6, 0)


def test_a_level_that_is_not_there_is_an_error(plant: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError):
        scan_dataset(plant(*fill("@")), class_level=2)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        scan_dataset(plant(*fill("@")), class_level=0)


# --- options and folders that do not belong


@pytest.mark.parametrize("option", ["item_column", "label_column"])
def test_options_of_tables_are_refused_for_a_folder(plant: Callable[..., Path], option: str) -> None:
    with pytest.raises(UsageError, match=r"names a column of a table, and .*photos is a folder"):
        scan_dataset(plant(*fill("@")), **{option: "x"})


def test_a_run_folder_inside_the_data_is_passed_over_and_said(plant: Callable[..., Path]) -> None:
    root = plant(*fill("@"), "run/run.json", "run/adapter.safetensors", "run/history.jsonl")
    plant("a/run-2/run.json", "a/run-2/adapter.safetensors")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert dataset.classes == ("a", "b")
    assert "2 run folders (run, …) passed over" in said(dataset)


# --- texts


def test_texts_without_endings_are_read_where_nothing_has_one(tmp_path: Path) -> None:
    for c in ("alt.atheism", "sci.space"):
        (tmp_path / c).mkdir()
        for n in range(49960, 49964):
            (tmp_path / c / str(n)).write_text(f"a post about {c}, number {n}")
    dataset = scan_dataset(tmp_path, TEXTS, val_fraction=0.5)
    assert dataset.classes == ("alt.atheism", "sci.space")
    assert len(dataset.items) == 8


@pytest.mark.parametrize("names", [["rt.pos", "rt.neg"], ["1.pos", "2.pos", "1.neg", "2.neg"]])
def test_files_whose_endings_are_labels_are_classes(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text(f"a film of {name}\nanother one of {name}\n")
    (tmp_path / "README.1.0").write_text("about")
    dataset = scan_dataset(tmp_path, TEXTS, val_fraction=0.5)
    assert dataset.classes == ("neg", "pos")
    assert len(dataset.items) == 4
    assert dataset.layout == ("lines" if len(names) == 2 else "files")


# --- the classes, said before training


def test_the_classes_are_described_on_one_line(plant: Callable[..., Path]) -> None:
    root = plant(*(f"train/{c}/{i}.jpg" for c, n in (("ants", 3), ("bees", 2)) for i in range(n)))
    plant("val/ants/1.jpg", "val/bees/1.jpg", "val/bees/2.jpg")
    note = describe_classes(scan_dataset(root))
    assert note.message == "2 classes: ants 3 (val 1), bees 2 (val 2)"
    assert note.hint is None


def test_of_many_classes_the_largest_and_smallest_are_named_and_unevenness_is_said(
    plant: Callable[..., Path],
) -> None:
    root = plant(*(f"train/c{n}/{i}.jpg" for n in range(1, 31) for i in range(n)), "val/c1/x.jpg")
    note = describe_classes(scan_dataset(root))
    assert note.message == (
        "30 classes: largest c30 30 (val 0), c29 29 (val 0), c28 28 (val 0); "
        "smallest c3 3 (val 0), c2 2 (val 0), c1 1 (val 1)"
    )
    assert "--balance" in str(note.hint)


def test_no_message_about_parts_is_longer_than_a_screen(plant: Callable[..., Path]) -> None:
    names = [f"fold_{n}" for n in range(300)]
    with pytest.raises(DatasetError) as error:
        scan_dataset(plant(*(f"{name}/1.jpg" for name in (*names, "x"))))
    assert len(str(error.value)) < 800
    assert re.search("fold_7 and 292 more", error.value.message)
