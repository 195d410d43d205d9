"""A model that is here: the value that every room above the store works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo.catalogue.entry import ModelEntry


@dataclass(frozen=True)
class LocalModel:
    """A model whose every byte was verified; the store makes no other.

    path: the file to read. It has no suffix: its format is told by its first bytes. Once the store keeps only
    a derived file (weights converted to safetensors), that one.
    sha256: of the file as it was published, also when `path` is derived from it: the model's identity.
    """

    entry: ModelEntry
    path: Path
    sha256: str
