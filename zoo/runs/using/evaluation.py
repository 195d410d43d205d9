"""How good a classifier is on labelled data, and how sure one can be of that number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.names import safe_text
from zoo.data.trained import content_digests
from zoo.errors import UsageError
from zoo.events import Note, Report, silent
from zoo.features.engine import TORCH, Engine, Precision
from zoo.notebook import facts_table, rows_table
from zoo.runs.answers import refuse_unreadable
from zoo.runs.modalities.table import modality_of
from zoo.runs.using.caution import prediction_sets
from zoo.training.calibration import (
    CalibrationFigures,
    Selective,
    calibration_figures,
    conformal_bound,
    selective_accuracy,
)
from zoo.training.intervals import accuracy_interval
from zoo.training.single_label import SINGLE_LABEL

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import EvaluationSet, Item
    from zoo.data.pixels.batches import OnBad
    from zoo.runs.answers import ItemSource
    from zoo.runs.classifier import Classifier
    from zoo.training.processes import Processes
    from zoo.training.task import Metric, Task


_DRAWS = 200
_AT_ONCE = 4096  # features that a head is given


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, in 0..1. support: items of that class."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The figures of some labelled items. metrics: by the names that the task gives them. computed_in: the
    number format of the network."""

    items: int
    skipped: int
    classes: tuple[str, ...]
    metrics: Mapping[str, float]
    computed_in: Precision = field(default="fp32", kw_only=True)

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"{type(self).__name__}({self.items:,} items, {len(self.classes):,} classes, {figures})"

    def _repr_html_(self) -> str:
        """The figures as a notebook shows them, with those of each class where there are any."""
        figures = {name: f"{value:.4f}" for name, value in self.metrics.items()}
        if isinstance(self, ClassEvaluation):
            figures["accuracy"] += f" (95 % interval {self.accuracy_low:.4f} to {self.accuracy_high:.4f})"
        shown = facts_table({**figures, "items": self.items, "skipped": self.skipped or None})
        scores = getattr(self, "per_class", ())
        if not scores:
            return shown
        rows = [
            (score.label, f"{score.precision:.3f}", f"{score.recall:.3f}", f"{score.f1:.3f}", score.support)
            for score in scores
        ]
        return shown + rows_table(["class", "precision", "recall", "F1", "items"], rows)

    @property
    def accuracy(self) -> float:
        """The accuracy, in 0..1. Raises KeyError for a task that has none."""
        return self.metrics["accuracy"]

    @property
    def facts(self) -> dict[str, Any]:
        """Everything as plain JSON values, each metric by its own name as well."""
        return {**self.metrics, **asdict(self)}


@dataclass(frozen=True)
class WrongAnswer:
    """An item that was taken for another class. path: of the file, or where the text is; label: its true
    class; predicted: what the network answered, with that probability in 0..1."""

    path: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class SetScore:
    """Sets that hold the true class as often as `level`, measured. coverage: how often they do, with its 95 %
    Wilson interval; size: the mean number of classes in one."""

    level: float
    coverage: float
    coverage_low: float
    coverage_high: float
    size: float


@dataclass(frozen=True, repr=False)
class ClassEvaluation(Evaluation):
    """Of items that have one class each, also: the 95 % Wilson interval of the accuracy; top5 where there are
    more than five classes; confusion: rows are true classes, columns predicted ones, as in `classes`; wrong:
    the items that were taken for another class, the surest mistakes first.

    calibration: how far the probabilities can be believed; uncalibrated: the same without the temperature of
    a calibrated run, None of another. selective: what abstaining buys. sets: of a calibrated run, how often
    its sets of classes hold the true one. calibration_items: how many items these four are of, which leave
    out what the run was calibrated on wherever there are others."""

    accuracy_low: float
    accuracy_high: float
    top5: float | None
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    wrong: tuple[WrongAnswer, ...] = ()
    calibration: CalibrationFigures | None = None
    uncalibrated: CalibrationFigures | None = None
    selective: tuple[Selective, ...] = ()
    sets: tuple[SetScore, ...] = ()
    calibration_items: int | None = None

    def confused(self, most: int = 10) -> list[tuple[str, str, int]]:
        """(true class, predicted class, items) of the pairs that are confused most often."""
        pairs = [
            (self.classes[true], self.classes[answer], count)
            for true, row in enumerate(self.confusion)
            for answer, count in enumerate(row)
            if count and true != answer
        ]
        return sorted(pairs, key=lambda pair: -pair[2])[:most]


@dataclass(frozen=True, repr=False)
class TargetEvaluation(Evaluation):
    """Of items with any number of classes, or with numbers, also: the 95 % interval of each metric, by
    resampling the items. per_class: of classes, at the thresholds that the run chose on its validation
    items. per_number: of several numbers, the metrics of each by its name: a mean over units means little."""

    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    per_class: tuple[ClassScore, ...] = ()
    per_number: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def evaluate_classifier(
    classifier: Classifier,
    data: Path,
    *,
    batch_size: int | None = None,
    device: str = "auto",
    on_bad: OnBad = "skip",
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    processes: Processes | None = None,
    engine: Engine = TORCH,
    precision: Precision | None = None,
    home: Path | None = None,
    report: Report = silent,
) -> Evaluation:
    """Measure a classifier on a folder or table; labels are matched to its classes by name, of a model that
    knows ImageNet's classes by their ids (n01440764) and synonyms too. processes: those that share the items;
    all of them get the same figures. engine: what computes images on a CPU. precision: "fp32", in which
    answers are given, or "bf16", in which the features of a run on images are then computed as they were for
    its training, where that agrees with fp32 on the first of them; None is fp32 too, and a note says so where
    the run was trained in the other. home: of the store, where hashes are remembered and features in bf16
    kept; None reads every file, and keeps none.

    Of the very folder that a run was trained on, only what it did not train on is taken.
    Raises DatasetError for a class that the classifier does not know, and UsageError for bf16 of what is not
    a run on images.
    """
    engine.check(device, precision or "fp32")
    if precision == "bf16":
        _check_half(classifier)
    dataset, source = open_labelled(
        classifier,
        data,
        batch_size=batch_size,
        on_bad=on_bad,
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        processes=processes,
        home=home,
        report=report,
    )
    if precision == "bf16":
        answered = _ask_in_bf16(classifier, dataset.items, source, device=device, home=home, report=report)
    else:
        answered = _ask(classifier, dataset.items, source, device=device, engine=engine, report=report)
    if precision is None and classifier.precision != "fp32":
        report(
            Note(
                f"the run was trained in {classifier.precision}; it is measured in fp32, as it answers",
                hint=f"As it was trained: --precision {classifier.precision}",
            )
        )
    outputs, items = answered.outputs, answered.items
    found = measure(
        classifier.task,
        outputs,
        [item.target for item in items],
        classifier.classes,
        skipped=answered.skipped,
        thresholds=classifier.thresholds,
    )
    found = replace(found, computed_in=answered.computed_in)
    if not isinstance(found, ClassEvaluation):
        return found
    wrong = _wrong_answers(classifier.calibrated(outputs), items, found.classes)
    return replace(_with_calibration(found, classifier, answered, report), wrong=wrong)


def open_labelled(
    classifier: Classifier,
    data: Path,
    *,
    batch_size: int | None = None,
    on_bad: OnBad = "skip",
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    processes: Processes | None = None,
    home: Path | None = None,
    report: Report = silent,
) -> tuple[EvaluationSet, ItemSource]:
    """The labelled items that a classifier can be measured on, and the same as its network takes them."""
    from zoo.data.scanning import scan_evaluation

    modality = modality_of(classifier.entry)
    dataset = scan_evaluation(
        data,
        classifier.classes,
        modality.kind,
        split=classifier.split,
        item_column=modality.choose_column(classifier.name, path_column, text_column),
        label_column=label_column,
        split_column=split_column,
        task=classifier.task.name,
        rename=classifier.rename,
        home=home,
    )
    for note in dataset.notes:
        report(note)
    shared = {} if processes is None else {"processes": processes}
    source = _open_items(
        classifier, dataset.items, batch_size=batch_size, on_bad=on_bad, home=home, report=report, **shared
    )
    return dataset, source


@dataclass(frozen=True)
class Answered:
    """The items that could be read, and what a network answers: outputs (items, width) float32. skipped: how
    many could not. computed_in: the number format of the network."""

    items: tuple[Item, ...]
    outputs: Tensor
    skipped: int
    computed_in: Precision = "fp32"


def answer_items(
    classifier: Classifier,
    items: Sequence[Item],
    *,
    batch_size: int | None = None,
    device: str = "auto",
    on_bad: OnBad = "skip",
    report: Report = silent,
) -> Answered:
    """Ask a network about labelled items. Raises DatasetError where none can be read."""
    source = _open_items(classifier, items, batch_size=batch_size, on_bad=on_bad, report=report)
    return _ask(classifier, items, source, device=device, report=report)


def _open_items(
    classifier: Classifier,
    items: Sequence[Item],
    *,
    batch_size: int | None,
    on_bad: OnBad,
    report: Report,
    home: Path | None = None,
    **shared: Processes,
) -> ItemSource:
    """Labelled items as the network takes them. home: see `measure_range`."""
    modality = modality_of(classifier.entry)
    if modality.kind.in_files and classifier.values is None:
        from zoo.data.pixels.batches import measure_range

        classifier = replace(classifier, values=measure_range(items, home=home))
    return modality.load_asking().read(
        modality.items_of(items),
        classifier,
        batch_size=batch_size or modality.batch_size,
        on_bad=on_bad,
        report=report,
        **shared,
    )


def _ask(
    classifier: Classifier,
    items: Sequence[Item],
    source: ItemSource,
    *,
    device: str,
    engine: Engine = TORCH,
    report: Report,
) -> Answered:
    """What the network answers to the items of a source."""
    import torch

    from zoo.runs.using.prediction import iterate_outputs

    rows: list[int] = []
    parts: list[Tensor] = []
    for positions, outputs in iterate_outputs(
        classifier, source, device=device, engine=engine, report=report
    ):
        rows += positions
        parts.append(outputs)
    refuse_unreadable(source, report)
    return Answered(tuple(items[row] for row in rows), torch.cat(parts), len(source.failures))


def _check_half(classifier: Classifier) -> None:
    """Raise UsageError for a classifier that has no features and head to be computed apart."""
    kind = modality_of(classifier.entry).kind
    if not kind.in_files:
        raise UsageError(f"precision bf16 is for images, and {classifier.name} takes {kind.noun}s")
    if classifier.split is None:
        raise UsageError(
            f"precision bf16 is for runs, and {classifier.name} is a model", hint="Leave --precision out."
        )


def _ask_in_bf16(
    classifier: Classifier,
    items: Sequence[Item],
    source: ItemSource,
    *,
    device: str,
    home: Path | None,
    report: Report,
) -> Answered:
    """What the head of a run answers to features in bf16; to those of fp32 where bf16 does not agree."""
    import torch

    from adapters import find_classifier
    from zoo.runs.using.prediction import check_numbers
    from zoo.training.device import pick_device

    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=home,
        device=pick_device(device),
        precision="bf16",
    )
    refuse_unreadable(source, report)
    head = find_classifier(classifier.network)[1].cpu()
    with torch.inference_mode():
        outputs = torch.cat([head(part).float() for part in torch.split(table.features, _AT_ONCE)])
    check_numbers(classifier.name, [str(source.places[at]) for at in table.kept], outputs)
    kept = tuple(items[at] for at in table.kept)
    return Answered(kept, outputs, len(source.failures), table.way.precision)


def _with_calibration(
    found: ClassEvaluation, classifier: Classifier, answered: Answered, report: Report
) -> ClassEvaluation:
    """With how far the answers can be believed, measured on what the run was not calibrated on."""
    import torch

    calibration, outputs = classifier.calibration, answered.outputs
    items: Sequence[Item] = answered.items
    if calibration is not None:
        kind, known = modality_of(classifier.entry).kind, frozenset(calibration.contents)
        new = [row for row, digest in enumerate(content_digests(items, kind)) if digest not in known]
        if not new:
            report(
                Note(
                    f"the run was calibrated on all {kind.count(len(items))}: its probabilities and sets "
                    "will look better than they are",
                    level="warning",
                )
            )
        elif len(new) < len(items):
            used = kind.count(len(items) - len(new))
            report(Note(f"{used} that the run was calibrated on count for its accuracy only"))
            outputs, items = outputs[new], [items[row] for row in new]
    truth = torch.tensor([item.label for item in items])
    after = classifier.calibrated(outputs)
    scaled = calibration is not None and calibration.temperature != 1
    return replace(
        found,
        calibration=calibration_figures(after, truth),
        uncalibrated=calibration_figures(outputs, truth) if scaled else None,
        selective=selective_accuracy(after, truth),
        sets=() if calibration is None else _measure_sets(outputs, truth, calibration.scores),
        calibration_items=len(items),
    )


SET_LEVELS = (0.8, 0.9, 0.95, 0.99)


def _measure_sets(outputs: Tensor, truth: Tensor, scores: Sequence[float]) -> tuple[SetScore, ...]:
    """What sets of each level that the calibration can give hold. scores: sorted calibration scores."""
    found = []
    for level in SET_LEVELS:
        if conformal_bound(scores, level) is not None:
            inside = prediction_sets(outputs, scores, level)
            coverage = float(inside.gather(1, truth[:, None]).double().mean())
            interval = accuracy_interval(coverage, len(truth))
            found.append(SetScore(level, coverage, *interval, float(inside.sum(1).double().mean())))
    return tuple(found)


def _wrong_answers(
    outputs: Tensor, items: Sequence[Item], classes: tuple[str, ...]
) -> tuple[WrongAnswer, ...]:
    """The items that were taken for another class, the surest mistakes first. outputs: (items, classes)."""
    probabilities, answers = outputs.softmax(1).max(1)
    wrong = [
        WrongAnswer(safe_text(item.path), classes[item.label], classes[answer], probability)
        for item, answer, probability in zip(items, answers.tolist(), probabilities.tolist(), strict=True)
        if answer != item.label
    ]
    return tuple(sorted(wrong, key=lambda one: -one.probability))


def measure(
    task: Task,
    outputs: Tensor,
    targets: Sequence[Any],
    classes: tuple[str, ...],
    *,
    skipped: int = 0,
    thresholds: Sequence[float] | None = None,
) -> Evaluation:
    """The figures of the outputs (items, width) for items with these targets. thresholds: see Classifier.

    >>> import torch
    >>> from zoo.training.single_label import SINGLE_LABEL
    >>> measure(SINGLE_LABEL, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), [0, 1], ("ant", "bee")).accuracy
    0.5
    """
    encoded = task.encode(targets, task.width(classes))
    plain = Evaluation(len(targets), skipped, classes, task.figures(outputs, encoded))
    if task.name == SINGLE_LABEL.name:
        return _detail_classes(plain, outputs, targets)
    intervals = {name: resample(metric, outputs, encoded) for name, metric in task.metrics.items()}
    scores = () if thresholds is None else _label_scores(outputs, encoded, classes, thresholds)
    several = classes if task.scale is not None and len(classes) > 1 else ()
    return TargetEvaluation(
        **vars(plain),
        intervals={name: found for name, found in intervals.items() if found is not None},
        per_class=scores,
        per_number={
            name: task.figures(outputs[:, at : at + 1], encoded[:, at : at + 1])
            for at, name in enumerate(several)
        },
    )


def resample(metric: Metric, outputs: Tensor, targets: Tensor) -> tuple[float, float] | None:
    """The 95 % interval of a figure of some items: of what it is on items that are drawn from them with
    repetition (the percentiles of Efron's bootstrap, 1979). None for fewer than two items."""
    import torch

    items = len(targets)
    if items < 2:
        return None
    chance = torch.Generator().manual_seed(0)
    found = []
    for _ in range(_DRAWS):
        rows = torch.randint(items, (items,), generator=chance)
        found.append(metric.value(metric.sums(outputs[rows], targets[rows]).double(), items))
    kept = torch.tensor([value for value in found if not math.isnan(value)], dtype=torch.float64)
    if not len(kept):
        return None
    low, high = kept.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _label_scores(
    outputs: Tensor, targets: Tensor, classes: Sequence[str], thresholds: Sequence[float]
) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class at its threshold."""
    chosen = outputs.sigmoid().double() >= outputs.new_tensor(thresholds, dtype=outputs.double().dtype)
    true = targets > 0.5
    rows = zip((chosen & true).sum(0).tolist(), chosen.sum(0).tolist(), true.sum(0).tolist(), strict=True)
    return tuple(
        ClassScore(
            name,
            hits / given if given else 0.0,
            hits / there if there else 0.0,
            2 * hits / (given + there) if given + there else 0.0,
            there,
        )
        for name, (hits, given, there) in zip(classes, rows, strict=True)
    )


def _detail_classes(plain: Evaluation, outputs: Tensor, truth: Sequence[int]) -> ClassEvaluation:
    """With what is worth knowing of items that have one class each. outputs: (items, classes)."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    ranked = outputs.topk(min(5, outputs.shape[1])).indices.tolist()
    first = [row[0] for row in ranked]
    right = sum(a == b for a, b in zip(truth, first, strict=True))
    low, high = accuracy_interval(right / len(truth), len(truth))
    labels = range(len(plain.classes))
    rates = precision_recall_fscore_support(truth, first, labels=labels, zero_division=0.0)
    among_five = sum(label in row for label, row in zip(truth, ranked, strict=True)) / len(truth)
    return ClassEvaluation(
        **vars(plain),
        accuracy_low=low,
        accuracy_high=high,
        top5=among_five if len(plain.classes) > 5 else None,
        per_class=tuple(
            ClassScore(label, float(p), float(r), float(f), int(n))
            for label, p, r, f, n in zip(plain.classes, *rates, strict=True)
        ),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(truth, first, labels=labels)),
    )
