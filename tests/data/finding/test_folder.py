"""What a scan makes of folders as people have them, and what it says of those it cannot use."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.data.dataset import Dataset, Item, Split
from zoo.data.listing import list_images
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.errors import DatasetError, StorageError, UsageError


def names(items: tuple[Item, ...], root: Path) -> list[str]:
    return [item.path.relative_to(root).as_posix() for item in items]


def said(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


# --- layouts


def test_the_hymenoptera_folder_is_read_with_its_own_split_and_its_gif(data: Path) -> None:
    dataset = scan_dataset(data / "hymenoptera")
    assert dataset.classes == ("ants", "bees")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (245, 153, 0)
    assert dataset.counts("val") == (70, 83)
    assert dataset.split.origin == "folders"
    assert dataset.split.seed is None
    assert any(item.path.suffix == ".gif" for item in dataset.train)
    assert dataset.notes == ()


def test_class_folders_alone_are_split_the_same_way_every_time(data: Path) -> None:
    folder = data / "hymenoptera" / "train"
    dataset = scan_dataset(folder, seed=3)
    assert dataset == scan_dataset(folder, seed=3)
    assert dataset.split.hash != scan_dataset(folder, seed=4).split.hash
    assert [len(dataset.train), len(dataset.val)] == [196, 49]
    assert dataset.counts("val") == (25, 24)
    assert not {i.path for i in dataset.train} & {i.path for i in dataset.val}


def test_the_drawn_split_hardly_changes_when_a_file_is_added(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{name}/{i}.jpg" for name in ("ant", "bee") for i in range(50)))
    before = scan_dataset(root)
    plant("ant/new.jpg")
    moved = set(before.split.val) ^ set(scan_dataset(root).split.val)
    assert len(moved) <= 2


@pytest.mark.parametrize(
    ("folders", "counts"),
    [
        (("train", "val"), (4, 4, 0)),
        (("Training", "Validation", "Testing"), (4, 4, 4)),
        (("TRAIN", "valid", "test"), (4, 4, 4)),
        (("train", "test"), (2, 2, 4)),
        (("train",), (2, 2, 0)),
    ],
)
def test_split_folders_are_recognised_by_their_usual_names(
    plant: Callable[..., Path], folders: tuple[str, ...], counts: tuple[int, ...]
) -> None:
    root = plant(*(f"{f}/{c}/{i}.jpg" for f in folders for c in ("ant", "bee") for i in range(2)))
    dataset = scan_dataset(root, val_fraction=0.5)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == counts
    assert dataset.split.origin == ("folders" if counts[0] == 4 else "made")


def test_a_test_folder_stays_test_when_validation_is_drawn(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{f}/{c}/{i}.jpg" for f in ("train", "test") for c in ("a", "b") for i in range(10)))
    dataset = scan_dataset(root)
    assert all(name.startswith("train/") for name in (*dataset.split.train, *dataset.split.val))
    assert len(dataset.split.test) == 20
    assert "kept for validation" in said(dataset)


def test_a_class_may_be_called_train_when_it_has_classes_beside_it(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in ("car", "train", "plane") for i in range(3)))
    assert scan_dataset(root).classes == ("car", "plane", "train")


def test_folders_inside_a_class_belong_to_it(plant: Callable[..., Path]) -> None:
    root = plant("cat/1.jpg", "cat/2019/summer/2.jpg", "dog/1.jpg", "dog/old/3.JPEG")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert sorted(names(dataset.items, root)) == [
        "cat/1.jpg",
        "cat/2019/summer/2.jpg",
        "dog/1.jpg",
        "dog/old/3.JPEG",
    ]


def test_classes_are_ordered_as_people_count(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in ("1", "10", "2", "20", "b", "A") for i in range(2)))
    assert scan_dataset(root).classes == ("1", "2", "10", "20", "A", "b")


def test_labels_are_matched_by_name_when_val_lacks_a_class(plant: Callable[..., Path]) -> None:
    root = plant(*(f"train/{c}/1.jpg" for c in "abc"), "val/a/1.jpg", "val/c/1.jpg")
    dataset = scan_dataset(root)
    assert [item.label for item in dataset.val] == [0, 2]


def test_files_that_are_no_images_are_counted_by_ending(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(2)), "a/x.txt", "b/y.HEIC", "b/z.heic")
    note = next(n for n in scan_dataset(root).notes if "passed over" in n.message)
    assert "2 .heic files, 1 .txt file" in note.message
    assert note.hint is not None
    assert "Convert .heic to JPEG" in note.hint


def test_given_classes_set_the_order_and_must_be_there(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(2)))
    assert scan_dataset(root, classes=["b", "a"]).classes == ("b", "a")
    with pytest.raises(DatasetError, match="no class c"):
        scan_dataset(root, classes=["a", "b", "c"])
    with pytest.raises(DatasetError, match="class 'b' that training did not have"):
        scan_dataset(root, classes=["a"])


def test_an_impossible_fraction_is_refused(plant: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"between 0 and 1, not 1\.5"):
        scan_dataset(plant("a/1.jpg"), val_fraction=1.5)


# --- the split as a value


def test_a_split_survives_json_and_its_hash_does_not_depend_on_the_place(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(5)))
    dataset = scan_dataset(root)
    facts = json.loads(json.dumps(dataset.split.facts()))
    assert Split.from_facts(facts) == dataset.split
    assert facts["hash"] == dataset.split.hash
    assert facts["seed"] == 0
    root.rename(tmp_path / "moved")
    moved = scan_dataset(tmp_path / "moved")
    assert moved.split.hash == dataset.split.hash
    assert moved.fingerprint == dataset.fingerprint


def test_the_fingerprint_knows_every_label_and_part(plant: Callable[..., Path]) -> None:
    root = plant(*(f"train/{c}/{i}.jpg" for c in "ab" for i in range(3)), "val/a/9.jpg", "val/b/9.jpg")
    prints = {scan_dataset(root).fingerprint}
    (root / "train/a/0.jpg").rename(root / "train/b/7.jpg")
    prints.add(scan_dataset(root).fingerprint)
    (root / "train/b/7.jpg").rename(root / "val/b/7.jpg")
    prints.add(scan_dataset(root).fingerprint)
    (root / "train/b").rename(root / "train/c")
    (root / "val/b").rename(root / "val/c")
    prints.add(scan_dataset(root).fingerprint)
    assert len(prints) == 4


def test_a_dataset_without_some_files_has_a_split_without_them(plant: Callable[..., Path]) -> None:
    dataset = scan_dataset(plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(5))))
    gone = dataset.train[0].path
    smaller = dataset.without({gone})
    assert len(smaller.train) == len(dataset.train) - 1
    assert smaller.split.train == dataset.split.train[1:]
    assert smaller.split.seed == dataset.split.seed


# --- I6: links and special files


@pytest.mark.fault("I6")
@pytest.mark.timeout(20)
def test_links_loops_pipes_and_devices_end_in_every_file_once(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    root = plant("cat/1.jpg", "cat/2.jpg", "cat/sub/3.jpg", "dog/1.jpg", "dog/2.jpg")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "4.jpg").touch()
    (outside / "deep" / "5.jpg").touch()
    (root / "cat/again.jpg").symlink_to(root / "cat/1.jpg")
    (root / "cat/dogs").symlink_to(root / "dog")  # would make dogs cats
    (root / "cat/sub/up").symlink_to("../..")
    (root / "cat/self").symlink_to("self")
    (root / "cat/gone.jpg").symlink_to("nowhere.jpg")
    (root / "all").symlink_to(root)  # a class that is the root
    (root / "above").symlink_to("/")  # or everything there is
    (root / "dog/zero.jpg").symlink_to("/dev/zero")
    (root / "dog/more").symlink_to(outside)
    (outside / "deep" / "back").symlink_to(outside)
    os.link(root / "dog/1.jpg", root / "dog/hard.jpg")
    os.mkfifo(root / "dog/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(root / "dog")  # the path of a socket may have 108 bytes only
        unix.bind("socket.jpg")
        os.chdir(here)
        dataset = scan_dataset(root)
    found = sorted(names(dataset.items, root))
    hard = [name for name in found if name in ("dog/1.jpg", "dog/hard.jpg")]
    assert len(hard) == 1
    assert [name for name in found if name not in hard] == [
        "cat/1.jpg",
        "cat/2.jpg",
        "cat/sub/3.jpg",
        "dog/2.jpg",
        "dog/more/4.jpg",
        "dog/more/deep/5.jpg",
    ]
    assert dataset.classes == ("cat", "dog")
    notes = said(dataset)
    assert re.search(r"2 links \(.*\) to a file that is listed already", notes)
    assert re.search(r"2 links \(.*\) to nowhere", notes)
    assert re.search(r"\d links \(.*\) back into the data not followed", notes)
    assert re.search(r"3 entries \(.*a pipe, socket or device", notes)


@pytest.mark.fault("I6")
def test_a_link_never_takes_a_file_out_of_its_class_folder(plant: Callable[..., Path]) -> None:
    root = plant("ant/1.jpg", "ant/2.jpg", "bee/1.jpg", "bee/2.jpg")
    (root / "ant/0.jpg").symlink_to(root / "bee/1.jpg")  # listed before bee is
    dataset = scan_dataset(root)
    assert sorted(names(dataset.items, root)) == ["ant/1.jpg", "ant/2.jpg", "bee/1.jpg", "bee/2.jpg"]


@pytest.mark.fault("I6")
def test_class_folders_that_are_links_out_of_the_data_are_followed(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "store" / "ants").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "store" / "ants" / f"{i}.jpg").touch()
    root = plant("bee/1.jpg", "bee/2.jpg")
    (root / "ant").symlink_to(tmp_path / "store" / "ants")
    assert len(scan_dataset(root).items) == 5


@pytest.mark.fault("I6")
def test_train_and_val_that_are_one_folder_are_refused(plant: Callable[..., Path]) -> None:
    root = plant("train/a/1.jpg", "train/b/1.jpg")
    (root / "val").symlink_to("train")
    with pytest.raises(DatasetError, match=r"val is a link to another part"):
        scan_dataset(root)


# --- I7: hidden files, junk, twins


@pytest.mark.fault("I7")
def test_hidden_and_junk_names_are_ignored_with_a_note(plant: Callable[..., Path]) -> None:
    root = plant(
        *(f"{c}/{i}.jpg" for c in ("ant", "bee") for i in range(2)),
        "ant/._1.jpg",
        "ant/.hidden.jpg",
        "ant/Thumbs.db",
        "ant/.DS_Store",
        "ant/.ipynb_checkpoints/1-checkpoint.jpg",
        "ant/@eaDir/1.jpg",
        "bee/desktop.ini",
        "__MACOSX/ant/1.jpg",
        ".git/1.jpg",
        "$RECYCLE.BIN/1.jpg",
    )
    dataset = scan_dataset(root)
    assert dataset.classes == ("ant", "bee")
    assert len(dataset.items) == 4
    assert "10 hidden or system files or folders passed over" in said(dataset)


@pytest.mark.fault("I7")
def test_names_that_are_one_on_other_systems_are_warned_about(plant: Callable[..., Path]) -> None:
    root = plant("ant/a.jpg", "ant/A.JPG", "bee/caf\u00e9.jpg", "bee/cafe\u0301.jpg")
    dataset = scan_dataset(root, val_fraction=0.5)
    note = next(n for n in dataset.notes if "2 pairs of names" in n.message)
    assert note.level == "warning"
    assert len(dataset.items) == 4


@pytest.mark.fault("I7")
def test_a_class_is_the_same_in_both_unicode_forms(plant: Callable[..., Path]) -> None:
    root = plant("train/caf\u00e9/1.jpg", "train/bar/1.jpg", "val/cafe\u0301/2.jpg", "val/bar/2.jpg")
    dataset = scan_dataset(root)
    assert dataset.classes == ("bar", "caf\u00e9")
    assert dataset.counts("val") == (1, 1)


@pytest.mark.fault("I7")
def test_a_class_in_other_capitals_is_named_with_the_one_that_was_meant(plant: Callable[..., Path]) -> None:
    root = plant("train/Cats/1.jpg", "train/dogs/1.jpg", "val/cats/2.jpg", "val/dogs/2.jpg")
    with pytest.raises(DatasetError, match="'cats' that training did not have") as error:
        scan_dataset(root)
    assert "Did you mean Cats?" in str(error.value)


# --- I8: every shape of a folder that cannot be used says what it is


@pytest.mark.fault("I8")
@pytest.mark.parametrize(
    ("planted", "message", "hint"),
    [
        ([], "photos is empty", "Expected train/CLASS/"),
        (["1.jpg", "2.jpg"], "photos holds 2 images but no class folders", "or CLASS/"),
        (["a.txt", "b.csv"], "no class folders, only 1 .csv file, 1 .txt file", "give the table itself"),
        (["cat/1.jpg", "cat/2.jpg"], "one class only, cat", "or CLASS/"),
        (["ds/cat/1.jpg", "ds/dog/1.jpg"], "one class only, ds", "Did you mean /.+/photos/ds[?]"),
        (
            ["cat/1.jpg", "cat/2.jpg", "dog/"],
            "no image to train on in class dog: dog holds nothing",
            "remove",
        ),
        (["cat/1.jpg", "cat/2.jpg", "dog/x.heic"], "dog holds only 1 .heic file", "remove"),
        (["cat/1.jpg", "dog/1.jpg", "dog/2.jpg"], "cat of .* has one image only", "Add images"),
        (["cat/1.jpg", "dog/1.jpg"], "cat, dog of .* have one image only", "Add images"),
        (["val/cat/1.jpg", "test/cat/1.jpg"], "has val and test but no train", "train/CLASS"),
        (["train/1.jpg", "val/2.jpg"], "photos/train holds 1 image but no class folders", "CLASS"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/"], "photos/val is empty", "CLASS"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/"], "validation part of .* has no images", "remove it"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"],
            "class 'c' that training did not",
            "There are: a, b",
        ),
        (["train/a/1.jpg", "train/b/", "val/a/1.jpg"], "class b: b holds nothing", "remove"),
        (["train/a/1.jpg", "Train/a/1.jpg", "val/a/1.jpg"], "2 folders for the train part", "Keep one"),
        (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "2 folders for the val part", "Keep one"),
    ],
)
def test_a_folder_that_cannot_be_used_says_what_it_has_and_what_is_expected(
    plant: Callable[..., Path], planted: list[str], message: str, hint: str
) -> None:
    with pytest.raises(DatasetError, match=message) as error:
        scan_dataset(plant(*planted))
    assert error.value.exit_code == 5
    assert error.value.hint is not None
    assert re.search(hint, error.value.hint), error.value.hint
    assert "\n" not in error.value.message + error.value.hint


@pytest.mark.fault("I8")
def test_images_beside_the_class_folders_are_passed_over_with_a_warning(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(2)), "loose.jpg", "loose2.jpg")
    dataset = scan_dataset(root)
    assert len(dataset.items) == 4
    note = next(n for n in dataset.notes if n.level == "warning")
    assert "2 images directly in" in note.message


@pytest.mark.fault("I8")
def test_a_class_missing_in_val_is_a_warning(plant: Callable[..., Path]) -> None:
    dataset = scan_dataset(plant("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"))
    assert "no image of b in val" in said(dataset)


@pytest.mark.fault("I8")
def test_one_image_per_class_is_enough_beside_a_val_folder(plant: Callable[..., Path]) -> None:
    dataset = scan_dataset(plant(*(f"{p}/{c}/1.jpg" for p in ("train", "val") for c in "ab")))
    assert dataset.counts("train") == (1, 1)


@pytest.mark.fault("I8")
def test_unlabelled_images_in_test_do_not_stop_training(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{p}/{c}/1.jpg" for p in ("train", "val") for c in "ab"), "test/1.jpg")
    dataset = scan_dataset(root)
    assert dataset.test == ()
    assert "1 image in" in said(dataset)


@pytest.mark.fault("I8")
def test_a_path_that_is_no_folder_says_what_it_is(plant: Callable[..., Path], tmp_path: Path) -> None:
    root = plant("a/1.jpg")
    (tmp_path / "photos.zip").touch()
    for path, message in [
        (root / "a/1.jpg", "1.jpg is an image, not a folder"),
        (tmp_path / "photos.zip", "photos.zip is a file, not a folder"),
        (tmp_path / "fotos", "no file or folder .*fotos"),
        (tmp_path / "nope" / "deeper", "no file or folder .*deeper"),
    ]:
        with pytest.raises(DatasetError, match=message):
            scan_dataset(path)
    with pytest.raises(DatasetError, match="Unpack it"):
        scan_dataset(tmp_path / "photos.zip")
    with pytest.raises(DatasetError, match=r"Did you mean .*photos"):
        scan_dataset(tmp_path / "fotos")


@pytest.mark.fault("I8")
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_folder_without_permission_is_named(plant: Callable[..., Path], tmp_path: Path) -> None:
    root = plant("a/1.jpg", "b/1.jpg")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and len(folder.parts) > 2:
            folder.chmod(0o755)
    (root / "b").chmod(0)
    child = os.fork()
    if child == 0:  # in the child: drop root, scan, tell by the exit status
        os.setuid(65534)
        try:
            scan_dataset(root)
        except StorageError as error:
            os._exit(0 if "photos/b" in error.message else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- I9: names


@pytest.mark.fault("I9")
def test_every_name_that_a_disk_takes_is_kept_and_can_be_written_as_json(plant: Callable[..., Path]) -> None:
    odd = ["höhle.jpg", "two words.jpg", "new\nline.jpg", "-rf.jpg", "日本.jpg", 'quo"te.jpg', "tab\t.jpg"]
    root = plant(*(f"{c}/{name}" for c in ("ant", "-bee\n") for name in odd))
    bad = os.fsencode(root) + b"/ant/\xff\xfe.jpg"
    with open(bad, "wb"):
        pass
    dataset = scan_dataset(root)
    assert len(dataset.items) == 2 * len(odd) + 1
    assert all(item.path.is_file() for item in dataset.items)
    text = json.dumps(dataset.split.facts(), ensure_ascii=False).encode()
    assert Split.from_facts(json.loads(text)) == dataset.split
    assert b"ant/\\\\xff\\\\xfe.jpg" in text
    assert len(dataset.fingerprint) == 64


@pytest.mark.fault("I9")
def test_messages_stay_on_one_line_whatever_the_names(plant: Callable[..., Path]) -> None:
    root = plant("a\nb\x1b[31m/1.jpg")
    with pytest.raises(DatasetError) as error:
        scan_dataset(root)
    assert "\n" not in error.value.message
    assert "\x1b" not in error.value.message


# --- evaluation


def test_evaluation_takes_test_then_val_and_matches_labels_by_name(
    plant: Callable[..., Path], data: Path
) -> None:
    found = scan_evaluation(data / "hymenoptera", ["wasps", "bees", "ants"])
    assert (found.part, len(found.items)) == ("val", 153)
    assert {item.label for item in found.items} == {1, 2}
    assert any("no image of wasps" in note.message for note in found.notes)
    root = plant(*(f"{p}/{c}/1.jpg" for p in ("train", "val", "test") for c in "ab"))
    assert scan_evaluation(root, "ab").part == "test"
    assert scan_evaluation(root / "train", "ab").part is None


def test_evaluation_refuses_a_class_that_the_model_does_not_know(data: Path) -> None:
    with pytest.raises(DatasetError, match="class 'bees' that training did not have") as error:
        scan_evaluation(data / "hymenoptera", ["ants", "Bees"])
    assert error.value.hint == "Did you mean Bees? Names must be equal, capitals too."


def test_evaluation_leaves_out_what_the_run_was_trained_on(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(10)))
    dataset = scan_dataset(root)
    found = scan_evaluation(root, dataset.classes, split=dataset.split)
    assert found.items == dataset.val
    assert "16 images that the run was trained on are left out" in [n.message for n in found.notes]


def test_evaluation_of_other_data_with_equal_names_leaves_nothing_out(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = scan_dataset(plant(*(f"{c}/{i}.jpg" for c in "ab" for i in range(10))))
    for c in "ab":
        (tmp_path / "new" / c).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "new" / c / f"{i}.jpg").touch()
    assert len(scan_evaluation(tmp_path / "new", "ab", split=dataset.split).items) == 6


# --- lists of images


def test_listed_images_keep_the_order_given_and_count_as_people_do(plant: Callable[..., Path]) -> None:
    root = plant("f/10.jpg", "f/2.jpg", "f/sub/1.jpg", "f/.x.jpg", "f/note.txt", "z.dat", "a.jpg")
    got = list_images([root / "z.dat", root / "f", root / "a.jpg"])
    assert [p.relative_to(root).as_posix() for p in got] == [
        "z.dat",
        "f/2.jpg",
        "f/10.jpg",
        "f/sub/1.jpg",
        "a.jpg",
    ]


def test_a_listed_file_that_is_not_there_is_named_with_close_ones(plant: Callable[..., Path]) -> None:
    root = plant("photo1.jpg", "holiday.png", "none/x.txt")
    with pytest.raises(DatasetError, match=r"no file or folder .*foto1\.jpg") as error:
        list_images([root / "foto1.jpg"])
    assert error.value.hint is not None
    assert "photo1.jpg" in error.value.hint
    with pytest.raises(DatasetError, match=r"no image in .*none"):
        list_images([root / "none"])


@pytest.mark.fault("I6")
@pytest.mark.timeout(20)
def test_listing_images_ends_when_folders_link_in_circles(plant: Callable[..., Path]) -> None:
    root = plant("a/1.jpg", "b/2.jpg")
    (root / "a/loop").symlink_to(root)
    (root / "b/a").symlink_to(root / "a")
    (root / "slash").symlink_to("/")
    assert sorted(p.name for p in list_images([root])) == ["1.jpg", "2.jpg"]


# --- cost


def test_scanning_imports_neither_torch_nor_polars() -> None:
    code = "import sys, zoo.data.scanning; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "polars", "PIL", "numpy"} & set(done.stdout.split())


def test_a_scan_lists_every_folder_once_and_opens_no_file(plant: Callable[..., Path]) -> None:
    root = plant(*(f"c{i % 20}/{i}.jpg" for i in range(200)))
    code = """
import sys, zoo.data.scanning, zoo.data.finding.folder
from collections import Counter
from pathlib import Path
seen = Counter()
sys.addaudithook(lambda event, _: seen.update([event]))
dataset = zoo.data.scanning.scan_dataset(Path(sys.argv[1]))
print(len(dataset.items), seen["os.scandir"], seen["open"])
"""
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200", "21", "0"]


def test_photographs_that_are_not_read_have_the_hint_where_nothing_else_lies_there(
    plant: Callable[..., Path],
) -> None:
    root = plant("a/1.heic", "a/2.heic", "b/3.HEIF")
    for act in (lambda: scan_dataset(root), lambda: list_images([root])):
        with pytest.raises(DatasetError) as raised:
            act()
        assert "Convert .heic and .heif to JPEG" in str(raised.value.hint)
