"""What accuracy to expect of what a search found, on items that had no part in it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo.choosing.folds import fold_items, keep_together
from zoo.choosing.picking.choice import Expected
from zoo.choosing.tuning.answer import read_trials
from zoo.choosing.tuning.bench import Bench
from zoo.choosing.tuning.search import Search, count_finished
from zoo.choosing.tuning.storage import new_study
from zoo.data.dataset import Dataset, Item
from zoo.events import Note, Progress, Report, silent
from zoo.runs.making.trainer import train_run
from zoo.runs.run import load_run
from zoo.training.intervals import accuracy_interval
from zoo.training.recipe import Recipe, resolve


def expect_on_test(search: Search, recipe: Recipe, report: Report) -> Expected | None:
    """The accuracy of the best recipe on the test items: trained again, as `zoo finetune` would, and asked
    about them once. None where none of them can be read."""
    right, asked = _measure(search, recipe, report)
    if not asked:
        return None
    interval = accuracy_interval(right / asked, asked)
    return Expected(right / asked, interval, f"the {asked:,} test items, asked about once")


def expect_nested(search: Search, folds: int, report: Report) -> Expected | None:
    """The accuracy of what such a search finds: repeated for each fold on the others, and measured on it.

    In each, one more fold validates, and the rest is trained on: fewer items than in the search itself, so
    that the figure is rather too low than too high. None if it was interrupted, which is reported.
    """
    plan = search.bench.session.plan
    items = [*plan.dataset.train, *plan.dataset.val]
    labels = np.array([item.label for item in items], dtype=np.int64)
    numbers = fold_items(labels, keep_together(items), folds=folds, seed=plan.recipe.seed)
    right = asked = 0
    present = sorted(set(numbers.tolist()))
    for place, fold in enumerate(present):
        report(Progress("nested searches", place, len(present), "folds"))
        inner = _without(search, _parted(plan.dataset, items, numbers.tolist(), fold, present))
        inner.run()
        trials = read_trials(inner.study)
        if inner.interrupted or not trials or trials[0].score is None:
            report(Note("the nested searches were stopped: they say nothing", level="warning"))
            return None
        found = _measure(inner, inner.space.recipe(trials[0].values), silent)
        right, asked = right + found[0], asked + found[1]
    report(Progress("nested searches", len(present), len(present), "folds"))
    if not asked:
        return None
    how = f"nested cross-validation: the search repeated in {len(present)} folds"
    return Expected(right / asked, accuracy_interval(right / asked, asked), how)


def _parted(
    dataset: Dataset, items: Sequence[Item], numbers: Sequence[int], fold: int, folds: Sequence[int]
) -> Dataset:
    """The dataset with one fold as its test part, the next one to validate with, the rest to train on."""
    following = folds[(folds.index(fold) + 1) % len(folds)]
    parts: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    for item, number in zip(items, numbers, strict=True):
        parts["test" if number == fold else "val" if number == following else "train"].append(item)
    return dataset.with_parts(train=parts["train"], val=parts["val"], test=parts["test"])


def _without(search: Search, dataset: Dataset) -> Search:
    """The same search on other parts of the items, of as many trials, with a study that is kept nowhere."""
    session = search.bench.session
    session = replace(session, plan=replace(session.plan, dataset=dataset), report=silent)
    return replace(
        search,
        study=new_study(),
        new=True,
        bench=Bench(session),
        trials=count_finished(search.study),
        deadline=None,
        report=silent,
    )


def _measure(search: Search, recipe: Recipe, report: Report) -> tuple[int, int]:
    """Of the test items: how many a run of that recipe answers rightly, and how many can be read."""
    session = search.bench.session
    with tempfile.TemporaryDirectory(prefix="zoo-tune-") as place:
        plan = replace(session.plan, recipe=resolve(recipe, search.space.kind), out=Path(place) / "run")
        train_run(plan, store=session.store, report=silent, stop_requested=session.stop_requested)
        run = load_run(plan.out, store=session.store, report=report)
        items, classes = plan.dataset.test, plan.dataset.classes
        asked = [item.path if item.text is None else item.text for item in items]
        answers = run.predict(asked, device=plan.recipe.device)
    found = [(a, item) for a, item in zip(answers, items, strict=True) if a.error is None]
    return sum(a.label == classes[item.label] for a, item in found), len(found)
