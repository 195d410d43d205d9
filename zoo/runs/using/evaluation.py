"""How good a classifier is on labelled data, and how sure one can be of that number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.events import Report, silent

if TYPE_CHECKING:
    from zoo.data.pixels.batches import OnBad
    from zoo.runs.classifier import Classifier


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, in 0..1. support: items of that class."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """accuracy in 0..1 with its 95 % Wilson interval; top5 where there are more than five classes.

    confusion: rows are true classes, columns predicted ones, in the order of `classes`.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    top5: float | None
    items: int
    skipped: int
    classes: tuple[str, ...]
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]


def evaluate_classifier(
    classifier: Classifier,
    data: Path,
    *,
    batch_size: int = 32,
    device: str = "auto",
    on_bad: OnBad = "skip",
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    report: Report = silent,
) -> Evaluation:
    """Measure a classifier on a folder or table; labels are matched to its classes by name.

    Of the very folder that a run was trained on, only what it did not train on is taken.
    Raises DatasetError for a class that the classifier does not know.
    """
    from zoo.data.kinds import IMAGES, TEXTS
    from zoo.data.scanning import scan_evaluation
    from zoo.runs.making.finetuning import choose_column
    from zoo.runs.using.prediction import iterate_logits, iterate_text_logits, tell_bad, tell_unknown

    dataset = scan_evaluation(
        data,
        classifier.classes,
        IMAGES if classifier.reader is None else TEXTS,
        split=classifier.split,
        item_column=choose_column(classifier.entry, path_column, text_column),
        label_column=label_column,
    )
    for note in dataset.notes:
        report(note)
    bad: list[Any] = []
    if classifier.reader is None:
        found = iterate_logits(
            classifier,
            [item.path for item in dataset.items],
            bad,
            batch_size=batch_size,
            device=device,
            on_bad=on_bad,
            report=report,
        )
    else:
        read = [classifier.reader(item.text or "") for item in dataset.items]
        tell_unknown(read, report)
        found = iterate_text_logits(classifier, read, batch_size=batch_size, device=device)
    truth: list[int] = []
    ranked: list[list[int]] = []
    for rows, logits in found:
        truth += [dataset.items[row].label for row in rows]
        ranked += logits.topk(min(5, logits.shape[1])).indices.tolist()
    tell_bad(bad, len(dataset.items), report)
    return score(truth, ranked, classifier.classes, skipped=len(bad))


def score(
    truth: Sequence[int], ranked: Sequence[Sequence[int]], classes: tuple[str, ...], *, skipped: int = 0
) -> Evaluation:
    """The figures of predictions. ranked: the most probable classes of each item, best first.

    The interval is Wilson's (1927), which stays inside 0..1 for few items and for accuracies near 1.

    >>> score([0, 1], [[0], [0]], ("ant", "bee")).accuracy
    0.5
    """
    from scipy.stats import binomtest
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    first = [row[0] for row in ranked]
    right = sum(a == b for a, b in zip(truth, first, strict=True))
    interval = binomtest(right, len(truth)).proportion_ci(0.95, method="wilson")
    labels = range(len(classes))
    rates = precision_recall_fscore_support(truth, first, labels=labels, zero_division=0.0)
    return Evaluation(
        accuracy=right / len(truth),
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        top5=sum(t in row for t, row in zip(truth, ranked, strict=True)) / len(truth)
        if len(classes) > 5
        else None,
        items=len(truth),
        skipped=skipped,
        classes=classes,
        per_class=tuple(
            ClassScore(label, float(p), float(r), float(f), int(n))
            for label, p, r, f, n in zip(classes, *rates, strict=True)
        ),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(truth, first, labels=labels)),
    )
