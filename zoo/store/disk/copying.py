"""A file on this machine becomes a partial file, hashed as it passes."""

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
    """Copy `source` and return the digests of what was written. Raises what `proof` finds wrong with it.

    A copy, not a link: whoever edits the source later must not edit the store.
    """
    total = source.stat().st_size
    check_room(partial.folder, total, what)
    told = time.monotonic()
    partial.path.write_bytes(b"")
    partial.rename(validator=validator_of(str(source)))
    with Writer(partial.path, what=what, md5=proof.md5 is not None) as writer:
        for block in _read_blocks(source, what):
            writer.write(block)
            if time.monotonic() - told >= settings.report_every:
                told = time.monotonic()
                report(Progress(f"fetch {what}", writer.bytes, total, "bytes"))
        digests = writer.digests()
    report(Progress(f"fetch {what}", digests.bytes, digests.bytes, "bytes"))
    fault = proof.find_fault(digests, f"{what}: {source}")
    if fault is not None:
        raise fault
    return digests


def _read_blocks(source: Path, what: str) -> Iterator[bytes]:
    """A file in blocks. Raises StorageError where it cannot be read."""
    try:
        with source.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise StorageError(
            f"{what}: {source} cannot be read: {error.strerror or error}",
            hint="Whoever owns that file may let you: chmod o+r",
        ) from error
