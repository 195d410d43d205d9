"""What the page about a run shows, as plain values: a function per section, None where it has nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.answers.judged import Judged
from zoo.answers.reporting.certainty import accuracy_by_coverage
from zoo.answers.reporting.data_view import DataView
from zoo.answers.reporting.drawing import (
    COLOURS,
    draw_coverage,
    draw_history,
    draw_map,
    draw_numbers,
    draw_reliability,
    to_svg,
)
from zoo.answers.reporting.repeating import repeat_command
from zoo.data.dataset import PARTS, Item, relative_name
from zoo.data.names import one_line, shortened
from zoo.data.pixels.thumbnails import thumbnail
from zoo.data.texts import Text
from zoo.events import EpochEnd
from zoo.features.projection import draw_rows, project
from zoo.features.ridge import fit_ridge
from zoo.features.suspects import AGREEMENT, judge_labels
from zoo.runs.record import Baseline, RunRecord
from zoo.runs.using.evaluation import ClassEvaluation, TargetEvaluation
from zoo.training.calibration import Bin, CalibrationFigures, calibration_figures, reliability_bins
from zoo.training.intervals import accuracy_interval
from zoo.training.recipe import to_json
from zoo.training.regression import REGRESSION
from zoo.training.single_label import SINGLE_LABEL

_MOST_CLASSES = 30  # of a confusion matrix that is drawn as a table
_MOST_PAIRS = 6
_MOST_OF_A_PAIR = 6
_MOST_LOSSES = 18
_MOST_SUSPECTS = 24
_MOST_EXPLAINED = 9
_MOST_WORDS = 8
_MOST_SKIPPED = 50
_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)


def head_facts(record: RunRecord) -> list[tuple[str, str]]:
    """What was trained on what, a line each."""
    data, result, entry = record.data, record.result, record.entry
    counts = data.get("counts")
    parts = []
    for part in PARTS:
        if total := data["items"].get(part):
            each = (
                ""
                if counts is None or len(record.classes) > 8
                else ": "
                + ", ".join(
                    f"{one_line(name)} {count:,}"
                    for name, count in zip(record.classes, counts[part], strict=True)
                )
            )
            parts.append(f"{part} {total:,}{each}")
    split = data["split"]
    drawn = f", drawn with seed {split['seed']}" if split.get("seed") is not None else ""
    grouped = f", groups by {split['group_by']} kept together" if split.get("group_by") else ""
    origin = {"made": "drawn from all", "folders": "as the folders are", "table": "as the table says"}
    return [
        ("model", f"{entry.name} ({entry.architecture if hasattr(entry, 'architecture') else entry.family})"),
        ("licence of the model", entry.license),
        ("data", one_line(data["root"])),
        ("licence of the data", record.data_license or "unknown"),
        ("items", "; ".join(parts)),
        ("split", f"{origin[split['origin']]}{drawn}{grouped}; sha256 {split['hash'][:16]}…"),
        ("task", result.task),
        ("strategy", f"{record.recipe.strategy}, {result.trained_parameters:,} parameters trained"),
        ("epochs", f"{result.best_epoch} kept of {result.epochs}" + ", stopped early" * result.stopped_early),
        ("time", f"{result.seconds:.1f} s"),
        ("made", f"{record.created} with {_versions(record)}"),
    ]


def _versions(record: RunRecord) -> str:
    named = ("transfer-zoo", "torch", "torchvision", "timm")
    return ", ".join(f"{name} {record.versions[name]}" for name in named if name in record.versions)


def recipe_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Every knob that had a value."""
    values = to_json(record.recipe, record.kind)
    return [(name, _plain(value)) for name, value in values.items() if value is not None]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def score_rows(record: RunRecord, judged: Judged | None, probe: Baseline | None) -> list[dict[str, Any]]:
    """The run beside what simpler ways reach. share: of a whole bar, where figures are in 0..1."""
    task, result = record.task, record.result
    rows = [_run_row(record, judged)]
    if probe is not None:
        rows.append(_baseline_row(task, probe))
    rows += [_baseline_row(task, each) for each in (result.baseline, result.majority) if each is not None]
    shares = task.is_better(1.0, 0.0) and all(0 <= row["value"] <= 1 for row in rows)
    for row in rows:
        row["share"] = row["value"] if shares else None
    return rows


def _run_row(record: RunRecord, judged: Judged | None) -> dict[str, Any]:
    task, result = record.task, record.result
    if judged is None:
        interval = result.val_interval
        metrics = result.metrics
    else:
        found = judged.evaluation
        metrics = found.metrics
        interval = (
            (found.accuracy_low, found.accuracy_high)
            if isinstance(found, ClassEvaluation)
            else getattr(found, "intervals", {}).get(task.headline)
        )
    others = {name: f"{value:.4f}" for name, value in metrics.items() if name != task.headline}
    return {
        "name": "this run",
        "metric": task.headline,
        "value": metrics.get(task.headline, math.nan),
        "interval": None if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}",
        "others": others,
    }


def _baseline_row(task: Any, baseline: Baseline) -> dict[str, Any]:
    return {
        "name": one_line(baseline.name),
        "metric": task.headline,
        "value": baseline.metrics.get(task.headline, math.nan),
        "interval": None,
        "others": {},
    }


def linear_probe(record: RunRecord, judged: Judged, view: DataView) -> Baseline | None:
    """What a ridge regression on the pretrained features reaches on the measured items; None where the run's
    training items are not at hand."""
    if record.task is not SINGLE_LABEL or not view.trained.any() or view.drawn is not None:
        return None
    measured = {item.path for item in judged.items}
    rows = np.array(
        [not t and item.path in measured for item, t in zip(view.items, view.trained, strict=True)]
    )
    if not rows.any() or len(np.unique(view.labels[view.trained])) < 2:
        return None
    ridge = fit_ridge(view.features[view.trained], view.labels[view.trained], len(record.classes))
    scores = (view.features[rows] - ridge.mean) / ridge.spread @ ridge.weights + ridge.offset
    right = float((scores.argmax(axis=1) == view.labels[rows]).mean())
    return Baseline(
        name="linear probe (ridge regression on the frozen features)", metrics={"accuracy": right}
    )


def learning_curves(record: RunRecord, history: Sequence[EpochEnd]) -> str | None:
    """The figure of all epochs."""
    if not history:
        return None
    headline = record.task.headline
    return to_svg(
        lambda figure: draw_history(figure, history, record.result.best_epoch, headline),
        f"Losses and {headline} over {len(history)} epochs; epoch {record.result.best_epoch} was kept",
    )


def confusion(judged: Judged) -> dict[str, Any] | None:
    """The matrix as rows of (count, share of its row, whether right), with its classes; of many classes the
    pairs alone."""
    found = judged.evaluation
    if not isinstance(found, ClassEvaluation):
        return None
    names = [one_line(name) for name in found.classes]
    present = [i for i, row in enumerate(found.confusion) if sum(row) or any(r[i] for r in found.confusion)]
    matrix = None
    if len(present) <= _MOST_CLASSES:
        matrix = [
            {
                "name": names[i],
                "cells": [
                    {
                        "count": found.confusion[i][j],
                        "share": found.confusion[i][j] / max(1, sum(found.confusion[i])),
                        "right": i == j,
                    }
                    for j in present
                ],
            }
            for i in present
        ]
    answers = judged.probabilities.argmax(axis=1)
    sure = judged.probabilities.max(axis=1)
    order = {name: i for i, name in enumerate(found.classes)}
    pairs = []
    for true, predicted, count in found.confused(_MOST_PAIRS):
        rows = np.flatnonzero((judged.labels == order[true]) & (answers == order[predicted]))
        rows = rows[np.argsort(-sure[rows], kind="stable")][:_MOST_OF_A_PAIR]
        pairs.append(
            {
                "true": one_line(true),
                "predicted": one_line(predicted),
                "count": count,
                "shown": [show_item(judged, judged.items[row], f"{sure[row]:.0%}") for row in rows],
            }
        )
    return {"classes": [names[i] for i in present], "matrix": matrix, "pairs": pairs}


def class_rows(judged: Judged) -> list[dict[str, Any]]:
    """The scores of each class; of one class per item with the 95 % intervals of precision and recall."""
    found = judged.evaluation
    if not isinstance(found, ClassEvaluation | TargetEvaluation):
        return []
    rows = []
    for number, score in enumerate(found.per_class):
        row: dict[str, Any] = {
            "name": one_line(score.label),
            "precision": f"{score.precision:.3f}",
            "recall": f"{score.recall:.3f}",
            "f1": f"{score.f1:.3f}",
            "support": score.support,
        }
        if isinstance(found, ClassEvaluation):
            given = sum(line[number] for line in found.confusion)
            row["precision"] += _interval(score.precision, given)
            row["recall"] += _interval(score.recall, score.support)
        rows.append(row)
    return rows


def _interval(share: float, items: int) -> str:
    if not items:
        return " (no item)"
    low, high = accuracy_interval(share, items)
    return f" ({low:.2f} to {high:.2f})"


def top_losses(judged: Judged) -> list[dict[str, Any]]:
    """The measured items that the run is most wrong about, the worst first."""
    losses = _losses(judged)
    shown = []
    for row in np.argsort(-losses, kind="stable")[:_MOST_LOSSES]:
        item = judged.items[row]
        shown.append(show_item(judged, item, f"{_answer(judged, int(row))}; loss {losses[row]:.2f}"))
    for one, weighed in zip(shown, _deciding_words(judged, losses), strict=False):
        one["deciding"] = weighed
    return shown


def _deciding_words(judged: Judged, losses: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Of the texts with the largest losses, what decided: the words with the largest weights for the answer;
    share: of the largest, in -1..1."""
    if judged.classifier.reader is None:
        return []
    from zoo.answers.explaining.explainer import Wishes, explain_items
    from zoo.answers.explaining.explanations import TextExplanation

    found, wishes = [], Wishes(nearest=0)
    for row in np.argsort(-losses, kind="stable")[:_MOST_EXPLAINED]:
        item = judged.items[row]
        texts = [Text(item.path, item.text or "")]
        explained = next(iter(explain_items(judged.classifier, texts, wishes, store=judged.store)), None)
        if not isinstance(explained, TextExplanation):
            continue
        weights = [(word.word, word.weight) for word in explained.words if word.weight]
        weights = sorted(weights, key=lambda pair: -abs(pair[1]))[:_MOST_WORDS]
        most = max((abs(weight) for _, weight in weights), default=1.0)
        words = [{"word": shortened(word, 30), "share": weight / most} for word, weight in weights]
        found.append({"label": one_line(explained.label or ""), "words": words})
    return found


def _losses(judged: Judged) -> NDArray[np.float64]:
    """(items,) the loss of each."""
    import torch
    from torch.nn import functional as F

    task, outputs = judged.classifier.task, judged.outputs
    encoded = task.encode([item.target for item in judged.items], task.width(judged.classifier.classes))
    if task is SINGLE_LABEL:
        found = F.cross_entropy(outputs, encoded, reduction="none")
    elif task is REGRESSION:
        spread = encoded.std(0, correction=0).clamp_min(1e-12)
        found = ((outputs - encoded) / spread).square().mean(1)
    else:
        found = F.binary_cross_entropy_with_logits(outputs, encoded.float(), reduction="none").sum(1)
    losses: NDArray[np.float64] = torch.as_tensor(found, dtype=torch.float64).numpy()
    return losses


def _answer(judged: Judged, row: int) -> str:
    """What an item is, and what the run answers."""
    item, names = judged.items[row], judged.classifier.classes
    if judged.classifier.task is SINGLE_LABEL:
        chances = judged.probabilities[row]
        best = int(chances.argmax())
        if best == item.label:
            return f"{one_line(names[best])}, rightly, but only {chances[best]:.0%} sure"
        return f"{one_line(names[item.label])}, taken for {one_line(names[best])} ({chances[best]:.0%})"
    if judged.classifier.task is REGRESSION:
        true = item.target if isinstance(item.target, tuple) else (item.target,)
        pairs = zip(names, true, judged.outputs[row].tolist(), strict=True)
        return ", ".join(f"{one_line(name)} {is_:.4g}, answered {value:.4g}" for name, is_, value in pairs)
    thresholds = judged.classifier.thresholds or (0.5,) * len(names)
    chances = judged.outputs[row].sigmoid().tolist()
    given = [one_line(n) for n, p, t in zip(names, chances, thresholds, strict=True) if p >= t]
    has = [one_line(names[label]) for label in item.labels]
    return f"{', '.join(has) or 'none'}; answered {', '.join(given) or 'none'}"


def suspects(record: RunRecord, judged: Judged, view: DataView) -> dict[str, Any] | None:
    """Items whose label is likely wrong, by models that have not seen it; or why that is not known."""
    if record.task is not SINGLE_LABEL:
        return None
    found = judge_labels(view.features, view.labels)
    looked = f"{len(view.items):,} items" + (f" drawn from {view.drawn:,}" if view.drawn else "")
    why = None
    if found.agreement is None:
        why = "too few items of two classes to judge labels by."
    elif not found.trusted:
        why = (
            f"models that have not seen an item agree with {found.agreement:.0%} of the labels; below "
            f"{AGREEMENT:.0%} their doubts mean nothing."
        )
    names = record.classes
    shown = [
        show_item(
            judged,
            view.items[one.row],
            f"labelled {one_line(names[view.items[one.row].label])} ({one.probability:.0%}), rather "
            f"{one_line(names[one.suggested])} ({one.suggested_probability:.0%})"
            + (", trained on" if view.trained[one.row] else ""),
        )
        for one in found.doubted[:_MOST_SUSPECTS]
    ]
    return {
        "looked": looked,
        "why": why,
        "shown": shown,
        "sure": len(found.wrong),
        "count": len(found.doubted),
    }


def certainty(judged: Judged) -> dict[str, Any] | None:
    """Reliability and coverage of items that have one class each."""
    import torch

    if judged.classifier.task is not SINGLE_LABEL:
        return None
    sure = judged.probabilities.max(axis=1)
    right = judged.probabilities.argmax(axis=1) == judged.labels
    curves = reliability_curves(judged)
    truth = torch.from_numpy(judged.labels)
    figures = calibration_figures(judged.classifier.calibrated(judged.outputs), truth)
    before = None if len(curves) == 1 else calibration_figures(judged.outputs, truth)
    coverage, accuracy = accuracy_by_coverage(sure, right)
    rows = []
    for share in _COVERAGES:
        at = max(1, round(share * len(sure))) - 1
        threshold = float(np.sort(sure)[::-1][at])
        rows.append({"share": f"{share:.0%}", "accuracy": f"{accuracy[at]:.4f}", "least": f"{threshold:.3f}"})
    return {
        "error": _error(figures),
        "before": None if before is None else _error(before),
        "by_chance": f"{figures.error_by_chance:.3f}",
        "reliability": to_svg(
            lambda figure: draw_reliability(figure, curves),
            "How often answers are right against how probable they are called",
            width=4.2,
        ),
        "coverage": to_svg(
            lambda figure: draw_coverage(figure, coverage.tolist(), accuracy.tolist()),
            "Accuracy against the share of items that are answered",
            width=4.2,
        ),
        "rows": rows,
    }


def _error(figures: CalibrationFigures) -> str:
    return f"{figures.error:.3f} (95 % interval {figures.error_low:.3f} to {figures.error_high:.3f})"


def reliability_curves(judged: Judged) -> dict[str, list[Bin]]:
    """The bins of the reliability diagram: as the network was trained, and calibrated where it is."""
    outputs = {"as trained": judged.outputs}
    calibration = judged.classifier.calibration
    if calibration is not None and calibration.temperature != 1:
        outputs["calibrated"] = judged.classifier.calibrated(judged.outputs)
    right = judged.outputs.argmax(1) == judged.outputs.new_tensor(judged.labels)
    return {name: [*reliability_bins(found.softmax(1).amax(1), right)] for name, found in outputs.items()}


def numbers(judged: Judged) -> str | None:
    """Predicted against true numbers."""
    if judged.classifier.task is not REGRESSION:
        return None
    true = np.array([np.atleast_1d(item.target) for item in judged.items], dtype=np.float64)
    answered = judged.outputs.double().numpy()
    return to_svg(
        lambda figure: draw_numbers(figure, true, answered),
        "Predicted against true numbers",
        width=min(9.0, 3.2 * true.shape[1] + 1),
    )


def data_map(record: RunRecord, view: DataView) -> dict[str, Any] | None:
    """The items as points, near each other where the pretrained network sees the same in them."""
    if record.task is not SINGLE_LABEL or len(view.items) < 3:
        return None
    rows = draw_rows(len(view.items))
    features = view.features[rows].astype(np.float64)
    labels = view.labels[rows]
    views = project(features)
    drawn = to_svg(
        lambda figure: draw_map(figure, views, labels, ~view.trained[rows]),
        f"Map of {len(rows)} items by what the network sees in them",
        width=8.0,
        height=3.8,
    )
    shown = len(COLOURS) - 1 if len(record.classes) > len(COLOURS) else len(record.classes)
    legend = [(COLOURS[n], one_line(name)) for n, name in enumerate(record.classes[:shown])]
    if shown < len(record.classes):
        legend.append((COLOURS[-1], f"{len(record.classes) - shown} other classes"))
    return {"svg": drawn, "legend": legend, "count": f"{len(rows):,}", "trained": bool(view.trained.any())}


def skipped(record: RunRecord, judged: Judged | None) -> dict[str, Any]:
    """What was left out in training and in measuring, and why."""
    rows = [(one_line(each["path"]), one_line(each["reason"])) for each in record.data["skipped"]]
    if judged is not None:
        known = {path for path, _ in rows}
        rows += [
            (name, one_line(reason))
            for path, reason in judged.failures.items()
            if (name := one_line(path)) not in known
        ]
    return {"rows": rows[:_MOST_SKIPPED], "more": max(0, len(rows) - _MOST_SKIPPED)}


def proof(record: RunRecord) -> str:
    """What was frozen, held against what it was before."""
    result = record.result
    return (
        f"{result.frozen_changed:,} of {result.frozen_tensors:,} frozen tensors changed; "
        f"{result.trained_parameters:,} parameters were trained. Weights: sha256 "
        f"{record.weights_sha256 or 'none (random)'}; what was trained: sha256 {record.adapter_sha256}."
    )


def show_item(judged: Judged, item: Item, words: str) -> dict[str, Any]:
    """An item with its picture, or its text, and what there is to say of it."""
    text = item.text
    return {
        "name": shortened(relative_name(item.path, judged.root), 60),
        "words": words,
        "picture": None if text is not None else thumbnail(item.path),
        "text": None if text is None else shortened(text, 300),
    }


def all_sections(
    record: RunRecord,
    history: Sequence[EpochEnd],
    judged: Judged | None,
    view: DataView | None,
) -> Mapping[str, Any]:
    """Everything, by the names that the page has for it."""
    probe = None if judged is None or view is None else linear_probe(record, judged, view)
    facts: dict[str, Any] = {
        "run": one_line(record.result.run),
        "noun": record.kind.noun,
        "facts": head_facts(record),
        "scores": score_rows(record, judged, probe),
        "curves": learning_curves(record, history),
        "recipe": recipe_rows(record),
        "skipped": skipped(record, judged),
        "proof": proof(record),
        "changed": record.result.frozen_changed,
        "command": repeat_command(record),
        "measured": None,
    }
    if judged is None or view is None:
        return facts
    part = f"the {judged.part} part" if judged.part else "items that were not trained on"
    return facts | {
        "measured": f"{len(judged.items):,} {record.kind.noun}s: {part}",
        "confusion": confusion(judged),
        "classes": class_rows(judged),
        "losses": top_losses(judged),
        "suspects": suspects(record, judged, view),
        "certainty": certainty(judged),
        "numbers": numbers(judged),
        "map": data_map(record, view),
    }
