"""A name becomes something that one can use: a network in eval mode, or word vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.catalogue.entry import WordModel
from zoo.errors import UsageError
from zoo.events import Report, silent
from zoo.store.names import default_registry, default_store, find_model
from zoo.words.own_files import find_file

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


def load_model(
    name: str,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    report: Report = silent,
    precision: str | None = None,
    strict: bool = False,
    member: str | None = None,
) -> Any:
    """The pretrained network of a name, verified, float32, in eval mode, its facts at `.zoo_entry`.

    Inputs are (batch, 3, size, size), preprocessed as `.zoo_entry.input` says; outputs (batch, classes).
    Word vectors come as an object with gensim's KeyedVectors interface instead. Their name may also be the
    path of a file, and precision ("float16"), strict and member (of a .zip) are for them alone: see
    `zoo.words.loading.load_words`.
    """
    store = store or default_store()
    registry = default_registry(store) if registry is None else registry
    local = find_file(name, store, registered=registry, member=member, report=report)
    if local is None:
        entry = find_model(name, registry=registry, store=store)
        if not isinstance(entry, WordModel) and (precision or strict or member):
            raise UsageError(f"precision, strict and member are for word vectors: {name} is {entry.task}")
        local = store.fetch(entry, report=report)
    if isinstance(local.entry, WordModel):
        from zoo.words.loading import load_words

        return load_words(local, store, precision=precision, strict=strict, member=member, report=report)
    from zoo.backbones.loading import load_backbone

    return load_backbone(local, store, report=report)
