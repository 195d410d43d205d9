"""The verb that uses a run or a model, predict, and what other verbs share with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.launching import check_same_items, launch_several, together
from zoo.cli.options import Choice, ModelName
from zoo.cli.sink import Fit, Mode
from zoo.errors import DatasetError, Interrupted, UsageError
from zoo.events import Progress
from zoo.features.engine import BACKENDS, Engine
from zoo.targets import RunFolder
from zoo.training.ranks import are_several

if TYPE_CHECKING:
    from zoo.runs.answers import Guess, ItemSource, Prediction
    from zoo.runs.classifier import Classifier
    from zoo.runs.using.prediction_files import Shape
    from zoo.targets import Model
    from zoo.training.processes import Processes

FILES = click.Path(path_type=Path)
FIT = {"next": Fit.TEXT, "set": Fit.TEXT, "text": Fit.TEXT, "path": Fit.PATH}


def compute_options(function: Any) -> Any:
    """Where and how to compute."""
    on_bad = Choice("choice", lambda: ("skip", "stop"))
    options: dict[str, dict[str, Any]] = {
        "--device": {"default": "auto", "metavar": "auto|cpu|cuda|cuda:N|mps", "help": "Where to compute."},
        "--batch-size": {"type": click.IntRange(1), "default": 32, "help": "Files per step."},
        "--on-bad": {"type": on_bad, "default": "skip", "help": "What to do with unreadable files."},
    }
    for name, settings in options.items():
        function = click.option(name, show_default=True, **settings)(function)
    return function


processes_option = click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="N",
    help="Processes that share the files: one per GPU. Over several machines: torchrun.  [default: 1]",
)


backend_option = click.option(
    "--backend",
    type=Choice("backend", lambda: BACKENDS),
    default="auto",
    show_default=True,
    help="What computes on a CPU: torch, or ONNX Runtime where the extra [onnx] is installed and agrees.",
)


def text_options(function: Any) -> Any:
    """Which texts there are in files."""
    for option in (
        click.option("--text-column", help="Column of a table that holds the texts."),
        click.option(
            "--whole-files/--lines",
            default=None,
            help="A file is one text, or has one per line.  [default: as the run was trained]",
        ),
        click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text itself; repeatable."),
    ):
        function = option(function)
    return function


@command(
    "zoo predict run photo.jpg more-photos/\n"
    "zoo predict mobilenet_v2 'photos/*.jpg' -o predictions.csv\n"
    "find . -name '*.jpg' | zoo predict run --files-from - --csv\n"
    "zoo predict run-reviews new-reviews.txt --text 'a gripping film'"
)
@click.argument("model", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, type=FILES)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes per item.")
@click.option(
    "--abstain-below",
    type=float,
    metavar="P",
    help="Answer unknown where the probability is below P, in 0..1.",
)
@click.option(
    "--sets",
    type=float,
    metavar="LEVEL",
    help="Also a set of classes (of numbers: an interval) that holds the truth so often, in 0..1.",
)
@click.option(
    "--false-alarms",
    type=float,
    metavar="SHARE",
    help="Also whether an item is novel, unlike all training items (out of distribution), so that at most "
    "this share of familiar ones, in 0..1, is called so.",
)
@click.option(
    "--data",
    type=FILES,
    metavar="DATA",
    help="For --false-alarms: where the data of the run are.  [default: here or beside the run]",
)
@click.option("--out", "-o", type=FILES, help="Write predictions.csv, .jsonl or .parquet instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option("--files-from", metavar="LIST|-", help="Names of files, a line each, in a file or a pipe.")
@text_options
@compute_options
@backend_option
@processes_option
def predict(
    context: Context,
    model: str,
    files: tuple[Path, ...],
    top: int,
    abstain_below: float | None,
    sets: float | None,
    false_alarms: float | None,
    data: Path | None,
    out: Path | None,
    as_csv: bool,
    files_from: str | None,
    **options: Any,
) -> int:
    """Label files or texts with a run or a model.

    A folder stands for the images in it, a quoted pattern for the files that fit it. A plain model of
    `zoo list` predicts the classes it was trained on. A run on texts takes files with a text per line,
    tables, and - for standard input. Rows are printed as they are computed. A file that cannot be read is a
    row with its error, and the exit code is then 5.
    """
    from zoo.runs.using.prediction_files import check_out

    if out is not None:
        check_out(out)
    if as_csv and (out is not None or context.sink.mode is Mode.JSON):
        raise UsageError("--csv prints to the terminal or a pipe", hint="Leave it out, or --out and --json.")
    engine = Engine(options.pop("backend"), context.store.home / "onnx")
    engine.check(options["device"])
    refuse_pipes(options["processes"], [*files, *([] if files_from is None else [files_from])])
    if false_alarms is not None and (are_several() or (options["processes"] or 1) > 1):
        raise UsageError("--false-alarms is for one process", hint="Leave out --processes.")
    launch_several(options["processes"])
    target = context.find_target("predict", model, others=files)
    _check_novelty(target, false_alarms, data)
    items = gather(context, target, (*files, *_listed(files_from)), options)
    from zoo.runs.using.caution import Caution
    from zoo.runs.using.prediction import predict_items
    from zoo.runs.using.prediction_files import Shape

    caution = Caution(abstain_below, sets)
    with together(options["device"], context.report) as (processes, device):
        classifier, source = open_source(context, target, items, options, processes)
        found = predict_items(
            classifier,
            source,
            top=top,
            caution=caution,
            device=device,
            engine=engine,
            report=context.report,
        )
        if false_alarms is not None:
            assert isinstance(target, RunFolder)
            found = _mark_novel(context, target.path, classifier, items, found, false_alarms, data, device)
        total = len(source.places)
        shape = Shape.of(classifier, caution, novelty=false_alarms is not None)
        if not processes.is_first:
            failed = _follow(found)
        elif out:
            failed = _write(context, found, out, total, top, shape)
        else:
            failed = _print(context, found, source, top, as_csv, shape)
    return DatasetError.exit_code if failed else 0


def _follow(found: Iterator[Prediction]) -> int:
    """Compute this process's share, which the first one shows."""
    for _ in found:
        pass
    return 0


def refuse_pipes(processes: int | None, files: Sequence[object]) -> None:
    """Raise UsageError where several processes would read what can be read once."""
    several = (processes or 1) > 1 or are_several()
    for name in map(str, files if several else ()):
        if name == "-" or Path(name).is_fifo():
            raise UsageError(
                f"{'standard input' if name == '-' else name} can be read by one process alone",
                hint="Write it to a file, and name that.",
            )


def _check_novelty(target: RunFolder | Model, false_alarms: float | None, data: Path | None) -> None:
    """Raise UsageError where what is novel cannot be known, before anything is read."""
    if false_alarms is None:
        if data is not None:
            raise UsageError("--data goes with --false-alarms, which needs the data of the run")
        return
    if not 0 < false_alarms < 1:
        raise UsageError(f"--false-alarms must lie between 0 and 1, not {false_alarms:g}")
    if not isinstance(target, RunFolder):
        raise UsageError(
            f"{target.name} is not a run: what it was trained on, and what is unlike that, is not known",
            hint=f"Make it one: zoo finetune {target.name} DATA --out run",
        )


def _mark_novel(
    context: Context,
    run: Path,
    classifier: Classifier,
    items: Sequence[Any],
    found: Iterator[Prediction],
    false_alarms: float,
    data: Path | None,
    device: str,
) -> Iterator[Prediction]:
    """The predictions, each with its distance to the nearest training item."""
    from zoo.answers.novelty import learn_familiar
    from zoo.runs.record import read_record

    familiar = learn_familiar(
        run,
        read_record(run),
        classifier,
        false_alarms,
        data=data,
        store=context.store,
        device=device,
        report=context.report,
    )
    return familiar.mark(found, items)


def _listed(files_from: str | None) -> list[Path]:
    """The files that a list names, one per line; - is standard input. Blank lines count for nothing."""
    if files_from is None:
        return []
    source: Any = sys.stdin if files_from == "-" else Path(files_from)
    try:
        text = source.read() if files_from == "-" else source.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(f"{files_from} cannot be read: {error.strerror}") from error
    names = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if not names:
        raise UsageError(f"{'standard input' if files_from == '-' else files_from} names no files")
    return [Path(name) for name in names]


def _write(
    context: Context, found: Iterator[Prediction], out: Path, total: int, top: int, shape: Shape
) -> int:
    """Write every prediction to a file, and say so; returns how many have an error. After Ctrl-C the file has
    what was finished."""
    from zoo.runs.using.prediction_files import PredictionFile, flat_row

    failed, file = 0, PredictionFile(out)
    try:
        with file:
            for prediction in found:
                file.add(flat_row(prediction, top, shape))
                failed += prediction.error is not None
                context.report(Progress("predict", file.rows, total, "images"))
    except KeyboardInterrupt:
        done = f"{out} has the first {file.rows:,} of {total:,}" if file.rows else "nothing was written"
        raise Interrupted(
            f"stopped: {done}", hint="The same command, with another --out, begins again."
        ) from None
    facts = {"out": str(out), "rows": file.rows, "failed": failed}
    unread = f", {failed:,} of them cannot be read" if failed else ""
    context.sink.done(facts, lambda: f"{out}: {file.rows:,} rows{unread}")
    return failed


def _print(
    context: Context,
    found: Iterator[Prediction],
    source: ItemSource,
    top: int,
    as_csv: bool,
    shape: Shape,
) -> int:
    """Print every prediction as it comes; returns how many have an error."""
    from zoo.cli.rows import open_rows
    from zoo.runs.using.prediction_files import flat_row, whole_row

    columns = _columns_of(source, shape)
    widths = {"path": max((len(str(place)) for place in source.places), default=0)}
    rows = open_rows(context.sink, columns, FIT, widths, csv=as_csv)
    done = failed = 0
    try:
        for prediction in found:
            row = flat_row(prediction, top, shape) if as_csv else whole_row(prediction, shape)
            rows.add(row, shown(prediction, shape))
            done, failed = done + 1, failed + (prediction.error is not None)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped after {done:,} of {len(source.places):,}", hint="The same command begins again."
        ) from None
    finally:
        rows.close()
    return failed


def shown(prediction: Prediction, shape: Shape) -> dict[str, Any]:
    """A prediction as a line of the table; one that means nothing says so."""
    from zoo.runs.answers import TextPrediction

    line: dict[str, Any] = {"path": str(prediction.path)}
    if shape.numbers:
        line |= {name: _with_interval(prediction, name) for name in prediction.values or {}}
        line = {"path": "", **dict.fromkeys(shape.numbers, ""), **line}
    elif shape.several:
        line |= {"labels": ", ".join(prediction.labels or ()), "next": _guesses(prediction.top)}
    else:
        line |= {"label": prediction.label or "", "probability": "", "next": _guesses(prediction.top[1:])}
        if prediction.probability is not None:
            line["probability"] = f"{prediction.probability:.3f}"
        if prediction.unknown:
            line |= {"label": "(unknown)", "next": _guesses(prediction.top)}
        line["set"] = ", ".join(prediction.prediction_set or ())
    if prediction.novel is not None:
        line["novel"] = f"{'novel' if prediction.novel else 'familiar'} {prediction.distance:.3f}"
    if prediction.error is not None:
        return line | {"next": f"cannot be read: {prediction.error}"}
    if isinstance(prediction, TextPrediction):
        known = f"{prediction.known}/{prediction.words}" if prediction.known else "none: means nothing"
        line |= {"known": known, "text": " ".join(prediction.text.split())}
    return line


def _with_interval(prediction: Prediction, name: str) -> str:
    """A number, and the interval around it where one was asked for."""
    value = rounded((prediction.values or {})[name])
    if prediction.intervals is None:
        return str(value)
    low, high = prediction.intervals[name]
    return f"{value} ({rounded(low)} to {rounded(high)})"


def rounded(value: Any) -> Any:
    """A number with four digits; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _guesses(top: Sequence[Guess]) -> str:
    return ", ".join(f"{guess.label} {guess.probability:.3f}" for guess in top)


def _columns_of(source: ItemSource, shape: Shape) -> dict[str, str]:
    """The columns of a table of predictions: a text stands last, where a terminal cuts it."""
    columns = {"path": "FILE"}
    if shape.numbers:
        columns |= {name: name for name in shape.numbers}
    elif shape.several:
        columns["labels"] = "LABELS"
    else:
        columns |= {"label": "LABEL", "probability": "PROBABILITY"}
    if shape.caution.sets is not None and not shape.numbers:
        columns["set"] = f"SET OF {shape.caution.sets:g}"
    if shape.novelty:
        columns["novel"] = "NOVELTY"
    more = "PROBABILITIES" if shape.several else "" if shape.numbers else "NEXT BEST"
    return columns | ({"known": "KNOWN", "text": "TEXT"} if "known" in source.columns else {"next": more})


def gather(
    context: Context, target: RunFolder | Model, files: Sequence[Path], options: dict[str, Any]
) -> list[Any]:
    """The items that were named, before torch is imported; what chooses texts is taken out of the options."""
    from zoo.runs.modalities.gathering import Wanted
    from zoo.runs.modalities.table import modality_of_target
    from zoo.runs.record import read_record

    texts, whole_files, text_column = (options.pop(name) for name in ("texts", "whole_files", "text_column"))
    if not files and not texts:
        raise UsageError("no files and no texts", hint="Name files or folders, or give a text: --text '…'")
    layout = read_record(target.path).data.get("layout") if isinstance(target, RunFolder) else None
    wanted = Wanted(files, texts, whole_files, text_column, layout)
    return modality_of_target(target).gather(target.name, wanted, report=context.report)


def open_source(
    context: Context,
    target: RunFolder | Model,
    items: list[Any],
    options: dict[str, Any],
    processes: Processes,
) -> tuple[Classifier, ItemSource]:
    """The network of a run or model, and the items as it takes them. options: those of `compute_options`.
    Raises UsageError where the processes have different ones."""
    from zoo.runs.classifier import load_classifier
    from zoo.runs.modalities.table import modality_of

    context.sink.details = False
    classifier = load_classifier(
        target, store=context.store, registry=context.registry, report=context.report
    )
    asking = modality_of(classifier.entry).load_asking()
    chosen = {name: options[name] for name in ("batch_size", "on_bad")}
    source = asking.read(items, classifier, **chosen, processes=processes, report=context.report)
    check_same_items(processes, classifier.identity, source.places)
    return classifier, source


COMMANDS = {"predict": predict}
