"""`file:///path`: a file on this machine. (Registry files may write it relative to themselves.)"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from zoo.errors import AddressRefused, SourceMissing
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
