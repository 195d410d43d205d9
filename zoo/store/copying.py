"""A file on this machine becomes a partial file, hashed as it passes."""

from __future__ import annotations

import time
from pathlib import Path

from zoo.events import Progress, Report
from zoo.store.disk import check_room
from zoo.store.hashing import BLOCK, Digests, Hasher
from zoo.store.partials import Partial, validator_of
from zoo.store.proof import Proof
from zoo.store.settings import Settings


def copy_file(
    source: Path, partial: Partial, proof: Proof, *, what: str, settings: Settings, report: Report
) -> Digests:
    """Copy `source` and return the digests of what was written. Raises what `proof` finds wrong with it.

    A copy, not a link: whoever edits the source later must not edit the store.
    """
    check_room(partial.folder, source.stat().st_size, what)
    hasher = Hasher(md5=proof.md5 is not None)
    total = source.stat().st_size
    told = time.monotonic()
    partial.rename(validator=validator_of(str(source)))
    with source.open("rb", buffering=0) as reader, partial.path.open("wb", buffering=0) as writer:
        while block := reader.read(BLOCK):
            hasher.update(block)
            writer.write(block)
            if time.monotonic() - told >= settings.report_every:
                told = time.monotonic()
                report(Progress(f"fetch {what}", hasher.bytes, total, "bytes"))
    report(Progress(f"fetch {what}", hasher.bytes, hasher.bytes, "bytes"))
    digests = hasher.digests()
    fault = proof.find_fault(digests, f"{what}: {source}")
    if fault is not None:
        partial.path.unlink()
        raise fault
    return digests
