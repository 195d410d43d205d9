"""Models are found by what is known of them."""

from __future__ import annotations

import pytest

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.registry import load_registry
from zoo.catalogue.search import SORTS, parse_size, select
from zoo.errors import UnknownName, UsageError


@pytest.fixture(scope="module")
def curated() -> list[ModelEntry]:
    return load_registry().curated()


def names(entries: list[ModelEntry]) -> list[str]:
    return [entry.name for entry in entries]


def test_a_plain_word_is_a_part_of_the_name_and_a_glob_is_the_whole(curated: list[ModelEntry]) -> None:
    assert "wide_resnet50_2" in names(select(curated, pattern="resnet50"))
    assert "wide_resnet50_2" not in names(select(curated, pattern="resnet50*"))
    assert names(select(curated, pattern="VGG1?")) == ["vgg11", "vgg13", "vgg16", "vgg19"]


def test_a_glob_reaches_behind_the_library_s_name() -> None:
    found = names(select(load_registry().everything(), pattern="resnet50.a1_*"))
    assert found == ["timm/resnet50.a1_in1k"]


def test_names_are_sorted_as_people_count(curated: list[ModelEntry]) -> None:
    found = names(select(curated, pattern="resnet*_a1"))
    assert found == [
        "resnet18_a1",
        "resnet34_a1",
        "resnet50_a1",
        "resnet50d_a1",
        "resnet101_a1",
        "resnet152_a1",
    ]


def test_conditions_hold_together(curated: list[ModelEntry]) -> None:
    found = select(
        curated, family="mobilenet", task="image-classification", max_bytes=10**7, license="apache-2.0"
    )
    assert found
    assert all(
        e.family == "mobilenet" and (e.bytes or 0) <= 10**7 and e.license == "apache-2.0" for e in found
    )
    assert all(e.task == "word-vectors" for e in select(curated, task="word-vectors"))


def test_a_model_of_unknown_size_does_not_fit_a_limit() -> None:
    entries = [e for e in load_registry().everything() if e.bytes is None]
    assert entries
    assert select(entries, max_bytes=10**15) == []


def test_one_of_several_licences_is_enough_and_globs_hold(curated: list[ModelEntry]) -> None:
    both = select(curated, license=["BSD-3-Clause", "cc-by-4.0"])
    assert {e.license for e in both} == {"bsd-3-clause", "cc-by-4.0"}
    assert {e.license for e in select(curated, license="cc-by*")} >= {"cc-by-4.0", "cc-by-sa-3.0"}
    assert select(curated, license="bsd-3-clause, cc-by-4.0") == both
    assert {e.license for e in select(curated, license="pddl")} == {"pddl-1.0"}, "as a policy means it"


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_keeps_every_model_and_puts_the_unknown_last(
    sort: str, curated: list[ModelEntry]
) -> None:
    found = select(curated, sort=sort)
    assert sorted(names(found)) == sorted(names(curated))
    if sort in ("top1", "speed"):
        known = [getattr(e, sort, None) is not None for e in found]
        assert known == sorted(known, reverse=True)


def test_the_best_come_first_and_the_smallest_come_first(curated: list[ModelEntry]) -> None:
    found = select(curated, task="image-classification", sort="top1")
    scores = [getattr(e, "top1", None) or 0.0 for e in found]  # unmeasured ones come last
    assert scores == sorted(scores, reverse=True)
    sizes = [e.bytes or 0 for e in select(curated, sort="size")]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"family": "renset"}, "Did you mean resnet?"),
        ({"task": "image-clasification"}, "Did you mean image-classification?"),
        ({"sort": "top-1"}, "Did you mean top1?"),
    ],
)
def test_a_typo_in_a_condition_is_answered(
    condition: dict[str, str], said: str, curated: list[ModelEntry]
) -> None:
    with pytest.raises(UnknownName) as caught:
        select(curated, **condition)  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50MB", 50_000_000),
        ("50 mb", 50_000_000),
        ("1.5GB", 1_500_000_000),
        ("200MiB", 209_715_200),
        ("0.5k", 500),
        ("7b", 7),
        ("1000", 1000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "5 MBit", "five", "1e6", "5MB5", 400 * "9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)
