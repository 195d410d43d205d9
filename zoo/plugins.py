"""What a package that extends zoo imports. These names stay; where they are defined may change.

A URL scheme of one's own is a `Scheme`, an architecture an `Architecture`; an entry point names it:

    [project.entry-points."zoo.sources"]
    lab = "zoo_lab.source:SCHEME"              # a Scheme: lab://FOLDER/FILE in a registry

    [project.entry-points."zoo.architectures"]
    lab = "zoo_lab.networks:ARCHITECTURE"      # an Architecture: lab/NAME in a registry

`examples/zoo-lab` is a whole package with both. Importing this module imports no torch: names are resolved at
first use, so that the module of a scheme stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbones.architectures import Architecture as Architecture
    from zoo.backbones.architectures import Blueprint as Blueprint
    from zoo.errors import NetworkError as NetworkError
    from zoo.errors import UnknownName as UnknownName
    from zoo.errors import UsageError as UsageError
    from zoo.errors import ZooError as ZooError
    from zoo.store.remote import Remote as Remote
    from zoo.store.remote import Scheme as Scheme
    from zoo.store.remote import Wanted as Wanted

PUBLIC = {
    "Architecture": "zoo.backbones.architectures",
    "Blueprint": "zoo.backbones.architectures",
    "NetworkError": "zoo.errors",
    "Remote": "zoo.store.remote",
    "Scheme": "zoo.store.remote",
    "UnknownName": "zoo.errors",
    "UsageError": "zoo.errors",
    "Wanted": "zoo.store.remote",
    "ZooError": "zoo.errors",
}

__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'zoo.plugins' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
