"""Tables that people really have: odd dialects, labels, columns of parts, and files that lie elsewhere."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from zoo.data.dataset import Dataset
from zoo.data.finding.labels import read_labels
from zoo.data.kinds import TEXTS
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.errors import DatasetError, MissingExtra, UnknownName, UsageError

NAMES = [f"im/{n}.jpg" for n in range(8)]
LABELS = ["cat"] * 4 + ["dog"] * 4
PAIRS = list(zip(NAMES, LABELS, strict=True))
RECORDS = [{"path": path, "label": label} for path, label in PAIRS]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)
RIGHT = {f"{n}.jpg": LABELS[n] for n in range(8)}


def said(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


def labels(dataset: Dataset) -> dict[str, str]:
    """Class by file name."""
    return {item.path.name: dataset.classes[item.label] for item in dataset.items}


def rows(*columns: list[str], header: str = "path,label") -> str:
    lines = [",".join(cells) for cells in zip(*(columns or (NAMES, LABELS)), strict=True)]
    return "\n".join([header, *lines] if header else lines) + "\n"


@pytest.fixture
def photos(plant: Callable[..., Path]) -> Path:
    """A folder with eight images in im/."""
    return plant(*NAMES)


def scan(photos: Path, content: str | bytes, name: str = "t.csv", **options) -> Dataset:
    data = content.encode() if isinstance(content, str) else content
    (photos / name).write_bytes(data)
    return scan_dataset(photos / name, val_fraction=0.5, **options)


# --- dialects


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "sep=;\n" + rows().replace(",", ";")),
        ("t.csv", '\ufeff"sep=;"\r\n' + rows().replace(",", ";").replace("\n", "\r\n")),
        ("t.csv", "# made by a tool\n# in 2020, at night\n" + rows()),
        ("t.csv", "\n\n" + rows()),
        ("t.csv", rows().replace("path,label", "# path,label")),
        ("t.csv", "// by hand\n" + rows(header="")),
        ("t.txt", rows(header="").replace(",", " ")),
        ("t.txt", rows().replace(",", "   ")),
        ("t.lst", rows(header="").replace(",", " ")),
        ("t", rows().replace(",", "\t")),
        ("t.csv", "path,label,,,\n" + rows(header="").replace("\n", ",,,\n")),
        ("t.csv", rows(header="path,label").replace("\n", ",\n", 4).replace("path,label,", "path,label")),
        ("t.csv", rows([str(n) for n in range(8)], NAMES, LABELS, header=",path,label")),
        ("t.csv", rows(NAMES, [""] * 8, LABELS, header="File Name,Notes,Class Name")),
        ("t.csv", rows(NAMES, LABELS, header="IMAGE_PATH,Class")),
        ("t.csv", rows().replace("im/", "im\\")),
        ("t.csv", rows().replace("im/0", "im\\0")),
        ("t.csv", rows().replace("im/", ".\\im\\")),
        ("t.csv", rows().replace("\n", "\r")),
        ("t.psv", rows().replace(",", "|")),
        ("t.json", json.dumps(RECORDS)),
        ("t.json", json.dumps({"path": NAMES, "label": LABELS})),
        ("t.json", json.dumps(dict(PAIRS))),
        ("t.json", json.dumps({"cat": NAMES[:4], "dog": NAMES[4:]})),
        ("t.json", LINES),
        ("t.json", json.dumps({"data": RECORDS})),
        ("t.json", json.dumps([list(pair) for pair in PAIRS])),
        ("t.csv.gz", gzip.compress(rows().encode(), mtime=0)),
        ("t.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
    ],
)
def test_a_table_of_any_dialect_gives_the_same_labels(photos: Path, name: str, content: str | bytes) -> None:
    assert labels(scan(photos, content, name)) == RIGHT


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.json"])
def test_columns_without_names_have_the_same_numbers_whatever_reads_the_file(photos: Path, name: str) -> None:
    extra = ["x y"] * 8
    content = {
        "t.csv": rows(extra, NAMES, LABELS, extra, header=""),
        "t.txt": rows(["x"] * 8, NAMES, LABELS, ["y"] * 8, header="").replace(",", " "),
        "t.json": json.dumps([list(row) for row in zip(extra, NAMES, LABELS, extra, strict=True)]),
    }[name]
    assert labels(scan(photos, content, name, label_column="3")) == RIGHT
    assert labels(scan(photos, content, name, item_column="2", label_column="column_3")) == RIGHT
    with pytest.raises(UnknownName, match="no column '9'"):
        scan(photos, content, name, label_column="9")


def test_a_quote_that_makes_the_other_reader_read_changes_no_number(photos: Path) -> None:
    content = rows(['5" pipe'] + ["pipe"] * 7, NAMES, LABELS, header="")
    assert labels(scan(photos, content, label_column="3")) == RIGHT


def test_texts_in_the_format_of_fast_text_are_read(tmp_path: Path) -> None:
    lines = [f"__label__{c} a film, number {n}\n" for n in range(4) for c in ("good", "bad")]
    (tmp_path / "train.txt").write_text("".join(lines))
    dataset = scan_dataset(tmp_path / "train.txt", TEXTS, val_fraction=0.5)
    assert dataset.classes == ("bad", "good")
    assert len(dataset.items) == 8
    (tmp_path / "train.txt").write_text("".join(lines).replace("__label__bad", "__label__good __label__bad"))
    with pytest.raises(DatasetError, match=r"several labels"):
        scan_dataset(tmp_path / "train.txt", TEXTS)


def test_the_sms_table_is_read_as_it_is_published_in_two_places(tmp_path: Path) -> None:
    texts = [(c, f"a message of {c}, number {n}") for n in range(4) for c in ("ham", "spam")]
    kaggle = "v1,v2,,,\n" + "".join(f'{c},"{t}",,,\n' for c, t in texts[:-1]) + 'spam,"a","rest, of it",,\n'
    (tmp_path / "spam.csv").write_bytes(kaggle.encode("cp1252"))
    (tmp_path / "SMSSpamCollection").write_text("".join(f"{c}\t{t}\n" for c, t in texts))
    for name in ("spam.csv", "SMSSpamCollection"):
        dataset = scan_dataset(tmp_path / name, TEXTS, val_fraction=0.5)
        assert dataset.classes == ("ham", "spam")
        assert len(dataset.items) == 8


def test_excel_files_are_read_or_the_extra_is_named(photos: Path) -> None:
    from importlib.util import find_spec

    if find_spec("fastexcel") is None:
        (photos / "t.xlsx").write_bytes(b"PK\x03\x04")
        with pytest.raises(MissingExtra, match=r"fastexcel") as error:
            scan_dataset(photos / "t.xlsx")
        assert "transfer-zoo[excel]" in str(error.value.hint)
        return
    pytest.importorskip("xlsxwriter")
    polars.DataFrame({"path": NAMES, "label": LABELS}).write_excel(photos / "t.xlsx")
    assert labels(scan_dataset(photos / "t.xlsx", val_fraction=0.5)) == RIGHT


# --- labels


@pytest.mark.parametrize(
    "missing", ["nan", "NaN", "", "  ", "NA", "N/A", "null", "None", "#N/A", "<NA>", "?"]
)
def test_cells_that_say_missing_are_left_out_and_counted(photos: Path, missing: str) -> None:
    dataset = scan(photos, rows(NAMES, [missing, *LABELS[1:7], missing]))
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.items) == 6
    assert "2 rows of" in said(dataset)
    assert "without a label: passed over" in said(dataset)


def test_none_in_lower_case_is_a_class_that_people_have(photos: Path) -> None:
    assert scan(photos, rows(NAMES, ["none"] * 4 + ["dog"] * 4)).classes == ("dog", "none")


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["0", "1", "0.0", "1.0"] * 2, ("0", "1")),
        (["1.0", "2.0", "10.0", "2"] * 2, ("1", "2", "10")),
        (["1.", "-1.00", "-1", "1"] * 2, ("-1", "1")),
        (["01", "1", "01", "1"] * 2, ("01", "1")),
        (["1.5", "1.0", "1.5", "1.0"] * 2, ("1.0", "1.5")),
        (["1.0", "v2", "1.0", "v2"] * 2, ("1.0", "v2")),
    ],
)
def test_whole_numbers_written_with_a_point_are_one_class(
    photos: Path, cells: list[str], classes: tuple[str, ...]
) -> None:
    dataset = scan(photos, rows(NAMES, cells))
    assert sorted(dataset.classes) == sorted(classes)


def test_floats_of_parquet_are_whole_numbers_too(photos: Path) -> None:
    frame = polars.DataFrame({"path": NAMES, "label": [0.0, 1.0, None, 1.0, 0.0, 1.0, 0.0, float("nan")]})
    frame.write_parquet(photos / "t.parquet")
    dataset = scan_dataset(photos / "t.parquet", val_fraction=0.5)
    assert dataset.classes == ("0", "1")
    assert len(dataset.items) == 6


@pytest.mark.parametrize("twin", ["Cat", "CAT", "c at", "cat_", "c-at"])
def test_labels_that_differ_only_in_capitals_or_blanks_are_warned_of(photos: Path, twin: str) -> None:
    dataset = scan(photos, rows(NAMES, [twin, twin, "cat", "cat", *LABELS[4:]]))
    note = next(n for n in dataset.notes if "differ only in capitals or blanks" in n.message)
    assert note.level == "warning"
    assert f"{min(twin, 'cat')} and {max(twin, 'cat')}" in note.message


@pytest.mark.parametrize(
    "cells",
    [
        ["a|b", "a", "b", "a|b"],
        ["a;b", "a", "b", "b;c"],
        ["a, b", "a", "b", "a, b"],
        ["['a', 'b']", "['a']", "['b']", "[]"],
        ['["a", "b"]', '["a"]', '["b"]', '["c"]'],
        ["{'a','b'}", "{'a'}", "{'b'}", "{'c'}"],
        ["0 1", "0", "1", "2 1"],
        ["a | b", "b | c", "c | a", "a"],
    ],
)
def test_several_labels_in_a_cell_are_refused_with_the_task_that_takes_them(
    tmp_path: Path, cells: list[str]
) -> None:
    with pytest.raises(
        DatasetError, match=r"hold several labels, as .*: this is the task multi-label"
    ) as error:
        read_labels(cells * 3, "labels", tmp_path / "t.csv")
    assert "--task multi-label" in str(error.value.hint)


@pytest.mark.parametrize(
    "cells",
    [
        ["big, grey", "small, red", "big, grey", "small, red"],
        ["cat, tabby", "cat, siamese", "dog", "bird"],
        ["New York", "York", "New", "Old York"],
        ["rock/pop", "rock", "pop", "jazz"],
        ["(a)", "(b)", "a", "b"],
        ["x|y", "z", "z", "w"],
    ],
)
def test_names_of_classes_may_hold_separators(tmp_path: Path, cells: list[str]) -> None:
    found, _ = read_labels(cells, "label", tmp_path / "t.csv")
    assert found == cells


def test_a_few_numbers_with_fractions_are_classes_with_a_warning(tmp_path: Path) -> None:
    cells = ["1.5", "2", "2.5"] * 4
    found, notes = read_labels(cells, "stars", tmp_path / "t.csv")
    assert found == cells
    assert [note.level for note in notes] == ["warning"]
    assert "3 different numbers, as 1.5: each is taken for a class" in notes[0].message
    assert read_labels(["1.0", "2", "v2.5"], "stars", tmp_path / "t.csv")[1] == []


def test_a_column_of_many_measures_is_not_one_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds 60 different numbers, as .*: measures, not classes"):
        read_labels([f"{n / 7:.4f}" for n in range(1, 61)], "price", tmp_path / "t.csv")
    ratings = [f"{n / 2}" for n in range(2, 11)] * 5
    assert read_labels(ratings, "stars", tmp_path / "t.csv")[0] == ratings


# --- columns of parts


@pytest.mark.parametrize(
    ("column", "cells", "sizes"),
    [
        ("split", ["train", "TRAIN", "training", "val", "train", "valid", "test", "dev"], (4, 3, 1)),
        ("Usage", ["Training"] * 4 + ["PublicTest", "PrivateTest", "Training", "Training"], (3, 3, 2)),
        ("is_valid", ["False", "True"] * 4, (4, 4, 0)),
        ("is_val", ["0", "1"] * 4, (4, 4, 0)),
        ("Valid", ["no", "yes"] * 4, (4, 4, 0)),
        ("isTest", ["false", "true"] * 4, (2, 2, 4)),
        ("is_train", ["1", "0"] * 4, (2, 2, 4)),
        ("fold", ["1", "2", "3", "1", "2", "3", "1", "2"], (5, 3, 0)),
        ("kfold", ["0.0", "1.0"] * 4, (4, 4, 0)),
        ("fold", ["fold_1", "fold_2"] * 4, (4, 4, 0)),
        ("k_fold", ["-1", "0", "1", "2", "-1", "0", "1", "2"], (6, 2, 0)),
        ("set", ["train", "unlabeled", "train", "val", "train", "train", "val", "pred"], (4, 2, 0)),
    ],
)
def test_columns_of_parts_are_understood_and_said(
    photos: Path, column: str, cells: list[str], sizes: tuple[int, ...]
) -> None:
    dataset = scan(
        photos, rows(NAMES, ["cat", "cat", "dog", "dog"] * 2, cells, header=f"path,label,{column}")
    )
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == sizes
    assert f"parts by the column {column}" in said(dataset)
    assert dataset.classes == ("cat", "dog")


def test_several_columns_of_yes_and_no_are_taken_together(photos: Path) -> None:
    table = rows(
        NAMES, LABELS, ["1", "0"] * 4, ["0", "0", "0", "1"] * 2, header="path,label,is_valid,is_test"
    )
    dataset = scan(photos, table)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (2, 4, 2)


@pytest.mark.parametrize(
    ("column", "cells"),
    [("set", ["A"] * 8), ("split", ["1", "2"] * 4), ("is_valid", ["maybe"] * 8), ("fold", ["a", "b"] * 4)],
)
def test_a_column_called_like_parts_that_holds_none_is_named_as_not_used(
    photos: Path, column: str, cells: list[str]
) -> None:
    content = rows(NAMES, LABELS, cells, header=f"path,label,{column}")
    dataset = scan(photos, content)
    assert dataset.split.origin == "made"
    note = next(n for n in dataset.notes if "is not used to part the data" in n.message)
    assert column in note.message
    assert note.level == "warning"
    if column != "split":
        with pytest.raises(DatasetError, match=f"the column {column} of .* names no parts") as error:
            scan(photos, content, split_column=column)
        assert "--split-column none" in str(error.value.hint)


def test_the_column_of_parts_can_be_named_and_refused(photos: Path) -> None:
    content = rows(NAMES, LABELS, ["train", "val"] * 4, ["val", "train"] * 4, header="path,label,split,mine")
    assert {i.path.name for i in scan(photos, content).val} == {"1.jpg", "3.jpg", "5.jpg", "7.jpg"}
    mine = scan(photos, content, split_column="mine")
    assert {i.path.name for i in mine.val} == {"0.jpg", "2.jpg", "4.jpg", "6.jpg"}
    assert scan(photos, content, split_column="none").split.origin == "made"
    with pytest.raises(UnknownName, match="no column 'split2'"):
        scan(photos, content, split_column="split2")
    found = scan_evaluation(photos / "t.csv", ("cat", "dog"), split_column="mine")
    assert found.part == "val"


def test_a_label_column_that_is_called_like_a_part_is_the_label(photos: Path) -> None:
    dataset = scan(photos, rows(NAMES, ["0", "1"] * 4, header="path,test"))
    assert dataset.classes == ("0", "1")
    assert dataset.test == ()


def test_rows_that_name_no_part_are_counted(photos: Path) -> None:
    cells = ["train", "val", "", "train", "train", "val", "nan", "train"]
    dataset = scan(photos, rows(NAMES, ["cat", "cat", "dog", "dog"] * 2, cells, header="path,label,split"))
    assert len(dataset.items) == 6
    assert "2 rows of" in said(dataset)


# --- files


@pytest.mark.parametrize(
    "names",
    [
        [f"{n}.jpg" for n in range(8)],
        [f"{n}" for n in range(8)],
        [f"IM/{n}.JPG" for n in range(8)],
        [f"/content/drive/My Drive/im/{n}.jpg" for n in range(8)],
        [f"C:\\Users\\me\\photos\\im\\{n}.jpg" for n in range(8)],
        [f"photos/im/{n}.jpg" for n in range(8)],
        [f"../photos/im/{n}.jpg" for n in range(8)],
        [f"file:///home/me/im/{n}.jpg" for n in range(8)],
        [f"images/{n}.jpg" for n in range(8)],
        [f" im/{n}.jpg " for n in range(8)],
        [f"im/{n}.jpg" if n % 2 else f"im\\{n}.jpg" for n in range(8)],
    ],
)
def test_files_are_found_wherever_the_table_was_made(photos: Path, names: list[str]) -> None:
    assert labels(scan(photos, rows(names, LABELS))) == RIGHT


def test_files_of_a_table_may_lie_in_several_folders(plant: Callable[..., Path]) -> None:
    root = plant(*(f"part_{1 + n // 4}/{n}.jpg" for n in range(8)))
    dataset = scan(root, rows([f"{n}.jpg" for n in range(8)], LABELS))
    assert labels(dataset) == RIGHT
    assert all(item.path.is_file() for item in dataset.items)
    assert "in part_1, part_2" in said(dataset)


def test_of_files_of_one_name_that_of_the_tables_part_is_taken_and_others_are_refused(
    plant: Callable[..., Path],
) -> None:
    root = plant(*(f"{part}/{n}.jpg" for part in ("test", "train") for n in range(8)))
    names = [f"{n}.jpg" for n in range(8)]
    for table, part in (("labels.csv", "train"), ("test_labels.csv", "test")):
        dataset = scan(root, rows(names, LABELS), table)
        assert {item.path.parent.name for item in dataset.items} == {part}
    other = plant("a/77.jpg", "b/77.jpg")
    with pytest.raises(DatasetError, match=r"77\.jpg of .* may be a/77\.jpg or b/77\.jpg"):
        scan(other, "path,label\n77.jpg,cat\n78.jpg,dog\n")


def test_one_missing_file_among_many_stays_a_warning(photos: Path) -> None:
    dataset = scan(photos, rows([*NAMES, "im/9.jpg"], [*LABELS, "dog"]))
    assert "1 of the 9 files" in said(dataset)


def test_addresses_in_a_table_are_refused_as_what_they_are(photos: Path) -> None:
    with pytest.raises(DatasetError, match=r"lists addresses, as https://example.org/0\.jpg") as error:
        scan(photos, rows([f"https://example.org/{n}.jpg" for n in range(8)], LABELS))
    assert "Download them" in str(error.value.hint)


def test_tables_named_like_parts_beside_photographs_are_the_parts(plant: Callable[..., Path]) -> None:
    root = plant(*(f"images/{n}.jpg" for n in range(8)))
    names = [f"{n}.jpg" for n in range(8)]
    labels_ = ["cat", "dog"] * 4
    for part, where in (("train", slice(0, 4)), ("valid", slice(4, 6)), ("test", slice(6, 8))):
        (root / f"{part}.csv").write_text(rows(names[where], labels_[where]))
    dataset = scan_dataset(root)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (4, 2, 2)
    assert "train.csv is train, valid.csv is val, test.csv is test" in said(dataset)
    assert scan_evaluation(root, dataset.classes).part == "test"


def test_the_test_table_of_a_competition_is_not_given_its_ids_for_labels(plant: Callable[..., Path]) -> None:
    root = plant(*(f"train/{n}.jpg" for n in range(8)), *(f"test/{n}.jpg" for n in range(3)))
    (root / "train.csv").write_text(rows([f"{n}.jpg" for n in range(8)], LABELS, header="image,label"))
    (root / "test.csv").write_text("image,width\n0.jpg,10\n1.jpg,10\n2.jpg,11\n")
    (root / "sample_submission.csv").write_text("image,label\n0.jpg,cat\n")
    dataset = scan_dataset(root, val_fraction=0.5)
    assert labels(dataset) == RIGHT
    assert dataset.test == ()
    assert "test.csv passed over: it has no column label" in said(dataset)


def test_class_folders_win_over_tables_of_the_same_names(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{p}/{c}/{n}.jpg" for p in ("train", "val") for c in "ab" for n in range(2)))
    (root / "train.csv").write_text("path,label\ntrain/a/0.jpg,x\n")
    assert scan_dataset(root).classes == ("a", "b")


# --- messages


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("label," + ",".join(f"pixel{n}" for n in range(784)) + "\n" + ",".join(["0"] * 785) + "\n", "t.csv"),
        ("a" * 90_000 + ",b\nc,d\n", "t.csv"),
        (
            "path,label,split\n" + "".join(f"{n}.jpg,a,{'y' * 5000}{n}\n" for n in range(3)) + "x,a,train",
            "t.csv",
        ),
        ("path,label\n" + "".join(f"{'x' * 3000}{n}.jpg,a\n" for n in range(3)), "t.csv"),
        ("path,label\n" + "".join(f"{n}.jpg,{'q|' * 2000}{n}\n" for n in range(3)), "t.csv"),
        (json.dumps({"images": [], "annotations": []}), "t.json"),
        (json.dumps(3), "t.json"),
    ],
)
def test_no_message_about_a_table_is_longer_than_a_screen(photos: Path, content: str, name: str) -> None:
    with pytest.raises((DatasetError, UsageError)) as error:
        scan(photos, content, name)
    assert len(str(error.value)) < 1200, len(str(error.value))
    assert "unexpected" not in str(error.value)


def test_a_table_of_pixels_is_told_what_to_do(photos: Path) -> None:
    content = "label," + ",".join(f"p{n}" for n in range(784)) + "\n" + ",".join(["0"] * 785) + "\n"
    with pytest.raises(DatasetError, match=r"it has label, p0, .* and 773 more") as error:
        scan(photos, content)
    assert re.search("Numbers in 785 columns .* save each row as an image", str(error.value.hint))
