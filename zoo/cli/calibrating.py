"""`zoo calibrate`: how far a run's answers can be believed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.evaluating import CALIBRATION_COLUMNS, calibration_row
from zoo.cli.launching import refuse_several
from zoo.cli.options import ModelName, column_options
from zoo.cli.sink import table
from zoo.cli.using import FILES, compute_options
from zoo.data.listing import refuse_missing

if TYPE_CHECKING:
    from zoo.runs.using.calibrating import Calibrated


@command("zoo calibrate run new-photos/\nzoo predict run photo.jpg --sets 0.95")
@click.argument("run", metavar="RUN", type=ModelName())
@click.argument("data", type=FILES)
@column_options(several=True)
@compute_options
def calibrate(context: Context, run: str, data: Path, **options: Any) -> None:
    """Make a run's probabilities honest, from labelled data that it has not seen.

    Fits a temperature and keeps what sets of classes are made of (zoo predict --sets 0.95); of numbers,
    intervals. DATA is what zoo evaluate takes; what the run was trained on, or chose its best epoch by, is
    left out. The answers themselves stay the same.
    """
    refuse_several("calibrate")
    context.find_target("calibrate", run, others=[data])
    refuse_missing([data])
    context.sink.details = False
    from zoo.answers.calibrating import calibrate as act

    found = act(run, data, store=context.store, registry=context.registry, report=context.report, **options)
    context.sink.answer(facts_of(found), lambda: describe(found, run))


def facts_of(found: Calibrated) -> dict[str, Any]:
    """What was kept as plain JSON values, without the thousands of scores."""
    from zoo.training.calibration import highest_level

    calibration = found.calibration
    return {
        "items": calibration.items,
        "temperature": calibration.temperature,
        "problem": calibration.problem,
        "highest_sets": highest_level(calibration.items),
        "before": None if found.before is None else asdict(found.before),
        "after": None if found.after is None else asdict(found.after),
    }


def describe(found: Calibrated, run: str) -> str:
    """The same in sentences and a table."""
    from zoo.training.calibration import highest_level

    calibration = found.calibration
    lines = []
    if found.before is not None and found.after is not None:
        change = "too sure" if calibration.temperature > 1 else "not sure enough"
        lines.append(
            f"temperature {calibration.temperature:.3g} from {calibration.items:,} items: "
            f"the probabilities were {change}"
        )
        rows = [calibration_row("before", found.before), calibration_row("after", found.after)]
        lines.append(table(rows, CALIBRATION_COLUMNS))
    elif calibration.problem is not None:
        lines.append(f"probabilities stay as they are: {calibration.problem}")
    what = "sets of classes" if found.before is not None else "intervals"
    level = highest_level(calibration.items)
    shown = 0.95 if level >= 0.95 else level
    lines.append(f"{what} up to {level:g}: zoo predict {run} FILES --sets {shown:g}")
    return "\n".join(lines)


COMMANDS = {"calibrate": calibrate}
