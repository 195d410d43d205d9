"""The verb `report`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli.command import Context, command
from zoo.cli.options import ModelName
from zoo.data.listing import refuse_missing

FILES = click.Path(path_type=Path)


@command("zoo report run photos/\nzoo report run photos/ --out bees.html\nzoo report run")
@click.argument("run", metavar="RUN", type=ModelName())
@click.argument("data", type=FILES, required=False)
@click.option("--out", "-o", type=FILES, metavar="FILE.html", help="The file.  [default: RUN/report.html]")
@click.option("--path-column", help="Column of a table that names the files.")
@click.option("--text-column", help="Column of a table that holds the texts.")
@click.option("--label-column", metavar="NAME,…", help="Column of a table that names the classes.")
@click.option("--split-column", metavar="NAME", help="Column of a table that names the parts, or none.")
@click.option("--class-level", type=int, metavar="N", help="Which level of folders is the classes (1).")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N|mps",
    help="Where to compute.",
)
def report(
    context: Context,
    run: str,
    data: Path | None,
    out: Path | None,
    path_column: str | None,
    text_column: str | None,
    label_column: str | None,
    split_column: str | None,
    class_level: int | None,
    device: str,
) -> None:
    """Write one page about a run: how good it is, where it fails, how to repeat it.

    DATA is what the run was trained on, or other labelled items; of the former, what it has not seen is
    measured. The page is one HTML file that needs no network.
    """
    from zoo.targets import RunFolder

    target = context.find_target("report", run, others=[] if data is None else [data])
    assert isinstance(target, RunFolder)
    if data is not None:
        refuse_missing([data])
    from zoo.answers.reporting.page import NAME, check_report, write_report

    check_report(target.path / NAME if out is None else out)
    written = write_report(
        target.path,
        data,
        out=out,
        store=context.store,
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        device=device,
        report=context.report,
    )
    context.sink.done({"report": str(written)}, lambda: f"{written}: open it in a browser")


COMMANDS = {"report": report}
