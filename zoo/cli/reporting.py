"""The verbs that show what runs know: runs, compare, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.options import (
    Choice,
    ModelName,
    class_level_option,
    column_options,
    device_option,
    plots_option,
)
from zoo.cli.sink import Fit, table
from zoo.data.listing import refuse_missing

if TYPE_CHECKING:
    from zoo.answers.comparing import Comparison
    from zoo.runs.listing import RunSummary

_RUNS = {
    "path": "RUN",
    "model": "MODEL",
    "data": "DATA",
    "strategy": "STRATEGY",
    "metric": "METRIC",
    "score": "SCORE",
    "interval": "95 % INTERVAL",
    "created": "WHEN",
    "size": "SIZE",
}
_RUNS_FIT = {
    "size": Fit.DROP,
    "strategy": Fit.DROP,
    "created": Fit.DROP,
    "interval": Fit.DROP,
    "data": Fit.PATH,
    "model": Fit.TEXT,
    "path": Fit.PATH,
}
_COMPARED_FIT = {
    "parameters": Fit.DROP,
    "size": Fit.DROP,
    "license": Fit.DROP,
    "seconds": Fit.DROP,
    "model": Fit.TEXT,
}
_MOST_CHANGED = 10
FILES = click.Path(path_type=Path)


@command(
    "zoo report run photos/\nzoo report run photos/ --out bees.html --plot confusion.png\nzoo report run"
)
@click.argument("run", metavar="RUN", type=ModelName())
@click.argument("data", type=FILES, required=False)
@click.option("--out", "-o", type=FILES, metavar="FILE.html", help="The file.  [default: RUN/report.html]")
@plots_option
@column_options(several=True)
@class_level_option
@device_option
def report(
    context: Context,
    run: str,
    data: Path | None,
    out: Path | None,
    plots: tuple[Path, ...],
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
        plots=plots,
        report=context.report,
    )
    context.sink.done({"report": str(written)}, lambda: f"{written}: open it in a browser")


def _sorts() -> list[str]:
    from zoo.runs.listing import SORTS

    return list(SORTS)


@command("zoo runs\nzoo runs experiments --sort score")
@click.argument("folder", type=FILES, default=".")
@click.option("--sort", type=Choice("order", _sorts), default="name", show_default=True)
def runs(context: Context, folder: Path, sort: str) -> None:
    """List the runs in and below a folder.

    The score is that of the validation items, with its 95 % interval: runs on other items cannot be ranked by
    it. On the same items: zoo compare.
    """
    from zoo.runs.listing import list_run_summaries

    found = list_run_summaries(folder, sort)
    context.sink.answer([row.facts for row in found], lambda: _list_runs(found, folder))


def _list_runs(found: list[RunSummary], folder: Path) -> str:
    if not found:
        return f"no runs in {folder}. Make one: zoo finetune MODEL DATA --out run"
    return table([_run_row(row) for row in found], _RUNS, _RUNS_FIT)


def _run_row(row: RunSummary) -> dict[str, Any]:
    from zoo.store.disk.space import size_text

    facts = row.facts
    state = "" if row.record is not None else "unfinished" if row.unfinished else "damaged"
    interval = facts.get("interval")
    return {
        "path": facts["path"],
        "model": facts.get("model") or state,
        "data": facts.get("data"),
        "strategy": facts.get("strategy"),
        "metric": facts.get("metric"),
        "score": None if row.score is None else f"{row.score:.4f}",
        "interval": None if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "created": facts.get("created", "")[:16].replace("T", " "),
        "size": size_text(row.bytes),
    }


@command("zoo compare run run-deeper photos/\nzoo compare run run-deeper photos/ --page changes.html")
@click.argument("run", metavar="RUN", nargs=-1, required=True, type=ModelName())
@click.argument("data", type=FILES)
@click.option("--page", type=FILES, metavar="FILE.html", help="Write the answers that differ, with pictures.")
@column_options(several=True)
@device_option
def compare(context: Context, run: tuple[str, ...], data: Path, page: Path | None, **options: Any) -> None:
    """Hold runs against each other on items that none of them was trained on.

    DATA is what they were trained on, or other labelled items. Says by how much each is better, whether that
    is more than chance, which answers differ, and what each costs.
    """
    from zoo.targets import RunFolder

    targets = [context.find_target("compare", name) for name in run]
    refuse_missing([data])
    from zoo.answers.changes_page import render_changes
    from zoo.answers.comparing import compare as compare_runs
    from zoo.answers.reporting.page import check_report, write_page

    if page is not None:
        check_report(page)
    folders = [target.path for target in targets if isinstance(target, RunFolder)]
    found = compare_runs(folders, data, store=context.store, report=context.report, **options)
    if page is not None:
        write_page(page, render_changes(found))
    context.sink.answer(found.facts, lambda: "\n\n".join(_compared(found, page)))


def _compared(found: Comparison, page: Path | None) -> Iterator[str]:
    """The runs with what they cost, the differences, the items that are answered differently."""
    from zoo.answers.changes_page import describe_difference
    from zoo.store.disk.space import size_text

    left = f"; {found.left_out:,} that one of them was trained on are left out" if found.left_out else ""
    yield f"{found.items:,} items that none of the runs was trained on{left}"
    rows = [
        {
            "name": each.name,
            "model": each.run.record.model["name"],
            "score": f"{each.score:.4f}",
            "interval": None if each.interval is None else "{:.4f} to {:.4f}".format(*each.interval),
            "seconds": f"{each.run.record.result.seconds:.0f} s",
            "parameters": f"{each.run.record.result.trained_parameters:,}",
            "size": size_text(each.bytes),
            "license": each.run.record.entry.license,
        }
        for each in found.runs
    ]
    columns = {
        "name": "RUN",
        "model": "MODEL",
        "score": found.metric.upper(),
        "interval": "95 % INTERVAL",
        "seconds": "TRAINED IN",
        "parameters": "PARAMETERS",
        "size": "SIZE",
        "license": "LICENCE",
    }
    yield table(rows, columns, _COMPARED_FIT)
    yield "\n".join(describe_difference(each) for each in found.differences)
    if found.changed:
        names = [each.name for each in found.runs]
        lines = [
            {
                "path": one.path,
                "label": one.label,
                **{name: "{} {:.3f}".format(*one.answers[name]) for name in names},
            }
            for one in found.changed[:_MOST_CHANGED]
        ]
        rest = len(found.changed) - _MOST_CHANGED
        more = f"\n… and {rest:,} more: --page changes.html" if rest > 0 and page is None else ""
        heads = {"path": f"{len(found.changed):,} ANSWERS DIFFER", "label": "CLASS"}
        yield table(lines, heads | {name: name for name in names}, {"path": Fit.PATH}) + more
    if page is not None:
        yield f"{page}: open it in a browser"


COMMANDS = {"runs": runs, "compare": compare, "report": report}
