"""The verb `pick`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.finetuning import describe_result
from zoo.cli.options import (
    DATA_OPTIONS,
    ModelName,
    class_level_option,
    column_options,
    complete_from,
    device_option,
    entries_to_complete,
    group_by_option,
    typed_again,
)
from zoo.cli.sink import Fit, many, table
from zoo.errors import Interrupted, UsageError
from zoo.events import Note
from zoo.store.disk.space import size_text
from zoo.training.interruption import StopSignal

if TYPE_CHECKING:
    from zoo.choosing.picking.choice import Choice, Ranked
    from zoo.runs.record import RunResult

_COLUMNS = {
    "model": "MODEL",
    "accuracy": "ACCURACY",
    "interval": "95 % INTERVAL",
    "verdict": "BESIDE THE BEST",
    "milliseconds": "MS/ITEM",
    "size": "SIZE",
    "license": "LICENCE",
    "items": "ITEMS",
}
_FIT = {"items": Fit.DROP, "license": Fit.DROP, "size": Fit.DROP, "milliseconds": Fit.DROP, "model": Fit.PATH}
_MOST_REASONS = 4


@command(
    "zoo pick photos/ --minutes 5\n"
    "zoo pick photos/ --fetch --max-size 50MB --plot models.png\n"
    "zoo pick reviews.csv --finetune --out run"
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long it may take.")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=ModelName(),
    metavar="MODEL",
    help="Compare these and no others; repeatable.  [default: all that are downloaded]",
)
@click.option(
    "--families",
    multiple=True,
    metavar="NAME,…",
    shell_complete=complete_from(lambda ctx: sorted({e.family for e in entries_to_complete(ctx)})),
    help="Of these families only: resnet,mobilenet.",
)
@click.option("--max-size", metavar="SIZE", help="With files of at most this size only: 50MB.")
@click.option("--license", "licenses", multiple=True, metavar="NAME,…", help="Under these licences only.")
@click.option("--fetch", is_flag=True, help="Download models that are not here, as the time allows.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw accuracy against time (.png, .svg, .pdf).",
)
@click.option("--finetune", is_flag=True, help="Then train the best one; needs --out.")
@click.option("--out", type=click.Path(path_type=Path), metavar="RUN", help="Folder of that run.")
@column_options()
@class_level_option
@group_by_option
@device_option
def pick(
    context: Context,
    data: Path,
    minutes: float,
    models: tuple[str, ...],
    families: tuple[str, ...],
    max_size: str | None,
    licenses: tuple[str, ...],
    fetch: bool,
    plot: Path | None,
    finetune: bool,
    out: Path | None,
    path_column: str | None,
    text_column: str | None,
    label_column: str | None,
    split_column: str | None,
    class_level: int | None,
    group_by: str | None,
    device: str,
) -> None:
    """Find the model that suits your data best, in minutes.

    Each model sees the items once, frozen; a linear probe of its features is asked about items that it has
    not seen. Models that are far behind see few items. DATA is what `zoo finetune` takes.
    """
    from zoo.catalogue.search import parse_size

    if finetune != (out is not None):
        raise UsageError(
            "--finetune needs --out, and --out needs --finetune",
            hint=f"Train the best one: zoo pick {shlex.quote(str(data))} --finetune --out run",
        )
    if out is not None:
        from zoo.runs.folder import refuse_existing

        refuse_existing(out)
    max_bytes = None if max_size is None else parse_size(max_size)
    for name in models:
        context.find_model("pick", name)
    if plot is not None:
        from zoo.choosing.pictures import check_picture

        check_picture(plot)
    columns: Any = {
        "path_column": path_column,
        "text_column": text_column,
        "label_column": label_column,
        "split_column": split_column,
        "class_level": class_level,
        "group_by": group_by,
    }
    from zoo.choosing.picking.picker import pick as pick_model

    choice = pick_model(
        data,
        minutes=minutes,
        models=models,
        families=[name for given in families for name in given.split(",") if name],
        max_bytes=max_bytes,
        licenses=licenses,
        fetch=fetch,
        registry=context.registry,
        store=context.store,
        device=device,
        report=context.report,
        **columns,
    )
    if plot is not None:
        from zoo.choosing.picking.picture import draw_choice

        draw_choice(choice, plot)
    facts, trained = choice.facts(), None
    if out is not None:
        trained = _train(context, choice, data, out, device, columns)
        facts["run"] = trained.facts()

    named, reading = shlex.join([choice.best.name, str(data)]), typed_again(*DATA_OPTIONS)

    def human() -> str:
        parts = [*_parts(choice)]
        if plot is not None:
            parts.append(f"{plot}: accuracy against time")
        parts.append(
            describe_result(trained)
            if trained is not None
            else f"Next: zoo finetune {named}{reading} --out run"
        )
        return "\n\n".join(parts)

    context.sink.answer(facts, human)


def _train(
    context: Context, choice: Choice, data: Path, out: Path, device: str, columns: dict[str, Any]
) -> RunResult:
    """Train the best model. Ctrl-C keeps its best epoch, as it does in `zoo finetune`."""
    from zoo.runs.making.finetuning import finetune_model

    best = choice.best
    context.report(Note(f"{best.name} is best, with {best.accuracy:.4f}: training it"))
    with StopSignal() as stop:
        try:
            return finetune_model(
                best.name,
                data,
                out=out,
                registry=context.registry,
                store=context.store,
                report=context.report,
                stop_requested=stop,
                device=device,
                **columns,
            )
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise


def _parts(choice: Choice) -> Iterator[str]:
    """What the data are, the ranking, what to expect, what was not tried."""
    data = choice.dataset
    lost = f", {choice.unreadable:,} cannot be read" if choice.unreadable else ""
    yield (
        f"{data.kind.count(choice.items)} of {len(data.classes):,} classes{lost}; "
        f"{many(len(choice.ranking), 'model')}, {choice.seconds:.1f} s"
    )
    yield table([_row(row) for row in choice.ranking], _COLUMNS, _FIT)
    yield "\n".join(_verdict(choice))


def _row(row: Ranked) -> dict[str, Any]:
    return {
        "model": row.name,
        "accuracy": f"{row.accuracy:.3f}",
        "interval": f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
        "verdict": row.verdict,
        "milliseconds": None if row.milliseconds is None else round(row.milliseconds, 2),
        "size": size_text(row.bytes),
        "license": row.entry.license,
        "items": row.items,
    }


def _verdict(choice: Choice) -> Iterator[str]:
    """What to make of the table, in sentences."""
    expected = choice.expected
    low, high = expected.interval
    yield (
        f"Expected of the best on new items: {expected.accuracy:.3f} ({low:.3f} to {high:.3f}), by "
        f"{expected.how}; always the most frequent class: {choice.majority:.3f}"
    )
    if (baseline := choice.baseline) is not None:
        value = baseline.metrics["accuracy"]
        better = "; it is the better tool for these texts" if value > choice.best.accuracy else ""
        yield f"{baseline.name}, without any vectors, on the same items: {value:.3f}{better}"
    if low <= choice.majority:
        yield "That is no better than always answering one class: see zoo check, or collect more."
    faster, best = choice.fastest_as_good, choice.best
    if faster is not best and faster.milliseconds and best.milliseconds:
        yield f"May be as good, {best.milliseconds / faster.milliseconds:.1f} times as fast: {faster.name}"
    if any(row.cut for row in choice.ranking):
        yield "Models that were far behind, or slow, were shown fewer items."
    reasons = Counter(choice.untried.values())
    for why, count in reasons.most_common(_MOST_REASONS):
        names = [name for name, reason in choice.untried.items() if reason == why]
        yield f"Not tried, {why}: {', '.join(names[:3])}{f' and {count - 3:,} more' if count > 3 else ''}"


COMMANDS = {"pick": pick}
