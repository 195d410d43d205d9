"""The registry and the store that the environment names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


def default_registry(store: Store | None = None) -> Registry:
    """The shipped registry, those of $ZOO_REGISTRY, and those of bundles in the store."""
    from zoo.catalogue.registry import load_registry

    return load_registry(bundled=(store or default_store()).registries)


def default_store() -> Store:
    """The store at $ZOO_HOME."""
    from zoo.store.store import open_store

    return open_store()
