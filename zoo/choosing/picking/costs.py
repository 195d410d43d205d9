"""What an answer costs: milliseconds for an item, on this machine, without reading it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from zoo.choosing.picking.candidates import Candidate
from zoo.data.dataset import Item
from zoo.runs.classifier import load_classifier
from zoo.runs.modalities.table import modality_of_target
from zoo.store.store import Store
from zoo.targets import fetch_target, kind_of
from zoo.training.device import pick_device
from zoo.words.loading import load_words

_ITEMS = 16
_ROUNDS = 5


def milliseconds_per_item(
    candidate: Candidate,
    items: Sequence[Item],
    *,
    store: Store,
    device: str = "auto",
    member: str | None = None,
) -> float:
    """The least of five rounds over up to 16 items in one batch: what other programs do can only add."""
    items = items[:_ITEMS]
    if kind_of(candidate.target) in ("words", "vector file"):
        return _of_words(candidate, items, store, member)
    modality = modality_of_target(candidate.target)
    asking = modality.load_asking()
    classifier = load_classifier(candidate.target, store=store)
    positions, batch = next(
        iter(asking.read(modality.items_of(items), classifier, batch_size=_ITEMS).batches())
    )
    answer = asking.open_network(classifier.network, pick_device(device))
    answer(batch)  # the first call prepares the network
    return _least(lambda: answer(batch)) / len(positions)


def _of_words(candidate: Candidate, items: Sequence[Item], store: Store, member: str | None) -> float:
    from zoo.words.texts.pooling import embed_texts

    vectors = load_words(fetch_target(candidate.target, store), store, member=member)
    texts = [item.text or "" for item in items]
    return _least(lambda: embed_texts(vectors, texts)) / len(texts)


def _least(work: Callable[[], object]) -> float:
    """Milliseconds of the fastest round."""
    found = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return 1000 * min(found)
