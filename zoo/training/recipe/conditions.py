"""What knobs belong to, and what their defaults depend on."""

from __future__ import annotations

from adapters import ENCODERS, HEADS
from adapters.tables import TEXT_STAGES
from zoo.data.kinds import IMAGES, TEXTS
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.recipe.knob import Condition, Rest, Scope
from zoo.training.recipe.wording import Name, Part, Setting, listed

LEARNED_ENCODERS = tuple(name for name, row in ENCODERS.items() if row.learns)
COMPUTED_HEADS = tuple(name for name, row in HEADS.items() if row.closed_form)
_HEADS = tuple(name for name, row in HEADS.items() if row.hidden)
_WITH_MOMENTUM = tuple(name for name, row in OPTIMIZERS.items() if row.momentum is not None)


def _wrong_kind(right: str) -> Scope:
    kinds = {f"{kind.noun}s": kind for kind in (IMAGES, TEXTS)}
    return Scope(
        words=(f"for {right}",),
        holds=lambda rest: rest.kind is kinds[right],
        example={"kind": kinds[right]},
        needs=(),
        unmet=lambda knob, rest: (Name(knob), f" is for {right}, and this model takes {rest.kind.noun}s"),
    )


FOR_IMAGES = _wrong_kind("images")
FOR_TEXTS = _wrong_kind("texts")

HIDDEN_LAYERS = Scope(
    words=("with ", Setting("head", _HEADS[0])),
    holds=lambda rest: rest.head in _HEADS,
    example={"head": _HEADS[0]},
    needs=("head",),
    unmet=lambda knob, rest: (
        *(Name(knob), " belongs to ", Setting("head", _HEADS[0])),
        f"; the head is {rest.head}",
    ),
)

MOMENTUM = Scope(
    words=(f"with {listed(_WITH_MOMENTUM)}",),
    holds=lambda rest: rest.optimizer in _WITH_MOMENTUM,
    example={"optimizer": _WITH_MOMENTUM[0]},
    needs=("optimizer",),
    unmet=lambda knob, rest: (
        *(f"{rest.optimizer} takes no ", Name(knob)),
        f"; these do: {listed(_WITH_MOMENTUM)}",
    ),
)


def _deeper(rest: Rest) -> bool:
    return bool(rest.unfreeze != "none")


def unfreezing(rest: Rest) -> Setting:
    """What to add where something should learn besides the head: on texts that is the words."""
    return Setting("unfreeze", "all" if rest.kind is TEXTS else 1)


DEEPER = Scope(
    words=("with ", Name("unfreeze")),
    holds=_deeper,
    example={"unfreeze": 1},
    needs=("unfreeze", "encoder"),
    unmet=lambda knob, rest: (
        *(Name(knob), " has no effect while the whole backbone stays frozen: add "),
        unfreezing(rest),
    ),
)

FROZEN = Scope(
    words=("while the whole backbone stays frozen",),
    holds=lambda rest: not _deeper(rest) or rest.strategy == "auto",  # which may choose the head alone
    example={"unfreeze": "none"},
    needs=("unfreeze", "strategy", "encoder"),
    unmet=lambda knob, _rest: (
        *(Name(knob), " belongs to a head on a frozen backbone, whose features are computed once; here "),
        *("stages learn too, and see every image varied anew in each epoch: leave out ", Name(knob)),
    ),
)

SEVERAL_VIEWS = Condition(
    words=("with ", Name("views")),
    holds=lambda rest: rest.views > 1,
    example={"unfreeze": "none", "views": 4},
)

VARIED = Scope(
    words=("with ", Name("unfreeze"), " or ", Name("views")),
    holds=lambda rest: _deeper(rest) or rest.views > 1,
    example={"unfreeze": 1},
    needs=("unfreeze", "encoder", "views"),
    unmet=lambda knob, rest: (
        *(
            Name(knob),
            " has no effect while the whole backbone stays frozen and each image has one view: add ",
        ),
        *(unfreezing(rest), ", or ", Setting("views", 8)),
    ),
)


def unfrozen_text_stages(unfreeze: int | str) -> int:
    """How many stages of a text network learn besides its classifier, the encoder first.

    >>> [unfrozen_text_stages(unfreeze) for unfreeze in ("none", 1, "new", "all")]
    [0, 1, 2, 3]
    """
    if isinstance(unfreeze, int):
        return unfreeze
    names = {"none": 0, "all": len(TEXT_STAGES)}
    names |= {name: number for number, name in enumerate(reversed(TEXT_STAGES), 1)}
    return names.get(unfreeze, 0)


def _new_words_unmet(knob: str, _rest: Rest) -> tuple[Part, ...]:
    return (Name(knob), " has no effect while no word learns: add ", Setting("unfreeze", 2))


def _computed(knob: str, rest: Rest) -> tuple[Part, ...]:
    return (Name(knob), " has no effect: ", Setting("head", rest.head), " is computed, not trained")


TRAINED_HEAD = Scope(  # without words: the head says itself what it is, once
    words=(),
    holds=lambda rest: rest.head not in COMPUTED_HEADS,
    example={"head": "linear"},
    needs=("head",),
    unmet=_computed,
)

SOMETHING_TRAINS = Scope(
    words=(),
    holds=lambda rest: rest.head not in COMPUTED_HEADS or _deeper(rest),
    example={"head": "linear"},
    needs=("head", "unfreeze", "encoder"),
    unmet=_computed,
)

COMPUTED_HEAD = Condition(
    words=("with ", Setting("head", COMPUTED_HEADS[0])),
    holds=lambda rest: rest.head in COMPUTED_HEADS,
    example={"head": COMPUTED_HEADS[0]},
)

WORDS_LEARN = Scope(
    words=("with ", Setting("unfreeze", 2), " or more"),
    holds=lambda rest: unfrozen_text_stages(rest.unfreeze) >= 2,
    example={"kind": TEXTS, "unfreeze": 2},
    needs=("unfreeze", "encoder"),
    unmet=_new_words_unmet,
)

LEARNED_ENCODER = Scope(
    words=("with a trained encoder",),
    holds=lambda rest: rest.encoder in LEARNED_ENCODERS,
    example={"kind": TEXTS, "encoder": LEARNED_ENCODERS[0]},
    needs=("encoder",),
    unmet=lambda knob, rest: (
        *(Name(knob), f" belongs to a trained encoder: {listed(LEARNED_ENCODERS)}"),
        f"; the encoder is {rest.encoder}",
    ),
)

FROM_SCRATCH = Condition(
    words=("from scratch",),
    holds=lambda rest: rest.from_scratch,
    example={"from_scratch": True, "unfreeze": "all"},
)

TEXTS_LEARN = Condition(
    words=("for texts with ", Name("unfreeze"), " or a trained encoder"),
    holds=lambda rest: rest.kind is TEXTS and _deeper(rest),
    example={"kind": TEXTS, "unfreeze": "all"},
)

ONE_CYCLE = Condition(
    words=("with one-cycle",),
    holds=lambda rest: rest.schedule == "one-cycle",
    example={"schedule": "one-cycle"},
)

STEPS_DOWN = Scope(
    words=("with ", Setting("schedule", "step")),
    holds=lambda rest: rest.schedule == "step",
    example={"schedule": "step"},
    needs=("schedule",),
    unmet=lambda knob, rest: (
        *(Name(knob), " belongs to ", Setting("schedule", "step")),
        f"; the schedule is {rest.schedule}",
    ),
)


def _has_one_phase(rest: Rest) -> bool:
    """Whether everything trains at once: on request, or for lack of anything pretrained that a new head could
    disturb."""
    return rest.from_scratch or rest.encoder in LEARNED_ENCODERS or _asked_for(rest, ("full",))


def _asked_for(rest: Rest, strategies: tuple[str, ...]) -> bool:
    """Whether one of these was given. Only what was given counts: else it follows from `unfreeze`."""
    return rest.requested("strategy") and rest.strategy in strategies


def asked_for(*strategies: str) -> Condition:
    """That one of these strategies was given."""
    return Condition(
        words=("with ", Name("strategy"), f" {listed(strategies)}"),
        holds=lambda rest: _asked_for(rest, strategies),
        example={"strategy": strategies[0]},
    )


SOME_WORDS = Condition(
    words=("for texts with ", Name("strategy"), " partial"),
    holds=lambda rest: rest.kind is TEXTS and _asked_for(rest, ("partial",)),
    example={"kind": TEXTS, "strategy": "partial"},
)


def with_strategy(strategy: str) -> Scope:
    """That a knob belongs to one strategy."""
    return Scope(
        words=("with ", Setting("strategy", strategy)),
        holds=lambda rest: bool(rest.strategy == strategy),
        example={"strategy": strategy},
        needs=("strategy", "unfreeze"),
        unmet=lambda knob, rest: (
            *(Name(knob), " belongs to ", Setting("strategy", strategy)),
            f"; the strategy is {rest.strategy}",
        ),
    )


AT_ONCE = Condition(
    words=("with ", Setting("unfreeze", "all"), " where no head is trained first"),
    holds=lambda rest: (
        rest.unfreeze == "all" and (rest.from_scratch or rest.encoder in LEARNED_ENCODERS or rest.epochs == 0)
    ),
    example={"unfreeze": "all", "epochs": 0},
)

EVERYTHING = Condition(
    words=("with ", Setting("unfreeze", "all")),
    holds=lambda rest: bool(rest.unfreeze == "all"),
    example={"unfreeze": "all"},
)

SOME_STAGES = Condition(
    words=("with other stages",),
    holds=_deeper,
    example={"unfreeze": 1},
)


def meant_for_the_only_phase(knob: str, example: float, least: float = 0) -> Condition:
    """That a knob of the head's phase was given where there is one phase only: it then applies to that."""
    return Condition(
        words=("if given, where everything trains at once",),
        holds=lambda rest: _has_one_phase(rest) and rest.requested(knob) and getattr(rest, knob) >= least,
        example={"from_scratch": True, "unfreeze": "all", knob: example},
    )


def lower(knob: str, value: float) -> Condition:
    """That another knob is lower than a default."""
    return Condition(
        words=("if that is less",),
        holds=lambda rest: getattr(rest, knob) < value,
        example={knob: value - 1},
    )
