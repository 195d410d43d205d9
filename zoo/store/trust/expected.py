"""What is known about a file before the download, and the check of the downloaded bytes against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from zoo.catalogue.entry import Weights
from zoo.errors import HashMismatch, SizeMismatch
from zoo.store.trust.hashing import Digests

Origin = Literal["the registry", "what was first fetched", "the lock file", "the Hub", "the server"]
REMEDIES: dict[Origin, str] = {
    "the registry": "if they are wrong, correct them in a file of your own: --registry FILE.",
    "what was first fetched": "if you want the new ones, zoo rm deletes the old.",
    "the lock file": "if you want the new ones, zoo lock writes them.",
    "the Hub": "try again, or another network.",
    "the server": "try again, or another network.",
}


@dataclass(frozen=True)
class Proof:
    """Everything that a file must match; None if unknown. origin: the source of the sha256."""

    bytes: int | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    md5: str | None = None
    origin: Origin = "the registry"

    @property
    def has_hash(self) -> bool:
        """Whether wrong bytes of the right length would be detected."""
        return (self.sha256 or self.sha256_prefix or self.md5) is not None

    def strengthen(self, sha256: str | None, size: int | None, *, origin: Origin) -> Proof:
        """The proof with missing facts filled in from another source."""
        stronger = self
        if self.sha256 is None and sha256 is not None:
            stronger = replace(stronger, sha256=sha256.lower(), origin=origin)
        if self.bytes is None and size is not None:
            stronger = replace(stronger, bytes=size)
        return stronger

    def find_fault(self, got: Digests, what: str) -> HashMismatch | SizeMismatch | None:
        """The error that states how `got` differs from this proof; None if it matches."""
        hint = f"Nothing was kept. The expected ones are those of {self.origin}: {REMEDIES[self.origin]}"
        if self.sha256 is not None and got.sha256 != self.sha256:
            return HashMismatch(what, expected=self.sha256, got=got.sha256, hint=hint)
        if self.sha256_prefix is not None and not got.sha256.startswith(self.sha256_prefix):
            return HashMismatch(what, expected=f"{self.sha256_prefix}…", got=got.sha256, hint=hint)
        if self.md5 is not None and got.md5 != self.md5:
            return HashMismatch(what, expected=f"md5 {self.md5}", got=f"md5 {got.md5}", hint=hint)
        if self.bytes is not None and got.bytes != self.bytes:
            return SizeMismatch(what, expected=self.bytes, got=got.bytes, hint=hint)
        return None


def proof_of(weights: Weights) -> Proof:
    """The proof that the registry states for a file."""
    return Proof(
        bytes=weights.bytes,
        sha256=None if weights.sha256 is None else weights.sha256.lower(),
        sha256_prefix=None if weights.sha256_prefix is None else weights.sha256_prefix.lower(),
        md5=None if weights.md5 is None else weights.md5.lower(),
    )
