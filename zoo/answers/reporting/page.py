"""The page about a run, as one HTML file: no script, no network, nothing beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.answers.judged import judge_data
from zoo.answers.reporting.data_view import view_data
from zoo.answers.reporting.plots import Material, check_plots, write_plot
from zoo.answers.reporting.sections import all_sections
from zoo.errors import StorageError, UsageError
from zoo.events import Report, silent
from zoo.progress import usual_report
from zoo.runs.run import Run, load_run

if TYPE_CHECKING:
    from zoo.store.store import Store

NAME = "report.html"
_OURS = '<meta name="generator" content="transfer-zoo report">'


def write_report(
    run: Run | str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    device: str = "auto",
    plots: Sequence[Path] = (),
    report: Report | None = None,
) -> Path:
    """Write one page that says what a run knows and where it fails; returns the file.

    Args:
        run: A run or its folder.
        data: Labelled items to measure it on: the data of the run, of which those are taken that it was not
            trained on, or others. None: the page has what the run folder knows, without pictures.
        out: The file. None: report.html in the run folder, where an earlier report is replaced.
        store: The store that has the weights; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item.
        class_level: Which level of folders is the classes.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        plots: Files for pictures of the page, each alone; the name says which: confusion.png. See PLOTS.
        report: Called with every event; None as for `zoo.finetune_model`.

    Raises:
        UsageError: There is no such run, or `out` is there and is not a report.
        DatasetError: The data cannot be read as labelled items.
        StorageError: The file cannot be written.
    """
    report = report or usual_report()
    run = run if isinstance(run, Run) else load_run(run, store=store, report=report)
    out = run.path / NAME if out is None else Path(out)
    check_report(out)
    check_plots(plots)
    reading = {
        "path_column": path_column,
        "text_column": text_column,
        "label_column": label_column,
        "split_column": split_column,
        "class_level": class_level,
    }
    material = _gather_material(run, data, device, report, reading)
    judged, view = material.judged, material.view
    for file in plots:
        write_plot(file, material)
    facts = dict(all_sections(run.record, run.history, judged, view))
    if judged is None:
        facts["missing"] = (
            f"Pictures, confusions and certainty need the data: zoo report {run.path.name} DATA"
        )
    write_page(out, render_page(facts))
    return out


def write_plots(
    run: Path,
    data: Path,
    plots: Sequence[Path],
    *,
    store: Store,
    device: str = "auto",
    report: Report = silent,
    **reading: Any,
) -> None:
    """Draw pictures of the page alone. Arguments and errors: see `write_report`."""
    check_plots(plots)
    material = _gather_material(load_run(run, store=store, report=report), data, device, report, reading)
    for file in plots:
        write_plot(file, material)


def _gather_material(
    run: Run, data: str | Path | None, device: str, report: Report, reading: Mapping[str, Any]
) -> Material:
    """What the page and its pictures are made of. reading: how the data are read."""
    if data is None:
        return Material(run.record, run.history, None, None)
    columns = {name: value for name, value in reading.items() if name != "class_level"}
    judged = judge_data(run.classifier, Path(data), store=run.store, device=device, report=report, **columns)
    view = view_data(
        run.record,
        judged,
        Path(data),
        store=run.store,
        device=device,
        report=report,
        reading={"class_level": None, **reading},
    )
    return Material(run.record, run.history, judged, view)


def render_page(facts: Mapping[str, Any]) -> str:
    """The page with these facts; names and texts of users are escaped."""
    from jinja2 import Environment

    template = Path(__file__).with_name("page.html.jinja").read_text("utf-8")
    return Environment(autoescape=True, trim_blocks=True).from_string(template).render(facts)


def check_report(out: Path) -> None:
    """Raise UsageError, before anything is computed, for a file that is there and is not a report, or has
    another ending."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a report ends with .html", hint=f"Like {out.stem or 'report'}.html")
    if not os.path.lexists(out):
        return
    try:
        with out.open(encoding="utf-8", errors="replace") as file:
            ours = _OURS in file.read(2_000)
    except OSError:
        ours = False
    if not ours:
        raise UsageError(
            f"{out} is there already, and is not a report", hint="Name another file: --out report.html"
        )


def write_page(out: Path, content: str) -> None:
    """Write the file beside and rename it. Raises StorageError."""
    draft = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(content, encoding="utf-8")
        draft.replace(out)
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written: {error.strerror}", hint="Name a file that you may write: --out"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
