"""Search for models by name pattern, family, task, size and licence, in a chosen order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from zoo.catalogue.entry import ENTRY_TYPES, ImageModel, ModelEntry
from zoo.catalogue.licenses import parse_policy
from zoo.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry

UNITS: dict[str, int] = {"": 1, "b": 1} | {
    prefix + ending: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for ending, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
SIZE = r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]*)\s*"


def list_models(
    pattern: str | None = None,
    *,
    everything: bool = False,
    registry: Registry | None = None,
    **conditions: Any,
) -> list[ModelEntry]:
    """The known models, as registry entries.

    Args:
        pattern: A part of the name, or a glob (`resnet*`).
        everything: Also list every pretrained tag of timm and every weights file of torchvision.
        registry: The registry to search; None for the shipped one with the files of $ZOO_REGISTRY.
        **conditions: `family`, `task`, `max_bytes`, `license` (one or several) and `sort`; see `select`.

    Returns:
        The entries that every condition holds for, sorted by name unless `sort` is given.

    Raises:
        UnknownName: If a family, task, licence or order does not exist.
        InvalidRegistry: If a registry file is not valid.
    """
    if registry is None:
        from zoo.catalogue.registry import load_registry

        registry = load_registry()
    return select(registry.everything() if everything else registry.curated(), pattern=pattern, **conditions)


def select(
    entries: Iterable[ModelEntry],
    *,
    pattern: str | None = None,
    family: str | None = None,
    task: str | None = None,
    max_bytes: int | None = None,
    license: str | Sequence[str] | None = None,  # noqa: A002, the name of the option
    sort: str = "name",
) -> list[ModelEntry]:
    """The entries that every condition holds for, sorted by the key that SORTS has under `sort`.

    pattern: a part of the name, or a glob (`resnet*`), matched with the whole name or the part after `timm/`.
    max_bytes: of the download; a model of unknown size is left out. license: one or several; globs. Case does
    not matter. Raises UnknownName for a family, task, licence or order that does not exist.
    """
    chosen = entries = list(entries)
    if sort not in SORTS:
        raise UnknownName("order", sort, SORTS)
    if task is not None and task not in ENTRY_TYPES:
        raise UnknownName("task", task, ENTRY_TYPES)
    if family is not None:
        families = dict.fromkeys(entry.family for entry in chosen)
        if family.lower() not in families:
            raise UnknownName("family", family, families)
        chosen = [entry for entry in chosen if entry.family == family.lower()]
    if task is not None:
        chosen = [entry for entry in chosen if entry.task == task]
    if pattern:
        chosen = [entry for entry in chosen if _name_fits(entry.name, pattern)]
    if max_bytes is not None:
        chosen = [entry for entry in chosen if entry.bytes is not None and entry.bytes <= max_bytes]
    if license:
        given = [license] if isinstance(license, str) else license
        names = [name for one in given for name in re.split(r"[,\s]+", one.lower()) if name]
        globs = [name for name in names if set(name) & set("*?[")]
        plain = [name for name in names if name not in globs]
        policy = parse_policy(plain, "--license") if plain else None
        chosen = [
            entry
            for entry in chosen
            if (policy is not None and policy.allows(entry.license))
            or any(fnmatchcase(entry.license.lower(), glob) for glob in globs)
        ]
    return sorted(chosen, key=SORTS[sort])


def parse_size(text: str) -> int:
    """The bytes of a size such as `50MB`, `1.5 GB`, `200MiB` or `1000`.

    >>> parse_size("50MB"), parse_size("1.5 gib"), parse_size("10k")
    (50000000, 1610612736, 10000)
    """
    found = re.fullmatch(SIZE, text, re.IGNORECASE)
    if found is None or found[2].lower() not in UNITS or not math.isfinite(float(found[1])):
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise UsageError(f"{shown!r} is not a size", hint="Like this: 50MB, 1.5GB, 200MiB.")
    return round(float(found[1]) * UNITS[found[2].lower()])


def size_setting(name: str, usual: int, hint: str | None = None) -> int:
    """The bytes that an environment variable says, as `20GB`; `usual` where it is not set.

    hint: what to do about one that is not a size. Raises UsageError, which names the variable.
    """
    given = os.environ.get(name)
    try:
        return parse_size(given) if given else usual
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=hint or error.hint) from None


def _name_fits(name: str, pattern: str) -> bool:
    """Whether a pattern matches a name.

    >>> [_name_fits("timm/resnet50.a1_in1k", p) for p in ("resnet*", "a1", "timm/*", "resnet50")]
    [True, True, True, True]
    >>> _name_fits("wide_resnet50_2", "resnet*")
    False
    """
    name, pattern = name.lower(), pattern.lower()
    if not set(pattern) & set("*?["):
        return pattern in name
    return fnmatchcase(name, pattern) or fnmatchcase(name.partition("/")[2], pattern)


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key for names with numbers: resnet18 before resnet101.

    >>> sorted(["resnet101", "resnet18", "resnet"], key=_natural)
    ['resnet', 'resnet18', 'resnet101']
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.lower())]


def _smallest(fact: Callable[[ModelEntry], float | None]) -> Callable[[ModelEntry], Any]:
    """The sort key that puts the smallest first, the unknown last, and equal ones by name."""

    def key(entry: ModelEntry) -> tuple[bool, float, list[tuple[int, str]]]:
        value = fact(entry)
        return (value is None, value or 0, _natural(entry.name))

    return key


def _largest(fact: Callable[[ModelEntry], float | None]) -> Callable[[ModelEntry], Any]:
    """The sort key that puts the largest first, the unknown last, and equal ones by name."""

    def negative(entry: ModelEntry) -> float | None:
        value = fact(entry)
        return None if value is None else -value

    return _smallest(negative)


def _top1(entry: ModelEntry) -> float | None:
    """Published ImageNet top-1 accuracy; None if there is none."""
    return entry.top1 if isinstance(entry, ImageModel) else None


def _images_per_second(entry: ModelEntry) -> float | None:
    """Published speed; None if there is none."""
    return entry.speed.images_per_second if isinstance(entry, ImageModel) and entry.speed else None


SORTS: dict[str, Callable[[ModelEntry], Any]] = {
    "name": lambda entry: _natural(entry.name),
    "family": lambda entry: (entry.family, _natural(entry.name)),
    "size": _smallest(lambda entry: entry.bytes),
    "parameters": _smallest(lambda entry: entry.parameters),
    "top1": _largest(_top1),
    "speed": _largest(_images_per_second),
    "license": lambda entry: (entry.license == "unknown", entry.license, _natural(entry.name)),
}
