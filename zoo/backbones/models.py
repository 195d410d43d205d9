"""A name becomes something that one can use: a network in eval mode, or word vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.catalogue.entry import WordModel
from zoo.events import Report, silent
from zoo.store.obtaining import default_store, find_model

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


def load_model(
    name: str, *, registry: Registry | None = None, store: Store | None = None, report: Report = silent
) -> Any:
    """The pretrained network of a name, verified, float32, in eval mode, its facts at `.zoo_entry`.

    Inputs are (batch, 3, size, size), preprocessed as `.zoo_entry.input` says; outputs (batch, classes).
    Word vectors come as an object with gensim's KeyedVectors interface instead.
    """
    store = store or default_store()
    entry = find_model(name, registry=registry, store=store)
    local = store.fetch(entry, report=report)
    if isinstance(entry, WordModel):
        from zoo.words.loading import load_words

        return load_words(local, store, report=report)
    from zoo.backbones.loading import load_backbone

    return load_backbone(local, store, report=report)
