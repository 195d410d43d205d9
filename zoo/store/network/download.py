"""The download of a resolved source into one verified partial file: one URL, or parts that are joined."""

from __future__ import annotations

from zoo.errors import HashMismatch
from zoo.events import Report
from zoo.store.disk.blobs import remove_file
from zoo.store.disk.partial_files import Partial, claim_partial
from zoo.store.disk.writing import Writer
from zoo.store.network.transfer import Transfer
from zoo.store.remote import Remote
from zoo.store.settings import Settings
from zoo.store.trust.expected import Proof
from zoo.store.trust.hashing import BLOCK, Digests


def download(
    remote: Remote, partial: Partial, proof: Proof, *, what: str, settings: Settings, report: Report
) -> Digests:
    """Download `remote` into `partial`; returns the verified digests. Raises as Transfer.run does.

    If the source itself states another sha256 than the registry, nothing is downloaded.
    """
    if remote.sha256 is not None and proof.sha256 not in (None, remote.sha256):
        raise HashMismatch(
            f"{what}: {remote.origin} has another file now",
            expected=str(proof.sha256),
            got=remote.sha256,
            hint=f"{proof.origin} states the first. For the new one: zoo rm {what}, or correct the registry.",
        )
    proof = proof.strengthen(remote.sha256, remote.bytes, origin=remote.origin)
    if len(remote.urls) == 1:
        return Transfer(
            remote.urls[0],
            partial,
            proof,
            what=what,
            token=remote.token,
            settings=settings,
            report=report,
        ).run()
    return _join_parts(remote, partial, proof, what=what, settings=settings, report=report)


def _join_parts(
    remote: Remote, partial: Partial, proof: Proof, *, what: str, settings: Settings, report: Report
) -> Digests:
    """Download each part into a partial file of its own, which a later fetch can continue; then join them."""
    parts: list[Partial] = []
    try:
        for number, url in enumerate(remote.urls):
            part = claim_partial(partial.folder, f"{partial.key}-{number:02d}")
            parts.append(part)
            label = f"{what} (part {number + 1} of {len(remote.urls)})"
            Transfer(
                url, part, Proof(), what=label, token=remote.token, settings=settings, report=report
            ).run()
        partial.path.write_bytes(b"")
        with Writer(partial.path, what=what, md5=proof.md5 is not None) as writer:
            for part in parts:
                with part.path.open("rb") as file:
                    while block := file.read(BLOCK):
                        writer.write(block)
            digests = writer.digests()
        fault = proof.find_fault(digests, what)
        for part in parts:
            remove_file(part.path)
        if fault is not None:
            raise fault
        return digests
    finally:
        for part in parts:
            part.release()
