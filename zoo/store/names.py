"""From a name to verified bytes: the registry finds the entry, the store fetches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.catalogue.entry import ModelEntry
from zoo.events import Report, silent
from zoo.store.local import LocalModel

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


def find_model(name: str, *, registry: Registry | None = None, store: Store | None = None) -> ModelEntry:
    """The entry of a curated name, `timm/TAG`, `torchvision/ARCH.WEIGHTS` or `hf://OWNER/REPO[@REVISION]`.

    Only a name that starts with `hf://` needs the network. Raises UnknownModel with the close names.
    """
    if name.startswith("hf://"):
        from zoo.store.sources.hub_model import entry_from_hub

        store = store or default_store()
        return entry_from_hub(name, store, settings=store.settings, offline=store.offline)
    return (default_registry(store) if registry is None else registry).find(name)


def fetch_model(
    name: str,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    report: Report = silent,
) -> LocalModel:
    """The model's file, downloaded if it is not in the store yet, every byte verified.

    Raises UnknownModel, NetworkError, IntegrityError or StorageError; a wrong file never gets a name.
    """
    store = store or default_store()
    return store.fetch(find_model(name, registry=registry, store=store), report=report)


def default_registry(store: Store | None = None) -> Registry:
    """The shipped registry, those of $ZOO_REGISTRY, and what bundles brought into the store."""
    from zoo.catalogue.registry import load_registry

    return load_registry(bundled=(store or default_store()).registries)


def default_store() -> Store:
    """The store at $ZOO_HOME."""
    from zoo.store.store import open_store

    return open_store()
