"""From a model and data to a learning rate: what `zoo finetune` would train, tried at growing rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from msgspec import structs

from zoo.choosing.rates.curve import RISE, RULES, Curve, suggest
from zoo.errors import DatasetError, Interrupted, UnknownName, UsageError
from zoo.events import Note, Report, silent
from zoo.progress import usual_report
from zoo.runs.making.finetuning import plan_run
from zoo.store.names import default_store
from zoo.training.interruption import never
from zoo.training.recipe import COMPUTED_HEADS, Recipe, RecipeOptions

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.runs.plan import Plan
    from zoo.runs.session import Session
    from zoo.store.store import Store
    from zoo.training.phase_state import PhaseState

FEWEST_ITEMS, FEWEST_STEPS = 10, 20
LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
RULE = "minimum/10"


@dataclass(frozen=True)
class FoundRate:
    """What a range test of learning rates found.

    rates: of each step, growing. losses: the mean loss of the step's items, before the step. smoothed: the
    same without most of the noise. suggestions: the rate of every rule, by its name; empty where the loss
    does not fall by more than its noise. rule: the one whose rate is suggested. phase: what was trained.
    option: what sets its rate on the command line. usual: the rate that it has without a suggestion.
    diverged: whether the test ended early because the loss grew beyond bounds. seconds: of all.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestions: dict[str, float]
    rule: str
    phase: str
    option: str
    usual: float
    diverged: bool
    seconds: float

    @property
    def suggestion(self) -> float | None:
        """The rate that the rule suggests; None where the loss neither falls nor rises."""
        return self.suggestions.get(self.rule)

    @property
    def lowest_loss(self) -> tuple[float, float]:
        """The rate at which the smoothed loss is lowest, and that loss."""
        place = self.smoothed.index(min(self.smoothed))
        return self.rates[place], self.smoothed[place]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {
            "suggestion": self.suggestion,
            "rule": self.rule,
            "suggestions": self.suggestions,
            "option": self.option,
            "usual": self.usual,
            "phase": self.phase,
            "diverged": self.diverged,
            "seconds": round(self.seconds, 3),
            "rates": self.rates,
            "losses": self.losses,
            "smoothed": self.smoothed,
        }


def ceiling(found: FoundRate) -> float:
    """The highest loss that is shown: what is far above the beginning says only that it diverged."""
    start = found.smoothed[0]
    return min(max(found.smoothed), 1.5 * start) + 0.1 * start


def find_lr(
    name: str | Path,
    data: str | Path,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    rule: str = RULE,
    registry: Registry | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    group_by: str | None = None,
    task: str | None = None,
    member: str | None = None,
    report: Report | None = None,
    stop_requested: Callable[[], bool] = never,
    recipe: Recipe | str | None = None,
    **options: Unpack[RecipeOptions],
) -> FoundRate:
    """Find a learning rate by a range test (Smith 2017, arXiv:1506.01186): some steps at growing rates.

    What is tried is what `zoo.finetune_model` would train: the head on the features of the frozen network;
    or, if deeper stages are to be trained, the first phase that trains them, after the head was trained as it
    would be. Nothing is written but features, and a seed gives the same losses again.

    Args:
        name: A model, a file of word vectors, or a run, as `zoo.finetune_model` takes it.
        data: A folder or a table, as `zoo.finetune_model` takes it.
        lowest: The rate of the first step.
        highest: The rate of the last step; the test ends before it where the loss diverges.
        steps: How many steps, from 20 on; each needs a batch.
        rule: Whose rate is suggested: "minimum/10", a tenth of the rate where the smoothed loss has fallen to
            its lowest; "steepest", where it falls fastest; "valley", the middle of its fall; "rise/10", a
            tenth of the rate where it begins to rise, which is suggested too where the loss does not fall.
        registry: The registry to find the model in; None for the default one.
        store: The store to keep files and features in; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item.
        class_level: Which level of folders is the classes.
        group_by: A column of a table, or a regular expression that is matched with the items' paths: what
            belongs together.
        task: What is learned: "single-label", "multi-label" or "regression".
        member: Which file of a .zip of word vectors.
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.
        stop_requested: Asked after every step.
        recipe: What the run should be like, or the name of a ready one: "quick", "accurate", "tiny-data".
        **options: Fields of a `zoo.Recipe`, one by one; they win over `recipe`.

    Returns:
        Rates, losses, and the rate that each rule suggests.

    Raises:
        InvalidRecipe: A recipe that cannot be used, with every problem.
        UsageError: Rates or steps that cannot be used; UnknownName for a rule.
        DatasetError: Fewer than 10 training items, or items between which the network sees no difference.
        TrainingStopped: A loss that is not a number in the first steps.
        Interrupted: Ctrl-C, or `stop_requested`.
        ZooError: What else `zoo.finetune_model` raises before it trains.
    """
    _check(lowest, highest, steps, rule)
    began = time.perf_counter()
    store, report = store or default_store(), report or usual_report()
    plan = plan_run(
        name,
        data,
        out=None,
        registry=registry,
        store=store,
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        group_by=group_by,
        task=task,
        member=member,
        report=report,
        recipe=recipe,
        options=options,
    )
    if (items := len(plan.dataset.train)) < FEWEST_ITEMS:
        raise DatasetError(
            f"{items} training items are too few to find a learning rate: the losses of at least "
            f"{FEWEST_ITEMS} are needed",
            hint="The usual rate is the better guess: leave --lr away.",
        )
    curve, state = _try_on(plan, store, lowest, highest, steps, report, stop_requested)
    suggestions = suggest(curve)
    return FoundRate(
        rates=curve.rates,
        losses=curve.losses,
        smoothed=tuple(curve.smoothed.tolist()),
        suggestions=suggestions,
        rule=RISE if [*suggestions] == [RISE] else rule,
        phase=state.phase.name,
        option=state.phase.lr_option,
        usual=state.phase.lr,
        diverged=len(curve.rates) < steps,
        seconds=time.perf_counter() - began,
    )


def _check(lowest: float, highest: float, steps: int, rule: str) -> None:
    """Raise UsageError for rates and steps without a curve, UnknownName for a rule."""
    if rule not in RULES:
        raise UnknownName("rule", rule, RULES)
    if not 0 < lowest < highest < float("inf"):
        raise UsageError(
            f"the rates go from {lowest:g} to {highest:g}: they must grow, from above 0",
            hint=f"As usual: from {LOWEST:g} to {HIGHEST:g}.",
        )
    if steps < FEWEST_STEPS:
        raise UsageError(f"{steps} steps say nothing: at least {FEWEST_STEPS}", hint=f"As usual: {STEPS}.")


def _try_on(
    plan: Plan,
    store: Store,
    lowest: float,
    highest: float,
    steps: int,
    report: Report,
    stop_requested: Callable[[], bool],
) -> tuple[Curve, PhaseState]:
    """The losses of the phase that the plan's rate is for, and that phase."""
    from zoo.choosing.rates.rate_range import try_rates
    from zoo.runs.making.deciding import decide_head, decide_strategy
    from zoo.runs.session import Session
    from zoo.threads import one_thread
    from zoo.training.device import pick_device
    from zoo.training.seeds import seeded

    device = pick_device(plan.recipe.device)
    plan = decide_head(decide_strategy(plan, device, report=report), report=report)
    head = plan.recipe.head
    if head in COMPUTED_HEADS and plan.recipe.strategy == "head":
        raise UsageError(
            f"there is no rate to find for head {head}: it is computed, not trained",
            hint="Name another one, --head linear, or train deeper stages: --unfreeze 1.",
        )
    plan = replace(plan, recipe=structs.replace(plan.recipe, compile=False))  # few steps: it would not pay
    session = Session(plan, store, device, report, stop_requested)
    with seeded(plan.recipe.seed, device=device, deterministic=plan.recipe.deterministic):
        state = _begin_phase(session)
        with one_thread() if state.phase.trains == "features" else nullcontext():
            curve = try_rates(
                state,
                lowest=lowest,
                highest=highest,
                steps=steps,
                report=report,
                stop_requested=stop_requested,
            )
    return curve, state


def _begin_phase(session: Session) -> PhaseState:
    """The phase whose rate is looked for, before its first step; those before it are trained."""
    from zoo.features.rows import are_equal
    from zoo.runs.making.trainer import begin, begin_run, open_stages
    from zoo.runs.session import Outcome
    from zoo.threads import one_thread
    from zoo.training.loop import fit
    from zoo.training.stages import count_opened
    from zoo.training.strategies import phases

    session, steps, model, data = begin_run(session)
    if data.train is not None and are_equal(data.train.features):
        raise DatasetError(
            f"the network sees no difference between the {len(data.train.labels)} training items: their "
            "features are all equal",
            hint="No learning rate helps. Look at the items: zoo check DATA",
        )
    planned = phases(session.recipe, count_opened(model.network, session.recipe))
    deeper = [number for number, phase in enumerate(planned) if phase.trains == "items"]
    outcome = Outcome()
    for phase in planned[: deeper[0] if deeper else 0]:
        with one_thread():
            state = begin(session, phase, steps, model, data, outcome.best)
            outcome.after(
                fit(state, report=_without_epochs(session.report), stop_requested=session.stop_requested)
            )
        if outcome.interrupted:
            raise Interrupted("stopped: nothing was kept", hint="The same command begins again.")
        session.report(
            Note(f"the head is trained first, as usual: {outcome.best_epoch} epochs", level="detail")
        )
    phase = planned[deeper[0] if deeper else 0]
    open_stages(session, phase, model)
    return begin(session, phase, steps, model, data, outcome.best)


def _without_epochs(report: Report) -> Report:
    """The same, but for epochs: here they are not what is asked for."""
    from zoo.events import EpochEnd, Event

    def quieter(event: Event) -> None:
        (silent if isinstance(event, EpochEnd) else report)(event)

    return quieter
