"""What changed between two registries, as a reviewer wants to see it."""

from __future__ import annotations

from msgspec.structs import replace

from zoo.catalogue.differences import Change, compare_entries, compare_registries
from zoo.catalogue.entry import Weights
from zoo.catalogue.registry import load_registry

NET = load_registry()["resnet18"]


def test_a_registry_does_not_differ_from_itself() -> None:
    models = load_registry()
    assert compare_registries(models, models) == ((), (), {})


def test_added_removed_and_changed_entries_are_told_apart() -> None:
    other = replace(NET, license="mit", parameters=None)
    found = compare_registries({"kept": NET, "gone": NET}, {"kept": other, "new": NET})
    assert (found.added, found.removed) == (("new",), ("gone",))
    assert found.changed == {
        "kept": [Change("license", "bsd-3-clause", "mit"), Change("parameters", 11689512, None)]
    }


def test_fields_inside_fields_are_named_with_dots() -> None:
    (change,) = compare_entries(NET, replace(NET, input=replace(NET.input, size=288)))
    assert change == Change("input.size", 224, 288)


def test_a_hash_that_changed_comes_first_and_stands_out() -> None:
    weights = replace(NET.weights, url="https://example.org/x.pth", sha256_prefix="00000000")
    first, *rest = compare_entries(NET, replace(NET, family="other", weights=weights))
    assert (first.field, first.is_about_bytes) == ("weights.sha256_prefix", True)
    assert [change.field for change in rest] == ["family", "weights.url"]
    assert not any(change.is_about_bytes for change in rest)


def test_a_prefix_that_became_the_whole_hash_proves_the_same() -> None:
    def changes(sha256: str) -> set[bool]:
        whole = replace(NET, weights=replace(NET.weights, sha256_prefix=None, sha256=sha256))
        return {change.is_about_bytes for change in compare_entries(NET, whole)}

    prefix = NET.weights.sha256_prefix or ""
    assert changes(prefix.ljust(64, "0")) == {False}
    assert True in changes("f" * 64 if not prefix.startswith("f") else "0" * 64)


def test_a_commit_is_what_proves_the_bytes_where_no_hash_does() -> None:
    at = [replace(NET, weights=Weights(url=f"hf://a/b@{commit * 40}/m.safetensors")) for commit in "01"]
    (change,) = compare_entries(*at)
    assert (change.field, change.is_about_bytes) == ("weights.url", True)


def test_a_hash_that_is_new_says_more_and_one_that_is_gone_says_less() -> None:
    proven = replace(NET, weights=replace(NET.weights, sha256="ab" * 32))
    assert [change.is_about_bytes for change in compare_entries(NET, proven)] == [False]
    assert [change.is_about_bytes for change in compare_entries(proven, NET)] == [True]
