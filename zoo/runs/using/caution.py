"""When an answer is not to be believed: abstaining below a probability, sets of classes, intervals."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zoo.errors import UsageError
from zoo.runs.answers import Prediction
from zoo.training.calibration import class_scores, conformal_bound, highest_level, items_needed
from zoo.training.multi_label import MULTI_LABEL

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.runs.classifier import Classifier


@dataclass(frozen=True)
class Caution:
    """What is wanted of every prediction besides the answer.

    abstain_below: the probability, in 0..1, below which there is to be none. sets: how often, in 0..1, the
    set of classes (of numbers: the interval) is to hold the truth.
    """

    abstain_below: float | None = None
    sets: float | None = None

    def check(self, classifier: Classifier) -> None:
        """Raise UsageError for what cannot be had of a model, before anything is computed."""
        name, task = classifier.name, classifier.task
        if self.abstain_below is not None:
            _check_share("abstain_below", self.abstain_below)
            if task.scale is not None or task is MULTI_LABEL:
                what = "answers with numbers" if task.scale is not None else "answers for each class apart"
                hint = "Give intervals instead: --sets 0.95" if task.scale is not None else None
                raise UsageError(f"{name} {what}: there is no probability to abstain below", hint=hint)
        if self.sets is not None:
            _check_share("sets", self.sets)
            if task is MULTI_LABEL:
                raise UsageError(f"{name} gives any number of classes already: no set of them can be given")
            self._check_calibration(classifier, self.sets)

    def _check_calibration(self, classifier: Classifier, level: float) -> None:
        calibration, name = classifier.calibration, shlex.quote(classifier.name)
        if calibration is None and classifier.split is None:
            raise UsageError(
                f"{classifier.name} is not a run: its sets would need labelled items that it has not seen",
                hint=f"Make it one: zoo finetune {name} DATA --out run",
            )
        if calibration is None:
            raise UsageError(
                f"{classifier.name} is not calibrated: sets need labelled items that it has not seen",
                hint=f"At least {items_needed(level):,} for {level:g}: zoo calibrate {name} DATA",
            )
        if calibration.items < (needed := items_needed(level)):
            raise UsageError(
                f"sets of {level:g} need {needed:,} calibration items, and {classifier.name} has "
                f"{calibration.items:,}: they give {highest_level(calibration.items):g} at most",
                hint=f"Calibrate it with more: zoo calibrate {name} DATA",
            )

    def apply(
        self, predictions: Sequence[Prediction], outputs: Tensor, classifier: Classifier
    ) -> list[Prediction]:
        """The predictions with what is wanted besides. outputs: (predictions, width), as the network gave
        them: at a temperature that was fitted on the same items, sets would lose their guarantee."""
        found = list(predictions)
        if self.sets is not None and classifier.task.scale is not None:
            found = [_with_intervals(one, classifier, self.sets) for one in found]
        elif self.sets is not None:
            found = _with_sets(found, outputs, classifier, self.sets)
        if self.abstain_below is not None:
            found = [_abstaining(one, self.abstain_below) for one in found]
        return found


NO_CAUTION = Caution()


def _check_share(name: str, value: float) -> None:
    """Raise UsageError for what does not lie between 0 and 1."""
    if not 0 < value < 1:
        percent = f"Did you mean {value / 100:g}?" if 1 < value < 100 else None
        raise UsageError(f"{name} must lie between 0 and 1, not {value:g}", hint=percent)


def _abstaining(prediction: Prediction, least: float) -> Prediction:
    """The prediction, without a label where its probability is below the least."""
    unknown = prediction.probability is not None and prediction.probability < least
    return replace(prediction, unknown=unknown, label=None if unknown else prediction.label)


def prediction_sets(outputs: Tensor, scores: Sequence[float], level: float) -> Tensor:
    """(items, classes) whether each class belongs to the set of an item; the most probable one always does.

    scores: sorted calibration scores, as many as the level needs.
    """
    import torch

    bound = conformal_bound(scores, level)
    assert bound is not None
    own = class_scores(outputs)
    best = torch.nn.functional.one_hot(outputs.argmax(1), outputs.shape[1]).bool()
    return (own <= bound) | best


def _with_sets(
    predictions: Sequence[Prediction], outputs: Tensor, classifier: Classifier, level: float
) -> list[Prediction]:
    assert classifier.calibration is not None
    inside = prediction_sets(outputs, classifier.calibration.scores, level)
    ranked = outputs.argsort(dim=1, descending=True, stable=True)
    return [
        replace(one, prediction_set=tuple(classifier.classes[c] for c in order if member[c]))
        for one, order, member in zip(predictions, ranked.tolist(), inside.tolist(), strict=True)
    ]


def _with_intervals(prediction: Prediction, classifier: Classifier, level: float) -> Prediction:
    """The prediction with an interval around each number: as wide for every item (Lei et al. 2018)."""
    assert classifier.calibration is not None
    intervals = {}
    for name, value in (prediction.values or {}).items():
        bound = conformal_bound(classifier.calibration.errors[name], level)
        assert bound is not None
        intervals[name] = (value - bound, value + bound)
    return replace(prediction, intervals=intervals)
