"""Texts become labelled items, however they lie in files, whatever they were saved with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from zoo.data.dataset import Dataset
from zoo.data.finding.encodings import decode
from zoo.data.kinds import TEXTS
from zoo.data.leaks import keep_copies_together
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
def test_class_files_and_class_folders_hold_the_same_texts(
    write: Write, files: dict[str, str], layout: str
) -> None:
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
        ({"a.txt": b"GIF89a\0\1\2", "b.txt": "x\ny\n"}, "is not a text file"),
        ({"train.txt": "x\n", "test.txt": "y\n"}, "these are named like parts"),
        ({"photo.jpg": b"x"}, "holds no class folders, only 1 .jpg file"),
        (
            {"train/a.txt": "x\ny\n", "train/b.txt": "u\nv\n", "val/c.txt": "z\n"},
            "class 'c' that training did not",
        ),
    ],
    ids=["one class", "empty class", "one text", "binary", "named as parts", "images", "class of val alone"],
)
def test_what_cannot_be_used_is_said_with_what_is_expected(
    write: Write, files: dict[str, str | bytes], message: str
) -> None:
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
        dataset = keep_copies_together(scan_dataset(folder, TEXTS, seed=seed, val_fraction=0.3))
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
    told = says(keep_copies_together(scan_dataset(folder, TEXTS)))
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
    assert "2 texts passed over: empty" in notes[0].message
    (whole,), _ = list_texts([folder / "a.txt"], whole_files=True)
    assert (whole.place.name, whole.text) == ("a.txt", "one\n\ntwo")
    with pytest.raises(DatasetError, match="no file or folder"):
        list_texts([folder / "c.txt"])


def test_bytes_that_no_text_has_are_no_text() -> None:
    assert decode(b"\x89PNG\r\n\x1a\n\0\0") is None
    assert decode(b"") == ("", False)


# --- what people really have


def table(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_run_is_never_measured_on_texts_that_it_was_trained_on_wherever_they_lie_now(write: Write) -> None:
    folder = write({"good.txt": lines(GOOD), "bad.txt": lines(BAD)})
    split = scan_dataset(folder, TEXTS).split
    write({"good.txt": lines(["a new first line", *GOOD])})
    found = scan_evaluation(folder, ("bad", "good"), TEXTS, split=split)
    trained = {item.content for item in scan_dataset(folder, TEXTS).items} - {i.content for i in found.items}
    assert len(trained) == len(split.contents) == 16
    assert "16 texts that the run was trained on are left out" in [note.message for note in found.notes]
    other = write({"other/good.txt": lines(["x y", "z w"]), "other/bad.txt": lines(["u v"])}) / "other"
    assert len(scan_evaluation(other, ("bad", "good"), TEXTS, split=split).items) == 3


def test_a_text_that_comes_often_does_not_drag_its_class_into_validation(write: Write) -> None:
    often = ["ok"] * 70 + [f"text number {n}" for n in range(30)]
    folder = write({"a.txt": lines(often), "b.txt": lines(GOOD)})
    for seed in range(6):
        assert scan_dataset(folder, TEXTS, seed=seed).counts("val")[0] <= 30


def test_texts_in_two_classes_are_never_drawn_apart(write: Write) -> None:
    shared = [f"said of both {n}" for n in range(12)]
    a = [*shared, *(f"of a {n}" for n in range(40))]
    folder = write({"a.txt": lines(a), "b.txt": lines([*shared, *GOOD[:6]])})
    for seed in range(10):
        told = says(keep_copies_together(scan_dataset(folder, TEXTS, seed=seed)))
        assert "look better" not in told
        assert "12 texts lie in several classes" in told


def test_what_tells_about_the_data_is_no_class_and_two_files_of_one_class_are_both_read(write: Write) -> None:
    files = {"pos.txt": lines(GOOD), "pos.text": "one more\n", "neg.txt": lines(BAD)}
    dataset = scan_dataset(write(files | {"README.md": "about\n", "LICENSE.txt": "free\n"}), TEXTS)
    assert dataset.classes == ("neg", "pos")
    assert len(texts_of(dataset, 1)) == 11
    assert "about the data" in says(dataset)


@pytest.mark.parametrize(
    ("name", "head", "rows", "text"),
    [
        (
            "t.csv",
            "name,review_text,rating\n",
            "Don,a film of note,1\nCid,a film to miss,0\n",
            "a film of note",
        ),
        ("t.tsv", "", "ham\tGo until jurong point, crazy\nspam\tFree entry, a wkly comp\n", None),
        ("t.csv", "What did you think of it?,rating\n", "a very good film,1\nso bad,0\n", "a very good film"),
        ("t.csv", "text,label\n", '5" pipe good,a\nno pipe at all,b\n', '5" pipe good'),
        (
            "t.jsonl",
            "\ufeff",
            '{"text": "one two", "label": 1, "tags": []}\n{"text": "ok", "label": "b"}\n',
            "one two",
        ),
        ("t.csv", "text,label\n", "x" * 200_000 + ",a\nshort one,b\n", "x" * 200_000),
    ],
    ids=["names", "sms", "survey", "quotes", "mixed", "long"],
)
def test_tables_as_people_have_them_are_read(
    tmp_path: Path, name: str, head: str, rows: str, text: str | None
) -> None:
    dataset = scan_dataset(table(tmp_path, name, head + rows + rows), TEXTS, val_fraction=0.5)
    found = {item.text for item in dataset.items}
    assert len(found) == len(dataset.classes) == 2
    assert text is None or text in found
    assert "texts in" in says(dataset)


def test_a_folder_of_a_competition_has_a_test_part_without_labels(tmp_path: Path) -> None:
    table(tmp_path, "train.csv", "id,text,target\n1,a b c,1\n2,d e f,0\n3,g h i,1\n4,j k l,0\n")
    table(tmp_path, "test.csv", "id,text\n5,m n o\n")
    dataset = scan_dataset(tmp_path, TEXTS, val_fraction=0.5)
    assert dataset.classes == ("0", "1")
    assert dataset.test == ()
    assert "test.csv passed over: it has no column target" in says(dataset)


def test_a_ragged_row_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, "t.csv", "text,label\ngood, very good,a\nbad film,b\n")
    with pytest.raises(DatasetError, match="line 2: 3 cells, where there should be 2"):
        scan_dataset(path, TEXTS)


def test_other_texts_under_the_same_names_are_another_dataset(write: Write) -> None:
    first = scan_dataset(write({"a.txt": lines(GOOD), "b.txt": lines(BAD)}), TEXTS)
    second = scan_dataset(write({"a.txt": lines(BAD), "b.txt": lines(GOOD)}), TEXTS)
    assert first.fingerprint != second.fingerprint


def test_the_same_texts_in_two_classes_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = table(tmp_path, "t.csv", "text,label\n" + "".join(f"film {n},a\nFilm  {n},b\n" for n in range(30)))
    with pytest.raises(
        DatasetError, match="nothing is left to validate with: all texts of a, b lie in several"
    ):
        keep_copies_together(scan_dataset(path, TEXTS))
