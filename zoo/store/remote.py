"""What a URL of the registry resolves to: a file on this machine, or requests to make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from zoo.catalogue.entry import ModelEntry
from zoo.events import Report, silent
from zoo.store.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """The argument of `Scheme.resolve`: one URL of an entry.

    Args:
        url: The URL, as the registry has it.
        entry: The entry that it belongs to.
        revision: The commit that was fetched from it before; None at the first fetch.
        settings: How long and how often to try, for a scheme that asks a server.
        report: Called with a Note before a wait.
    """

    url: str
    entry: ModelEntry
    revision: str | None = None
    settings: Settings = field(default=Settings(), repr=False)
    report: Report = field(default=silent, repr=False)


@dataclass(frozen=True)
class Remote:
    """What to request for a file, and what the source itself states about its bytes.

    Args:
        urls: The parts of the file, in order; nearly always one.
        bytes: The size that `origin` states; None if unknown.
        sha256: The hash that `origin` states; None if unknown.
        token: A bearer token, sent to the host of the first URL only.
        revision: The commit on the Hub.
        origin: Who states the size and the hash, for messages.
    """

    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    token: str | None = field(default=None, repr=False)
    revision: str | None = None
    origin: Literal["the Hub", "the server"] = "the server"


@dataclass(frozen=True)
class Scheme:
    """A URL scheme: what finds the file of a URL.

    Args:
        resolve: Returns the path of a file on this machine, or the requests that bring it. Raises a ZooError,
            such as UsageError for a URL that is not valid and NetworkError if the source does not answer.
        local: Whether no network is needed, so that offline mode does not forbid it.
    """

    resolve: Callable[[Wanted], Remote | Path]
    local: bool = False
