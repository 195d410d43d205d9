"""`file:///path`: a file on this machine. (Registry files may write it relative to themselves.)"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.schemes import scheme_of
from zoo.errors import AddressRefused, SourceMissing, ZooError

if TYPE_CHECKING:
    from zoo.store.remote import Wanted


def resolve(wanted: Wanted) -> Path:
    """The path of a file URL.

    Raises AddressRefused for a file on another host (on Windows it would open a network connection), and
    SourceMissing for anything but a regular file: a device or a pipe has no end.
    """
    from urllib.request import url2pathname

    url = urlsplit(wanted.url)
    if url.netloc not in ("", "localhost"):
        raise AddressRefused(
            f"{wanted.entry.name}: {wanted.url} is a file on another machine",
            hint="Copy it here, or serve it over https.",
        )
    path = Path(url2pathname(url.path))
    if not path.is_file():
        there = "not a regular file" if path.exists() else "missing"
        raise SourceMissing(
            f"{wanted.entry.name}: {path} is {there}",
            hint=f"The registry names it: {wanted.entry.registry}" if wanted.entry.registry else None,
        )
    return path


def size_of_entry(entry: ModelEntry) -> int | None:
    """The size that an entry states; of a model whose weights are a file of this machine, the file's."""
    if entry.bytes is not None:
        return entry.bytes
    for url in entry.weights.urls:
        if scheme_of(url) == "file":
            from zoo.store.remote import Wanted

            try:
                return resolve(Wanted(url, entry)).stat().st_size
            except (ZooError, OSError):
                continue  # it is not there now: `zoo fetch` says so
    return None
