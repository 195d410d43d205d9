"""Runs on images: a published network, its features of every photograph computed once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from adapters import freeze, frozen_fingerprint
from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Dataset, Item
from zoo.data.leaks import describe_leak
from zoo.data.names import one_line
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
from zoo.events import Note
from zoo.features.engine import Way
from zoo.features.extraction import FeatureTable
from zoo.features.lookalikes import choose_compared, find_resaved
from zoo.features.network import feature_precision
from zoo.features.provenance import provenance_of
from zoo.features.rows import Rows, new_rows, part_of, select_rows
from zoo.features.vectors import FeatureFile
from zoo.runs.classifier import (
    attach_recipe_head,
    build_start,
    image_model,
    put_adapter,
    take_over_low_rank,
)
from zoo.runs.folder import read_adapter
from zoo.runs.modalities.image_items import ImageItems
from zoo.runs.record import FeatureFacts
from zoo.runs.review import review_items
from zoo.runs.session import (
    VAL_BATCH,
    PreparedModel,
    Session,
    TrainingData,
    batches_of,
    compute_features,
    describe_views,
    wanted_way,
)
from zoo.store.disk.space import size_text
from zoo.training.batches import ImageBatches
from zoo.training.mixing import Mixing
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.strategies import Phase


def prepare(session: Session) -> PreparedModel:
    """The network of the plan, everything frozen, with its new head or with that of the earlier run."""
    plan, recipe, record = session.plan, session.recipe, session.plan.start_record
    if plan.features is None:
        _check_files(session, find_obvious(plan.dataset, plan.unusual))  # before anything is fetched
    sha256 = record.weights_sha256 if record else None
    if record is None and not recipe.from_scratch:
        sha256 = session.store.fetch(plan.entry, report=session.report).sha256
    network = build_start(
        plan.entry, sha256, store=session.store, registry=plan.registry, report=session.report
    )
    freeze(network)
    head = attach_recipe_head(network, plan.dataset.classes, recipe, plan.task)
    identity = sha256 or f"random {recipe.seed}"
    earlier: frozenset[str] = frozenset()
    frozen = frozen_fingerprint(network)
    if record is not None and plan.start is not None:
        state = read_adapter(plan.start, record).state
        put_adapter(network, state, record, plan.start)
        frozen = frozen_fingerprint(network)
        merged = take_over_low_rank(network, state, record, plan.start, recipe)
        frozen = frozen_fingerprint(network) if merged else frozen
        earlier = frozenset(state) | merged
        identity = record.adapter_sha256 if record.tuned else identity
    return PreparedModel(network, head, sha256, identity, earlier, frozen)


def open_items(
    session: Session,
    _model: PreparedModel,
    items: Sequence[Item],
    values: ValueRange | None = None,
    spill: Path | None = None,
) -> ImageItems:
    """The photographs as the network is asked about them. values: black and white of 16 bit and floats.
    spill: see `extract_features`."""
    return ImageItems(
        items,
        _input_of(session),
        workers=session.workers,
        on_bad=cast(OnBad, session.recipe.on_bad),
        values=values,
        processes=session.processes,
        spill=spill,
        report=session.report,
    )


def read_data(session: Session, model: PreparedModel) -> TrainingData:
    """Compute or find the features of every image of train and val; report bad files and leaks."""
    if session.plan.features is not None:
        return _read_vectors(session, model, session.plan.features)
    dataset = session.plan.dataset
    items = dataset.train + dataset.val
    values = _value_range(session)
    spill = session.spill(len(items), model.head.in_features)
    if spill is not None:
        session.report(_describe_spill(session, len(items) * model.head.in_features * 4))
    table = compute_features(session, model, open_items(session, model, items, values, spill))
    row_of = {items[place].path: row for row, place in enumerate(table.kept)}
    readable, bad = _check_files(session, table.bad), table.bad
    views = _compute_views(session, model, readable.train, values, spill, table.way)
    if views is not None and views.way != table.way:  # it did not agree there, and a head learns from one
        table = compute_features(session, model, open_items(session, model, items, values, spill), views.way)
        row_of = {items[place].path: row for row, place in enumerate(table.kept)}
    if views is not None and views.bad:  # they could be read a moment ago
        readable, bad = _check_files(session, bad + views.bad), bad + views.bad
    if (unusual := describe_traits(table.traits)) is not None:
        session.report(unusual)
    for note in readable.notes[len(dataset.notes) :]:
        session.report(note)
    count = len(readable.train)
    features = select_rows(table.rows, [row_of[item.path] for item in (*readable.train, *readable.val)])
    train, val = part_of(features, 0, count), part_of(features, count, len(features))
    resaved = find_resaved(readable.train, train, readable.val, val, _input_of(session))
    if resaved:
        looked_at = len(choose_compared(len(readable.train), len(readable.val)))
        part = "val" if looked_at == len(readable.val) else "val that were compared"
        session.report(describe_leak(resaved, part, looked_at))
    facts = _facts_of([table] if views is None else [table, views])
    return _training_data(session, readable, features, bad, values, views, facts)


def _facts_of(tables: Sequence[FeatureTable]) -> FeatureFacts:
    """How the features in some tables were computed, which is one way."""
    cosines = [table.cosine for table in tables if table.cosine is not None]
    way = tables[0].way
    return FeatureFacts(backend=way.backend, precision=way.precision, cosine=min(cosines, default=None))


def _describe_spill(session: Session, size: int) -> Note:
    """That features are read from a file, and what that changes."""
    size *= session.recipe.views
    enough = f"{max(1, -(-size // 10**6))}MB"
    return Note(
        f"{size_text(size)} of features are read from a file while the head is trained, "
        f"{size_text(session.held)} at a time, and shuffled in blocks",
        hint=f"In memory, if that has room for twice as much: ZOO_FEATURES_MEMORY={enough}",
    )


def _read_vectors(session: Session, model: PreparedModel, file: FeatureFile) -> TrainingData:
    """The features of train and val as a file has them. Raises DatasetError for those of another network."""
    values = None if file.about.values is None else ValueRange.from_facts(file.about.values)
    own = provenance_of(
        image_model(session.plan.entry),
        model.network,
        values=values,
        device=session.device.type,
        precision=feature_precision(session.recipe.precision),
    )
    if (remark := file.check(own, model.head.in_features)) is not None:
        session.report(remark)
    dataset = session.plan.dataset
    bad = [
        BadFile(item.path, file.bad[name])
        for item in dataset.train + dataset.val
        if (name := os.fspath(item.path)) in file.bad
    ]
    readable = _check_files(session, bad)
    for note in readable.notes[len(dataset.notes) :]:
        session.report(note)
    items = readable.train + readable.val
    spill, shape = session.spill(len(items), model.head.in_features), (len(items), model.head.in_features)
    features = torch.zeros(shape) if spill is None else new_rows(shape, spill)
    file.read_into(features, [item.path for item in items])
    session.report(Note(f"features of {one_line(file.path)}: no photograph is read"))
    if spill is not None:
        session.report(_describe_spill(session, features.nbytes))
    facts = FeatureFacts(backend=file.about.backend, precision=file.about.precision)
    return _training_data(session, readable, features, tuple(bad), values, facts=facts)


def _training_data(
    session: Session,
    readable: Dataset,
    features: Rows,
    bad: tuple[BadFile, ...],
    values: ValueRange | None,
    views: FeatureTable | None = None,
    facts: FeatureFacts | None = None,
) -> TrainingData:
    """What training takes of the items that have features. features: (train and val items, width)."""
    count = len(readable.train)
    train, val = part_of(features, 0, count), part_of(features, count, len(features))
    varied = None if views is None else views.stored or views.views
    if session.plan.task is SINGLE_LABEL:
        seen = (*readable.train, *readable.val)
        remark = review_items(readable, seen, features, session.plan.as_typed[1])
        if remark is not None:
            session.report(remark)
    return TrainingData(
        readable,
        batches_of(
            session,
            train,
            session.encode(readable.train),
            session.batch_size,
            shuffled=True,
            varied=varied,
        ),
        batches_of(session, val, session.encode(readable.val), VAL_BATCH, shuffled=False),
        bad,
        values=values,
        features=facts,
    )


def _compute_views(
    session: Session,
    model: PreparedModel,
    items: Sequence[Item],
    values: ValueRange | None,
    spill: Path | None,
    way: Way,
) -> FeatureTable | None:
    """The features of varied views of the training items, besides the plain ones; None where the recipe has
    one view. They depend on the content of an image and the number of the view alone, not on the seed of the
    run, so that runs of other seeds find them in the store. way: of the plain ones."""
    recipe = session.recipe
    if recipe.views == 1:
        return None
    precision, engine = wanted_way(session, way)
    table = open_items(session, model, items, values, spill).features(
        model.network,
        identity=model.identity,
        store_home=session.store.home,
        device=session.device,
        precision=precision,
        engine=engine,
        views=range(1, recipe.views),
        strength=recipe.augment,
    )
    session.report(describe_views(recipe.views, recipe.augment, table))
    return table


def _value_range(session: Session) -> ValueRange | None:
    """Black and white of images of 16 bit or floats: as the earlier run had them, or as the data have."""
    plan, record = session.plan, session.plan.start_record
    known = None if record is None else record.value_range
    paths = [item.path for item in plan.dataset.train + plan.dataset.val]
    looked_at = [path for path in paths if plan.unusual is None or path in plan.unusual]
    values = known or measure_range(looked_at, workers=session.recipe.workers)
    if values is not None:
        session.report(describe_range(values))
    return values


def _check_files(session: Session, bad: Sequence[BadFile]) -> Dataset:
    """The dataset without what cannot be read, as the recipe says; see `check_bad_files`."""
    on_bad = cast(OnBad, session.recipe.on_bad)
    return check_bad_files(session.plan.dataset, bad, on_bad, however_many=session.plan.skips_any)


def open_batches(
    session: Session, data: TrainingData, items: Sequence[Item], phase: Phase | None = None
) -> ImageBatches:
    """The photographs, decoded on the way: shuffled and varied for a phase, in order without one."""
    return ImageBatches(
        items,
        _input_of(session),
        session.batch_size,
        augmentation="none" if phase is None else phase.augment,
        erase=0.0 if phase is None else phase.erase,
        mixing=None if phase is None or not phase.mixes else _mixing_of(session, phase),
        targets=session.encode(items),
        seed=None if phase is None else session.recipe.seed,
        workers=session.workers,
        on_bad=session.recipe.on_bad,
        values=data.values,
        kept=0 if phase is None or phase.epochs == 1 else session.pixels // session.processes.local_world,
        device=session.device,
        share=session.processes.share,
        sampling=session.recipe.sampling,
        report=session.report,
    )


def _mixing_of(session: Session, phase: Phase) -> Mixing:
    """How a phase mixes images; a class becomes a row of shares first."""
    one_class = session.plan.task is SINGLE_LABEL
    return Mixing(phase.mixup, phase.cutmix, len(session.plan.dataset.classes) if one_class else None)


def _input_of(session: Session) -> ImageInput:
    """What the weights want to see."""
    return image_model(session.plan.entry).input
