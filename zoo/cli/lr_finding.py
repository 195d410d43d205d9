"""The verb `lr-find`. Its data and options are those of `finetune`."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from zoo.cli.chart import chart, in_ascii
from zoo.cli.command import Context, command
from zoo.cli.finetuning import as_typed, recipe_option, recipe_options
from zoo.cli.launching import refuse_several
from zoo.cli.options import (
    Choice,
    ModelName,
    class_level_option,
    column_options,
    group_by_option,
    option_words,
)
from zoo.cli.sink import table
from zoo.errors import Interrupted, InvalidRecipe
from zoo.training.interruption import StopSignal
from zoo.training.ready_recipes import find_recipe
from zoo.training.tasks import TASKS

if TYPE_CHECKING:
    from zoo.choosing.rates.finder import FoundRate

_OWN = ("from", "to", "steps", "rule", "plot", "as_json", "quiet", "debug")
_PIPE_WIDTH = 80
_WIDEST = 100
_WHERE = {
    "minimum/10": "a tenth of where the loss has fallen",
    "steepest": "where it falls fastest",
    "valley": "the middle of its fall",
    "rise/10": "a tenth of where it begins to rise",
}


@command(
    "zoo lr-find mobilenet_v2 photos/\n"
    "zoo lr-find mobilenet_v2 photos/ --unfreeze 1 --plot rates.png\n"
    "zoo finetune mobilenet_v2 photos/ --lr 0.0008 --out run"
)
@click.argument("model", type=ModelName())
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--from", "lowest", type=float, metavar="X", help="The rate of the first step.  [default: 1e-6]"
)
@click.option(
    "--to",
    "highest",
    type=float,
    metavar="X",
    help="The rate of the last step; it ends before, where the loss diverges.  [default: 10]",
)
@click.option("--steps", type=int, metavar="N", help="How many steps, of a batch each.  [default: 100]")
@click.option(
    "--rule", type=Choice("rule", lambda: [*_WHERE]), help="Whose rate is suggested.  [default: minimum/10]"
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the curve: FILE.png, .svg or .pdf.",
)
@column_options(several=True)
@class_level_option
@group_by_option
@click.option(
    "--task",
    type=Choice("task", lambda: [*TASKS]),
    help="What is learned: one class, several classes, or numbers of a table.  [default: single-label]",
)
@click.option("--member", metavar="FILE", help="Which file of a .zip of word vectors.")
@recipe_option
@recipe_options
def lr_find(
    context: Context,
    model: str,
    data: Path,
    lowest: float | None,
    highest: float | None,
    steps: int | None,
    rule: str | None,
    plot: Path | None,
    recipe_file: str | None,
    **options: Any,
) -> None:
    """Find the learning rate that suits a model and your data, by a range test.

    What `zoo finetune` would train is trained for some steps, each at a higher rate than the one before: the
    head, or with --unfreeze or --strategy the first phase that trains deeper stages, after the head. Nothing
    is kept of it.
    """
    refuse_several("lr-find")
    if plot is not None:
        from zoo.choosing.pictures import check_picture

        check_picture(plot)
    context.find_target("lr-find", model, member=options["member"], others=[data])
    recipe = None if recipe_file is None else find_recipe(recipe_file, report=context.report)
    from zoo.choosing.rates.finder import find_lr

    given: dict[str, Any] = {"lowest": lowest, "highest": highest, "steps": steps, "rule": rule}
    with StopSignal() as stop:
        try:
            found = find_lr(
                model,
                data,
                registry=context.registry,
                store=context.store,
                report=context.report,
                stop_requested=stop,
                recipe=recipe,
                **{name: value for name, value in given.items() if value is not None},
                **options,
            )
        except InvalidRecipe as invalid:
            raise as_typed(invalid) from invalid
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise
    if plot is not None:
        from zoo.choosing.rates.picture import draw_rates

        draw_rates(found, plot)
    following = _next_command(found)
    facts = found.facts() | {"next": following, **({} if plot is None else {"plot": str(plot)})}
    context.sink.answer(facts, lambda: "\n".join(_parts(found, following, plot)))


def _parts(found: FoundRate, following: str, plot: Path | None) -> Iterator[str]:
    """The curve, the rate of every rule, what to make of them, and what to type next."""
    steps, seconds = len(found.rates), found.seconds
    yield f"training loss against learning rate, phase {found.phase}: {steps} steps, {seconds:.1f} s"
    yield _drawn(found)
    yield ""
    if found.suggestions:
        rows = [
            {"rule": name, "rate": f"{rate:g}", "where": _WHERE[name]}
            for name, rate in found.suggestions.items()
        ]
        yield table(rows, {"rule": "RULE", "rate": "RATE", "where": "WHAT IT IS"})
        yield ""
    yield from _verdict(found)
    if plot is not None:
        yield f"Picture: {plot}"
    yield f"Next: {following}"


def _drawn(found: FoundRate) -> str:
    """The smoothed curve, as wide as the terminal, up to 100 columns; in ASCII where nobody looks."""
    from zoo.choosing.rates.finder import ceiling

    seen = sys.stdout.isatty()
    width = min(_WIDEST, shutil.get_terminal_size().columns) if seen else _PIPE_WIDTH
    marks = {} if found.suggestion is None else {f"{found.rule} {found.suggestion:g}": found.suggestion}
    return chart(found.rates, found.smoothed, width=width, top=ceiling(found), marks=marks, plain=in_ascii())


def _verdict(found: FoundRate) -> Iterator[str]:
    """What the curve does not say by itself."""
    if not found.suggestions:
        yield (
            "No rate is suggested: the loss neither falls nor rises by more than its noise. "
            f"The usual rate is {found.usual:g}."
        )
        return
    if [*found.suggestions] == ["rise/10"]:
        yield "The loss does not fall by more than its noise: there is little left to learn, and only the"
        yield "rate where it begins to rise can be read."
    if not found.diverged:
        yield f"The loss did not diverge up to a rate of {found.rates[-1]:g}: a higher one is --to."
    yield f"Suggested by {found.rule}: {found.option} {found.suggestion:g} (usual: {found.usual:g})"


def _next_command(found: FoundRate) -> str:
    """The command that trains at the suggested rate, with every option that was typed."""
    here = click.get_current_context()
    words = ["zoo", "finetune"]
    for parameter in here.command.params:
        name = parameter.name or ""
        value = here.params.get(name)
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif here.get_parameter_source(name) is ParameterSource.COMMANDLINE and parameter.opts[0] not in (
            found.option,
            *(f"--{own}" for own in _OWN),
            "--json",
        ):
            words += option_words(parameter, value)
    if found.suggestion is not None:
        words += [found.option, f"{found.suggestion:g}"]
    return " ".join([*map(shlex.quote, words), "--out", "run"])


COMMANDS = {"lr-find": lr_find}
