"""The verb `finetune`. Its options are the fields of a Recipe, read from their table."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from zoo.cli.command import Context, command
from zoo.cli.launching import launch_several
from zoo.cli.options import (
    Choice,
    GroupedOption,
    ModelName,
    class_level_option,
    column_options,
    complete_from,
    group_by_option,
    license_option,
)
from zoo.data.finding.vector_table import holds_features
from zoo.data.kinds import IMAGES
from zoo.data.once import read_once
from zoo.errors import DatasetError, Interrupted, InvalidRecipe, UsageError
from zoo.events import Note, Progress, Report, silent
from zoo.targets import Model, RunFolder
from zoo.training.interruption import StopSignal
from zoo.training.intervals import FEW
from zoo.training.ranks import are_several, is_first
from zoo.training.ready_recipes import READY, find_recipe
from zoo.training.recipe import KNOBS, Knob, Recipe, to_json
from zoo.training.recipe.conditions import DEEPER, FOR_TEXTS
from zoo.training.recipe.knob import Scope
from zoo.training.recipe.wording import COMMAND_LINE, Problem
from zoo.training.recipe_file import recipe_text
from zoo.training.tasks import TASKS

if TYPE_CHECKING:
    from zoo.runs.record import Baseline, RunResult


T = TypeVar("T")


class Heading(NamedTuple):
    """A heading of --help. implies: what knobs below it need, so that none of them repeats it."""

    text: str
    implies: tuple[Scope, ...] = ()


HEADINGS = {
    "head": Heading("Head"),
    "training": Heading("Training"),
    "deeper": Heading("Deeper stages, with --strategy or --unfreeze", (DEEPER,)),
    "texts": Heading("Texts, with word vectors", (FOR_TEXTS,)),
    "stopping": Heading("Stopping"),
    "data": Heading("Data"),
    "machine": Heading("Machine"),
}


recipe_option = click.option(
    "--recipe",
    "recipe_file",
    metavar="NAME|FILE",
    shell_complete=complete_from(lambda _: READY),
    help=f"Options that come with zoo: {', '.join(READY)}; or of a file (.toml, .yaml, .json). What is typed "
    "wins.",
)


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for every knob of a Recipe. Values are checked by the recipe, all problems at once."""
    rows = [knob for heading in HEADINGS for knob in KNOBS.values() if knob.heading == heading]
    for knob in reversed(rows):
        function = _recipe_option(knob)(function)
    return function


def _recipe_option(knob: Knob) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option of one knob; what is not typed stays None, so that the recipe's own default holds."""
    heading = HEADINGS[knob.heading]
    only = [
        COMMAND_LINE.word(scope.words) for scope in knob.only if scope.words and scope not in heading.implies
    ]
    facts = [*(f"only {words}" for words in only), f"default: {COMMAND_LINE.word(knob.default.words())}"]
    names = knob.option
    kind: dict[str, Any] = {
        "metavar": _metavar(knob),
        "shell_complete": complete_from(lambda _: knob.choices),
    }
    if knob.kind is bool:
        kind = {"is_flag": True, "default": None}
        if knob.default.value or not knob.fixed_on_resume:  # on in a run, it may be off when the run goes on
            names += "/" + knob.option.replace("--", "--no-", 1)
        else:
            facts.pop()
    shown = f"{knob.doc}  [{'; '.join(facts)}]" if facts else knob.doc
    return click.option(names, knob.name, help=shown, cls=GroupedOption, heading=heading.text, **kind)


def _metavar(knob: Knob) -> str:
    """What is typed after an option: N|none|all."""
    numbers = {int: "N", float: "X", tuple: "N,N,…"}
    names = [*([numbers[knob.kind]] if knob.kind in numbers else []), *knob.choices]
    return "|".join([*names, *([knob.pattern_example] if knob.pattern_example else [])])


def _check_interval(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Whether checkpoints can be written that often."""
    from zoo.runs.plan import read_interval

    try:
        read_interval(value)
    except UsageError as error:
        raise click.BadParameter(
            f"{value!r} is not a whole number from 1 on, as in 10 or 200steps."
        ) from error
    return value


@command(
    "zoo finetune mobilenet_v2 photos/ --out run\n"
    "zoo finetune mobilenet_v2 photos/ --unfreeze 1 --out run-deeper\n"
    "zoo finetune glove-wiki-gigaword-100 reviews.csv --unfreeze all --out run-reviews\n"
    "zoo finetune --resume run-reviews"
)
@click.argument("model", type=ModelName(), required=False)
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; never overwritten.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with an interrupted run, exactly where it stopped; without MODEL and DATA.",
)
@click.option(
    "--force", is_flag=True, help="With --resume: with other data or options too, as far as they fit."
)
@click.option(
    "--checkpoint-every",
    metavar="N|Nsteps",
    callback=_check_interval,
    help="Epochs, or steps, between two checkpoints.  [default: one in 5 seconds at most, after an epoch]",
)
@click.option(
    "--time",
    "time_limit",
    metavar="30m",
    help="How long training may take (s, m, h); it ends with the best so far, and --resume goes on.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that share every batch: one per GPU. Over several machines: torchrun.  [default: 1]",
)
@click.option(
    "--tensorboard",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write every epoch for TensorBoard too.  [needs: pip install 'transfer-zoo[tensorboard]']",
)
@column_options(several=True)
@class_level_option
@group_by_option
@click.option(
    "--task",
    type=Choice("task", lambda: [*TASKS]),
    help="What is learned: one class, several classes, or numbers of a table.  [default: single-label]",
)
@click.option(
    "--calibrate",
    type=float,
    metavar="SHARE",
    help="Set this share of the training items apart, and calibrate the run with them: see zoo calibrate.",
)
@click.option("--member", metavar="FILE", help="Which file of a .zip of word vectors.")
@click.option("--data-license", metavar="NAME", help="Licence of your data, for run.json: an SPDX name.")
@recipe_option
@click.option(
    "--report/--no-report",
    "with_report",
    default=True,
    envvar="ZOO_REPORT",
    help="Write RUN/report.html at the end, a page about the run, and RUN/learning.png, its curves.  "
    "[default: on; env: ZOO_REPORT]",
)
@click.option("--print-recipe", is_flag=True, help="Print every option with its value, and train nothing.")
@license_option
@recipe_options
def finetune(
    context: Context,
    model: str | None,
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    force: bool,
    checkpoint_every: str | None,
    time_limit: str | None,
    processes: int | None,
    tensorboard: Path | None,
    path_column: str | None,
    text_column: str | None,
    label_column: str | None,
    split_column: str | None,
    class_level: int | None,
    group_by: str | None,
    task: str | None,
    calibrate: float | None,
    member: str | None,
    data_license: str | None,
    recipe_file: str | None,
    with_report: bool,
    print_recipe: bool,
    **options: Any,
) -> None:
    """Train a pretrained model on your own folder.

    MODEL is a name of `zoo list`, or the folder of a run to go on from. DATA is a folder with train/ and
    val/, a folder with a folder per class, a CSV/TSV with a path and a label column, or a Parquet file of
    features, as zoo embed writes it.

    Word vectors take texts: MODEL may be a file of them, and DATA a folder with a CLASS.txt per class (a text
    per line), folders of .txt files, or a CSV, TSV, JSONL or Parquet table with a text and a label column.

    An interrupted run goes on with --resume, after Ctrl-C, a kill or a power cut.
    """
    recipe = None if recipe_file is None else find_recipe(recipe_file, report=context.report)
    settings: dict[str, Any] = {
        "registry": context.registry,
        "store": context.store,
        "checkpoint_every": checkpoint_every,
        "time_limit": time_limit,
        "report": _listener(context, tensorboard),
        "recipe": recipe,
        **options,
    }
    about_data = {
        "path_column": path_column,
        "text_column": text_column,
        "label_column": label_column,
        "split_column": split_column,
        "class_level": class_level,
        "group_by": group_by,
        "task": task,
        "calibrate": calibrate,
        "member": member,
        "data_license": data_license,
    }
    if resume is not None:
        given = {"out": out, "print_recipe": print_recipe or None, **about_data}
        _refuse_beside_resume(model, data, given)
    if not print_recipe:
        _launch_several(processes, resume)
    if resume is not None:
        from zoo.runs.making.resuming import resume as go_on
        from zoo.runs.making.unfinished import find_unfinished

        out, facts = find_unfinished(resume)
        with read_once():
            _train(context, partial(go_on, resume, name=model, data=data, force=force, **settings))
            _report(context, with_report, out, data or Path(facts.request.data), facts.request.reading)
        return
    if force:
        raise UsageError("--force is for --resume alone: a run is never overwritten")
    model, data = _need("argument", "MODEL", model), _need("argument", "DATA", data)
    if not print_recipe:
        _need("option", "--out", out)
    target = context.find_target("finetune", model, member=member, others=[data])
    if print_recipe or out is None:
        _print_recipe(context, target, recipe, options)
        return
    from zoo.runs.making.finetuning import finetune_model

    settings |= about_data
    with read_once():
        _train(context, partial(finetune_model, model, data, out=out, **settings))
        _report(context, with_report, out, data, about_data)


def _listener(context: Context, tensorboard: Path | None) -> Report:
    """What hears of a run: the sink, and TensorBoard if that is wanted; nothing but in the first process."""
    if not is_first():
        return silent
    if tensorboard is None:
        return context.report
    from zoo.tensorboard import tensorboard_report

    return tensorboard_report(tensorboard, context.report)


def _report(context: Context, wanted: bool, out: Path, data: Path, reading: Mapping[str, Any]) -> None:
    """Write the page about a run that has just been saved. Whatever goes wrong there is a warning: the run
    is whole, and its result printed."""
    if not wanted or not is_first():
        return
    from zoo.answers.reporting.page import write_report

    names = ("path_column", "text_column", "label_column", "split_column", "class_level")
    columns: dict[str, Any] = {name: reading.get(name) for name in names}
    again = f"Write it again: zoo report {shlex.quote(str(out))} {shlex.quote(str(data))}"
    write = partial(
        write_report,
        out,
        store=context.store,
        report=lambda event: context.report(event) if isinstance(event, Progress) else None,
        plots=[out / "learning.png"],
    )
    try:
        note = _write_page(partial(write, data, **columns), partial(write, None), out, data)
    except KeyboardInterrupt:
        context.report(Note("no report: it was interrupted", hint=again, level="warning"))
    except Exception as error:
        context.report(Note(f"no report: {error}", hint=again, level="warning"))
    else:
        context.report(note)


def _write_page(whole: Callable[[], Path], plain: Callable[[], Path], out: Path, data: Path) -> Note:
    """Write the page about a run; of features without pictures, where their photographs are not here."""
    try:
        return Note(f"Report: {whole()}")
    except DatasetError:
        if not holds_features(data, IMAGES):
            raise
    return Note(
        f"Report, without pictures: {plain()}",
        hint=f"With the photographs: zoo report {shlex.quote(str(out))} PHOTOGRAPHS",
    )


def _launch_several(asked: int | None, resume: Path | None) -> None:
    """Leave the work to several processes, if that is asked for: a run that goes on has as many as it began
    with."""
    if are_several():
        return
    if asked is None and resume is not None:
        from zoo.runs.making.unfinished import find_unfinished

        asked = find_unfinished(resume)[1].processes
    launch_several(asked)


def _need(kind: str, name: str, value: T | None) -> T:
    """What was typed. Raises click's complaint if it is missing: only --resume does without. kind: argument
    or option."""
    if value is None:
        here = click.get_current_context()
        raise click.MissingParameter(ctx=here, param_hint=f"'{name}'", param_type=kind)
    return value


def _refuse_beside_resume(model: str | None, data: Path | None, given: dict[str, Any]) -> None:
    """Raise UsageError for what a run that goes on has already."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if named:
        raise UsageError(
            f"{', '.join(named)} cannot be given with --resume: the run goes on as it began",
            hint="Like this: zoo finetune --resume RUN",
        )
    if model is not None and data is None:
        raise UsageError(
            f"--resume needs no model and no data; {model} is one of them without the other",
            hint="Like this: zoo finetune --resume RUN\nWhere the data were moved: "
            "zoo finetune MODEL DATA --resume RUN",
        )


def _train(context: Context, train: Callable[..., RunResult]) -> None:
    """Train until it is finished or a signal comes in, and show what came out."""
    with StopSignal() as stop:
        try:
            result = train(stop_requested=stop)
        except InvalidRecipe as invalid:
            raise as_typed(invalid) from invalid
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise

    if is_first():
        context.sink.done(result.facts(), lambda: describe_result(result))


def _print_recipe(
    context: Context, target: RunFolder | Model, recipe: Recipe | str | None, options: dict[str, Any]
) -> None:
    """Print the recipe that a run would have, without holes, as a file that --recipe takes."""
    from zoo.runs.making.finetuning import choose_recipe
    from zoo.runs.modalities.table import modality_of_target
    from zoo.runs.record import read_record

    record = read_record(target.path) if isinstance(target, RunFolder) else None
    kind = modality_of_target(target).kind
    try:
        values = to_json(choose_recipe(record, recipe, options, kind), kind)
    except InvalidRecipe as invalid:
        raise as_typed(invalid) from invalid
    context.sink.answer(values, lambda: recipe_text(values).rstrip())


def describe_result(result: RunResult) -> str:
    """What came out of a run, and what to type next."""
    why = ", stopped early" if result.stopped_early else ", the time was up" if result.out_of_time else ""
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    return (
        f"val {metrics}, loss {result.val_loss:.4f} "
        f"(epoch {result.best_epoch} of {result.epochs}{why}), {result.seconds:.1f} s\n"
        f"{_how_sure(result)}"
        f"{result.trained_parameters:,} parameters trained{_how_varied(result)}; "
        f"{result.frozen_changed} of {result.frozen_tensors} frozen tensors changed\n"
        f"{_compare_with_baseline(result)}"
        f"Next: zoo predict {result.run} FILES…"
    )


def _how_varied(result: RunResult) -> str:
    """On how many views of each image, where there are several."""
    return f" on {result.views} views of each image" if result.views > 1 else ""


def as_typed(error: InvalidRecipe) -> InvalidRecipe:
    """The same problems, with knobs as options."""
    found = (COMMAND_LINE.word(p.parts) if isinstance(p, Problem) else p for p in error.found)
    return InvalidRecipe([*found], hint=error.hint)


ABOVE_GUESSING = 1.01
"""How far above that of equal chances a loss is remarked: a head that learned nothing is right there."""


def _how_sure(result: RunResult) -> str:
    """The interval of the accuracy beside what always answering one class reaches, and remarks on both."""
    if result.majority is not None and "accuracy" not in result.metrics:
        return _compare_with_guess(result, result.majority)
    if (interval := result.val_interval) is None or result.majority is None:
        return ""
    majority = result.majority.metrics["accuracy"]
    line = (
        f"95 % interval {interval[0]:.4f} to {interval[1]:.4f}, of {result.val_items:,} items; "
        f"{result.majority.name}: {majority:.4f}\n"
    )
    if result.metrics["accuracy"] <= majority:
        line += f"This is not better than {result.majority.name}. If classes are uneven: --balance\n"
    if result.val_loss > ABOVE_GUESSING * (guessed := math.log(len(result.classes))):
        line += (
            f"The loss is above that of equal chances ({guessed:.4f}): the probabilities are far too sure. "
            "A lower rate may help; zoo lr-find MODEL DATA suggests one.\n"
        )
    return line + _remark_few(result)


def _compare_with_guess(result: RunResult, guess: Baseline) -> str:
    """What is reached without looking at the items, and whether the run is better."""
    figures = ", ".join(f"{name} {value:.4f}" for name, value in guess.metrics.items())
    line = f"of {result.val_items:,} items; {guess.name}: {figures}\n"
    task = TASKS[result.task]
    if not task.is_better(result.metrics[task.headline], guess.metrics[task.headline]):
        line += f"This is not better than {guess.name}.\n"
    return line + _remark_few(result)


def _remark_few(result: RunResult) -> str:
    """A remark on a result of few items, with its end of line; empty where there are enough."""
    if (result.val_items or 0) >= FEW:
        return ""
    return "So few validation items say little: keep more with --val-fraction, or collect more.\n"


def _compare_with_baseline(result: RunResult) -> str:
    """The score of the baseline, and whether it is the better tool here; empty without a baseline."""
    if result.baseline is None:
        return ""
    task = TASKS[result.task]
    value = result.baseline.metrics[task.headline]
    better = task.is_better(value, result.metrics[task.headline])
    verdict = "; it is the better tool for these texts" if better else ""
    return f"{result.baseline.name} on the same split: {value:.4f}{verdict}\n"


COMMANDS = {"finetune": finetune}
