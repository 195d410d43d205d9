"""Items that belong together lie in one part: drawn so, or reported where the user's own split tears them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.dataset import Dataset, Item, Split
from zoo.data.grouping import join_groups, split_off_groups
from zoo.data.kinds import TEXTS
from zoo.data.leaks import keep_copies_together
from zoo.data.scanning import scan_dataset
from zoo.errors import DatasetError, UsageError

Plant = Callable[..., Path]


def groups(items: tuple[Item, ...]) -> set[str | None]:
    return {item.group for item in items}


def said(dataset: Dataset) -> str:
    return "\n".join(note.message for note in dataset.notes)


@pytest.fixture
def patients(plant: Plant) -> Path:
    """Ten patients with six photographs each, in two classes."""
    return plant(
        *(
            f"{kind}/p{patient:02}-{n}.jpg"
            for kind in ("ill", "well")
            for patient in range(10)
            for n in range(3)
        )
    )


def test_groups_by_a_path_are_drawn_whole(patients: Path) -> None:
    dataset = scan_dataset(patients, group_by=r"(p\d+)-")
    assert groups(dataset.train).isdisjoint(groups(dataset.val))
    assert len(groups(dataset.val)) == 2
    assert dataset.counts("val") == (6, 6)
    assert {item.group for item in dataset.items} == {f"p{n:02}" for n in range(10)}
    assert "12 images (about 20% of every class, in whole groups, seed 0) kept for validation" in said(
        dataset
    )
    assert r"10 groups by (p\d+)-" in said(dataset)
    torn = scan_dataset(patients)
    assert not groups(torn.train).isdisjoint(groups(torn.val))  # None: it knows no groups
    assert scan_dataset(patients, group_by=r"(p\d+)-", seed=1).val != dataset.val


def test_the_draw_is_stable_where_a_group_comes_or_goes(patients: Path) -> None:
    before = groups(scan_dataset(patients, group_by=r"p\d+").val)
    for path in patients.rglob("p09-*"):
        path.unlink()
    after = groups(scan_dataset(patients, group_by=r"p\d+").val)
    assert len(before & after) >= 1


def test_the_split_of_a_run_has_its_groups(patients: Path) -> None:
    split = scan_dataset(patients, group_by=r"p\d+").split
    assert split.facts()["group_by"] == r"p\d+"
    assert Split.from_facts(split.facts()) == split
    assert "group_by" not in scan_dataset(patients).split.facts()


@pytest.mark.parametrize("by", ["patient", "Patient", "3"])
def test_groups_by_a_column(plant: Plant, by: str) -> None:
    root = plant(*(f"{n}.jpg" for n in range(40)))
    rows = [f"{n}.jpg,{'ill' if n % 2 else 'well'},{n // 4 if n < 36 else ''}" for n in range(40)]
    (root / "t.csv").write_text("\n".join(["path,label,patient", *rows]))
    dataset = scan_dataset(root / "t.csv", group_by=by)
    assert dataset.classes == ("ill", "well")
    named = groups(dataset.val) - {None}
    assert named.isdisjoint(groups(dataset.train))
    assert dataset.counts("val") == (4, 4)
    assert "9 groups by patient, and 4 images of none" in said(dataset)
    assert dataset.split.group_by == "patient"


def test_a_column_of_groups_is_not_taken_for_the_label(plant: Plant) -> None:
    root = plant(*(f"{n}.jpg" for n in range(8)))
    rows = [f"{n}.jpg,{'cat' if n % 2 else 'dog'},{n // 2}" for n in range(8)]
    (root / "t.csv").write_text("\n".join(["path,animal,species", *rows]))
    assert scan_dataset(root / "t.csv", group_by="species").classes == ("cat", "dog")


def test_groups_of_texts(tmp_path: Path) -> None:
    rows = [f"text {n} of {n // 5},{'good' if n % 2 else 'bad'},user{n // 5}" for n in range(50)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label,author", *rows]))
    dataset = scan_dataset(tmp_path / "t.csv", TEXTS, group_by="author")
    assert len(groups(dataset.val)) == 2
    assert groups(dataset.train).isdisjoint(groups(dataset.val))


def test_groups_in_tables_beside_each_other(plant: Plant) -> None:
    root = plant(*(f"{n}.jpg" for n in range(12)))
    for part, numbers in (("train", range(8)), ("val", range(8, 12))):
        rows = [f"{n}.jpg,{'cat' if n % 2 else 'dog'},{n // 3}" for n in numbers]
        (root / f"{part}.csv").write_text("\n".join(["path,label,video", *rows]))
    dataset = scan_dataset(root, group_by="video")
    assert "1 image of val is of groups that are trained on (2)" in said(dataset)


def test_groups_that_the_users_own_split_tears_are_reported(plant: Plant) -> None:
    root = plant(
        *(f"train/{kind}/p{n}.jpg" for kind in ("a", "b") for n in range(4)),
        *(f"val/{kind}/p{n}-again.jpg" for kind in ("a", "b") for n in (3, 9)),
    )
    dataset = scan_dataset(root, group_by=r"p\d")
    assert "2 images of val are of groups that are trained on (p3)" in said(dataset)
    assert dataset.split.origin == "folders"


def test_a_class_of_one_group_has_nothing_to_validate_with(plant: Plant) -> None:
    root = plant(
        *(f"a/p{n}-{m}.jpg" for n in range(5) for m in range(2)), *(f"b/p77-{m}.jpg" for m in range(6))
    )
    dataset = scan_dataset(root, group_by=r"p\d+")
    assert dataset.counts("val")[1] == 0
    assert "no image of b is kept for validation" in said(dataset)
    with pytest.raises(DatasetError, match=r"all images of a class are of one group \(2 groups in all\)"):
        scan_dataset(root, group_by="^[ab]")


@pytest.mark.parametrize(
    ("by", "says"), [("(", "not a regular expression|neither a column"), ("zebra", "fits no image")]
)
def test_an_expression_that_fits_nothing_is_refused(patients: Path, by: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        scan_dataset(patients, group_by=by)


def test_a_plain_text_that_is_no_column_is_one_group_and_refused(patients: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'jpg' is not a column, and .* puts \d+ images into one group"
    ) as error:
        scan_dataset(patients, group_by="jpg")
    assert error.value.hint is not None
    assert error.value.hint.startswith("There are no columns here. An expression is matched with paths like ")


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("4", "'4' is not a column, and as an expression it puts 1 image into one group"),
        ("99", "'99' is not a column, and fits no image"),
        ("patien", "fits no image"),
        ("(", "neither a column nor a regular expression"),
    ],
)
def test_what_is_no_column_of_a_table_is_answered_with_its_columns(plant: Plant, by: str, says: str) -> None:
    root = plant(*(f"{n}.jpg" for n in range(12)))
    rows = [f"{n}.jpg,{'cat' if n % 2 else 'dog'},{n // 2}" for n in range(12)]
    (root / "t.csv").write_text("\n".join(["path,label,patient", *rows]))
    for path in (root, root / "t.csv"):
        if path == root:
            (root / "train.csv").write_text("\n".join(["path,label,patient", *rows[:8]]))
            (root / "val.csv").write_text("\n".join(["path,label,patient", *rows[8:]]))
        with pytest.raises(UsageError) as error:
            scan_dataset(path, group_by=by)
        assert says in error.value.message
        assert "The columns are path, label, patient." in (error.value.hint or "")


def test_an_empty_column_of_groups_is_refused(plant: Plant) -> None:
    root = plant(*(f"{n}.jpg" for n in range(8)))
    rows = [f"{n}.jpg,{'cat' if n % 2 else 'dog'},NA" for n in range(8)]
    (root / "t.csv").write_text("\n".join(["path,label,patient", *rows]))
    with pytest.raises(DatasetError, match=r"the column patient of .* is empty"):
        scan_dataset(root / "t.csv", group_by="patient")


def test_copies_in_two_groups_join_them(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for kind in ("a", "b"):
        (root / kind).mkdir(parents=True)
        for patient in range(10):
            for n in range(2):
                (root / kind / f"p{patient}-{n}.jpg").write_bytes(
                    random.Random(f"{kind}{patient}{n}").randbytes(99)
                )
        for patient in range(0, 10, 2):  # a copy of a photograph of the next patient
            copy = (root / kind / f"p{patient + 1}-0.jpg").read_bytes()
            (root / kind / f"p{patient}-copy.jpg").write_bytes(copy)
    dataset = keep_copies_together(scan_dataset(root, group_by=r"p\d"))
    held = {int(str(name)[1]) for name in groups(dataset.val)}
    assert held
    assert {number // 2 for number in held}.isdisjoint(
        {int(str(name)[1]) // 2 for name in groups(dataset.train)}
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=8, max_size=120),
    st.integers(0, 99),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_no_group_is_torn_and_no_class_is_emptied(
    pairs: list[tuple[int, int]], seed: int, part: float
) -> None:
    items = [Item(Path(f"{n}.jpg"), label, None, f"g{group}") for n, (label, group) in enumerate(pairs)]
    rest, drawn = split_off_groups(items, root=Path(), fraction=part, seed=seed, copies={})
    assert sorted(rest + drawn, key=lambda item: int(item.path.stem)) == items
    assert {item.group for item in rest}.isdisjoint({item.group for item in drawn})
    assert {item.label for item in rest} == {item.label for item in items}


def test_names_of_joined_groups_depend_on_the_items_alone() -> None:
    items = [Item(Path(f"{n}.jpg"), 0, None, group) for n, group in enumerate(["a", "b", None, "c"])]
    assert join_groups(items, ["x", "y", "x", "z"])[0] == join_groups(items, ["x", "y", "x", "z"])[2]
    names = join_groups(items, ["x", "y", "x", "z"])
    assert names[::-1] == join_groups(items[::-1], ["z", "x", "y", "x"])
    assert len(set(names)) == 3
