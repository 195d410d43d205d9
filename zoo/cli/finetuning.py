"""The verb `finetune`. Its options are the fields of a Recipe, read from their table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, GroupedOption, ModelName, command, complete_from, license_option
from zoo.errors import Interrupted
from zoo.training.interruption import StopSignal
from zoo.training.recipe import FIELDS, Field
from zoo.training.tasks import TASKS

if TYPE_CHECKING:
    from zoo.runs.record import RunResult


HEADINGS = {
    "head": "Head",
    "training": "Training",
    "deeper": "Deeper stages",
    "texts": "Texts",
    "stopping": "Stopping",
    "data": "Data",
    "machine": "Machine",
}


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for every field of a Recipe. Values are checked by the recipe, all problems at once."""
    for field in reversed(FIELDS.values()):
        function = recipe_option(field)(function)
    return function


def recipe_option(field: Field) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option of one field; what is not typed stays None, so that the recipe's own default holds."""
    heading = HEADINGS[field.group]
    if field.kind is bool:
        both = field.default or field.optional
        names = f"{field.option}/{field.option.replace('--', '--no-', 1)}" if both else field.option
        return click.option(
            names, field.name, is_flag=True, default=None, help=field.doc, cls=GroupedOption, heading=heading
        )
    shown = "" if field.default is None else f"  [default: {field.default}]"
    metavar = "|".join((*(("N",) if field.kind is int else ()), *field.choices)) or None
    if metavar is None:
        metavar = {int: "N", float: "X", tuple: "N,N,…"}.get(field.kind)
    return click.option(
        field.option,
        field.name,
        metavar=metavar,
        shell_complete=complete_from(lambda _: field.choices),
        help=field.doc + shown,
        cls=GroupedOption,
        heading=heading,
    )


@command(
    "zoo finetune resnet50 photos/ --out run\n"
    "zoo finetune resnet50 photos/ --unfreeze 1 --out run-deeper\n"
    "zoo finetune glove-wiki-gigaword-100 reviews.csv --unfreeze all --out run-reviews"
)
@click.argument("model", type=ModelName())
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the run; never overwritten."
)
@click.option("--path-column", help="Column of a table that names the files.")
@click.option("--text-column", help="Column of a table that holds the texts.")
@click.option("--label-column", help="Column of a table that names the classes.")
@click.option("--split-column", metavar="NAME", help="Column of a table that names the parts, or none.")
@click.option("--class-level", type=int, metavar="N", help="Which level of folders is the classes (1).")
@click.option("--member", metavar="FILE", help="Which file of a .zip of word vectors.")
@click.option("--data-license", metavar="NAME", help="Licence of your data, for run.json: an SPDX name.")
@license_option
@recipe_options
def finetune(
    context: Context,
    model: str,
    data: Path,
    out: Path,
    path_column: str | None,
    text_column: str | None,
    label_column: str | None,
    split_column: str | None,
    class_level: int | None,
    member: str | None,
    data_license: str | None,
    **recipe: Any,
) -> None:
    """Train a pretrained model on your own folder.

    MODEL is a name of `zoo list`, or the folder of a run to go on from. DATA is a folder with train/ and
    val/, a folder with a folder per class, or a CSV/TSV with a path and a label column.

    Word vectors take texts: MODEL may be a file of them, and DATA a folder with a CLASS.txt per class (a text
    per line), folders of .txt files, or a CSV, TSV, JSONL or Parquet table with a text and a label column.
    """
    from zoo.runs.making.finetuning import finetune_model

    context.find_target("finetune", model, member=member, others=[data])
    with StopSignal() as stop:
        try:
            result = finetune_model(
                model,
                data,
                out=out,
                registry=context.registry,
                store=context.store,
                path_column=path_column,
                text_column=text_column,
                label_column=label_column,
                split_column=split_column,
                class_level=class_level,
                member=member,
                data_license=data_license,
                report=context.report,
                stop_requested=stop,
                **recipe,
            )
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise

    def human() -> str:
        why = ", stopped early" if result.stopped_early else ""
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        return (
            f"val {metrics}, loss {result.val_loss:.4f} "
            f"(epoch {result.best_epoch} of {result.epochs}{why}), {result.seconds:.1f} s\n"
            f"{result.trained_parameters:,} parameters trained; "
            f"{result.frozen_changed} of {result.frozen_tensors} frozen tensors changed\n"
            f"{beside(result)}"
            f"Next: zoo predict {result.run} FILES…"
        )

    context.sink.done(result.facts(), human)


def beside(result: RunResult) -> str:
    """What a baseline comes to, and which of the two is the better tool here; nothing without one."""
    if result.baseline is None:
        return ""
    task = TASKS[result.task]
    value = result.baseline.metrics[task.headline]
    better = task.is_better(value, result.metrics[task.headline])
    verdict = "; it is the better tool for these texts" if better else ""
    return f"{result.baseline.name} on the same split: {value:.4f}{verdict}\n"


COMMANDS = {"finetune": finetune}
