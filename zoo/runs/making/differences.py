"""Whether an unfinished run may go on: what it began with, held against what it would go on with.

Whatever differs is named. Some of it can be insisted on (--force): the run then goes on, but is not the run
that would have come out without the interruption. A row per thing that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.data.dataset import PARTS
from zoo.data.names import one_line, shortened
from zoo.errors import ResumeRefused
from zoo.events import Note, Report
from zoo.runs.making.unfinished import Facts

_MOST_NAMED = 3
_FORCE = "Put it back as it was, or go on all the same: --force"


class Difference(NamedTuple):
    """What differs, as a sentence. binding: what was trained means nothing with the other one."""

    words: str
    binding: bool


class Comparison(NamedTuple):
    """describe: the differences between two Facts, a sentence each. binding: see Difference."""

    describe: Callable[[Facts, Facts], Iterator[str]]
    binding: bool = False


class Resumption(NamedTuple):
    """A wish to go on. facts: what the run began with. force: whatever still fits will do. begin: the command
    that begins another run."""

    facts: Facts
    force: bool
    begin: str


def check_same(
    resumption: Resumption, now: Facts, *, out: Path, report: Report, earlier: Facts | None = None
) -> None:
    """Let a run go on only with what it began with; with `force`, with what still fits, and a warning.

    Raises ResumeRefused with every difference. What is not known yet is not compared. earlier: what was let
    through with less known; its differences are not reported again.
    """
    known = [] if earlier is None else find_differences(resumption.facts, earlier)
    found = [each for each in find_differences(resumption.facts, now) if each not in known]
    binding = any(difference.binding for difference in found)
    if found and (binding or not resumption.force):
        hint = f"Begin another run: {resumption.begin}" if binding else _FORCE
        raise ResumeRefused(out, [difference.words for difference in found], hint=hint)
    if None not in (resumption.facts.threads, now.threads) and resumption.facts.threads != now.threads:
        report(
            Note(
                f"torch had {resumption.facts.threads} threads and has {now.threads} now: sums are rounded "
                "in another way, and the last digits may differ",
                hint=f"As before: OMP_NUM_THREADS={resumption.facts.threads}",
            )
        )
    for difference in found:
        report(Note(f"going on all the same: {difference.words}", level="warning"))


def find_differences(then: Facts, now: Facts) -> list[Difference]:
    """Every difference between what a run began with and what it would go on with."""
    return [
        Difference(words, comparison.binding)
        for comparison in COMPARISONS
        for words in comparison.describe(then, now)
    ]


def _value(name: str, what: str) -> Callable[[Facts, Facts], Iterator[str]]:
    """Compare one field; unknown values are equal to any."""

    def describe(then: Facts, now: Facts) -> Iterator[str]:
        old, new = getattr(then, name), getattr(now, name)
        if None not in (old, new) and old != new:
            yield f"{what}: it was {_short(old)}, now {_short(new)}"

    return describe


def _model(then: Facts, now: Facts) -> Iterator[str]:
    """The weights by their sha256, as far as both are known; what they are called does not matter."""
    for name in ("architecture", "input", "arguments"):
        old, new = then.model.get(name), now.model.get(name)
        if old != new:
            yield f"the model's {name}: it was {_short(old)}, now {_short(new)}"
    sha256 = now.weights_sha256 or now.model["weights"].get("sha256")
    if None not in (then.weights_sha256, sha256) and then.weights_sha256 != sha256:
        yield f"the weights of {now.model['name']}: their sha256 was {then.weights_sha256}, now {sha256}"


def _classes(then: Facts, now: Facts) -> Iterator[str]:
    if then.classes == now.classes:
        return
    order = " in another order" if sorted(then.classes) == sorted(now.classes) else ""
    yield f"the classes{order}: they were {_short(then.classes)}, now {_short(now.classes)}"


def _data(then: Facts, now: Facts) -> Iterator[str]:
    """The items of each part by name; then what they hold, and how they are labelled."""
    if then.data["fingerprint"] == now.data["fingerprint"]:
        if then.data.get("contents") != now.data.get("contents"):
            yield "the data: files of the same names hold something else"
        return
    moved = [words for part in PARTS for words in _moved(part, then.data, now.data)]
    yield "the data: " + ("; ".join(moved) or "items of the same names have other labels or texts")


def _moved(part: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The names that are new in a part of the data, and those that are gone from it."""
    old, new = set(then.get(part, ())), set(now.get(part, ()))
    for how, names in (("has no longer", old - new), ("has new", new - old)):
        if names:
            yield f"{part} {how} {_listed(sorted(names))}"


def _recipe(then: Facts, now: Facts) -> Iterator[str]:
    for name, old in then.recipe.items():
        if name in now.recipe and (new := now.recipe[name]) != old:
            yield f"the recipe's {name}: it was {_short(old)}, now {_short(new)}"


def _versions(then: Facts, now: Facts) -> Iterator[str]:
    for name in sorted(then.versions.keys() | now.versions.keys()):
        old, new = then.versions.get(name), now.versions.get(name)
        if old != new:
            yield f"the version of {name}: it was {old or 'not installed'}, now {new or 'not installed'}"


def _features(then: Facts, now: Facts) -> Iterator[str]:
    """What the network says of the items; nothing new where other things differ already."""
    if None in (then.features, now.features) or then.features == now.features:
        return
    if [*_data(then, now), *_recipe(then, now), *_versions(then, now)] or then.device != now.device:
        return
    if None not in (then.way, now.way) and then.way != now.way:
        return
    yield (
        "the features: a picture was changed, or this machine computes them otherwise "
        f"(sha256 {_short(then.features)}, now {_short(now.features)})"
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    shown = ", ".join(one_line(name) for name in names[:_MOST_NAMED])
    return shown + (f" and {more:,} more" if more > 0 else "")


def _short(value: Any) -> str:
    if isinstance(value, tuple | list):
        value = ", ".join(map(str, value)) or "none"
    return one_line(shortened(str(value), 80))


COMPARISONS = (
    Comparison(_value("kind", "the kind of items"), binding=True),
    Comparison(_value("task", "the task"), binding=True),
    Comparison(_model, binding=True),
    Comparison(_value("start", "the adapter of the run that it went on from"), binding=True),
    Comparison(_classes, binding=True),
    Comparison(_data),
    Comparison(_recipe),
    Comparison(_versions),
    Comparison(_value("device", "the device")),
    Comparison(_value("processes", "the number of processes")),
    Comparison(_value("way", "how the features are computed")),
    Comparison(_features),
)
