"""The facts of a Hub repository as first seen: so its name means the same weights tomorrow, and offline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from zoo.catalogue.entry import ImageModel
from zoo.errors import InvalidRegistry
from zoo.store.disk.blobs import remove_file, write_whole


def read_hub_entry(home: Path, repo_url: str) -> ImageModel | None:
    """The stored entry; None if there is none, or if it cannot be read any more."""
    from zoo.catalogue.validation import entry_from

    try:
        entry = entry_from(repo_url, json.loads(_entry_file(home, repo_url).read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError, InvalidRegistry):
        return None
    return entry if isinstance(entry, ImageModel) else None


def keep_hub_entry(home: Path, entry: ImageModel) -> None:
    """Store an entry, atomically."""
    from zoo.catalogue.validation import entry_to_mapping

    content = json.dumps(entry_to_mapping(entry), indent=2)
    write_whole(_entry_file(home, entry.name), content.encode())


def forget_hub_entry(home: Path, repo_url: str) -> None:
    """Delete the stored entry, so that the Hub is asked again."""
    remove_file(_entry_file(home, repo_url))


def _entry_file(home: Path, repo_url: str) -> Path:
    """The file of a repository's entry; its name is a hash."""
    return home / "hub" / f"{hashlib.sha256(repo_url.encode()).hexdigest()}.json"
