"""Tables of paths and labels, as spreadsheets, annotators and competitions write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from zoo.data.dataset import Dataset, Split
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.errors import DatasetError, UnknownName


def labels(dataset: Dataset) -> dict[str, str]:
    """Class by file name."""
    return {item.path.name: dataset.classes[item.label] for item in dataset.items}


def said(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


@pytest.fixture
def four(plant: Callable[..., Path]) -> Path:
    """A folder with four images."""
    return plant("1.jpg", "2.jpg", "3.jpg", "4.jpg")


FOUR = {"1.jpg": "cat", "2.jpg": "dog", "3.jpg": "cat", "4.jpg": "dog"}


def rows(delimiter: str = ",", header: str | None = "path,label") -> str:
    lines = [] if header is None else [header]
    return (
        "\n".join([*lines, *(f"{name},{label}" for name, label in FOUR.items())]).replace(",", delimiter)
        + "\n"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", rows().encode()),
        ("t.CSV", rows().encode()),
        ("t.csv", rows(";").encode()),
        ("t.tsv", rows("\t").encode()),
        ("t.txt", rows("\t").encode()),
        ("t.csv", rows("|").encode()),
        ("t.csv", rows().replace("\n", "\r\n").encode()),
        ("t.csv", b"\xef\xbb\xbf" + rows().encode()),
        ("t.csv", rows().encode("utf-16")),
        ("t.csv", rows(header="Label,FileName").replace("Label,FileName", "FileName,Label").encode()),
        ("t.csv", rows(header="image,species").encode()),
        ("t.csv", rows(header="a,b").encode()),
        ("t.csv", rows(header=None).encode()),
        ("t.csv", re.sub(r"(\w+\.jpg),(\w+)", r'"\1"," \2 "', rows()).encode()),
    ],
)
def test_a_table_is_read_whatever_its_dialect(four: Path, name: str, content: bytes) -> None:
    (four / name).write_bytes(content)
    dataset = scan_dataset(four / name, val_fraction=0.5)
    assert labels(dataset) == FOUR
    assert dataset.split.origin == "made"
    assert set(dataset.split.names) == set(FOUR)


def test_quoted_cells_may_hold_the_delimiter_and_new_lines(plant: Callable[..., Path]) -> None:
    root = plant("a,b.jpg", "c.jpg", "d.jpg", "e.jpg")
    (root / "t.csv").write_text(
        'path,label\n"a,b.jpg","big, grey"\nc.jpg,"two\nlines"\nd.jpg,"big, grey"\ne.jpg,"two\nlines"\n'
    )
    assert scan_dataset(root / "t.csv", val_fraction=0.5).classes == ("big, grey", "two\nlines")


def test_labels_stay_text_and_are_ordered_as_people_count(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{i}.jpg" for i in range(6)))
    (root / "t.csv").write_text(
        "path,label\n" + "".join(f"{i}.jpg,{('010', '2', '1')[i % 3]}\n" for i in range(6))
    )
    assert scan_dataset(root / "t.csv").classes == ("1", "2", "010")


def test_the_columns_can_be_named(four: Path) -> None:
    (four / "t.csv").write_text("id,where,what,label\n" + "".join(f"x,{n},{c},no\n" for n, c in FOUR.items()))
    dataset = scan_dataset(four / "t.csv", item_column="where", label_column="what", val_fraction=0.5)
    assert labels(dataset) == FOUR
    with pytest.raises(UnknownName, match="no column 'wat'") as error:
        scan_dataset(four / "t.csv", label_column="wat")
    assert error.value.close == ["what"]


def test_a_column_that_cannot_be_told_is_asked_for(four: Path) -> None:
    (four / "t.csv").write_text("path,a,b\n1.jpg,x,y\n")
    with pytest.raises(DatasetError, match=r"which column of .* is the label: it has path, a, b") as error:
        scan_dataset(four / "t.csv")
    assert error.value.hint == "Say it: --label-column NAME."


def test_a_split_column_parts_the_images(plant: Callable[..., Path]) -> None:
    root = plant(*(f"{i}.jpg" for i in range(6)))
    parts = ["train", "Train", "valid", "val", "test", "TEST"]
    (root / "t.csv").write_text(
        "path,label,split\n" + "".join(f"{i}.jpg,{'ab'[i % 2]},{p}\n" for i, p in enumerate(parts))
    )
    dataset = scan_dataset(root / "t.csv")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (2, 2, 2)
    assert dataset.split.origin == "table"
    assert scan_evaluation(root / "t.csv", "ab").part == "test"
    (root / "t.csv").write_text("path,label,split\n1.jpg,a,train\n2.jpg,b,elsewhere\n")
    with pytest.raises(DatasetError, match="'elsewhere' in the column split is not a split"):
        scan_dataset(root / "t.csv")


def test_a_file_with_two_labels_is_refused(four: Path) -> None:
    (four / "t.csv").write_text(rows() + "1.jpg,dog\n")
    with pytest.raises(DatasetError, match=r"lists 1\.jpg twice: as cat and as dog"):
        scan_dataset(four / "t.csv")


@pytest.mark.fault("I6")
def test_rows_and_links_that_repeat_a_file_count_once(four: Path) -> None:
    (four / "link.jpg").symlink_to("1.jpg")
    (four / "t.csv").write_text(rows() + "1.jpg,cat\n./2.jpg,dog\nlink.jpg,cat\n")
    dataset = scan_dataset(four / "t.csv", val_fraction=0.5)
    assert labels(dataset) == FOUR
    assert "3 rows of" in said(dataset)


def test_rows_without_a_label_are_passed_over_with_a_warning(four: Path) -> None:
    (four / "t.csv").write_text(rows() + "9.jpg,\n,cat\n")
    dataset = scan_dataset(four / "t.csv", val_fraction=0.5)
    assert labels(dataset) == FOUR
    assert re.search(r"1 row of \S+ without a path: passed over\n1 row of \S+ without a label", said(dataset))


def test_absent_files_are_counted_and_a_table_of_none_is_an_error(four: Path) -> None:
    (four / "t.csv").write_text(rows() + "gone.jpg,cat\n")
    assert "1 of the 5 files" in said(scan_dataset(four / "t.csv", val_fraction=0.5))
    (four / "t.csv").write_text("path,label\nx/7.jpg,cat\nx/8.jpg,dog\n")
    with pytest.raises(DatasetError, match=r"none of the 2 files in .* exists, the first: x/7\.jpg") as error:
        scan_dataset(four / "t.csv")
    assert "relative to the table" in str(error.value.hint)


def test_a_competition_table_without_folder_and_ending_finds_its_files(plant: Callable[..., Path]) -> None:
    root = plant(*(f"train/{i}ab.jpg" for i in range(4)), "test/x.jpg")
    (root / "labels.csv").write_text("id,breed\n" + "".join(f"{i}ab,{'xy'[i % 2]}\n" for i in range(4)))
    dataset = scan_dataset(root / "labels.csv", val_fraction=0.5)
    assert all(item.path.is_file() for item in dataset.items)
    assert "were found in train/ and with the ending .jpg" in said(dataset)
    assert "train/0ab.jpg" in dataset.split.names


def test_backslashes_of_windows_are_folders(plant: Callable[..., Path]) -> None:
    root = plant("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    (root / "t.csv").write_text("path,label\na\\1.jpg,x\na\\2.jpg,x\nb\\1.jpg,y\nb\\2.jpg,y\n")
    assert all(item.path.is_file() for item in scan_dataset(root / "t.csv").items)


def test_parquet_and_json_lines_are_tables_too(four: Path) -> None:
    import polars as pl

    frame = pl.DataFrame({"path": list(FOUR), "label": list(FOUR.values())})
    frame.write_parquet(four / "t.parquet")
    frame.write_ndjson(four / "t.jsonl")
    for name in ("t.parquet", "t.jsonl"):
        assert labels(scan_dataset(four / name, val_fraction=0.5)) == FOUR


@pytest.mark.fault("I9")
def test_a_table_in_an_old_encoding_is_read_with_a_warning_and_odd_names_work(
    plant: Callable[..., Path],
) -> None:
    root = plant("h\u00f6hle.jpg", "-x y.jpg", "b.jpg", "c.jpg")
    text = "path,label\nh\u00f6hle.jpg,K\u00e4fer\n-x y.jpg,K\u00e4fer\nb.jpg,z\nc.jpg,z\n"
    (root / "t.csv").write_bytes(text.encode("cp1252"))
    dataset = scan_dataset(root / "t.csv", val_fraction=0.5)
    assert dataset.classes == ("K\u00e4fer", "z")
    assert "read as Windows-1252" in said(dataset)
    assert Split.from_facts(json.loads(json.dumps(dataset.split.facts()))) == dataset.split


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"path,label\n", "t.csv has no rows"),
        ("t.csv", b"path,label\n,\n", "no row with a path and a label"),
        ("t.csv", b"path,label\n1.jpg,a,b,c\n", "line 2: 4 cells"),
        ("t.csv", b"path,label\n1.jpg,a\n2.jpg,a\n", "one class only, a"),
        ("t.parquet", b"no parquet", "cannot read .*t.parquet"),
        ("t.jsonl", b"{broken", "line 1: not JSON"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(four: Path, name: str, content: bytes, message: str) -> None:
    (four / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        scan_dataset(four / name)
    assert "\n" not in error.value.message


def test_a_damaged_parquet_is_to_be_fetched_again(four: Path) -> None:
    """How folders are laid out is of no use there."""
    polars.DataFrame({"path": ["1.jpg"], "label": ["a"]}).write_parquet(four / "t.parquet")
    (four / "t.parquet").write_bytes((four / "t.parquet").read_bytes()[:-9])
    with pytest.raises(DatasetError, match="cannot read") as error:
        scan_dataset(four / "t.parquet")
    assert "again" in (error.value.hint or "")


def test_files_outside_the_tables_folder_keep_their_whole_path(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    root = plant("1.jpg", "2.jpg", "3.jpg", "4.jpg")
    table = tmp_path / "elsewhere" / "t.csv"
    table.parent.mkdir()
    table.write_text("path,label\n" + "".join(f"{root / n},{c}\n" for n, c in FOUR.items()))
    assert str(root / "1.jpg") in scan_dataset(table).split.names
