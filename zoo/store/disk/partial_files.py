"""Incomplete downloads: which file one will be, which version of it, and who writes it.

A partial file is in the folder of the blobs, so that its last step is a rename. Its name is
`KEY.VALIDATOR.OWNER.partial`, all three made here: KEY is the file that it will be, VALIDATOR a digest of the
server's identifier of this version, OWNER the process that writes it, or `free`. Taking one over is a rename,
which only one process can win: even where locks do nothing, two processes never write the same file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.store.disk.blobs import remove_file

FREE = "free"
UNKNOWN = "0"
ABANDONED = 120.0  # seconds without a write after which an owner on another machine counts as dead


@dataclass
class Partial:
    """A partial file that this process owns; `path` is its current path."""

    folder: Path
    key: str
    validator: str
    owner: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.key}.{self.validator}.{self.owner}.partial"

    @property
    def bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def rename(self, *, validator: str | None = None, owner: str | None = None) -> None:
        """Change the validator or owner in the file's name."""
        old = self.path
        self.validator = self.validator if validator is None else validator
        self.owner = self.owner if owner is None else owner
        if old != self.path:
            old.replace(self.path)

    def release(self) -> None:
        """Release the file for the next process; an empty one is deleted."""
        with suppress(OSError):
            if self.bytes == 0:
                remove_file(self.path)
            else:
                self.rename(owner=FREE)


def validator_of(*facts: object) -> str:
    """A short digest of the facts that identify a version: nothing that a server sends becomes a path.

    >>> validator_of("../../etc/passwd", 12)
    '8d054b50d6328760'
    """
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def claim_partial(folder: Path, key: str) -> Partial:
    """The largest partial file that no other process writes, or a new empty one, owned by this process."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = f"{os.getpid()}-{_host_mark()}-{secrets.token_hex(4)}"
    mine: Partial | None = None
    for found in sorted(find_partials(folder, key), key=lambda p: p.bytes, reverse=True):
        if not is_free(found):
            continue
        if mine is not None:
            with suppress(OSError):
                remove_file(found.path)
            continue
        with suppress(FileNotFoundError):  # another process was faster
            found.rename(owner=owner)
            mine = found
    if mine is None:
        mine = Partial(folder, key, UNKNOWN, owner)
        mine.path.touch()
    return mine


def find_partials(folder: Path, key: str | None = None) -> Iterator[Partial]:
    """Every partial file in a folder, of one key or of all."""
    for path in folder.glob("*.partial" if key is None else f"{key}.*.partial"):
        parts = path.name.split(".")
        if len(parts) == 4:
            yield Partial(folder, *parts[:3])


def find_parts(folder: Path, key: str) -> Iterator[Partial]:
    """Every partial file of one model: of the whole file, and of its parts (KEY-00, …)."""
    return (partial for partial in find_partials(folder) if partial.key.partition("-")[0] == key)


def is_free(partial: Partial) -> bool:
    """Whether no process writes this file: its owner released it, is dead, or has not written for long."""
    if partial.owner == FREE:
        return True
    try:
        quiet = time.time() - partial.path.stat().st_mtime
    except FileNotFoundError:
        return False
    if abs(quiet) > ABANDONED:
        return True
    pid, _, rest = partial.owner.partition("-")
    return rest.startswith(_host_mark()) and pid.isdigit() and not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    """Whether a process with this id runs on this machine."""
    if os.name == "nt":
        return True  # os.kill would end it on Windows; the time of the last write decides
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or a system without /proc
        return True
    return state.rpartition(")")[2].split()[0] not in "ZX"  # killed, but its parent has not waited for it yet


def _host_mark() -> str:
    """Four letters for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
