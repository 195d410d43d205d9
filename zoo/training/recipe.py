"""A Recipe: everything that decides a fine-tuning run, as one frozen value. Imports no torch.

The fields say of themselves what they mean, what they may be and which group they belong to; the command
line, the checks and the documentation read that from `FIELDS` and repeat nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from adapters import ACTIVATIONS, ENCODERS, HEADS
from zoo.data.pixels.augmentations import AUGMENTATIONS
from zoo.errors import InvalidRecipe, UnknownName
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.schedules import SCHEDULES
from zoo.training.tasks import MONITORS
from zoo.words.texts.policies import POLICIES

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")
LEARNED_ENCODERS = frozenset(name for name, row in ENCODERS.items() if row.learns)


def knob(
    group: str,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    above: float | None = None,
    pattern: str | None = None,
) -> Meta:
    """What a field says of itself. low, high are allowed values themselves; above, below are not.

    choices: the names that a text may be. pattern: a regular expression that is as good as a choice.
    """
    facts = {"group": group, "choices": choices, "pattern": pattern}
    limits = {"low": low, "high": high, "below": below, "above": above}
    return Meta(description=doc, extra={**facts, **limits})


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a fine-tuning run. JSON through msgspec.

    None means: `resolve` fills in what suits the rest, so that a run's own record says what was used.
    """

    head: Annotated[str, knob("head", "Kind of head.", choices=tuple(HEADS))] = "linear"
    hidden: Annotated[
        tuple[int, ...] | None, knob("head", "Widths of the hidden layers of an mlp head (256).", low=1)
    ] = None
    activation: Annotated[
        str | None, knob("head", "What follows a hidden layer (relu).", choices=tuple(ACTIVATIONS))
    ] = None
    dropout: Annotated[
        float | None,
        knob(
            "head",
            "Share of the head's inputs that are dropped in training (0.2; 0.5 where words learn).",
            low=0,
            below=1,
        ),
    ] = None
    batch_norm: Annotated[
        bool, knob("head", "Normalise each hidden layer of an mlp head over the batch.")
    ] = False
    standardize: Annotated[
        bool, knob("head", "Give the head features of mean 0 and deviation 1, as measured on train.")
    ] = True

    epochs: Annotated[
        int, knob("training", "Most passes over the items while only the head trains.", low=0)
    ] = 100
    batch_size: Annotated[int, knob("training", "Items per step.", low=1)] = 32
    optimizer: Annotated[str, knob("training", "Optimizer.", choices=tuple(OPTIMIZERS))] = "adam"
    lr: Annotated[
        float | None, knob("training", "Learning rate of the head (adam 0.001, sgd 0.01).", above=0)
    ] = None
    momentum: Annotated[
        float | None, knob("training", "Momentum of sgd, nesterov (0.9) and rmsprop (0).", low=0, below=1)
    ] = None
    weight_decay: Annotated[
        float,
        knob("training", "Pull of the head's weights towards 0; biases and norms are left alone.", low=0),
    ] = 0.03
    l1: Annotated[float, knob("training", "Weight of the sum of absolute weights in the loss.", low=0)] = 0.0
    label_smoothing: Annotated[
        float, knob("training", "Share of each target that is spread over all classes.", low=0, below=1)
    ] = 0.0
    balance: Annotated[
        bool, knob("training", "Weigh rare classes up, so that each class counts the same.")
    ] = False
    schedule: Annotated[str, knob("training", "How the learning rate moves.", choices=tuple(SCHEDULES))] = (
        "constant"
    )
    warmup: Annotated[
        float | None,
        knob(
            "training", "Share of the steps in which the learning rate rises (one-cycle 0.3).", low=0, below=1
        ),
    ] = None
    clip_norm: Annotated[
        float | None, knob("training", "Longest gradient; longer ones are cut.", above=0)
    ] = None

    unfreeze: Annotated[
        int | str,
        knob(
            "deeper",
            "Then train the last N stages of the backbone too, or all.",
            low=0,
            choices=("none", "all"),
        ),
    ] = "none"
    from_scratch: Annotated[
        bool, knob("deeper", "Begin with random weights: shows what the pretrained ones are worth.")
    ] = False
    tune_epochs: Annotated[
        int | None, knob("deeper", "Most passes over the items once stages are unfrozen (10).", low=1)
    ] = None
    tune_lr: Annotated[
        float | None, knob("deeper", "Learning rate of the head then (adam 0.0001, of words 0.003).", above=0)
    ] = None
    tune_weight_decay: Annotated[
        float | None, knob("deeper", "Pull of the weights towards 0 then (0.0001).", low=0)
    ] = None
    lr_decay: Annotated[
        float | None,
        knob("deeper", "Factor of the learning rate per stage further down (0.7; words 1).", above=0, high=1),
    ] = None
    augment: Annotated[
        str | None,
        knob("deeper", "Random variation of the images then (light).", choices=tuple(AUGMENTATIONS)),
    ] = None

    encoder: Annotated[
        str | None,
        knob("texts", "How the words of a text become one vector (mean).", choices=tuple(ENCODERS)),
    ] = None
    encoder_width: Annotated[
        int | None,
        knob("texts", "Width inside a trained encoder: filters, or units per direction (100).", low=1),
    ] = None
    new_words: Annotated[
        int | None,
        knob(
            "texts",
            "Times that an unknown word must come in train to get a vector of its own, where words learn "
            "(2); 0: never.",
            low=0,
        ),
    ] = None
    unknown: Annotated[
        str | None,
        knob(
            "texts",
            "What to do with other unknown words; several in the order to try: fold+hyphen+ngrams "
            "(fold+hyphen). ngrams and mean help words of the training texts only.",
            choices=tuple(POLICIES),
            pattern=rf"({'|'.join(POLICIES)})(\+({'|'.join(POLICIES)}))+",
        ),
    ] = None
    max_words: Annotated[int | None, knob("texts", "Words of a text that are read (1,000).", low=1)] = None
    baseline: Annotated[
        bool | None, knob("texts", "Show TF-IDF with logistic regression on the same split beside it (yes).")
    ] = None

    patience: Annotated[
        int,
        knob("stopping", "Epochs without a better monitored value before training ends; 0: never.", low=0),
    ] = 20
    tune_patience: Annotated[
        int | None, knob("stopping", "The same once stages are unfrozen (5, or patience if less).", low=0)
    ] = None
    min_delta: Annotated[float, knob("stopping", "What counts as better: at least by this.", low=0)] = 0.0
    monitor: Annotated[str, knob("stopping", "Validation value that decides.", choices=MONITORS)] = "loss"

    val_fraction: Annotated[
        float, knob("data", "Share held out for validation where the data bring none.", above=0, below=1)
    ] = 0.2
    on_bad: Annotated[str, knob("data", "What to do with unreadable files.", choices=("skip", "stop"))] = (
        "skip"
    )
    workers: Annotated[int | None, knob("data", "Threads that read images (one per core).", low=1)] = None

    seed: Annotated[int, knob("machine", "Start of every random choice.", low=0, high=2**32 - 1)] = 0
    deterministic: Annotated[
        bool, knob("machine", "Slower kernels that repeat bit for bit on a GPU too; a CPU always does.")
    ] = False
    device: Annotated[
        str, knob("machine", "Where to compute, also cuda:N.", choices=DEVICES, pattern=r"cuda:\d+")
    ] = "auto"
    precision: Annotated[
        str,
        knob(
            "machine",
            "Number format of the backbone; auto: fp32, and half precision for deeper training on a GPU. "
            "With bf16 its features, and what is measured on them, are in bf16 too; predictions never are.",
            choices=PRECISIONS,
        ),
    ] = "auto"

    def problems(self) -> list[str]:
        """Everything that is wrong with this recipe, as sentences; empty when it can be used."""
        found = {name: list(field.problems(getattr(self, name))) for name, field in FIELDS.items()}
        bad = {name for name, problems in found.items() if problems}
        sound = msgspec.structs.replace(self, **{name: FIELDS[name].default for name in bad})
        clashes = [problem for names, problem in contradictions(sound) if not bad & set(names)]
        return [*(problem for problems in found.values() for problem in problems), *clashes]

    @classmethod
    def from_options(cls, **options: Any) -> Recipe:
        """The checked recipe of options as they are typed: text is converted, None means the default.

        >>> Recipe.from_options(epochs="5", hidden="64,32", head="mlp").hidden
        (64, 32)

        Raises InvalidRecipe with every problem: unknown options, texts that are no numbers, and `problems`.
        """
        values, wrong = {}, []
        for name, value in options.items():
            if name not in FIELDS:
                wrong.append(one_line(UnknownName("recipe option", name, FIELDS)))
            elif value is not None:
                values[name] = FIELDS[name].read(value)
        recipe = cls(**values)
        check(recipe, wrong)
        return recipe


@dataclass(frozen=True)
class Field:
    """One field of a recipe, for whoever offers, checks or prints it.

    kind: bool, int, float, str or tuple (of int): what a value is once it is given. optional: it may be None.
    """

    name: str
    annotation: Any
    kind: type
    optional: bool
    default: Any
    doc: str
    group: str
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def option(self) -> str:
        """The name of the option on the command line.

        >>> FIELDS["batch_size"].option
        '--batch-size'
        """
        return "--" + self.name.replace("_", "-")

    def read(self, value: Any) -> Any:
        """A typed text as a value of this field; what cannot be read comes back as it is, for `problems`."""
        if isinstance(value, str) and self.kind is tuple:
            value = [part for part in re.split(r"[,\sx]+", value) if part]
        if isinstance(value, str) and self.name == "unfreeze" and re.fullmatch(r"-?\d+", value):
            return int(value)
        try:
            return msgspec.convert(value, self.annotation, strict=False)
        except msgspec.ValidationError:
            return value

    def problems(self, value: Any) -> Iterator[str]:
        """What is wrong with one value, if anything."""
        try:
            value = msgspec.convert(value, self.annotation)
        except msgspec.ValidationError:
            yield f"{self.name} must be {KINDS[self.kind]}, not {value!r}"
            return
        if isinstance(value, str):
            if value not in self.choices and not (self.pattern and re.fullmatch(self.pattern, value)):
                yield one_line(UnknownName(self.name, value, self.choices))
            return
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, int | float) and not self.allows(number):
                yield f"{self.name} must be {self.limits}, not {number:g}"

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
        """The limits as a sentence has them.

        >>> FIELDS["dropout"].limits
        'at least 0 and below 1'
        """
        words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
        parts = [
            f"{word} {getattr(self, side):,}"
            for side, word in words.items()
            if getattr(self, side) is not None
        ]
        return " and ".join(parts) or "a finite number"


KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a name",
    tuple: "whole numbers",
}


def read_fields() -> dict[str, Field]:
    """The table of a recipe's fields, from its annotations."""
    hints = get_type_hints(Recipe, include_extras=True)
    table = {}
    for field in msgspec.structs.fields(Recipe):
        annotation, meta = get_args(hints[field.name])
        kinds = [getattr(kind, "__origin__", kind) for kind in get_args(annotation)] or [annotation]
        if annotation == tuple[int, ...]:
            kinds = [tuple]
        table[field.name] = Field(
            name=field.name,
            annotation=annotation,
            kind=kinds[0],
            optional=type(None) in kinds,
            default=field.default,
            doc=meta.description,
            **meta.extra,
        )
    return table


FIELDS: dict[str, Field] = read_fields()


def contradictions(recipe: Recipe) -> Iterator[tuple[tuple[str, ...], str]]:
    """(fields, sentence) of every pair of wishes that cannot both be had. Each field alone must be sound."""
    r = recipe
    if r.head != "mlp":
        for name in ("hidden", "activation", "batch_norm"):
            if getattr(r, name):
                yield (name, "head"), f"{name} belongs to head mlp; the head is {r.head}"
    elif r.hidden == ():
        yield ("hidden", "head"), "head mlp needs at least one hidden width"
    if r.batch_norm and r.batch_size == 1:
        yield (
            ("batch_norm", "batch_size"),
            "batch_norm cannot learn from batches of 1: batch_size must be 2 or more",
        )
    if r.momentum is not None and r.optimizer in OPTIMIZERS and OPTIMIZERS[r.optimizer].momentum is None:
        able = ", ".join(name for name, row in OPTIMIZERS.items() if row.momentum is not None)
        yield ("momentum", "optimizer"), f"{r.optimizer} takes no momentum; these do: {able}"
    if r.momentum == 0 and r.optimizer == "nesterov":
        yield ("momentum", "optimizer"), "nesterov needs a momentum above 0"
    if r.warmup == 0 and r.schedule == "one-cycle":
        yield ("warmup", "schedule"), "one-cycle needs a warmup above 0"
    if frozen_throughout(r):
        for name in ("tune_epochs", "tune_lr", "tune_weight_decay", "tune_patience", "lr_decay"):
            if getattr(r, name) is not None:
                yield (
                    (name, "unfreeze"),
                    f"{name} has no effect while the whole backbone stays frozen: set unfreeze",
                )
        if r.augment not in (None, "none"):
            yield (
                ("augment", "unfreeze"),
                "augment has no effect while the whole backbone stays frozen (features are computed once): "
                "set unfreeze",
            )
        if r.epochs == 0:
            yield ("epochs", "unfreeze"), "epochs 0 and unfreeze none would train nothing"
    if r.from_scratch and r.unfreeze != "all":
        yield ("from_scratch", "unfreeze"), "from_scratch begins with random weights: set unfreeze all"
    if r.encoder_width is not None and r.encoder not in LEARNED_ENCODERS:
        able = ", ".join(name for name in ENCODERS if name in LEARNED_ENCODERS)
        yield ("encoder_width", "encoder"), f"encoder_width belongs to a trained encoder: {able}"
    if r.precision == "fp16" and r.device == "cpu":
        yield ("precision", "device"), "precision fp16 needs a GPU; on the CPU use bf16 or fp32"


def check(recipe: Recipe, more: list[str] | None = None) -> None:
    """Raise InvalidRecipe with every problem of a recipe, and `more` found elsewhere; else nothing."""
    problems = [*(more or []), *recipe.problems()]
    if problems:
        raise InvalidRecipe(problems)


def suit(recipe: Recipe, *, texts: bool) -> Recipe:
    """The recipe for a model of texts or of images, with what is particular to texts filled in.

    A trained encoder learns in any case, and new words with it; the published vectors stay frozen unless
    `unfreeze` says otherwise. Raises InvalidRecipe for wishes that belong to the other kind.

    >>> suit(Recipe(encoder="cnn"), texts=True).unfreeze
    2
    """
    if not texts:
        alien = [
            name for name, f in FIELDS.items() if f.group == "texts" and getattr(recipe, name) is not None
        ]
        check(recipe, [f"{name} is for texts, and this model takes images" for name in alien])
        return recipe
    alien = [name for name in ("augment", "workers") if getattr(recipe, name) not in (None, "none")]
    wrong = [f"{name} is for images, and this model takes texts" for name in alien]
    if recipe.from_scratch and recipe.encoder == "sif":
        wrong.append("from_scratch knows no vectors, and sif is fitted to them")
    if recipe.from_scratch and any(
        name in POLICIES and POLICIES[name].maker for name in (recipe.unknown or "").split("+")
    ):
        wrong.append("from_scratch knows no vectors, and ngrams and mean are made of them")
    check(recipe, wrong)
    filled: dict[str, Any] = {
        "encoder": "mean",
        "unknown": "fold+hyphen",
        "max_words": 1000,
        "baseline": True,
    }
    encoder = recipe.encoder or "mean"
    if encoder in LEARNED_ENCODERS:  # there is one phase: what was wished for the head is meant for it
        filled |= {"encoder_width": 100, "tune_lr": recipe.lr}
        if 0 < recipe.epochs != FIELDS["epochs"].default:
            filled |= {"tune_epochs": recipe.epochs}
    if recipe.unfreeze in ("none", 0) and encoder in LEARNED_ENCODERS:
        recipe = msgspec.structs.replace(recipe, unfreeze=2)
    row = OPTIMIZERS[recipe.optimizer]
    if not frozen_throughout(recipe):
        filled |= {"new_words": 2, "augment": "none", "lr_decay": 1.0}
        filled |= {"tune_lr": filled.get("tune_lr") or 3 * row.head_lr}
        filled |= {"dropout": 0.5}  # as Kim 2014: words have far more numbers to fit with than a head
    return fill(recipe, filled)


def resolve(recipe: Recipe) -> Recipe:
    """The same recipe with every None filled in that stands for a value.

    Stay None: `clip_norm` (no clipping), `momentum` of an optimizer that has none, and `workers`, which
    depends on the machine. For a backbone that stays frozen the fields of the deeper training stay None too.

    >>> resolve(Recipe(optimizer="sgd")).lr
    0.01
    """
    row = OPTIMIZERS[recipe.optimizer]
    filled: dict[str, Any] = {
        "dropout": 0.2,
        "lr": row.head_lr,
        "momentum": row.momentum,
        "warmup": 0.3 if recipe.schedule == "one-cycle" else 0.0,
    }
    if recipe.head == "mlp":
        filled |= {"hidden": (256,), "activation": "relu"}
    if not frozen_throughout(recipe):
        filled |= {"tune_epochs": 10, "tune_lr": row.tune_lr, "tune_weight_decay": 1e-4}
        filled |= {"tune_patience": min(5, recipe.patience), "lr_decay": 0.7, "augment": "light"}
    if recipe.from_scratch:  # there is nothing to be careful of, and more to learn
        filled |= {"tune_epochs": 50, "tune_lr": row.head_lr, "lr_decay": 1.0}
        filled |= {"tune_patience": recipe.patience}
    return fill(recipe, filled)


def fill(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """The recipe with those values in the place of None."""
    missing = {name: value for name, value in values.items() if getattr(recipe, name) is None}
    return msgspec.structs.replace(recipe, **missing)


def frozen_throughout(recipe: Recipe) -> bool:
    """Whether no layer of the backbone is ever trained; an encoder that knows nothing yet always is."""
    return recipe.unfreeze in ("none", 0) and recipe.encoder not in LEARNED_ENCODERS


def one_line(error: UnknownName) -> str:
    """A problem with its hint, as one of several is listed."""
    return f"{error.message}. {error.hint}" if error.hint else error.message
