"""`zoo.calibrate`: how far a run's answers can be believed, learned from items that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.scanning import scan_evaluation
from zoo.data.trained import leave_out_validated
from zoo.events import Report
from zoo.progress import usual_report
from zoo.runs.classifier import load_run_classifier
from zoo.runs.modalities.table import modality_of
from zoo.runs.record import read_record
from zoo.runs.using.calibrating import Calibrated, calibrate_run, refuse_uncalibratable
from zoo.store.names import default_store
from zoo.targets import RunFolder, accept, find_target

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.data.pixels.batches import OnBad
    from zoo.store.store import Store


def calibrate(
    run: str | Path,
    data: str | Path,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    on_bad: OnBad = "skip",
    report: Report | None = None,
) -> Calibrated:
    """Fit a temperature for a run's probabilities, and keep what sets and intervals are made of.

    It is kept in the run's folder, where predicting and evaluating find it; an earlier calibration is
    replaced. The answers themselves stay the same.

    Args:
        run: The folder of a run.
        data: Labelled images or texts that the run has not seen, a folder or a table, as for `evaluate`. What
            it was trained on, or chose its epoch by, is found by its content and left out.
        registry: Where the weights of the run may be found again; None for the default one.
        store: The store to keep files in; None for the default one.
        path_column: Column of a table that names the files.
        text_column: Column of a table that holds the texts.
        label_column: Column of a table that names the classes.
        split_column: Column of a table that names the parts, or "none".
        batch_size: Items at a time; None for what suits them.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        on_bad: "skip" leaves out what cannot be read, "stop" raises for the first.
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.

    Returns:
        What was kept, and how far probabilities could be believed before and after.

    Raises:
        UsageError: It is not a run, or one whose items may have several classes.
        DatasetError: The run has seen all items, or they are of one class.
        IntegrityError: A file is not what it should be.
    """
    store, report = store or default_store(), report or usual_report()
    target = accept(find_target(run, registry=registry, store=store), "zoo calibrate")
    assert isinstance(target, RunFolder)
    record, data = read_record(target.path), Path(data)
    refuse_uncalibratable(record.task, target.name)
    classifier = load_run_classifier(target.path, record, store=store, registry=registry, report=report)
    modality = modality_of(record.entry)
    found = scan_evaluation(
        data,
        classifier.classes,
        modality.kind,
        split=classifier.split,
        item_column=modality.choose_column(classifier.name, path_column, text_column),
        label_column=label_column,
        split_column=split_column,
        task=record.task.name,
        home=store.home,
    )
    assert classifier.split is not None
    items, notes = leave_out_validated(found.items, found.root, classifier.split, modality.kind, store.home)
    for note in (*found.notes, *notes):
        report(note)
    return calibrate_run(
        target.path,
        record,
        classifier,
        items,
        data,
        batch_size=batch_size,
        device=device,
        on_bad=on_bad,
        report=report,
    )
