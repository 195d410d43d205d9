"""Items with several classes, and items with numbers, as tables have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo.data.dataset import Dataset, describe_classes
from zoo.data.kinds import TEXTS
from zoo.data.leaks import keep_copies_together
from zoo.data.scanning import scan_dataset, scan_evaluation
from zoo.errors import DatasetError, UnknownName, UsageError

Table = Callable[..., Path]


@pytest.fixture
def table(plant: Callable[..., Path]) -> Table:
    """A function that writes a table of so many images: its header without the path, and its rows."""

    def write(header: str, rows: list[str], name: str = "t.csv") -> Path:
        root = plant(*(f"{n}.jpg" for n in range(len(rows))))
        lines = [f"path,{header}", *(f"{n}.jpg,{row}" for n, row in enumerate(rows))]
        (root / name).write_text("\n".join(lines))
        return root / name

    return write


def scan(path: Path, task: str = "multi-label", **options: Any) -> Dataset:
    return scan_dataset(path, task=task, **options)


def sets(dataset: Dataset) -> dict[str, set[str]]:
    return {i.path.name: {dataset.classes[label] for label in i.labels} for i in dataset.items}


TAGS = [{"sun", "sea"}, {"sea"}, {"sun"}, {"sea", "boat"}, {"boat", "sun"}, {"sun", "sea", "boat"}] * 3
WRITTEN: dict[str, Callable[[set[str]], str]] = {
    "bar": lambda tags: "|".join(sorted(tags)),
    "bar and blanks": lambda tags: " | ".join(sorted(tags)),
    "semicolon": lambda tags: ";".join(sorted(tags)),
    "comma": lambda tags: f'"{", ".join(sorted(tags))}"',
    "python": lambda tags: f'"{sorted(tags)}"',
    "json": lambda tags: '"[' + ", ".join(f'""{tag}""' for tag in sorted(tags)) + ']"',
    "bare": lambda tags: f'"[{", ".join(sorted(tags))}]"',
    "set": lambda tags: '"{' + ",".join(sorted(tags)) + '}"',
}


@pytest.mark.parametrize("way", WRITTEN)
def test_several_labels_in_a_cell(table: Table, way: str) -> None:
    dataset = scan(table("tags", [WRITTEN[way](tags) for tags in TAGS]))
    assert dataset.classes == ("boat", "sea", "sun")
    assert [sets(dataset)[f"{n}.jpg"] for n in range(18)] == TAGS
    assert dataset.task == "multi-label"


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("yes", "no"), ("1", "-1")]
)
def test_a_column_of_yes_and_no_for_each_label(table: Table, yes: str, no: str) -> None:
    rows = [",".join(yes if name in tags else no for name in ("sun", "sea", "boat")) for tags in TAGS]
    dataset = scan(table("sun,sea,boat", [*rows, f"{no},{no},{no}"]))
    assert dataset.classes == ("sun", "sea", "boat")
    assert [sets(dataset)[f"{n}.jpg"] for n in range(19)] == [*TAGS, set()]
    two = scan(table("sun,sea,boat", rows), label_column="boat,sun")
    assert two.classes == ("boat", "sun")


def test_the_columns_of_parts_and_groups_are_no_labels(table: Table) -> None:
    rows = [
        f"{int('sun' in tags)},{int('sea' in tags)},{int(n % 4 == 0)},{n % 6}" for n, tags in enumerate(TAGS)
    ]
    dataset = scan(table("sun,sea,is_valid,trip", rows), group_by="trip")
    assert dataset.classes == ("sun", "sea")
    assert len(dataset.val) == 5
    assert {item.group for item in dataset.items} == {str(n) for n in range(6)}


def test_columns_with_a_label_each(table: Table) -> None:
    dataset = scan(table("a,b", ["red,round", "red,", "blue,round"] * 5), label_column="a,b")
    assert dataset.classes == ("blue", "red", "round")
    assert sets(dataset)["1.jpg"] == {"red"}


def test_every_label_is_in_both_parts_of_a_drawn_split(table: Table) -> None:
    marks = {"all": lambda n: n % 7 > 0, "rare": lambda n: n in (5, 50), "odd": lambda n: n % 2 == 1}
    rows = ["|".join(name for name, has in marks.items() if has(n)) or "none" for n in range(100)]
    dataset = scan(table("tags", rows))
    assert all(dataset.counts("train"))
    assert all(dataset.counts("val"))
    counts = dict(zip(dataset.classes, dataset.counts("val"), strict=True))
    assert counts["rare"] == 1
    assert 8 <= counts["odd"] <= 12
    assert scan(table("tags", rows)).split == dataset.split


def test_classes_are_counted_and_described(table: Table) -> None:
    note = describe_classes(scan(table("tags", ["|".join(sorted(tags)) for tags in TAGS])))
    assert "3 classes: boat 7 (val 2), sea 10 (val 2), sun 10 (val 2)" in note.message
    assert "of each item" in note.message


@pytest.mark.parametrize(
    ("cells", "column", "values"),
    [
        (["1.5", "2", "1e1"], "age", [1.5, 2.0, 10.0]),
        (['"1,5"', '"2,25"', "3"], "age", [1.5, 2.25, 3.0]),
        (["-3", "0", "7"], "age", [-3.0, 0.0, 7.0]),
    ],
)
def test_numbers(table: Table, cells: list[str], column: str, values: list[float]) -> None:
    dataset = scan(table("age", cells * 6), "regression", label_column=column)
    assert dataset.classes == ("age",)
    assert {item.path.name: item.target for item in dataset.items} == {
        f"{n}.jpg": values[n % 3] for n in range(18)
    }
    assert dataset.counts("train") == (0,)
    assert "numbers: age" in describe_classes(dataset).message


def test_several_numbers_and_rows_without_one(table: Table) -> None:
    rows = [f"{n},{n * 2}" for n in range(20)]
    rows[3] = "nan,4"
    dataset = scan(table("x,y", rows), "regression", label_column="x, y")
    assert dataset.classes == ("x", "y")
    assert {item.target for item in dataset.items} == {(float(n), n * 2.0) for n in range(20) if n != 3}
    assert "1 row of" in "\n".join(note.message for note in dataset.notes)


def test_the_drawn_part_spans_the_numbers(table: Table) -> None:
    dataset = scan(table("age", [str(n) for n in range(100)]), "regression")
    held = sorted(float(item.target) for item in dataset.val)  # type: ignore[arg-type]
    assert len(held) == 20
    assert all(sum(20 * k <= value < 20 * (k + 1) for value in held) == 4 for k in range(5))


def test_texts_have_several_labels_and_numbers_too(tmp_path: Path) -> None:
    lines = [f"text {n},{'|'.join(sorted(tags))},{n}" for n, tags in enumerate(TAGS)]
    (tmp_path / "t.csv").write_text("\n".join(["text,tags,words", *lines, lines[0]]))
    path = tmp_path / "t.csv"
    dataset = keep_copies_together(scan_dataset(path, TEXTS, task="multi-label", label_column="tags"))
    assert dataset.classes == ("boat", "sea", "sun")
    copies = [part for part in (dataset.train, dataset.val) if any(i.text == "text 0" for i in part)]
    assert len(copies) == 1
    assert scan_dataset(path, TEXTS, task="regression", label_column="words").classes == ("words",)


def test_what_is_measured_has_the_labels_of_the_model(table: Table) -> None:
    path = table("tags", ["|".join(sorted(tags)) for tags in TAGS])
    found = scan_evaluation(path, ["sun", "sea", "boat"], task="multi-label")
    assert {found.classes[label] for label in found.items[0].labels} == TAGS[0]
    with pytest.raises(DatasetError, match="a label 'boat' that training did not have"):
        scan_evaluation(path, ["sun", "sea"], task="multi-label")
    numbers = table("age,other", [f"{n},{-n}" for n in range(9)], "n.csv")
    assert [item.target for item in scan_evaluation(numbers, ["other"], task="regression").items][4] == -4.0


MULTI, NUMBER = {"task": "multi-label"}, {"task": "regression"}
REFUSED: dict[str, tuple[str, list[str], dict[str, Any], type[Exception], str]] = {
    "a word": ("age", ["1", "old", "3"] * 4, NUMBER, DatasetError, "row 2 of .* no number in age: old"),
    "infinity": ("age", ["1", "inf", "3"] * 4, NUMBER, DatasetError, "no number in age: inf"),
    "one value": ("age", ["4"] * 9, NUMBER, DatasetError, "age is 4.0 in every training row"),
    "no column": ("age", ["4", "5"] * 9, {**NUMBER, "label_column": "age,height"}, UnknownName, "height"),
    "nobody has it": ("a,b", ["1,0"] * 9, MULTI, DatasetError, "no training item .* has the label b"),
    "no label": ("tags", ["[]"] * 9, {**MULTI, "label_column": "tags"}, DatasetError, "nothing to learn"),
    "no list": ("tags", ['"[{1:2}]"', "a|b"] * 5, MULTI, DatasetError, "not a list of labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learned_is_refused(table: Table, case: str) -> None:
    header, rows, options, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        scan(table(header, rows), **options)


def test_a_folder_of_classes_has_one_class_per_item(plant: Callable[..., Path]) -> None:
    root = plant("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg")
    with pytest.raises(UsageError, match=r"takes a table, and .* has a folder for each class"):
        scan(root)


def test_a_label_that_only_validation_has_is_refused(table: Table) -> None:
    rows = [*(f"{'a|b' if n % 2 else 'a'},train" for n in range(8)), "c,val", "a,val"]
    with pytest.raises(DatasetError, match=r"the val part of .* has a label 'c' that training did not have"):
        scan(table("tags,split", rows))


def test_numbers_of_nought_and_one_look_like_classes(table: Table) -> None:
    dataset = scan(table("bee", ["0", "1"] * 8), "regression")
    assert "bee is 0 or 1 everywhere: these look like classes" in "\n".join(n.message for n in dataset.notes)
