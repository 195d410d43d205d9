"""What a frozen model sees in every item of a data set: the one step that check and pick stand on.

Features of images come from the store where they were computed before, by whatever verb.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zoo.catalogue.entry import ModelEntry
from zoo.data.dataset import Item
from zoo.data.pixels.ranges import ValueRange
from zoo.events import Report, silent
from zoo.features.engine import Engine
from zoo.runs.classifier import load_classifier
from zoo.runs.modalities.table import modality_of_target
from zoo.runs.using.embedding import embed_by_vectors
from zoo.store.store import Store
from zoo.targets import Model, fetch_target, kind_of
from zoo.training.device import pick_device
from zoo.words.loading import load_words


@dataclass(frozen=True)
class ItemFeatures:
    """What a frozen model sees in the items it can read.

    items: those that could be read and about which the model knows anything, in their order. features:
    (items, width) float32. unreadable: why the others could not be. unknown: texts without a known word.
    seconds: of the whole; from_cache: how many items cost nothing, for they were computed before.
    """

    entry: ModelEntry
    items: tuple[Item, ...]
    features: NDArray[np.float32]
    unreadable: Mapping[Item, str]
    unknown: tuple[Item, ...]
    seconds: float
    from_cache: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """(items,) the class of each."""
        return np.array([item.label for item in self.items], dtype=np.int64)


def compute_item_features(
    target: Model,
    items: Sequence[Item],
    *,
    store: Store,
    device: str = "auto",
    values: ValueRange | None = None,
    member: str | None = None,
    report: Report = silent,
) -> ItemFeatures:
    """The features of every item; a file that cannot be read is in `unreadable`, and ends nothing.

    target: a model for images or word vectors, as `accept` lets it through. values: black and white of images
    of 16 bit or floats. Raises what fetching and loading the model raise.
    """
    if kind_of(target) in ("words", "vector file"):
        return _of_texts(target, items, store, member, report)
    return _of_images(target, items, store, device, values, report)


def _of_images(
    target: Model, items: Sequence[Item], store: Store, device: str, values: ValueRange | None, report: Report
) -> ItemFeatures:
    modality = modality_of_target(target)
    classifier = replace(load_classifier(target, store=store, report=report), values=values)
    source = modality.load_asking().read(
        modality.items_of(items), classifier, batch_size=modality.batch_size, report=report
    )
    table = source.features(
        classifier.network,
        identity=classifier.identity,
        store_home=store.home,
        device=pick_device(device),
        engine=Engine("auto", store.home / "onnx"),
    )
    return ItemFeatures(
        classifier.entry,
        tuple(items[row] for row in table.kept),
        table.features.numpy(),
        {items[position]: reason for position, reason in source.failures.items()},
        (),
        table.seconds,
        table.from_cache,
    )


def _of_texts(
    target: Model, items: Sequence[Item], store: Store, member: str | None, report: Report
) -> ItemFeatures:
    started = time.perf_counter()
    local = fetch_target(target, store, report=report)
    vectors = load_words(local, store, member=member, report=report)
    modality = modality_of_target(target)
    found = embed_by_vectors(vectors, modality.items_of(items), report=report)
    assert found.known is not None
    known = found.known > 0
    return ItemFeatures(
        local.entry,
        tuple(item for item, is_known in zip(items, known, strict=True) if is_known),
        found.features[known],
        {},
        tuple(item for item, is_known in zip(items, known, strict=True) if not is_known),
        time.perf_counter() - started,
        0,
    )
