"""The verb `tune`. Options of a recipe that are given hold for every trial; the others are searched."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.finetuning import as_typed, recipe_option, recipe_options
from zoo.cli.launching import refuse_several
from zoo.cli.options import (
    DATA_OPTIONS,
    ModelName,
    class_level_option,
    column_options,
    complete_from,
    group_by_option,
    typed_again,
)
from zoo.cli.sink import Fit, table
from zoo.errors import Interrupted, InvalidRecipe
from zoo.training.interruption import StopSignal
from zoo.training.ready_recipes import find_recipe

if TYPE_CHECKING:
    from zoo.choosing.tuning.answer import TrialFacts, Tuned
    from zoo.choosing.tuning.lessons import Example

_SHOWN = 10
_COLUMNS = {
    "trial": "TRIAL",
    "value": "VAL",
    "interval": "95 % INTERVAL",
    "loss": "LOSS",
    "epochs": "EPOCHS",
    "values": "SETTINGS",
}
_LESSON = {
    "train": "TRAIN LOSS",
    "val": "VAL LOSS",
    "value": "VAL",
    "parameters": "PARAMETERS",
    "seconds": "SECONDS",
}
_FIT = {"epochs": Fit.DROP, "interval": Fit.DROP, "values": Fit.TEXT}


def _names(_: click.Context) -> list[str]:
    from zoo.choosing.tuning.space import PARAMETERS

    return [parameter.name for parameter in PARAMETERS]


@command(
    "zoo tune mobilenet_v2 photos/ --trials 200 --out tuning\n"
    "zoo tune mobilenet_v2 photos/ --minutes 10 --deeper --out tuning-deeper\n"
    "zoo finetune mobilenet_v2 photos/ --recipe tuning/recipe.toml --out run"
)
@click.argument("model", type=ModelName())
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the study, the best recipe and the pictures go; a study there is gone on with.",
)
@click.option("--trials", type=int, metavar="N", help="How many trials there are to be.  [default: 100]")
@click.option("--minutes", type=float, metavar="M", help="How long it may take.")
@click.option("--deeper", is_flag=True, help="Also search how many stages to train, and how.")
@click.option(
    "--over",
    multiple=True,
    metavar="NAME,…",
    shell_complete=complete_from(_names),
    help="Search these alone: lr,batch_size.",
)
@click.option(
    "--jobs",
    type=int,
    metavar="N",
    help="Processes that share the trials.  [default: one per core, for heads on a CPU]",
)
@click.option("--study", metavar="URL", help="A database that holds the study, for several machines.")
@click.option(
    "--explain", is_flag=True, help="Draw what rate, batch size, layers and neurons do on your data."
)
@click.option(
    "--nested",
    type=int,
    metavar="FOLDS",
    help="Repeat the search in so many folds, to measure what it finds on items that had no part in it.",
)
@column_options()
@class_level_option
@group_by_option
@click.option("--member", metavar="FILE", help="Which file of a .zip of word vectors.")
@recipe_option
@recipe_options
def tune(
    context: Context,
    model: str,
    data: Path,
    out: Path,
    trials: int | None,
    minutes: float | None,
    deeper: bool,
    over: tuple[str, ...],
    jobs: int | None,
    study: str | None,
    explain: bool,
    nested: int | None,
    path_column: str | None,
    text_column: str | None,
    label_column: str | None,
    split_column: str | None,
    class_level: int | None,
    group_by: str | None,
    member: str | None,
    recipe_file: str | None,
    **options: Any,
) -> None:
    """Find the settings that suit a model and your data best.

    Each trial is a run of `zoo finetune` with other settings; bad ones end early. Heads train on features
    that are computed once. Options that are given hold for all trials, the others are searched. The same
    command again goes on; several at once share the work.
    """
    from zoo.choosing.tuning.tuner import tune as tune_model

    refuse_several("tune")
    context.find_target("tune", model, member=member, others=[data])
    recipe = None if recipe_file is None else find_recipe(recipe_file, report=context.report)
    with StopSignal() as stop:
        try:
            found = tune_model(
                model,
                data,
                out=out,
                trials=trials,
                minutes=minutes,
                deeper=deeper,
                over=[name for given in over for name in given.split(",") if name],
                jobs=jobs,
                study=study,
                explain=explain,
                nested=nested,
                registry=context.registry,
                store=context.store,
                path_column=path_column,
                text_column=text_column,
                label_column=label_column,
                split_column=split_column,
                class_level=class_level,
                group_by=group_by,
                member=member,
                report=context.report,
                stop_requested=stop,
                recipe=recipe,
                **options,
            )
        except InvalidRecipe as invalid:
            raise as_typed(invalid) from invalid
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise
    words = "zoo", "finetune", model, str(data), "--recipe", str(found.file)
    command = f"{' '.join(map(shlex.quote, words))}{typed_again(*DATA_OPTIONS, 'member')} --out run"
    context.sink.answer(found.facts(), lambda: "\n\n".join([*_parts(found), f"Next: {command}"]))


def _parts(found: Tuned) -> Iterator[str]:
    """How many trials, the best of them, what to expect, what mattered, where the pictures are."""
    ended = sum(trial.pruned for trial in found.trials)
    yield f"{len(found.trials):,} trials, {ended:,} of them ended early; {found.seconds:.1f} s"
    best = [trial for trial in found.trials if trial.score is not None][:_SHOWN]
    yield table([_row(found, trial) for trial in best], _COLUMNS, _FIT)
    yield "\n".join(_verdict(found))
    for lesson in found.lessons:
        rows = [_lesson_row(found, example) for example in lesson.examples]
        yield f"{lesson.title}\n{table(rows, {'setting': lesson.name, **_LESSON})}\n{lesson.text}"
    if found.pictures:
        yield "Pictures: " + ", ".join(map(str, found.pictures))


def _row(found: Tuned, trial: TrialFacts) -> dict[str, Any]:
    interval = found.interval(trial)
    return {
        "trial": trial.number,
        "value": f"{trial.metrics[found.headline]:.4f}",
        "interval": None if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "loss": f"{trial.loss:.4f}",
        "epochs": trial.epochs,
        "values": _settings(trial, found.usual),
    }


def _lesson_row(found: Tuned, example: Example) -> dict[str, Any]:
    last = example.last
    return {
        "setting": example.setting,
        "train": "" if last is None else f"{last.train_loss:.4f}",
        "val": example.fault if last is None else f"{last.val_loss:.4f}",
        "value": "" if last is None else f"{last.metrics[found.headline]:.4f}",
        "parameters": example.parameters,
        "seconds": f"{example.seconds:.2f}",
    }


def _settings(trial: TrialFacts, usual: TrialFacts | None) -> str:
    """The values of a trial that are not those that nobody tuned."""
    known = {} if usual is None else usual.values
    changed = [f"{n} {_short(value)}" for n, value in trial.values.items() if known.get(n) != value]
    return ", ".join(changed) or "untuned"


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _verdict(found: Tuned) -> Iterator[str]:
    """What to make of the table, in sentences."""
    best = found.best.metrics[found.headline]
    if found.usual is not None and found.usual.score is not None:
        yield f"Untuned: val {found.headline} {found.usual.metrics[found.headline]:.4f}; the best: {best:.4f}"
    if (expected := found.expected) is not None:
        low, high = expected.interval
        yield (
            f"Expected of the best on new items: {expected.accuracy:.4f} ({low:.3f} to {high:.3f}), by "
            f"{expected.how}"
        )
    if found.importances:
        shares = ", ".join(
            f"{name} {share:.0%}" for name, share in found.importances.items() if share >= 0.01
        )
        yield f"What the scores differ by: {shares}"


COMMANDS = {"tune": tune}
