"""A local file is copied to a partial file and hashed on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import StorageError
from zoo.events import Progress, Report
from zoo.store.disk.partial_files import Partial, validator_of
from zoo.store.disk.space import check_room
from zoo.store.disk.writing import Writer
from zoo.store.settings import Settings
from zoo.store.trust.expected import Proof
from zoo.store.trust.hashing import BLOCK, Digests


def copy_file(
    source: Path, partial: Partial, proof: Proof, *, what: str, settings: Settings, report: Report
) -> Digests:
    """Copy `source` and return the digests of the copy. Raises HashMismatch or SizeMismatch by `proof`.

    A copy, not a link: a later edit of the source must not change the store.
    """
    total = source.stat().st_size
    check_room(partial.folder, total, what)
    reported = time.monotonic()
    partial.path.write_bytes(b"")
    partial.rename(validator=validator_of(str(source)))
    with Writer(partial.path, what=what, md5=proof.md5 is not None) as writer:
        for block in _read_blocks(source, what):
            writer.write(block)
            if time.monotonic() - reported >= settings.report_every:
                reported = time.monotonic()
                report(Progress(f"fetch {what}", writer.bytes, total, "bytes"))
        digests = writer.digests()
    report(Progress(f"fetch {what}", digests.bytes, digests.bytes, "bytes"))
    fault = proof.find_fault(digests, f"{what}: {source}")
    if fault is not None:
        raise fault
    return digests


def _read_blocks(source: Path, what: str) -> Iterator[bytes]:
    """A file in blocks. Raises StorageError if it cannot be read."""
    try:
        with source.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise StorageError(
            f"{what}: {source} cannot be read: {error.strerror or error}",
            hint="Ask the owner of the file for read access (chmod o+r).",
        ) from error
