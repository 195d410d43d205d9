"""The verb `evaluate`: figures, confusions and certainty, drawn for a terminal of any width."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.chart import bar, in_ascii
from zoo.cli.command import Context, command
from zoo.cli.launching import launch_several, together
from zoo.cli.options import Choice, ModelName, column_options, plots_option
from zoo.cli.sink import Fit, display_width, printable, shorten, table
from zoo.cli.using import FILES, backend_option, compute_options, processes_option, rounded
from zoo.data.listing import refuse_missing
from zoo.errors import UsageError
from zoo.features.engine import PRECISIONS, Engine
from zoo.targets import RunFolder

if TYPE_CHECKING:
    from zoo.runs.using.evaluation import ClassEvaluation, ClassScore, Evaluation
    from zoo.targets import Model
    from zoo.training.calibration import Bin, CalibrationFigures

SCORE_COLUMNS = {
    "label": "CLASS",
    "precision": "PRECISION",
    "recall": "RECALL",
    "f1": "F1",
    "support": "ITEMS",
}
WRONG_COLUMNS = {
    "path": "SUREST MISTAKES",
    "label": "TRUE",
    "predicted": "PREDICTED",
    "probability": "PROBABILITY",
}
CONFUSED_COLUMNS = {"label": "MOST CONFUSED", "predicted": "PREDICTED", "count": "ITEMS"}
CALIBRATION_COLUMNS = {
    "what": "PROBABILITIES",
    "error": "CALIBRATION ERROR",
    "interval": "95 % INTERVAL",
    "chance": "BY CHANCE",
    "log_loss": "LOG LOSS",
    "brier": "BRIER",
}
RELIABILITY_COLUMNS = {
    "probability": "PROBABILITY",
    "right": "RIGHT",
    "items": "ITEMS",
    "bar": "RIGHT, AND WHERE IT SHOULD END",
}
SELECTIVE_COLUMNS = {
    "below": "ABSTAIN BELOW",
    "answered": "ANSWERED",
    "accuracy": "ACCURACY",
    "interval": "95 % INTERVAL",
}
SET_COLUMNS = {
    "level": "SETS",
    "coverage": "HOLD THE CLASS",
    "interval": "95 % INTERVAL",
    "size": "CLASSES IN EACH",
}
MOST_WRONG = 10  # items that are shown
MOST_CLASSES = 20  # of which a matrix of confusions is shown
NAME_WIDTH = 24  # of a class beside it, where there is little room
BAR = 40


@command("zoo evaluate run photos/\nzoo evaluate run photos/ -o wrong.csv")
@click.argument("run", metavar="RUN|MODEL", type=ModelName())
@click.argument("data", type=FILES)
@column_options(several=True)
@click.option("--out", "-o", type=FILES, help="Write the mistakes: wrong.csv, .jsonl or .parquet.")
@plots_option
@compute_options
@backend_option
@click.option(
    "--precision",
    type=Choice("precision", lambda: PRECISIONS),
    help="Number format of a run on images; bf16 as it was trained, where that agrees.  [default: fp32, as "
    "zoo predict answers]",
)
@processes_option
def evaluate(
    context: Context, run: str, data: Path, out: Path | None, plots: tuple[Path, ...], **options: Any
) -> None:
    """Measure a run on labelled data.

    Of a folder with train/, val/ and test/ the test part is taken, else val. Classes are matched by name.
    For a run on texts DATA is what `zoo finetune` takes.
    """
    engine = Engine(options.pop("backend"), context.store.home / "onnx")
    engine.check(options["device"], options["precision"] or "fp32")
    target = context.find_target("evaluate", run, others=[data])
    refuse_missing([data])
    context.sink.details = False
    from zoo.runs.classifier import load_classifier
    from zoo.runs.using.evaluation import WrongAnswer, evaluate_classifier
    from zoo.runs.using.prediction_files import check_out, write_rows

    if out is not None:
        check_out(out)
    if plots:
        _check_plots(target, plots)
    launch_several(options.pop("processes"))
    with together(options.pop("device"), context.report) as (processes, device):
        classifier = load_classifier(
            target, store=context.store, registry=context.registry, report=context.report
        )
        found = evaluate_classifier(
            classifier,
            data,
            device=device,
            processes=processes,
            engine=engine,
            home=context.store.home,
            report=context.report,
            **options,
        )
    if not processes.is_first:
        return
    mistakes = [asdict(wrong) for wrong in getattr(found, "wrong", ())]
    if out is not None:
        write_rows(mistakes, out, [field.name for field in fields(WrongAnswer)])
    if plots:
        assert isinstance(target, RunFolder)
        from zoo.answers.reporting.page import write_plots

        columns = {name: value for name, value in options.items() if name.endswith("_column")}
        write_plots(target.path, data, plots, store=context.store, device=str(device), **columns)
    context.sink.answer(found.facts, lambda: "\n\n".join(_evaluation_parts(found)))


def _check_plots(target: RunFolder | Model, plots: Sequence[Path]) -> None:
    """Raise UsageError for pictures that cannot be drawn, before anything is computed."""
    from zoo.answers.reporting.plots import check_plots

    if not isinstance(target, RunFolder):
        raise UsageError(
            f"{target.name} is not a run: there are pictures of runs alone",
            hint=f"Make it one: zoo finetune {target.name} DATA --out run",
        )
    check_plots(plots)


def calibration_row(what: str, found: CalibrationFigures) -> dict[str, Any]:
    """Calibration figures as a line of a table."""
    return {
        "what": what,
        "error": f"{found.error:.3f}",
        "interval": f"{found.error_low:.3f} to {found.error_high:.3f}",
        "chance": f"{found.error_by_chance:.3f}",
        "log_loss": f"{found.log_loss:.3f}",
        "brier": f"{found.brier:.3f}",
    }


def _reliability_row(found: Bin) -> dict[str, Any]:
    """Answers of about the same probability: how many are right, as a bar that should end at its mark."""
    return {
        "probability": f"{found.probability:.3f}",
        "right": f"{found.right:.3f}",
        "items": found.items,
        "bar": bar(found.right, found.probability, min(BAR, _room() - 30), plain=in_ascii()),
    }


def _belief_parts(found: ClassEvaluation) -> Iterator[str]:
    """How far the answers can be believed: the probabilities, what abstaining buys, sets."""
    rows = [] if found.uncalibrated is None else [calibration_row("as trained", found.uncalibrated)]
    if found.calibration is not None:
        what = "calibrated" if found.uncalibrated is not None else "as they are"
        yield table([*rows, calibration_row(what, found.calibration)], CALIBRATION_COLUMNS)
        yield table([_reliability_row(one) for one in found.calibration.bins], RELIABILITY_COLUMNS)
    if len(found.selective) > 1:
        yield table(
            [
                {
                    "below": f"{one.abstain_below:g}" if one.abstain_below else "never",
                    "answered": f"{one.answered:.1%}",
                    "accuracy": f"{one.accuracy:.4f}",
                    "interval": f"{one.accuracy_low:.4f} to {one.accuracy_high:.4f}",
                }
                for one in found.selective
            ],
            SELECTIVE_COLUMNS,
        )
    if found.sets:
        yield table(
            [
                {
                    "level": f"{one.level:g}",
                    "coverage": f"{one.coverage:.4f}",
                    "interval": f"{one.coverage_low:.4f} to {one.coverage_high:.4f}",
                    "size": f"{one.size:.2f}",
                }
                for one in found.sets
            ],
            SET_COLUMNS,
        )


def _score_row(score: ClassScore) -> dict[str, Any]:
    return {n: f"{v:.3f}" if isinstance(v, float) else v for n, v in asdict(score).items()}


def _interval(found: Evaluation, metric: str) -> str:
    """The interval of a figure for the line that has it; empty where it has none."""
    interval = getattr(found, "intervals", {}).get(metric)
    return f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""


def _room() -> int:
    """The columns that there are; a pipe has as many as anybody wants."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def _confusion(found: ClassEvaluation, present: Sequence[int]) -> str | None:
    """The matrix of confusions, with the names of the classes above it, or their numbers where there is no
    room for names; None where there is none for numbers either."""
    if len(present) > MOST_CLASSES:
        return None
    numbers = {at: str(number) for number, at in enumerate(present, 1)}
    names = {at: printable(found.classes[at]) for at in present}
    short = {at: shorten(f"{numbers[at]} {names[at]}", NAME_WIDTH, Fit.TEXT) for at in present}
    for left, above in ((names, names), (short, numbers)):
        rows = [{"true": left[i], **{str(j): found.confusion[i][j] for j in present}} for i in present]
        drawn = table(rows, {"true": "TRUE \\ PREDICTED", **{str(j): above[j] for j in present}}, {})
        if max(map(display_width, drawn.splitlines())) <= _room():
            return drawn
    return None


def _evaluation_parts(found: Evaluation) -> Iterator[str]:
    """The figures in a sentence, then what there is for each class."""
    from zoo.runs.using.evaluation import ClassEvaluation, TargetEvaluation

    items = f"{found.items} items" + (f", {found.skipped} skipped" if found.skipped else "")
    items += "" if found.computed_in == "fp32" else f", in {found.computed_in}"
    if not isinstance(found, ClassEvaluation):
        yield "\n".join(
            [f"{name} {value:.4f}{_interval(found, name)}" for name, value in found.metrics.items()] + [items]
        )
        if isinstance(found, TargetEvaluation) and found.per_class:
            yield table([_score_row(score) for score in found.per_class], SCORE_COLUMNS)
        if isinstance(found, TargetEvaluation) and found.per_number:
            yield table(
                [
                    {"name": name, **{metric: rounded(value) for metric, value in figures.items()}}
                    for name, figures in found.per_number.items()
                ],
                {"name": "NUMBER", **{metric: metric.upper() for metric in found.metrics}},
            )
        return
    top5 = "" if found.top5 is None else f", top-5 {found.top5:.4f}"
    interval = f"95 % interval {found.accuracy_low:.4f} to {found.accuracy_high:.4f}"
    yield f"accuracy {found.accuracy:.4f} ({interval}){top5}, {items}"
    present = [i for i, row in enumerate(found.confusion) if sum(row) or any(r[i] for r in found.confusion)]
    scores = [_score_row(found.per_class[i]) for i in present]
    yield table(scores, SCORE_COLUMNS)
    if (matrix := _confusion(found, present)) is not None:
        yield matrix
    elif pairs := found.confused():
        yield f"The matrix of {len(present):,} classes has no room here; --plot confusion.png draws it."
        names = ("label", "predicted", "count")
        yield table([dict(zip(names, pair, strict=True)) for pair in pairs], CONFUSED_COLUMNS)
    yield from _belief_parts(found)
    if found.wrong:
        rows = [{**asdict(wrong), "probability": f"{wrong.probability:.3f}"} for wrong in found.wrong]
        rest = len(rows) - MOST_WRONG
        yield table(rows[:MOST_WRONG], WRONG_COLUMNS, {"path": Fit.PATH}) + (
            f"\n… and {rest:,} more: -o wrong.csv" if rest > 0 else ""
        )


COMMANDS = {"evaluate": evaluate}
