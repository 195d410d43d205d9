"""Texts become labelled items, however they lie in files, whatever they were saved with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from zoo.data.dataset import Dataset
from zoo.data.encodings import decode
from zoo.data.kinds import TEXTS
from zoo.data.leaks import settle_copies
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.data.texts import list_texts
from zoo.errors import DatasetError, UnknownName

GOOD = [f"a good film, number {n}" for n in range(10)]
BAD = [f"a bad film, number {n}" for n in range(10)]

Write = Callable[[dict[str, str | bytes]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write({"train/pos.txt": "…"})`: files below a folder."""

    def call(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "data"

    return call


def lines(texts: list[str]) -> str:
    return "\n".join(texts) + "\n"


def texts_of(dataset: Dataset, label: int) -> set[str | None]:
    return {item.text for item in dataset.train + dataset.val if item.label == label}


def says(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


def test_the_real_reviews_are_a_file_per_class_with_a_text_per_line(data: Path) -> None:
    dataset = scan_dataset(data / "reviews", TEXTS, val_fraction=0.1)
    assert dataset.classes == ("negative", "positive")
    assert len(dataset.items) == 2 * 5331
    assert dataset.counts("val") == (533, 533)
    assert dataset.layout == "lines"
    item = next(item for item in dataset.items if item.path.name == "positive.txt:1")
    assert item.text is not None
    assert item.text.startswith("the rock is destined to be the 21st century's new")


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        ({"good.txt": lines(GOOD), "bad.txt": lines(BAD)}, "lines"),
        (
            {f"{name}/{n}.txt": t for name, ts in (("good", GOOD), ("bad", BAD)) for n, t in enumerate(ts)},
            "files",
        ),
    ],
    ids=["lines", "files"],
)
def test_class_files_and_class_folders_hold_the_same_texts(write: Write, files, layout: str) -> None:
    dataset = scan_dataset(write(files), TEXTS)
    assert dataset.classes == ("bad", "good")
    assert texts_of(dataset, 0) == set(BAD)
    assert texts_of(dataset, 1) == set(GOOD)
    assert dataset.layout == layout


def test_split_folders_and_split_tables_are_taken_as_they_are(write: Write, tmp_path: Path) -> None:
    folders = write({"train/good.txt": lines(GOOD), "train/bad.txt": lines(BAD), "val/good.txt": "so good\n"})
    split = scan_dataset(folders, TEXTS)
    assert [item.text for item in split.val] == ["so good"]
    assert split.split.origin == "folders"
    tables = tmp_path / "tables"
    tables.mkdir()
    for part, texts in (("train", GOOD + BAD), ("validation", ["so good"])):
        rows = {"text": texts, "label": ["good" if "good" in t else "bad" for t in texts]}
        polars.DataFrame(rows).write_csv(tables / f"{part}.csv")
    again = scan_dataset(tables, TEXTS)
    assert [item.text for item in again.val] == ["so good"]
    assert again.counts("train") == split.counts("train") == (10, 10)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_gives_the_same_items(tmp_path: Path, suffix: str) -> None:
    tricky = ['she said "no" twice', "commas, and; more", "tab-free | pipes"]
    frame = polars.DataFrame(
        {"id": range(6), "Review": [*tricky, "x y z", "u v w", "l m n"], "sentiment": [1, 1, 1, 0, 0, 0]}
    )
    path = tmp_path / f"t.{suffix}"
    match suffix:
        case "csv":
            frame.write_csv(path)
        case "tsv":
            path.write_text(
                "\n".join(["\t".join(frame.columns), *("\t".join(map(str, r)) for r in frame.rows())])
            )
        case "jsonl":
            frame.write_ndjson(path)
        case _:
            frame.write_parquet(path)
    dataset = scan_dataset(path, TEXTS, val_fraction=0.4)
    assert dataset.classes == ("0", "1")
    assert texts_of(dataset, 1) == set(tricky)
    assert {item.path.name for item in dataset.items} == {f"t.{suffix}:{n}" for n in range(1, 7)}
    assert dataset.layout == "table"


def test_columns_are_told_by_name_by_content_or_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "k,said,note\na,one two three four,x\nb,five six seven eight,y\n"
        "a,nine ten eleven,x\nb,so it is now,y\n"
    )
    with pytest.raises(DatasetError, match=r"which column of .* is the label") as refused:
        scan_dataset(path, TEXTS)
    assert "--label-column" in str(refused.value.hint)
    dataset = scan_dataset(path, TEXTS, label_column="k", val_fraction=0.5)
    assert texts_of(dataset, 0) == {"one two three four", "nine ten eleven"}
    with pytest.raises(UnknownName, match="no column 'sad'") as unknown:
        scan_dataset(path, TEXTS, item_column="sad", label_column="k")
    assert "said" in str(unknown.value)


def test_a_table_without_a_header_loses_no_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('3,"a film that is very good indeed"\n1,"a film that is very bad indeed"\n' * 2)
    dataset = scan_dataset(path, TEXTS, val_fraction=0.5)
    assert len(dataset.items) == 4
    assert "has no header" in says(dataset)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_byte_order_marks_are_understood(write: Write, encoding: str) -> None:
    accents = ["très bon café", "señor, qué bien", "schön"]
    folder = write({"good.txt": lines(accents).encode(encoding), "bad.txt": "no\nnever\r\nnot at all"})
    dataset = scan_dataset(folder, TEXTS)
    assert texts_of(dataset, 1) == set(accents)
    assert texts_of(dataset, 0) == {"no", "never", "not at all"}
    assert ("not UTF-8, read as Windows-1252" in says(dataset)) == (encoding == "cp1252")


def test_empty_lines_and_files_are_no_texts(write: Write) -> None:
    dataset = scan_dataset(write({"a.txt": "one\n\n  \ntwo\n", "b.txt": "three\nfour\n"}), TEXTS)
    assert len(dataset.items) == 4
    files = {f"{c}/{n}.txt": f"{c} {n}" for c in "ab" for n in range(3)} | {"a/empty.txt": " \n"}
    folder = write({f"folders/{name}": text for name, text in files.items()}) / "folders"
    whole = scan_dataset(folder, TEXTS)
    assert len(whole.items) == 6
    assert "1 text passed over: empty" in says(whole)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"only.txt": "one\ntwo\n"}, "one class only"),
        ({"a.txt": "", "b.txt": "x\ny\n"}, "no text to train on in class a"),
        ({"a.txt": "one\n", "b.txt": "x\ny\n"}, "one text only"),
        ({"a.txt": b"GIF89a\0\1\2", "b.txt": "x\ny\n"}, "is no text"),
        ({"train.txt": "x\n", "test.txt": "y\n"}, "these are named as parts"),
        ({"photo.jpg": b"x"}, "holds no class folders, only 1 .jpg file"),
        (
            {"train/a.txt": "x\ny\n", "train/b.txt": "u\nv\n", "val/c.txt": "z\n"},
            "class 'c' that training did not",
        ),
    ],
    ids=["one class", "empty class", "one text", "binary", "named as parts", "images", "class of val alone"],
)
def test_what_cannot_be_used_is_said_with_what_is_expected(write: Write, files, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as refused:
        scan_dataset(write(files), TEXTS)
    assert refused.value.hint


def test_images_given_for_texts_and_texts_for_images_are_told_where_their_models_are(data: Path) -> None:
    with pytest.raises(DatasetError, match="holds no text: ") as refused:
        scan_dataset(data / "hymenoptera", TEXTS)
    assert "zoo list --task image-classification" in str(refused.value.hint)
    with pytest.raises(DatasetError, match=r"only 2 \.txt files") as refused:
        scan_dataset(data / "reviews")
    assert "zoo list --task word-vectors" in str(refused.value.hint)


def test_equal_texts_stay_on_one_side_of_a_drawn_split(write: Write) -> None:
    folder = write({"good.txt": lines([*GOOD, *(t.upper() for t in GOOD)]), "bad.txt": lines(BAD)})
    for seed in range(5):
        dataset = settle_copies(scan_dataset(folder, TEXTS, seed=seed, val_fraction=0.3))
        train = {(item.text or "").casefold() for item in dataset.train}
        assert not train & {(item.text or "").casefold() for item in dataset.val}
    assert "look better" not in says(dataset)


def test_a_line_that_is_added_leaves_the_others_in_their_part(write: Write) -> None:
    before = scan_dataset(write({"good.txt": lines(GOOD), "bad.txt": lines(BAD)}), TEXTS)
    after = scan_dataset(write({"good.txt": lines(["a new first line", *GOOD])}), TEXTS)
    moved = {item.text for item in before.val} ^ {item.text for item in after.val}
    assert len(moved) <= 2


def test_texts_in_two_parts_and_in_two_classes_are_warned_about(write: Write) -> None:
    folder = write(
        {
            "train/good.txt": lines([*GOOD, BAD[0]]),
            "train/bad.txt": lines(BAD),
            "val/good.txt": lines([GOOD[3], "so good"]),
        }
    )
    told = says(settle_copies(scan_dataset(folder, TEXTS)))
    assert "1 of the 2 texts in val are copies of training texts" in told
    assert "1 text lies in several classes" in told


def test_what_a_run_was_trained_on_is_left_out_of_its_evaluation(write: Write) -> None:
    folder = write({"good.txt": lines(GOOD), "bad.txt": lines(BAD)})
    dataset = scan_dataset(folder, TEXTS, val_fraction=0.2)
    found = scan_evaluation(folder, dataset.classes, TEXTS, split=dataset.split)
    assert {item.text for item in found.items} == {item.text for item in dataset.val}


def test_texts_without_labels_are_lines_rows_or_files(write: Write) -> None:
    folder = write({"a.txt": "one\n\ntwo\n", "b.csv": "id,text\n1,a b c\n2,\n"})
    texts, notes = list_texts([folder / "a.txt", folder / "b.csv"])
    assert [(t.place.name, t.text) for t in texts] == [
        ("a.txt:1", "one"),
        ("a.txt:3", "two"),
        ("b.csv:1", "a b c"),
    ]
    assert "1 text passed over: empty" in notes[0].message
    (whole,), _ = list_texts([folder / "a.txt"], whole_files=True)
    assert (whole.place.name, whole.text) == ("a.txt", "one\n\ntwo")
    with pytest.raises(DatasetError, match="no file or folder"):
        list_texts([folder / "c.txt"])


def test_bytes_that_no_text_has_are_no_text() -> None:
    assert decode(b"\x89PNG\r\n\x1a\n\0\0") is None
    assert decode(b"") == ("", False)
