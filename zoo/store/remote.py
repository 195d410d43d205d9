"""What a URL of the registry stands for: a file on this machine, or requests to make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from zoo.catalogue.entry import ModelEntry


@dataclass(frozen=True)
class Wanted:
    """What a source is asked: one URL of an entry. revision: the commit that was fetched from it before."""

    url: str
    entry: ModelEntry
    revision: str | None = None


@dataclass(frozen=True)
class Remote:
    """What to request, and what the source itself states about the bytes.

    urls: the parts of the file, in order; nearly always one. token: for the host of the first URL alone.
    bytes, sha256: as stated by `origin` (the Hub); None where nobody did. revision: the commit on the Hub.
    """

    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    token: str | None = field(default=None, repr=False)
    revision: str | None = None
    origin: Literal["the Hub", "the server"] = "the server"


@dataclass(frozen=True)
class Scheme:
    """A row of the table of schemes. local: no network is needed, so offline mode does not forbid it."""

    resolve: Callable[[Wanted], Remote | Path]
    local: bool = False
