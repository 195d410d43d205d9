"""Trial after trial, until there are enough or the time is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.choosing.tuning.bench import Bench, TrialResult, score
from zoo.choosing.tuning.space import Space
from zoo.choosing.tuning.storage import give_up_lost, renew_lease
from zoo.data.replaced import name_replaced
from zoo.errors import TrainingStopped
from zoo.events import EpochEnd, Event, Progress, Report
from zoo.training.recipe import resolve

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial

    from zoo.runs.plan import Plan

RUNGS = frozenset({3, 6, 12, 25, 50, 100, 200, 400})
"""Epochs after which a trial is compared with the others, and ended if it is among the worse half of them."""
_WAIT = 0.2  # seconds between two looks at what others do
_RENEW = 20.0  # seconds after which a lease is renewed


@dataclass
class Search:
    """trials: how many finished ones the study is to have; None for as many as the time allows. deadline: of
    time.monotonic; None for no limit."""

    study: Study
    new: bool
    bench: Bench
    space: Space
    trials: int | None
    deadline: float | None
    report: Report
    stop_requested: Callable[[], bool]
    interrupted: bool = False

    def run(self) -> None:
        """Work until the study has enough trials; others may work on it as well."""
        if self.new:
            self._enqueue_usual()
        salt = 0 if self.new else os.getpid()  # two that begin at once must not draw the same values
        while not self._is_over():
            if self._others_do_the_rest():
                time.sleep(_WAIT)
                continue
            done = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = _new_sampler(self.bench.session.recipe.seed + 7919 * salt + done)
            self._work_on(self.study.ask())
            self._show_progress()

    def _enqueue_usual(self) -> None:
        """What nobody tuned comes first: so the best is never worse, and the gain can be stated."""
        self.study.enqueue_trial(self.space.usual())

    def _is_over(self) -> bool:
        self.interrupted = self.interrupted or self.stop_requested()
        if self.interrupted or self._is_late():
            return True
        return self.trials is not None and count_finished(self.study) >= self.trials

    def _others_do_the_rest(self) -> bool:
        """Whether other processes work on all that is missing; what one of them loses is taken up again."""
        others = give_up_lost(self.study)
        return self.trials is not None and count_finished(self.study) + others >= self.trials

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _work_on(self, trial: Trial) -> None:
        """One trial from its values to its score. One that is interrupted leaves no score."""
        from optuna.trial import TrialState

        renew_lease(trial)
        watch = _Watch(trial, self.bench, lambda: self.stop_requested() or self._is_late())
        try:
            recipe = resolve(self.space.recipe(self.space.suggest(trial)), self.space.kind)
            result = self.bench.run(recipe, report=watch.report, stop_requested=watch.stop_requested)
            refuse_replaced(self.bench.session.plan)
        except BaseException:
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        if watch.interrupted:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        _keep(trial, result)
        best = result.outcome.best
        if watch.pruned or best is None:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            task = self.bench.session.plan.task
            self.study.tell(trial, score(task, dict(best.metrics), best.loss))

    def _show_progress(self) -> None:
        if self.trials is not None:
            done = min(self.trials, count_finished(self.study))
            self.report(Progress("trials", done, self.trials, "trials"))


def refuse_replaced(plan: Plan) -> None:
    """Raise TrainingStopped where photographs hold something else than when the search began: what is
    measured before and afterwards cannot be compared."""
    dataset, watched = plan.dataset, plan.watched
    if watched is None or not (replaced := watched.find_replaced(item.path for item in dataset.items)):
        return
    raise TrainingStopped(
        f"{dataset.kind.count(len(replaced))} of {len(dataset.items):,} hold something else than when the "
        f"search began: {name_replaced(replaced, dataset.root)}",
        hint="Trials that were finished before are kept: put the files back, and the same command goes on. "
        "For what is there now, name another --out (or --study).",
    )


def _new_sampler(seed: int) -> Any:
    """The sampler of one trial: Parzen estimators over all parameters together (Bergstra and others 2011;
    Falkner and others 2018); trials that others work on count as bad ones, so that nobody repeats them."""
    import optuna

    return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


def count_finished(study: Study) -> int:
    """How many trials have an outcome."""
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


@dataclass
class _Watch:
    """What sees the epochs of one trial, and ends it if it is among the worse half, or somebody asks."""

    trial: Trial
    bench: Bench
    stop: Callable[[], bool]
    pruned: bool = False
    interrupted: bool = False
    epochs: int = 0
    best: float = -np.inf
    renewed: float = field(default_factory=time.monotonic)

    def report(self, event: Event) -> None:
        """Compare the trial with the others at every rung. Notes of a trial are nobody's business."""
        if not isinstance(event, EpochEnd):
            return
        self.epochs += 1
        if event.best:
            self.best = score(self.bench.session.plan.task, dict(event.metrics), event.val_loss)
        if self.epochs in RUNGS:
            self.trial.report(self.best, self.epochs)
            self.pruned = self.trial.should_prune()
        if time.monotonic() - self.renewed > _RENEW:
            renew_lease(self.trial)
            self.renewed = time.monotonic()

    def stop_requested(self) -> bool:
        """Whether the trial is to end now."""
        self.interrupted = self.interrupted or self.stop()
        return self.pruned or self.interrupted


def _keep(trial: Trial, result: TrialResult) -> None:
    """Write what came out beside the values."""
    outcome = result.outcome
    facts: dict[str, Any] = {"seconds": round(result.seconds, 3), "epochs": len(outcome.history)}
    if outcome.best is not None:
        facts |= {"loss": outcome.best.loss, "metrics": dict(outcome.best.metrics)}
    if outcome.fault is not None:
        facts["fault"] = str(outcome.fault)
    if result.right is not None and outcome.fault is None:
        facts["right"] = pack(result.right)
    trial.set_user_attr("result", facts)


def pack(right: NDArray[np.bool_]) -> str:
    """Yes or no of each item as text: its number, and a hexadecimal digit for four of them.

    >>> pack(np.array([True, False, False, True, True]))
    '5:98'
    """
    return f"{len(right)}:{np.packbits(right).tobytes().hex()}"


def unpack(text: str) -> NDArray[np.bool_]:
    """What `pack` made into text.

    >>> unpack('5:98').tolist()
    [True, False, False, True, True]
    """
    count, digits = text.split(":")
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8))[: int(count)].astype(bool)
