"""Vectors of words from their character n-grams, as fastText computes them (https://arxiv.org/abs/1607.04606).

A word is read as `<word>`; each of its n-grams of `shortest` to `longest` characters is hashed into a table.
fastText's computeSubwords (src/dictionary.cc) is followed to the byte: characters are counted in UTF-8, `<`
and `>` alone are not n-grams, and FNV-1a takes each byte as a signed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.words.vectors.layout import CompiledFile

Floats = NDArray[np.float32]

WORDS_AT_ONCE = 512  # about 30 n-grams each: 18 MB of 300 numbers
LONGEST_NGRAM = 64  # characters; fastText's default is 6
_FNV_OFFSET = np.uint32(2166136261)
_FNV_PRIME = np.uint32(16777619)


@dataclass(frozen=True)
class Subwords:
    """The n-grams of a fastText model. table: (buckets, dimension), float32 or float16."""

    table: NDArray[Any]
    shortest: int
    longest: int

    def __str__(self) -> str:
        return f"character n-grams of {self.shortest} to {self.longest}, {len(self.table):,} buckets"

    @property
    def settings(self) -> dict[str, str]:
        """What the metadata of a compiled file keep of it."""
        return {"shortest_ngram": str(self.shortest), "longest_ngram": str(self.longest)}

    def sums(self, words: Sequence[bytes]) -> tuple[Floats, NDArray[np.int64]]:
        """((n, dimension), (n,)): the sum of the n-grams of each word (UTF-8), and how many it has."""
        totals = np.zeros((len(words), self.table.shape[1]), np.float32)
        counts = np.zeros(len(words), np.int64)
        for start in range(0, len(words), WORDS_AT_ONCE):
            block = words[start : start + WORDS_AT_ONCE]
            owners, hashes = hash_ngrams(block, self.shortest, self.longest)
            if len(owners) == 0:
                continue
            found = self.table[hashes % len(self.table)].astype(np.float32, copy=False)
            having, firsts, numbers = np.unique(owners, return_index=True, return_counts=True)
            totals[start + having] = np.add.reduceat(found, firsts, axis=0)
            counts[start + having] = numbers
        return totals, counts

    def has_ngrams(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """(n,): whether each word has any n-gram."""
        there = np.zeros(len(words), np.bool_)
        for start in range(0, len(words), WORDS_AT_ONCE):
            block = [_bytes_of(word) for word in words[start : start + WORDS_AT_ONCE]]
            there[start + hash_ngrams(block, self.shortest, self.longest)[0]] = True
        return there

    def vectors(self, words: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
        """((n, dimension), (n,)): the mean of the n-grams of each unknown word, and whether it has any."""
        totals, counts = self.sums([_bytes_of(word) for word in words])
        return (totals / np.maximum(counts, 1)[:, np.newaxis]).astype(np.float32), counts > 0


def subwords_of(compiled: CompiledFile) -> Subwords | None:
    """The n-grams of a compiled file; None where it has none."""
    table = compiled.arrays.get("ngrams")
    if table is None or len(table) == 0:
        return None
    settings = compiled.metadata
    return Subwords(table, int(settings["shortest_ngram"]), int(settings["longest_ngram"]))


def hash_ngrams(
    words: Sequence[bytes], shortest: int, longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(owners, hashes) of all n-grams of some words (UTF-8): the number of the word, and the 32-bit hash.

    >>> owners, hashes = hash_ngrams([b"a", b"ab"], 3, 4)  # <a>, <ab, ab>, <ab>
    >>> owners.tolist(), hashes[0].item()
    ([0, 1, 1, 1], 2359087600)
    """
    text = np.frombuffer(b"".join(b"<" + word + b">" for word in words), np.uint8)
    ends = np.cumsum(np.fromiter(map(len, words), np.int64, len(words)) + 2)
    begins_character = np.append((text & 0xC0) != 0x80, True)
    signed = text.view(np.int8).astype(np.int32).view(np.uint32)
    starts = np.flatnonzero(begins_character[:-1])
    owners = np.searchsorted(ends, starts, "right")
    first = np.append(0, ends[:-1])[owners] == starts
    at, stop = starts.copy(), ends[owners]
    hashes = np.full(len(starts), _FNV_OFFSET)
    lengths = np.zeros(len(starts), np.int64)
    found: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    while len(at):  # one byte more of every n-gram
        hashes = (hashes ^ signed[at]) * _FNV_PRIME
        at = at + 1
        ended = at == stop
        whole = ended | begins_character[at]
        lengths = lengths + whole
        alone = (lengths == 1) & (first | ended)
        taken = whole & (lengths >= shortest) & (lengths <= longest) & ~alone
        found.append((starts[taken], owners[taken], hashes[taken]))
        more = ~ended & ~(whole & (lengths >= longest))
        starts, owners, first, at, stop, hashes, lengths = (
            values[more] for values in (starts, owners, first, at, stop, hashes, lengths)
        )
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    begin, owner, hashed = (np.concatenate(values) for values in zip(*found, strict=True))
    order = np.argsort(begin, kind="stable")  # as fastText lists them: by place, then by length
    return owner[order].astype(np.int64), hashed[order].astype(np.int64)


def _bytes_of(word: str) -> bytes:
    return word.encode("utf-8", "replace")
