"""Runs on images: a published network, its features of every photograph computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from adapters import freeze, frozen_fingerprint
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Dataset, Item
from zoo.data.leaks import describe_leak
from zoo.data.pixels.batches import (
    BadFile,
    OnBad,
    check_bad_files,
    describe_range,
    describe_traits,
    find_obvious,
    measure_range,
)
from zoo.data.pixels.ranges import ValueRange
from zoo.features.extraction import extract_features
from zoo.features.lookalikes import find_resaved
from zoo.features.network import feature_precision
from zoo.runs.classifier import attach_recipe_head, build_start, image_model, put_adapter
from zoo.runs.folder import read_adapter
from zoo.runs.session import VAL_BATCH, Features, PreparedModel, Session, batches_of
from zoo.training.batches import ImageBatches
from zoo.training.strategies import Phase


def prepare(job: Session) -> PreparedModel:
    """The network of the plan, everything frozen, with its new head or with that of the earlier run."""
    plan, recipe, record = job.plan, job.recipe, job.plan.start_record
    _check_files(job, find_obvious(plan.dataset))  # before anything is fetched
    sha256 = record.weights_sha256 if record else None
    if record is None and not recipe.from_scratch:
        sha256 = job.store.fetch(plan.entry, report=job.report).sha256
    network = build_start(plan.entry, sha256, store=job.store, report=job.report)
    freeze(network)
    head = attach_recipe_head(network, plan.dataset.classes, recipe)
    identity = sha256 or f"random {recipe.seed}"
    earlier: frozenset[str] = frozenset()
    if record is not None and plan.start is not None:
        state = read_adapter(plan.start, record)
        put_adapter(network, state, record, plan.start)
        earlier = frozenset(state)
        identity = record.adapter_sha256 if record.tuned else identity
    return PreparedModel(network, head, sha256, identity, earlier, frozen_fingerprint(network))


def extract(job: Session, start: PreparedModel) -> Features:
    """Read every image of train and val once, compute or find its features, report bad files and leaks."""
    dataset, on_bad = job.plan.dataset, cast(OnBad, job.recipe.on_bad)
    items = dataset.train + dataset.val
    values = _value_range(job)
    table = extract_features(
        start.network,
        items,
        input_of(job),
        backbone_sha256=start.identity,
        store_home=job.store.home,
        device=job.device,
        precision=feature_precision(job.recipe.precision),
        workers=job.recipe.workers,
        on_bad=on_bad,
        values=values,
        report=job.report,
    )
    features = {items[row].path: vector for row, vector in zip(table.kept, table.features, strict=True)}
    readable = _check_files(job, table.bad)
    if (unusual := describe_traits(table.traits)) is not None:
        job.report(unusual)
    for note in readable.notes[len(dataset.notes) :]:
        job.report(note)
    train, val = (
        torch.stack([features[item.path] for item in part]) for part in (readable.train, readable.val)
    )
    resaved = find_resaved(readable.train, train, readable.val, val, input_of(job))
    if resaved:
        job.report(describe_leak(resaved, "val", len(readable.val)))
    return Features(
        readable,
        batches_of(
            train, job.encode(readable.train), job.recipe.batch_size, job.device, seed=job.recipe.seed
        ),
        batches_of(val, job.encode(readable.val), VAL_BATCH, job.device),
        table.bad,
        values=values,
    )


def _value_range(job: Session) -> ValueRange | None:
    """Black and white of images of 16 bit or floats: as the earlier run had them, or as the data have."""
    record, dataset = job.plan.start_record, job.plan.dataset
    known = None if record is None else record.value_range
    values = known or measure_range(dataset.train + dataset.val, workers=job.recipe.workers)
    if values is not None:
        job.report(describe_range(values))
    return values


def _check_files(job: Session, bad: Sequence[BadFile]) -> Dataset:
    """The dataset without what cannot be read, as the recipe says; see `check_bad_files`."""
    on_bad = cast(OnBad, job.recipe.on_bad)
    return check_bad_files(job.plan.dataset, bad, on_bad, however_many=job.plan.skips_any)


def open_batches(
    job: Session, seen: Features, items: Sequence[Item], phase: Phase | None = None
) -> ImageBatches:
    """The photographs, decoded on the way: shuffled and varied for a phase, in order without one."""
    return ImageBatches(
        items,
        input_of(job),
        job.recipe.batch_size,
        augmentation="none" if phase is None else phase.augment,
        targets=job.encode(items),
        seed=None if phase is None else job.recipe.seed,
        workers=job.recipe.workers,
        on_bad=job.recipe.on_bad,
        values=seen.values,
        report=job.report,
    )


def input_of(job: Session) -> ImageInput:
    """What the weights want to see."""
    return image_model(job.plan.entry).input
