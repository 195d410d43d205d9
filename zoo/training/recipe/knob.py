"""A knob: one thing that a recipe decides, with every fact about it.

Its limits, its default, what it belongs to and whether it may change when a run goes on stand in one row;
`--help`, the checks, `resolve`, the types in options.py and the documentation are read from there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from zoo.data.kinds import Kind
from zoo.errors import UnknownName
from zoo.training.recipe.wording import Name, Part, Problem, listed, option_name, plain


class Rest(Protocol):
    """What a default or a condition depends on: every knob's value as an attribute, and the kind of item."""

    @property
    def kind(self) -> Kind:
        """Images or texts."""

    def requested(self, name: str) -> bool:
        """Whether a knob was given a value, rather than left at its default."""

    def __getattr__(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Condition:
    """Something that holds for some recipes.

    words: "from scratch"; none where --help need not say it. example: wishes for which it holds.
    """

    words: tuple[Part, ...]
    holds: Callable[[Rest], bool]
    example: Mapping[str, Any]


@dataclass(frozen=True)
class Scope(Condition):
    """A condition that a knob may need to have any effect. needs: the knobs that decide it.

    unmet: (knob, rest) -> what to answer where the knob is given and the condition does not hold.
    """

    needs: tuple[str, ...]
    unmet: Callable[[str, Rest], tuple[Part, ...]]

    def problem(self, knob: str, rest: Rest) -> Problem:
        """The problem of a knob that is given in vain."""
        return Problem((knob, *self.needs), self.unmet(knob, rest))


@dataclass(frozen=True)
class By:
    """A value for each choice of another knob."""

    knob: str
    values: Mapping[str, Any]

    @property
    def usual(self) -> Any:
        """The value of most choices."""
        return Counter(self.values.values()).most_common(1)[0][0]


@dataclass(frozen=True)
class Same:
    """The value of another knob."""

    knob: str


@dataclass(frozen=True)
class Default:
    """What a knob is where it is not given: a value, By or Same; of the cases the first that holds.

    none: what the default None means. The text and the value come from the same cases, so they cannot differ.
    """

    value: Any
    cases: tuple[tuple[Condition, Any], ...] = ()
    none: str = "off"

    def of(self, rest: Rest) -> Any:
        """The value that suits the rest of a recipe."""
        chosen = next((value for condition, value in self.cases if condition.holds(rest)), self.value)
        match chosen:
            case By(knob, values):
                return values[getattr(rest, knob)]
            case Same(knob):
                return getattr(rest, knob)
            case _:
                return chosen

    def words(self) -> tuple[Part, ...]:
        """The default with its cases: `0.2; 0.5 for texts`."""
        parts = list(self._value_words(self.value))
        for condition, value in self.cases:
            parts += ["; ", *self._value_words(value), " ", *condition.words]
        return tuple(parts)

    def _value_words(self, value: Any) -> Iterator[Part]:
        match value:
            case None:
                yield self.none
            case Same(knob):
                yield Name(knob)
            case By():
                yield plain(value.usual)
                for other in dict.fromkeys(value.values.values()):
                    if other != value.usual:
                        yield f" ({listed(name for name, v in value.values.items() if v == other)}: "
                        yield f"{plain(other)})"
            case _:
                yield plain(value)


@dataclass(frozen=True)
class Knob:
    """One field of a recipe.

    kind: bool, int, float, str or tuple (of int); an int with choices may also be one of those. heading: of
    --help. low and high are allowed values themselves; above and below are not. choices: the names that a
    text may be. pattern: a regular expression that is as good as a choice, shown as `pattern_example`.

    only: what must hold for it to have an effect. off: the value that it then has; giving it is never in
    vain. None: that of the default. unset: values that mean the same as not giving it. fixed_on_resume: it
    shaped what a run has trained, so that it cannot change when the run goes on.
    """

    name: str
    kind: type
    doc: str
    heading: str
    default: Default
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    pattern_example: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    only: tuple[Scope, ...] = ()
    off: Any = None
    unset: tuple[Any, ...] = ()
    fixed_on_resume: bool = False
    annotation: Any = field(init=False)

    def __post_init__(self) -> None:
        mixed = self.kind is int and self.choices
        annotation = int | str if mixed else tuple[int, ...] if self.kind is tuple else self.kind
        object.__setattr__(self, "annotation", annotation)

    @property
    def option(self) -> str:
        """The name of the option on the command line: `--batch-size`."""
        return option_name(self.name)

    @property
    def optional(self) -> bool:
        """Whether a resolved recipe may have None here: off, or decided by the machine."""
        return self.default.value is None

    def read(self, value: Any) -> Any:
        """A typed text as a value of this knob; what cannot be read comes back as it is, for `problems`."""
        if isinstance(value, str) and self.kind is tuple:
            value = [part for part in re.split(r"[,\sx]+", value) if part]
        if isinstance(value, str) and self.kind is int and re.fullmatch(r"[+-]?\d+", value):
            return int(value)
        try:
            return msgspec.convert(value, self.annotation, strict=False)
        except msgspec.ValidationError:
            return value

    def problems(self, value: Any) -> Iterator[Problem]:
        """Everything that is wrong with one value by itself. None is right: it was not given."""
        if value is None:
            return
        try:
            value = msgspec.convert(value, self.annotation)
        except msgspec.ValidationError:
            yield self._problem(f" must be {_KINDS[self.kind]}, not {value!r}")
            return
        if isinstance(value, str):
            if value not in self.choices and not (self.pattern and re.fullmatch(self.pattern, value)):
                yield self._problem(f" cannot be {value!r}. {self._choices_for(value)}")
            return
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not self.allows(number):
                yield self._problem(f" must be {self.limits}, not {number:g}")

    def allows(self, number: float) -> bool:
        """Whether a number is within the limits; infinity and nan never are."""
        return (
            math.isfinite(number)
            and (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    @property
    def limits(self) -> str:
        """The limits as a sentence has them: `at least 0 and below 1`."""
        words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
        parts = [
            f"{word} {getattr(self, side):,}"
            for side, word in words.items()
            if getattr(self, side) is not None
        ]
        return " and ".join(parts) or "a finite number"

    def unmet(self, rest: Rest) -> Scope | None:
        """The first condition that the rest of a recipe does not meet; None where the knob has an effect."""
        return next((scope for scope in self.only if not scope.holds(rest)), None)

    def without_effect(self, rest: Rest) -> Any:
        """The value where the knob has no effect."""
        return self.default.of(rest) if self.off is None else self.off

    def _problem(self, text: str) -> Problem:
        return Problem((self.name,), (Name(self.name), text))

    def _choices_for(self, value: str) -> str:
        """The choices that may have been meant, or all."""
        names = [*self.choices, *([self.pattern_example] if self.pattern_example else [])]
        return UnknownName(self.name, value, names).hint or ""


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a name",
    tuple: "whole numbers",
}
