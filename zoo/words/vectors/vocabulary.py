"""The words of a compiled file: found by binary search over the memory map, never copied into a dictionary.

Building a dictionary of 400,000 words costs 100 ms and 60 MB at every start; a search costs 20 probes of a
sorted array. What is searched is the first eight bytes of every word as one big-endian integer, in sorted
order: numpy finds the few words that share them, and only those are compared in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

PREFIX_BYTES = 8


class SortedWords(NamedTuple):
    """What `sort_words` finds out about the words of a file.

    order: (n,) rows in the order of their words' bytes. prefixes: (n,) the first eight bytes of the words in
    that order. duplicates: (n,) by row, True for every row whose word an earlier row has.
    """

    order: NDArray[np.int32]
    prefixes: NDArray[np.uint64]
    duplicates: NDArray[np.bool_]


class Vocabulary:
    """Words as one run of UTF-8 bytes, and the order that sorts them.

    text: all words one after another, in the order of their rows. offsets: (n + 1,) where each begins.
    order, prefixes: see SortedWords. Every array may be a view of a memory map; none is copied.
    """

    def __init__(
        self,
        text: Bytes,
        offsets: NDArray[np.uint64],
        order: NDArray[np.int32],
        prefixes: NDArray[np.uint64],
    ) -> None:
        self.text = text
        self.offsets = offsets
        self.order = order
        self.prefixes = prefixes

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[str]:
        """Every word in the order of the rows, decoded in blocks."""
        for start in range(0, len(self), 4096):
            stop = min(start + 4096, len(self))
            ends = self.offsets[start : stop + 1].tolist()
            first = ends[0]
            block = self.text[first : ends[-1]].tobytes()
            for begin, end in pairwise(ends):
                yield block[begin - first : end - first].decode("utf-8")

    def bytes_of(self, row: int) -> bytes:
        """The UTF-8 bytes of one row's word."""
        return self.text[int(self.offsets[row]) : int(self.offsets[row + 1])].tobytes()

    def word(self, row: int) -> str:
        """The word of one row."""
        return self.bytes_of(row).decode("utf-8")

    def find(self, word: str) -> int:
        """The row of a word, or -1.

        >>> vocabulary = build_vocabulary(["the", "of", "internationally", "international"])
        >>> [vocabulary.find(w) for w in ("of", "international", "internation", "zebra")]
        [1, 3, -1, -1]
        """
        key = encode(word)
        prefix = np.uint64(_prefix_of(key))
        first = int(self.prefixes.searchsorted(prefix, "left"))
        last = int(self.prefixes.searchsorted(prefix, "right"))
        return self._find_between(key, first, last)

    def find_many(self, words: Sequence[str]) -> Integers:
        """The rows of many words, -1 for those that are not there; shape (len(words),)."""
        keys = [encode(word) for word in words]
        prefixes = np.fromiter((_prefix_of(key) for key in keys), np.uint64, len(keys))
        first = self.prefixes.searchsorted(prefixes, "left")
        last = self.prefixes.searchsorted(prefixes, "right")
        rows = np.full(len(keys), -1, np.int64)
        for i in np.flatnonzero(last > first).tolist():
            rows[i] = self._find_between(keys[i], int(first[i]), int(last[i]))
        return rows

    def starting_with(self, beginning: str) -> Integers:
        """The rows of all words that begin so, in the order of their bytes."""
        key = encode(beginning)
        return self.order[self._bisect(key, 0, len(self)) : self._bisect(key + b"\xff", 0, len(self))].astype(
            np.int64
        )

    def _find_between(self, key: bytes, first: int, last: int) -> int:
        place = self._bisect(key, first, last)
        if place == last:
            return -1
        row = int(self.order[place])
        return row if self.bytes_of(row) == key else -1

    def _bisect(self, key: bytes, first: int, last: int) -> int:
        """The first place in the sorted order, from `first` to `last`, whose word is not below `key`."""
        while first < last:
            middle = (first + last) // 2
            if self.bytes_of(int(self.order[middle])) < key:
                first = middle + 1
            else:
                last = middle
        return first


class KeyToIndex(Mapping[str, int]):
    """gensim's `key_to_index`: word -> row, without a dictionary behind it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __getitem__(self, word: str) -> int:
        row = self._vocabulary.find(word) if isinstance(word, str) else -1
        if row < 0:
            raise KeyError(word)
        return row

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._vocabulary.find(word) >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def __repr__(self) -> str:
        return f"<{len(self):,} words to their rows>"


class IndexToKey(Sequence[str]):
    """gensim's `index_to_key`: row -> word, decoded when asked for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._vocabulary.word(i) for i in range(*row.indices(len(self)))]
        place = int(row) + len(self) if row < 0 else int(row)
        if not 0 <= place < len(self):
            raise IndexError(f"row {row} of {len(self):,}")
        return self._vocabulary.word(place)

    def __iter__(self) -> Iterator[str]:
        return iter(self._vocabulary)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._vocabulary.find(word) >= 0

    def __len__(self) -> int:
        return len(self._vocabulary)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(other) != len(self):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> list[str]:
        """The words as a list."""
        return list(self)

    def __repr__(self) -> str:
        return f"<the words of {len(self):,} rows>"


def encode(word: str) -> bytes:
    """UTF-8 bytes; a lone surrogate, which no compiled word has, becomes bytes that are never found."""
    return word.encode("utf-8", "surrogatepass")


def build_vocabulary(words: Sequence[str]) -> Vocabulary:
    """The vocabulary of a few words in memory; duplicates keep their first row's place in the search."""
    encoded = [encode(word) for word in words]
    offsets = offsets_of(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    text = np.frombuffer(b"".join(encoded), np.uint8)
    ordered = sort_words(text, offsets)
    return Vocabulary(text, offsets, ordered.order, ordered.prefixes)


def offsets_of(lengths: Integers) -> NDArray[np.uint64]:
    """Where each word begins, and where the last one ends; shape (words + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.uint64)


def sort_words(text: Bytes, offsets: NDArray[np.uint64]) -> SortedWords:
    """Sort words by their bytes and find the duplicates among them, eight bytes at a time.

    No Python object is made per word: eight bytes are one integer, words that tie on them are sorted by the
    next eight, until the longest tie ends. 400,000 words take 0.1 s.
    """
    starts, ends = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    keys = _eight_bytes(text, starts, ends)
    order = np.argsort(keys, kind="stable")
    prefixes = keys[order]
    duplicates = np.zeros(len(order), np.bool_)
    groups = np.cumsum(np.r_[False, prefixes[1:] != prefixes[:-1]]) if len(order) else np.zeros(0, np.int64)
    places = _tied(groups)  # where in `order` words are still equal so far
    depth = 0
    while len(places):
        rows, group = order[places], groups[places]
        keys = _eight_bytes(text, starts[rows] + depth, ends[rows])
        # Of words that are equal this far, those that end here come first; they may differ in trailing NULs
        # too, which look like the padding.
        lengths = np.minimum(ends[rows] - starts[rows], depth + PREFIX_BYTES + 1)
        ranking = np.lexsort((lengths, keys, group))
        rows, group, keys, lengths = rows[ranking], group[ranking], keys[ranking], lengths[ranking]
        order[places] = rows
        new = (group[1:] != group[:-1]) | (keys[1:] != keys[:-1]) | (lengths[1:] != lengths[:-1])
        groups[places] = np.cumsum(np.r_[False, new])
        ended = ends[rows] - starts[rows] <= depth + PREFIX_BYTES
        duplicates[rows[1:][~new & ended[1:]]] = True
        still = _tied(groups[places])
        places = places[still[~ended[still]]]
        depth += PREFIX_BYTES
    return SortedWords(order.astype(np.int32), prefixes, duplicates)


def _prefix_of(key: bytes) -> int:
    """The first eight bytes as one integer that sorts like them.

    >>> _prefix_of(b"of") < _prefix_of(b"off") < _prefix_of(b"the")
    True
    """
    return int.from_bytes(key[:PREFIX_BYTES].ljust(PREFIX_BYTES, b"\0"), "big")


def _tied(groups: Integers) -> Integers:
    """The places of all members of groups of two and more; `groups` never falls."""
    same = groups[1:] == groups[:-1]
    return np.flatnonzero(np.r_[same, False] | np.r_[False, same])


def _eight_bytes(text: Bytes, starts: Integers, ends: Integers) -> NDArray[np.uint64]:
    """Up to eight bytes from each start, padded with zeros, as integers that sort like the bytes."""
    keys = np.empty(len(starts), np.uint64)
    reach = np.arange(PREFIX_BYTES)
    for block in range(0, len(starts), 65536):  # 64 bytes of indices per word: 4 MB at a time
        here = slice(block, block + 65536)
        at = starts[here, None] + reach
        inside = at < ends[here, None]
        chosen = text[np.where(inside, at, 0)] if len(text) else np.zeros(at.shape, np.uint8)
        chosen[~inside] = 0
        keys[here] = np.ascontiguousarray(chosen).view(">u8")[:, 0]
    return keys
