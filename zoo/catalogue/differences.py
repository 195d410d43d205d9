"""The differences between two registries, by entry and field, for a reviewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.validation import entry_to_mapping

HASHES = ("weights.sha256", "weights.sha256_prefix", "weights.md5")
FILES = (*HASHES, "weights.url")


class Change(NamedTuple):
    """One changed field of an entry. before, after: plain values; None if not stated.

    is_about_bytes: whether the name may now mean another file, because what proved the bytes has changed.
    """

    field: str
    before: Any
    after: Any
    is_about_bytes: bool = False


class Differences(NamedTuple):
    """The differences between two registries. changed: the changed fields of each entry that both have."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: dict[str, list[Change]]


def compare_registries(before: Mapping[str, ModelEntry], after: Mapping[str, ModelEntry]) -> Differences:
    """The differences, in the order of the files."""
    both = {name: compare_entries(entry, after[name]) for name, entry in before.items() if name in after}
    return Differences(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed={name: changes for name, changes in both.items() if changes},
    )


def compare_entries(before: ModelEntry, after: ModelEntry) -> list[Change]:
    """The fields in which two entries differ; those that prove the bytes first."""
    old, new = _flatten(entry_to_mapping(before)), _flatten(entry_to_mapping(after))
    fields = [field for field in dict.fromkeys([*old, *new]) if old.get(field) != new.get(field)]
    changes = [
        Change(f, old.get(f), new.get(f), f in FILES and _proves_otherwise(f, old, new)) for f in fields
    ]
    return sorted(changes, key=lambda change: (not change.is_about_bytes, change.field not in HASHES))


def _proves_otherwise(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a change of this field may mean other bytes.

    A prefix that became the full sha256 proves the same. A URL matters only without a hash, for its commit.
    """
    if field == "weights.url":
        return not any(old.get(name) for name in HASHES)
    whole = new.get("weights.sha256") or ""
    if whole and whole == old.get("weights.sha256"):
        return False
    if field == "weights.sha256_prefix" and whole and old.get(field):
        return not whole.startswith(old[field])
    return old.get(field) is not None


def _flatten(facts: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested facts under dotted names.

    >>> _flatten({"license": "mit", "input": {"size": 224}})
    {'license': 'mit', 'input.size': 224}
    """
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flatten(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat
