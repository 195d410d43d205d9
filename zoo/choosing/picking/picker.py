"""`zoo pick`: from labelled items to the model that suits them best, within the minutes that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.choosing.data_kind import scan_any
from zoo.choosing.folds import fold_items, keep_together
from zoo.choosing.item_features import ItemFeatures, compute_item_features
from zoo.choosing.picking.candidates import Candidate, Wishes, find_candidates
from zoo.choosing.picking.choice import Choice, Expected, Ranked
from zoo.choosing.picking.clock import Clock
from zoo.choosing.picking.contest import Contest, See, Standing, fair_order
from zoo.choosing.picking.costs import milliseconds_per_item
from zoo.choosing.picking.probe import fit_probe
from zoo.choosing.picking.significance import correct_for_many, paired_p
from zoo.data.dataset import Dataset, Item
from zoo.data.pixels.batches import measure_range
from zoo.errors import DatasetError, TrainingStopped, UsageError
from zoo.events import Event, Progress, Report
from zoo.progress import usual_report
from zoo.runs.baseline import NAME, new_baseline
from zoo.runs.record import Baseline
from zoo.store.names import default_registry, default_store
from zoo.training.intervals import FEW, accuracy_interval
from zoo.words.texts.tokens import usual_tokenizer

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store

FEWEST = 2
"""Items that each class must have: with one, there is none that a model has not seen."""


def pick(
    data: str | Path,
    *,
    minutes: float = 10.0,
    models: Sequence[str | Path] = (),
    families: Sequence[str] = (),
    max_bytes: int | None = None,
    licenses: Sequence[str] = (),
    fetch: bool = False,
    registry: Registry | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    group_by: str | None = None,
    device: str = "auto",
    report: Report | None = None,
) -> Choice:
    """Rank pretrained models by what a linear probe of their features answers to items that it has not seen.

    The training and validation items are used, in five folds; the test items, if the data have some, are
    asked about once, at the end, of the best model. Features come from the store where they were computed
    before.

    Args:
        data: A folder or a table, as `zoo.finetune_model` takes it.
        minutes: The time that there is; the answer names what was not tried in it.
        models: Names of the models to compare; none for all that are downloaded and fit the data.
        families: Of these families only.
        max_bytes: With files of at most so many bytes only.
        licenses: Under these licences only.
        fetch: Download models that are not here, the most promising first.
        registry: The registry to find models in; None for the default one.
        store: The store to keep files and features in; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item.
        class_level: Which level of folders is the classes.
        group_by: A column of a table, or a regular expression that is matched with the items' paths below the
            root of the data: items with equal cells, or equal matches (of its first group, if it has one),
            belong together, and are drawn together: one patient, one video.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.

    Returns:
        The ranking, which differences are real, and the accuracy to be expected of the best.

    Raises:
        DatasetError: The data cannot be read as labelled items, or have too few of them.
        UsageError: There is no model to try, or a named one cannot be used.
        TrainingStopped: Not one model could be tried in the time.
    """
    if not minutes > 0:
        raise UsageError(f"minutes must be above 0, not {minutes:g}")
    clock = Clock(60 * minutes)
    store, report = store or default_store(), report or usual_report()
    registry = default_registry(store) if registry is None else registry
    dataset = scan_any(
        Path(data),
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        group_by=group_by,
    )
    items = _items_to_learn(dataset)
    wishes = Wishes(tuple(models), tuple(families), max_bytes, tuple(licenses), fetch)
    field = find_candidates(dataset.kind, wishes, registry=registry, store=store, report=report)
    values = measure_range(items) if dataset.kind.in_files else None

    def see(candidate: Candidate, items: Sequence[Item], report: Report) -> ItemFeatures:
        def progress(event: Event) -> None:  # the answer has the notes about the items, once
            if isinstance(event, Progress):
                report(event)

        return compute_item_features(
            candidate.target, items, store=store, device=device, values=values, report=progress
        )

    labels = np.array([item.label for item in items], dtype=np.int64)
    contest = Contest(
        items,
        labels,
        fold_items(labels, keep_together(items)),
        fair_order(labels),
        len(dataset.classes),
        clock,
        see,
        report,
    )
    contest.run(field.candidates)
    if not contest.finalists:
        raise _nothing_tried(contest, minutes)
    costs = _costs(contest, store, device, clock)
    ranking, differences = _rank(contest, costs, store)
    return Choice(
        dataset,
        ranking,
        differences,
        _expect(contest, dataset, see, report),
        {**contest.untried, **field.passed_over},
        int(contest.readable.sum()),
        float(np.bincount(labels[contest.readable]).max() / contest.readable.sum()),
        int((~contest.readable).sum()),
        None if dataset.kind.in_files else _measure_baseline(contest),
        clock.spent,
    )


def _items_to_learn(dataset: Dataset) -> Sequence[Item]:
    """The items of train and val, with which models are compared. Raises DatasetError for too few."""
    items = [*dataset.train, *dataset.val]
    counts = np.bincount([item.label for item in items], minlength=len(dataset.classes))
    if len(dataset.classes) < 2:
        raise DatasetError(
            f"{dataset.root} has one class, {dataset.classes[0]}: every model is right about it",
            hint="Add a second class.",
        )
    few = [name for name, count in zip(dataset.classes, counts, strict=True) if count < FEWEST]
    if few:
        raise DatasetError(
            f"{len(few):,} of {len(dataset.classes):,} classes have fewer than {FEWEST} items in train and "
            f"val: {', '.join(few[:3])}",
            hint="Collect more, or leave these classes out.",
        )
    return items


def _nothing_tried(contest: Contest, minutes: float) -> TrainingStopped:
    name, why = next(iter(contest.untried.items()), ("", "the time was over"))
    return TrainingStopped(
        f"not one model could be tried in {minutes:g} minutes: {name}: {why}",
        hint="Give it more time: --minutes; or smaller models: --max-size 20MB.",
    )


def _costs(contest: Contest, store: Store, device: str, clock: Clock) -> dict[str, float]:
    """Milliseconds for an item of each model that reached the end, as far as the time allows."""
    found: dict[str, float] = {}
    some = [contest.items[row] for row in contest.shown_to(contest.finalists[0])[:16]]
    for standing in contest.finalists:
        if clock.left < 0.03 * clock.seconds:
            break
        found[standing.name] = milliseconds_per_item(standing.candidate, some, store=store, device=device)
    return found


def _rank(
    contest: Contest, costs: Mapping[str, float], store: Store
) -> tuple[tuple[Ranked, ...], dict[tuple[str, str], float]]:
    """Every model that was tried: those that saw the most first, the more accurate before the others."""
    standings = [*contest.finalists, *contest.cut]
    p_values = {}
    for place, one in enumerate(standings):
        for other in standings[place + 1 :]:
            rows = contest.shown_to(one, other)
            p_values[one.name, other.name] = paired_p(one.right[rows], other.right[rows])
    differences = correct_for_many(p_values)
    best = contest.finalists[0]
    front = _front(contest, costs)

    def ranked(standing: Standing) -> Ranked:
        items, accuracy = len(contest.shown_to(standing)), contest.accuracy(standing)
        local = store.find(standing.candidate.entry)
        return Ranked(
            standing.candidate.entry,
            standing.name,
            accuracy,
            accuracy_interval(accuracy, items),
            items,
            differences.get((best.name, standing.name)),
            costs.get(standing.name),
            standing.candidate.entry.bytes if local is None else local.path.stat().st_size,
            standing not in contest.finalists,
            standing.name in front,
        )

    return tuple(map(ranked, standings)), differences


def _front(contest: Contest, costs: Mapping[str, float]) -> set[str]:
    """Names of the models that no other one beats in time and is at least as accurate as (Pareto)."""
    front: set[str] = set()
    best = -1.0
    timed = [standing for standing in contest.finalists if standing.name in costs]
    for standing in sorted(timed, key=lambda s: (costs[s.name], -contest.accuracy(s))):
        if (accuracy := contest.accuracy(standing)) > best:
            front.add(standing.name)
            best = accuracy
    return front


def _measure_baseline(contest: Contest) -> Baseline:
    """What TF-IDF with logistic regression answers to the same items, in the same folds."""
    rows = contest.shown_to(contest.finalists[0])
    texts, labels = [contest.items[row].text or "" for row in rows], contest.labels[rows]
    right = 0
    for fold in np.unique(contest.folds[rows]):
        held = contest.folds[rows] == fold
        if len(np.unique(labels[~held])) < 2:
            continue
        model = new_baseline(usual_tokenizer(lowercase=True))
        model.fit([text for text, out in zip(texts, held, strict=True) if not out], labels[~held])
        answers = model.predict([text for text, out in zip(texts, held, strict=True) if out])
        right += int((answers == labels[held]).sum())
    return Baseline(name=NAME, metrics={"accuracy": right / len(rows)})


def _expect(contest: Contest, dataset: Dataset, see: See, report: Report) -> Expected:
    """The accuracy of the best on new items: on the test part, which nothing has seen; else by nested
    cross-validation."""
    best = contest.finalists[0]
    rows = contest.shown_to(best)
    if not (asked := _test_items(dataset, best, contest.clock)):
        accuracy, count = contest.expect(), len(contest.finalists)
        how = f"nested cross-validation of the choice among {count:,}" if count > 1 else "cross-validation"
        return Expected(accuracy, accuracy_interval(accuracy, len(rows)), how)
    learned = see(best.candidate, [contest.items[row] for row in rows], report)
    found = see(best.candidate, asked, report)
    if not (items := len(found.items) + len(found.unknown)):
        raise DatasetError("none of the test items can be read", hint="See: zoo check DATA")
    probe = fit_probe(learned.features, learned.labels, len(dataset.classes))
    accuracy = float((probe(found.features) == found.labels).sum()) / items
    which = f"{items:,}" if len(asked) == len(dataset.test) else f"{items:,} of the {len(dataset.test):,}"
    return Expected(accuracy, accuracy_interval(accuracy, items), f"{which} test items, asked about once")


def _test_items(dataset: Dataset, best: Standing, clock: Clock) -> list[Item]:
    """As many of the test items as the time allows, a fair sample; none if they would say little."""
    fits = int(max(0.0, clock.left) / best.per_item) if best.per_item else len(dataset.test)
    if fits >= len(dataset.test):
        return list(dataset.test)
    order = fair_order(np.array([item.label for item in dataset.test], dtype=np.int64))
    return [dataset.test[row] for row in order[:fits]] if fits >= FEW else []
