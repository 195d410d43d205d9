"""Files that are not whole yet: who writes one, and which bytes it is the beginning of.

A partial file lies beside the blobs, so that its last step is a rename, and is called
`KEY.VALIDATOR.OWNER.partial`, all three made here: KEY tells what it will be, VALIDATOR is a digest of what
the server calls this version of the file, OWNER is the process that writes it, or `free`. Taking one over is
a rename, which one process wins: even where locks do nothing, two processes never write the same file.
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
ABANDONED = 120.0  # seconds without a write after which an owner on another machine counts as gone


@dataclass
class Partial:
    """A partial file that this process owns; `path` is where it is now."""

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
        """Write down another validator or owner."""
        old = self.path
        self.validator = self.validator if validator is None else validator
        self.owner = self.owner if owner is None else owner
        if old != self.path:
            old.replace(self.path)

    def release(self) -> None:
        """Leave the file to whoever asks next; an empty one is removed."""
        with suppress(OSError):
            if self.bytes == 0:
                remove_file(self.path)
            else:
                self.rename(owner=FREE)


def validator_of(*facts: object) -> str:
    """A short digest of what identifies one version of a file: nothing that a server sends becomes a path.

    >>> validator_of("../../etc/passwd", 12)
    '8d054b50d6328760'
    """
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def claim_partial(folder: Path, key: str) -> Partial:
    """The most advanced partial file that nobody else writes, or a new empty one, owned by this process."""
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
        with suppress(FileNotFoundError):  # somebody else was quicker
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
    """Every partial file of one model: of the whole file, and of the parts that it comes in (KEY-00, …)."""
    return (partial for partial in find_partials(folder) if partial.key.partition("-")[0] == key)


def is_free(partial: Partial) -> bool:
    """Whether nobody writes this file: its owner let it go, is dead, or was silent for long."""
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
    """Whether a process of this number lives on this machine."""
    if os.name == "nt":
        return True  # os.kill would end it there; the time of the last write decides
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's, or a system without /proc
        return True
    return state.rpartition(")")[2].split()[0] not in "ZX"  # killed, but its parent did not look yet


def _host_mark() -> str:
    """Four letters for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
