"""The first bytes of a fastText .bin, checked against themselves."""

from __future__ import annotations

import struct
from typing import NamedTuple

from zoo.errors import IntegrityError
from zoo.words.vectors.subwords import LONGEST_NGRAM

MAGIC = b"\xba\x16\x4f\x2f"  # the int32 793712314
FETCH = "Fetch it again; if its bytes are the published ones, it is damaged there."
_LAYOUT = struct.Struct("<2i12id3i2q")
HEADER_BYTES = _LAYOUT.size
_VERSIONS = (11, 12)
_SUPERVISED = 3
_MOST_DIMENSIONS = 1 << 16


class FastTextHeader(NamedTuple):
    """The settings that vectors depend on, and the sizes of the dictionary.

    shortest, longest: characters of an n-gram. entries: words and labels. pruned: n-grams kept of a quantised
    model, -1 for others.
    """

    dimension: int
    buckets: int
    shortest: int
    longest: int
    entries: int
    words: int
    pruned: int


def read_header(sample: bytes, name: str) -> FastTextHeader:
    """The header of a file that begins with MAGIC. Raises IntegrityError where it is cut or impossible."""
    if len(sample) < HEADER_BYTES:
        raise cut_off(name, "in its header")
    fields = _LAYOUT.unpack_from(sample)
    version, dimension = fields[1:3]
    model, buckets, shortest, longest = fields[9:13]
    entries, words, labels, _, pruned = fields[15:]
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise IntegrityError(
            f"{name} is a fastText model of version {version:,}: versions {known} are read",
            hint="Use the .vec file that is published beside it.",
        )
    checks = (
        (1 <= dimension <= _MOST_DIMENSIONS, f"{dimension:,} dimensions"),
        (buckets >= 0, f"{buckets:,} buckets"),
        (
            shortest >= 0 and 0 <= longest <= LONGEST_NGRAM,
            f"n-grams of {shortest:,} to {longest:,} characters",
        ),
        (
            words >= 1 and labels >= 0 and entries == words + labels,
            f"{words:,} words and {labels:,} labels in {entries:,} entries",
        ),
    )
    for possible, stated in checks:
        if not possible:
            raise IntegrityError(f"{name}: the header of this fastText model states {stated}", hint=FETCH)
    if version == 11 and model == _SUPERVISED:
        longest = 0  # fastText reads those without n-grams
    return FastTextHeader(dimension, buckets, shortest, longest, entries, words, pruned)


def cut_off(name: str, where: str) -> IntegrityError:
    """The error of a file that ends too early."""
    return IntegrityError(f"{name}: this fastText model ends {where}: it is cut off", hint="Fetch it again.")
