"""What a search found, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.choosing.picking.choice import Expected
from zoo.choosing.picking.significance import expect_of_the_best
from zoo.choosing.tuning.lessons import Lesson
from zoo.choosing.tuning.search import unpack
from zoo.choosing.tuning.space import Space, tidy
from zoo.training.intervals import accuracy_interval
from zoo.training.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_MOST = 100  # trials that the choice is repeated among: the others are never the best of a sample


@dataclass(frozen=True)
class TrialFacts:
    """One finished trial. values: of the parameters. metrics, loss: of its best epoch, on the validation
    items; empty and None if it was ended before it had one. pruned: ended among the worse half. fault: what
    ended its training."""

    number: int
    values: Mapping[str, Any]
    score: float | None
    metrics: Mapping[str, float]
    loss: float | None
    epochs: int
    seconds: float
    pruned: bool
    fault: str | None


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    trials: the finished ones, the best first; those that were ended early have no score. usual: the trial of
    the recipe that nobody tuned, if it was tried. recipe: the best one, without what is left to its default;
    file: where it is. importances: parameter -> its share of what the scores differ by, the largest first.
    expected: the accuracy of the best on new items: it was chosen on the validation items, so the figure
    there is too high. validation: how many these are. lessons: what rate, batch size, layers and neurons did,
    if that was asked for. pictures: what was drawn.
    """

    folder: Path
    trials: tuple[TrialFacts, ...]
    usual: TrialFacts | None
    recipe: Recipe
    file: Path
    importances: Mapping[str, float]
    expected: Expected | None
    validation: int
    headline: str
    lessons: tuple[Lesson, ...]
    pictures: tuple[Path, ...]
    seconds: float

    @property
    def best(self) -> TrialFacts:
        """The best trial."""
        return self.trials[0]

    def interval(self, trial: TrialFacts) -> tuple[float, float] | None:
        """The 95 % interval of a trial's accuracy; None where the task has none."""
        if (accuracy := trial.metrics.get("accuracy")) is None:
            return None
        return accuracy_interval(accuracy, self.validation)

    def facts(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        expected = self.expected
        return {
            "folder": str(self.folder),
            "recipe": {k: v for k, v in msgspec.to_builtins(self.recipe).items() if v is not None},
            "recipe_file": str(self.file),
            "best": msgspec.to_builtins(self.best),
            "usual": msgspec.to_builtins(self.usual),
            "trials": msgspec.to_builtins(self.trials),
            "importances": dict(self.importances),
            "expected_accuracy": None if expected is None else expected.accuracy,
            "expected_interval": None if expected is None else list(expected.interval),
            "expected_by": None if expected is None else expected.how,
            "validation_items": self.validation,
            "lessons": msgspec.to_builtins(self.lessons),
            "pictures": [str(path) for path in self.pictures],
            "seconds": self.seconds,
        }


def read_trials(study: Study) -> list[TrialFacts]:
    """The finished trials of a study, the best first; those without a score last."""
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(map(_facts_of, finished), key=lambda t: (t.score is None, -(t.score or 0.0), t.number))


def _facts_of(trial: FrozenTrial) -> TrialFacts:
    found = trial.user_attrs.get("result", {})
    done = trial.state.name == "COMPLETE"
    return TrialFacts(
        trial.number,
        {name: tidy(value) for name, value in trial.params.items()},
        trial.value if done else None,
        found.get("metrics", {}),
        found.get("loss"),
        found.get("epochs", 0),
        found.get("seconds", 0.0),
        not done,
        found.get("fault"),
    )


def find_usual(trials: list[TrialFacts], space: Space) -> TrialFacts | None:
    """The trial of the recipe that nobody tuned."""
    usual = space.usual()
    return next((trial for trial in trials if trial.values == usual), None)


def expect_by_resampling(study: Study, trials: list[TrialFacts]) -> Expected | None:
    """The accuracy to be expected of the best trial: the choice repeated on resampled items."""
    known = {t.number: t.user_attrs.get("result", {}).get("right") for t in study.get_trials(deepcopy=False)}
    right = {
        str(trial.number): unpack(known[trial.number])
        for trial in trials[:_MOST]
        if trial.score is not None and known[trial.number]
    }
    if not right or len({len(answers) for answers in right.values()}) > 1:
        return None
    accuracy, low, high = expect_of_the_best(right)
    how = f"the choice among {len(right):,} trials, repeated on resampled validation items"
    return Expected(accuracy, (low, high), how)


def find_importances(study: Study) -> dict[str, float]:
    """Parameter -> its share of what the scores differ by, the largest first (fANOVA: Hutter and others
    2014); empty with fewer than ten scores, or where all are equal."""
    import optuna

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < 10 or np.ptp([trial.value for trial in done]) == 0:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # no parameter is in every trial
        return {}
    return {name: float(share) for name, share in found.items()}
