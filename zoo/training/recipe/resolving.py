"""From wishes to a recipe without holes: every default filled in, or every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from zoo.data.kinds import Kind
from zoo.errors import InvalidRecipe, UnknownName
from zoo.training.recipe.depth import go_together
from zoo.training.recipe.options import Recipe, Resolved
from zoo.training.recipe.rules import RULES
from zoo.training.recipe.table import KNOBS
from zoo.training.recipe.wording import Name, Problem, plain


def resolve(recipe: Recipe, kind: Kind, *, more: Sequence[Problem] = ()) -> Resolved:
    """The recipe for items of that kind with a value for every knob: the wish, or what suits the rest.

    None is left for `clip_norm` (off) and `workers` (the machine decides). A knob that has no effect has a
    value that does nothing, or its default. more: problems that were found before.

    >>> from zoo.data.kinds import IMAGES
    >>> resolve(Recipe(optimizer="sgd"), IMAGES).lr
    0.01

    Raises InvalidRecipe with every problem.
    """
    known = {name for problem in more for name in problem.knobs}
    problems = [*more, *(found for found in find_problems(recipe, kind) if not known & set(found.knobs))]
    if problems:
        raise InvalidRecipe(problems)
    return _Draft(recipe, kind).resolved()


def find_problems(recipe: Recipe, kind: Kind) -> list[Problem]:
    """Everything that is wrong with a recipe for items of that kind; empty when it can be used.

    >>> from zoo.data.kinds import IMAGES
    >>> print(*find_problems(Recipe(hidden=(64,), tune_lr=0.1), IMAGES), sep="\\n")
    hidden belongs to head="mlp"; the head is linear
    tune_lr has no effect while the whole backbone stays frozen: add unfreeze=1
    """
    single = {name: list(knob.problems(getattr(recipe, name))) for name, knob in KNOBS.items()}
    bad = {name for name, found in single.items() if found}
    draft = _Draft(recipe, kind, without=bad)
    together = [*_in_vain(draft), *(problem for rule in RULES for problem in rule(draft))]
    return [
        *(problem for found in single.values() for problem in found),
        *(problem for problem in together if not bad & set(problem.knobs)),
    ]


def read_options(options: Mapping[str, Any]) -> tuple[Recipe, list[Problem]]:
    """The recipe of options as they are typed, and what is wrong with their names.

    Texts are converted; what cannot be is kept for `find_problems`. None means: not given.

    >>> read_options({"epochs": "5", "hidden": "64,32"})
    (Recipe(hidden=(64, 32), epochs=5), [])
    """
    given = {name: value for name, value in options.items() if value is not None}
    recipe = Recipe(**{name: KNOBS[name].read(value) for name, value in given.items() if name in KNOBS})
    return recipe, [_unknown(name) for name in given if name not in KNOBS]


def merge(first: Recipe, second: Recipe) -> Recipe:
    """The wishes of both; where they differ those of the second.

    A strategy and `unfreeze` answer one question: the later answer replaces one that it contradicts.

    >>> merge(Recipe(epochs=5, lr=0.1), Recipe(epochs=7))
    Recipe(epochs=7, lr=0.1)
    >>> merge(Recipe(strategy="head"), Recipe(unfreeze=2))
    Recipe(unfreeze=2)
    """
    if not go_together(first.strategy, second.unfreeze):
        first = msgspec.structs.replace(first, strategy=None)
    if not go_together(second.strategy, first.unfreeze):
        first = msgspec.structs.replace(first, unfreeze=None)
    return msgspec.structs.replace(first, **_wishes(second))


def go_on(earlier: Resolved, wishes: Recipe, kind: Kind) -> tuple[Recipe, list[Problem]]:
    """The recipe of a run that goes on from an earlier one, and what cannot change.

    The wishes that the earlier recipe came from hold where the new ones leave them open, as far as they still
    have an effect: its defaults are worked out anew.
    """
    done = _Done(earlier, kind)
    bad = {name for name, wish in _wishes(wishes).items() if any(KNOBS[name].problems(wish))}
    changed = [
        name
        for name, wish in _wishes(wishes).items()
        if KNOBS[name].fixed_on_resume
        and name not in bad
        and KNOBS[name].unmet(done) is None
        and wish != getattr(earlier, name)
    ]
    problems = [
        Problem(
            (name,),
            (
                Name(name),
                f" cannot change when a run goes on: it is {plain(getattr(earlier, name))}"
                " there. Begin with the model itself instead",
            ),
        )
        for name in changed
    ]
    wishes = msgspec.structs.replace(wishes, **dict.fromkeys(changed))
    return _without_idle(wishes_of(earlier, kind), wishes, kind, bad), problems


def begin_with(ready: Recipe, wishes: Recipe, kind: Kind) -> Recipe:
    """A recipe that is made for every kind of item, with wishes that win over it: without what then has no
    effect.

    >>> from zoo.data.kinds import IMAGES
    >>> begin_with(Recipe(lr=0.1, baseline=False), Recipe(epochs=3), IMAGES)
    Recipe(epochs=3, lr=0.1)
    """
    bad = {name for name, wish in _wishes(wishes).items() if any(KNOBS[name].problems(wish))}
    return _without_idle(ready, wishes, kind, bad)


def with_chosen(recipe: Resolved, chosen: Recipe, kind: Kind) -> Resolved:
    """A recipe whose strategy or head is auto, with what was chosen; what then has no effect is left out.

    >>> from zoo.data.kinds import IMAGES
    >>> auto = resolve(Recipe(strategy="auto", tune_lr=0.1), IMAGES)
    >>> with_chosen(auto, Recipe(strategy="head"), IMAGES) == resolve(Recipe(), IMAGES)
    True
    """
    given = {name: None for name in KNOBS if getattr(chosen, name) is not None}
    wishes = msgspec.structs.replace(wishes_of(recipe, kind), **given)
    return resolve(_without_idle(wishes, chosen, kind, set()), kind)


def _without_idle(inherited: Recipe, wishes: Recipe, kind: Kind, bad: set[str]) -> Recipe:
    """The wishes of both, without inherited ones that have no effect beside the new ones."""
    draft = _Draft(merge(inherited, wishes), kind, without=bad)
    idle = {name: None for name in _wishes(inherited) if KNOBS[name].unmet(draft) is not None}
    return merge(msgspec.structs.replace(inherited, **idle), wishes)


def wishes_of(recipe: Resolved, kind: Kind) -> Recipe:
    """The wishes that a resolved recipe came from: whatever has an effect and is not the default.

    >>> from zoo.data.kinds import IMAGES
    >>> wishes_of(resolve(Recipe(optimizer="sgd", patience=20), IMAGES), IMAGES)
    Recipe(optimizer='sgd')
    """
    done = _Done(recipe, kind)
    chosen = [name for name, knob in KNOBS.items() if knob.unmet(done) is None and done.requested(name)]
    return Recipe(**{name: getattr(recipe, name) for name in chosen})


def to_json(recipe: Resolved, kind: Kind) -> dict[str, Any]:
    """A resolved recipe as run.json has it: flat, with null for what has no effect."""
    done = _Done(recipe, kind)
    facts: dict[str, Any] = msgspec.to_builtins(recipe)
    return facts | {name: None for name, knob in KNOBS.items() if knob.unmet(done) is not None}


def from_json(facts: Any, kind: Kind) -> Resolved:
    """The recipe that run.json has. Raises msgspec.ValidationError for what is not a recipe."""
    return _Draft(msgspec.convert(facts, Recipe), kind).resolved()


class _Draft:
    """A recipe while it is resolved: every knob is an attribute, worked out when it is first asked for.

    without: wishes that are passed over.
    """

    def __init__(
        self, recipe: Recipe, kind: Kind, *, without: set[str] | frozenset[str] = frozenset()
    ) -> None:
        self.kind = kind
        self._wishes = {name: wish for name, wish in _wishes(recipe).items() if name not in without}
        self._values: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in KNOBS:
            raise AttributeError(name)
        if name not in self._values:
            self._values[name] = self._work_out(name)
        return self._values[name]

    def _work_out(self, name: str) -> Any:
        knob = KNOBS[name]
        if knob.unmet(self) is not None:
            return knob.without_effect(self)
        return self._wishes[name] if self.requested(name) else knob.default.of(self)

    def requested(self, name: str) -> bool:
        """Whether a knob was given a value that means more than leaving it out."""
        return name in self._wishes and self._wishes[name] not in KNOBS[name].unset

    def wish(self, name: str) -> Any:
        """What was given, None where nothing was."""
        return self._wishes.get(name)

    def resolved(self) -> Resolved:
        """Every value."""
        return msgspec.convert({name: getattr(self, name) for name in KNOBS}, Resolved)


class _Done:
    """A resolved recipe, seen as the draft that it came from: what is not the default was requested."""

    def __init__(self, recipe: Resolved, kind: Kind) -> None:
        self.kind = kind
        self._recipe = recipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recipe, name)

    def requested(self, name: str) -> bool:
        """Whether a knob has another value than its default would be."""
        return bool(getattr(self._recipe, name) != KNOBS[name].default.of(self))


def _wishes(recipe: Recipe) -> dict[str, Any]:
    """The knobs that were given, by name."""
    return {name: wish for name in KNOBS if (wish := getattr(recipe, name)) is not None}


def _in_vain(draft: _Draft) -> Iterator[Problem]:
    """A problem for every wish that would have no effect."""
    for name, knob in KNOBS.items():
        wish = draft.wish(name)
        if wish is None or (knob.off is not None and wish == knob.off):
            continue
        if (scope := knob.unmet(draft)) is not None:
            yield scope.problem(name, draft)


def _unknown(name: str) -> Problem:
    error = UnknownName("recipe option", name, KNOBS)
    return Problem((name,), (f"{error.message}. {error.hint}" if error.hint else error.message,))
