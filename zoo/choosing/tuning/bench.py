"""One trial: a recipe, and how good what it trains is. What trials share is computed once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adapters import Head
from zoo.events import Report, silent
from zoo.runs.classifier import attach_recipe_head
from zoo.runs.making.trainer import begin_run, fit_head, measure_val, train_phases
from zoo.runs.session import Outcome, PreparedModel, Session, TrainingData, TrainingSteps, batches_of
from zoo.training.interruption import never
from zoo.training.recipe import Resolved
from zoo.training.seeds import seeded
from zoo.training.strategies import phases
from zoo.training.task import Task


@dataclass(frozen=True)
class TrialResult:
    """outcome: of the training. head: with its best weights. right: (validation items,) whether they answer
    each of them rightly; None if training ended before its first epoch did, or the task has no right and
    wrong."""

    outcome: Outcome
    head: Head
    right: NDArray[np.bool_] | None
    seconds: float


@dataclass
class Bench:
    """session: of the base recipe. Trials that train the head alone share the network and its features; every
    other one begins as `zoo finetune` does."""

    session: Session

    @cached_property
    def shared(self) -> tuple[TrainingSteps, PreparedModel, TrainingData]:
        """What the base recipe begins with; its features are computed when they are first asked for."""
        with self._seeded(self.session.recipe):
            return begin_run(self.session)[1:]

    def prepare(self) -> None:
        """Compute the features now, if heads are trained on them."""
        if all(phase.trains == "features" for phase in phases(self.session.recipe)):
            _ = self.shared

    def run(
        self, recipe: Resolved, *, report: Report = silent, stop_requested: Callable[[], bool] = never
    ) -> TrialResult:
        """Train what the recipe asks for, exactly as `zoo finetune` would."""
        began = time.perf_counter()
        plan = replace(self.session.plan, recipe=recipe)
        session = replace(self.session, plan=plan, report=report, stop_requested=stop_requested)
        with self._seeded(recipe):
            if all(phase.trains == "features" for phase in phases(recipe)):
                steps, model, data = self._with_new_head(session)
            else:
                _, steps, model, data = begin_run(replace(session, report=silent))
            outcome = train_phases(session, steps, model, data)
            right = None if outcome.best is None else _find_right(session, model, data)
        return TrialResult(outcome, model.head, right, time.perf_counter() - began)

    def _seeded(self, recipe: Resolved) -> AbstractContextManager[None]:
        return seeded(recipe.seed, device=self.session.device, deterministic=recipe.deterministic)

    def _with_new_head(self, session: Session) -> tuple[TrainingSteps, PreparedModel, TrainingData]:
        """The shared network and features with the head and the batches of another recipe."""
        steps, model, data = self.shared
        assert data.train is not None
        recipe = session.recipe
        head = attach_recipe_head(model.network, session.plan.dataset.classes, recipe, session.plan.task)
        train = batches_of(
            session,
            data.train.features,
            data.train.labels,
            session.batch_size,
            shuffled=True,
            varied=data.train.varied,
        )
        data = replace(data, train=train)
        fit_head(session, head, data)
        return steps, replace(model, head=head), data


def score(task: Task, metrics: dict[str, float], loss: float) -> float:
    """What trials are compared by: the task's headline metric; of equal ones, the smaller loss."""
    value = metrics.get(task.headline, float("nan"))
    sign = 1.0 if task.metrics[task.headline].better == "higher" else -1.0
    return sign * value - min(loss, 10.0) / 1000


def _find_right(session: Session, model: PreparedModel, data: TrainingData) -> NDArray[np.bool_] | None:
    """Which validation items the trained network answers rightly."""
    found = measure_val(session, model, data)
    assert found.outputs is not None
    assert found.targets is not None
    if found.targets.ndim != 1 or found.targets.is_floating_point():
        return None
    return np.asarray((found.outputs.argmax(1) == found.targets).numpy())
