"""Size and digests of files and streams."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

BLOCK = 1 << 20
Block = bytes | bytearray | memoryview


class Digests(msgspec.Struct, frozen=True):
    """Size and hashes of some bytes. md5: only if requested (it costs a third of the speed)."""

    bytes: int
    sha256: str
    md5: str | None = None


class Hasher:
    """Counts and hashes bytes as they pass."""

    def __init__(self, *, md5: bool = False) -> None:
        self.bytes = 0
        self._sha256 = hashlib.sha256()
        # For gensim-data, which publishes only md5.
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def update(self, block: Block) -> None:
        self.bytes += len(block)
        self._sha256.update(block)
        if self._md5 is not None:
            self._md5.update(block)

    def digests(self) -> Digests:
        return Digests(
            self.bytes, self._sha256.hexdigest(), None if self._md5 is None else self._md5.hexdigest()
        )


def hash_file(path: Path, *, hasher: Hasher | None = None) -> Digests:
    """The digests of a file, continued from `hasher` if it is given."""
    hasher = Hasher() if hasher is None else hasher
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])
    return hasher.digests()
