"""A stored model: the value that every room above the store works with."""

from __future__ import annotations

from pathlib import Path

import msgspec

from zoo.catalogue.entry import ModelEntry


class LocalModel(msgspec.Struct, frozen=True):
    """A model of which every byte was verified; only the store makes these.

    path: the file to read. It has no suffix: its format is detected from its first bytes. If the store keeps
    only a derived file (weights converted to safetensors), it is that one.
    sha256: of the file as it was published, even if `path` is derived from it: the model's identity.
    """

    entry: ModelEntry
    path: Path
    sha256: str
