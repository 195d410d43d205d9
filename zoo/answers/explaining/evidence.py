"""How much the outputs of a network speak for one class, or how large one number is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.errors import UnknownName
from zoo.runs.classifier import Classifier
from zoo.training.single_label import SINGLE_LABEL


def log_odds(classifier: Classifier, outputs: Tensor, target: int) -> Tensor:
    """(items,) of outputs (items, width): the log-odds of one class, or the number itself."""
    if classifier.task.name != SINGLE_LABEL.name:
        return outputs[:, target]
    others = [column for column in range(outputs.shape[1]) if column != target]
    return outputs[:, target] - outputs[:, others].logsumexp(1) if others else outputs[:, target]


def linear_evidence(classifier: Classifier, outputs: Tensor, target: int) -> Tensor:
    """(items,) the same where there are two classes; of more, the output of a class above the mean of the
    others, which is linear in the outputs, so that the parts of it that words have can be added."""
    width = outputs.shape[1]
    if classifier.task.name != SINGLE_LABEL.name or width < 2:
        return outputs[:, target]
    return outputs[:, target] - (outputs.sum(1) - outputs[:, target]) / (width - 1)


def scores_of(classifier: Classifier, outputs: Tensor, target: int) -> list[float]:
    """Of each item the probability of the class in 0..1, or the number, as `predict` gives it."""
    name = classifier.classes[target]
    answers = classifier.task.decide(
        outputs, classifier.classes, len(classifier.classes), classifier.thresholds
    )
    return [(dict(a.ranking) if a.values is None else a.values)[name] for a in answers]


def targets_of(classifier: Classifier, outputs: Tensor, labels: Sequence[str]) -> list[int]:
    """What to explain about the outputs (1, width) of one item: the outputs that were named; else the class
    that it is given, all classes that it has, or every number."""
    if labels:
        return [find_label(classifier, label) for label in labels]
    (answer,) = classifier.task.decide(outputs, classifier.classes, 1, classifier.thresholds)
    if answer.values is not None:
        return list(range(len(classifier.classes)))
    names = answer.labels if classifier.thresholds is not None else ()
    return [classifier.classes.index(name) for name in names or (answer.ranking[0][0],)]


def find_label(classifier: Classifier, label: str) -> int:
    """The output of that name. Raises UnknownName with close ones."""
    if label not in classifier.classes:
        raise UnknownName("label", label, classifier.classes)
    return classifier.classes.index(label)


def no_grad_outputs(network: torch.nn.Module, inputs: Tensor) -> Tensor:
    """The plain network's outputs (items, width) float32 on the CPU."""
    with torch.no_grad():
        outputs: Tensor = network(inputs)
    return outputs.float().cpu()
