"""Rules that span several knobs. One rule is one function, all rules are in RULES.

A rule sees every value as it will be used: of a knob without effect the one that it then has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adapters.tables import TEXT_STAGES
from zoo.data.kinds import TEXTS
from zoo.errors import close_names
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.recipe.conditions import (
    COMPUTED_HEADS,
    HIDDEN_LAYERS,
    LEARNED_ENCODERS,
    unfreezing,
    unfrozen_text_stages,
)
from zoo.training.recipe.depth import AUTO, DEPTHS, go_together
from zoo.training.recipe.knob import Rest
from zoo.training.recipe.wording import Name, Part, Problem, Setting, listed
from zoo.words.texts.policies import POLICIES


def _check_hidden(rest: Rest) -> Iterator[Problem]:
    """A head with hidden layers has at least one."""
    if HIDDEN_LAYERS.holds(rest) and not rest.hidden:
        yield Problem(
            ("hidden", "head"),
            (Setting("head", rest.head), " needs at least one width in ", Name("hidden")),
        )


def _check_batch_norm(rest: Rest) -> Iterator[Problem]:
    """Statistics need two items."""
    if rest.batch_norm and rest.batch_size == 1:
        yield Problem(
            ("batch_norm", "batch_size"),
            (
                Name("batch_norm"),
                " cannot learn from batches of 1: ",
                Name("batch_size"),
                " must be 2 or more",
            ),
        )


def _check_momentum(rest: Rest) -> Iterator[Problem]:
    """Nesterov's momentum looks ahead along the momentum; an average is looked at along it."""
    row = OPTIMIZERS[rest.optimizer]
    if row.momentum and (rest.optimizer == "nesterov" or row.averages) and rest.momentum == 0:
        yield Problem(("momentum", "optimizer"), (f"{rest.optimizer} needs a ", Name("momentum"), " above 0"))


def _check_warmup(rest: Rest) -> Iterator[Problem]:
    """One cycle goes up before it goes down."""
    if rest.schedule == "one-cycle" and rest.warmup == 0:
        yield Problem(("warmup", "schedule"), ("one-cycle needs a ", Name("warmup"), " above 0"))


def _check_balance(rest: Rest) -> Iterator[Problem]:
    """What is drawn more often must not count more as well."""
    if rest.sampling == "balanced" and rest.balance:
        yield Problem(
            ("sampling", "balance"),
            (
                *(Setting("sampling", "balanced"), " draws rare classes more often, and "),
                *(Setting("balance", True), " weighs them up as well: leave one of them out"),
            ),
        )


def _check_schedule_free(rest: Rest) -> Iterator[Problem]:
    """An optimizer that averages by itself knows no other average and no schedule, and what a batch norm
    learns would belong to other weights than those that are measured."""
    if not OPTIMIZERS[rest.optimizer].averages:
        return
    own = Setting("optimizer", rest.optimizer)
    if rest.schedule != "constant":
        yield Problem(("optimizer", "schedule"), (own, " needs no schedule: leave out ", Name("schedule")))
    if rest.ema is not None:
        yield Problem(("optimizer", "ema"), (own, " keeps an average of its own: leave out ", Name("ema")))
    if rest.batch_norm:
        yield Problem(
            ("optimizer", "batch_norm"),
            (own, " measures averaged weights, whose statistics ", Name("batch_norm"), " does not know"),
        )


def _check_something_trains(rest: Rest) -> Iterator[Problem]:
    """There is a phase."""
    if rest.epochs == 0 and rest.unfreeze == "none":
        yield Problem(
            ("epochs", "unfreeze"),
            (
                *(Setting("epochs", 0), " would train nothing while the whole backbone stays frozen: add "),
                unfreezing(rest),
            ),
        )


def _check_stage(rest: Rest) -> Iterator[Problem]:
    """A stage that can exist. Those of an image network are known once it is built: see count_stages."""
    name = rest.unfreeze
    if name in ("none", "all"):
        return
    if rest.kind is TEXTS and not 0 < unfrozen_text_stages(name) <= len(TEXT_STAGES):
        stages = listed(reversed(TEXT_STAGES))
        yield Problem(
            ("unfreeze",),
            (
                Setting("unfreeze", name),
                f": the stages of a text network are, the last first, {stages}; or all",
            ),
        )
    elif rest.kind is not TEXTS and isinstance(name, str) and (close := close_names(name, ("none", "all"))):
        yield Problem(("unfreeze",), (Name("unfreeze"), f" cannot be {name!r}. Did you mean {close[0]}?"))


def _check_strategy(rest: Rest) -> Iterator[Problem]:
    """A strategy says itself how deep it goes; one that keeps something needs something to keep."""
    strategy, unfreeze = rest.wish("strategy"), rest.wish("unfreeze")
    if strategy is None:
        return
    if not go_together(strategy, unfreeze):
        yield Problem(
            ("strategy", "unfreeze"),
            (
                *(Setting("strategy", strategy), f" {DEPTHS[strategy].what}, and "),
                *(Setting("unfreeze", unfreeze), " says otherwise: leave one of them out"),
            ),
        )
    elif rest.from_scratch and strategy not in ("full", AUTO):
        yield Problem(
            ("strategy", "from_scratch"),
            (
                *(Setting("from_scratch", True), " has no weights that ", Setting("strategy", strategy)),
                *(" could keep or begin with: use ", Setting("strategy", "full")),
            ),
        )
    elif rest.encoder in LEARNED_ENCODERS and strategy not in ("partial", "full", AUTO):
        yield Problem(
            ("strategy", "encoder"),
            (
                f"the encoder {rest.encoder} begins with random weights, which ",
                *(Setting("strategy", strategy), " would keep or begin with: use "),
                Setting("strategy", "full"),
            ),
        )
    elif rest.kind is TEXTS and strategy in ("norms", "lora"):
        yield Problem(
            ("strategy",),
            (Setting("strategy", strategy), " is for images: word vectors have no layers of that kind"),
        )


def _check_computed_head(rest: Rest) -> Iterator[Problem]:
    """A head that is computed needs features that mean something."""
    if rest.head not in COMPUTED_HEADS:
        return
    why: tuple[str, tuple[Part, ...]]
    if rest.from_scratch:
        why = "from_scratch", (Setting("from_scratch", True), " begins with random weights")
    elif rest.encoder in LEARNED_ENCODERS:
        why = "encoder", (f"the encoder {rest.encoder} begins with random weights",)
    elif rest.strategy == "full":
        why = "strategy", (Setting("strategy", "full"), " trains all from the first epoch")
    else:
        return
    yield Problem(
        ("head", why[0]),
        (Setting("head", rest.head), " is computed from features of a pretrained network, and ", *why[1]),
    )


def _check_from_scratch(rest: Rest) -> Iterator[Problem]:
    """Random weights that stay frozen are of no use."""
    if rest.from_scratch and rest.unfreeze != "all" and not rest.requested("strategy"):
        yield Problem(
            ("from_scratch", "unfreeze"),
            (Setting("from_scratch", True), " begins with random weights: add ", Setting("unfreeze", "all")),
        )


def _check_vectors(rest: Rest) -> Iterator[Problem]:
    """What is made of published vectors needs them."""
    if not rest.from_scratch or rest.kind is not TEXTS:
        return
    if rest.encoder == "sif":
        yield Problem(
            ("from_scratch", "encoder"),
            (Setting("from_scratch", True), " knows no vectors, and sif is fitted to them"),
        )
    made = [name for name in rest.unknown.split("+") if name in POLICIES and POLICIES[name].maker]
    if made:
        yield Problem(
            ("from_scratch", "unknown"),
            (
                *(Setting("from_scratch", True), " knows no vectors, and "),
                *(Setting("unknown", "+".join(made)), " is made of them"),
            ),
        )


def _check_precision(rest: Rest) -> Iterator[Problem]:
    """The range of fp16 needs a scaled loss, and that needs a GPU."""
    if rest.precision == "fp16" and rest.device == "cpu":
        yield Problem(
            ("precision", "device"),
            (Setting("precision", "fp16"), " needs a GPU; on the CPU use bf16 or fp32"),
        )


def _check_backend(rest: Rest) -> Iterator[Problem]:
    """ONNX Runtime computes in fp32, on the CPU."""
    if rest.backend != "onnx":
        return
    if rest.precision in ("bf16", "fp16"):
        yield Problem(
            ("backend", "precision"),
            (
                Setting("backend", "onnx"),
                " computes in fp32: leave out ",
                Setting("precision", rest.precision),
            ),
        )
    if rest.device not in ("auto", "cpu"):
        yield Problem(
            ("backend", "device"),
            (
                Setting("backend", "onnx"),
                " computes on the CPU here, not on ",
                Setting("device", rest.device),
            ),
        )


def _check_views(rest: Rest) -> Iterator[Problem]:
    """Views of an image that is not varied are one view, many times."""
    if rest.views > 1 and rest.augment == "none":
        yield Problem(
            ("views", "augment"),
            (
                *(Setting("views", rest.views), " would be the same view many times with "),
                *(Setting("augment", "none"), ": leave one of them out"),
            ),
        )


def _check_shard(rest: Rest) -> Iterator[Problem]:
    """What looks at whole weights while they train cannot be done to parts of them."""
    if not rest.shard:
        return
    for knob, given in (("ema", rest.ema), ("l1", rest.l1)):
        if given:
            yield Problem((knob, "shard"), (Name(knob), " needs whole weights: leave out ", Name("shard")))
    if rest.strategy in ("l2-sp", "lora"):
        yield Problem(
            ("strategy", "shard"),
            (Setting("strategy", rest.strategy), " needs whole weights: leave out ", Name("shard")),
        )
    if OPTIMIZERS[rest.optimizer].averages:
        yield Problem(
            ("optimizer", "shard"),
            (Setting("optimizer", rest.optimizer), " needs whole weights: leave out ", Name("shard")),
        )
    if rest.precision == "fp16":
        yield Problem(
            ("precision", "shard"),
            (Setting("precision", "fp16"), " does not go with ", Name("shard"), ": use bf16"),
        )


RULES: tuple[Callable[[Rest], Iterator[Problem]], ...] = (
    _check_hidden,
    _check_batch_norm,
    _check_momentum,
    _check_warmup,
    _check_balance,
    _check_schedule_free,
    _check_something_trains,
    _check_stage,
    _check_strategy,
    _check_computed_head,
    _check_from_scratch,
    _check_vectors,
    _check_precision,
    _check_backend,
    _check_views,
    _check_shard,
)
