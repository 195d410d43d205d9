"""Vectors for words that the vectors lack, by the policies of their name, and how each was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from zoo.words.texts.policies import POLICIES, Policy, parse_policy
from zoo.words.vectors.nearest import Floats
from zoo.words.vectors.word_vectors import WordVectors

NEAR_WORDS = 5
NEAR_ENOUGH = 0.5  # Dice's coefficient of letter trigrams below which words are not alike
MOST_INDEXED = 200_000  # the most frequent words; rare ones are poor stand-ins and cost memory
# Built at first use and dropped with the vectors that they are about.
INDEXES: WeakKeyDictionary[WordVectors, _TrigramIndex] = WeakKeyDictionary()
MEANS: WeakKeyDictionary[WordVectors, Floats] = WeakKeyDictionary()


class Substitute(NamedTuple):
    """What stands in for an unknown word: its vector (dimension,), and the words that it was made of."""

    vector: Floats
    made_of: tuple[str, ...]


@dataclass(frozen=True)
class Resolved:
    """The vectors of some words, after a policy was applied to the unknown ones.

    matrix: (n, dimension) float32, zeros where there is none. how: (n,) "known", the name of the policy that
    found a vector, or "skipped".
    """

    words: tuple[str, ...]
    matrix: Floats
    how: tuple[str, ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) True for words that the vectors have themselves."""
        return np.array([how == "known" for how in self.how], np.bool_)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) True for words that have a vector, their own or a substitute."""
        return np.array([how != "skipped" for how in self.how], np.bool_)


def resolve_words(vectors: WordVectors, words: Sequence[str], policy: str = "skip") -> Resolved:
    """A vector for each of `words` (each different from the others), by the policies of that name.

    Raises UnknownName for a policy that is not in POLICIES.
    """
    policies = parse_policy(policy)
    rows = vectors.vocabulary.find_many(words)
    matrix = np.zeros((len(words), vectors.vector_size), np.float32)
    matrix[rows >= 0] = vectors.rows(rows[rows >= 0])
    how = ["known" if row >= 0 else "skipped" for row in rows.tolist()]
    for i in np.flatnonzero(rows < 0).tolist():
        for name in policies:
            found = _find_substitute(vectors, words[i], POLICIES[name])
            if found is not None:
                matrix[i], how[i] = found.vector, name
                break
    return Resolved(tuple(words), matrix, tuple(how))


def usual_policy(vectors: WordVectors) -> str:
    """What is done with unknown words where nothing else was asked for: a fastText model knows them too."""
    return "skip" if vectors.subwords is None else "ngrams"


def ngrams(vectors: WordVectors, word: str) -> Substitute | None:
    """A fastText model's vector of the word's n-grams; of other vectors, the mean of similar words.

    Those are up to NEAR_WORDS words that share most letter trigrams, weighted by their likeness.

    That is in the spirit of Zhao et al. 2018 (Generalizing Word Embeddings using Bag of Subwords,
    https://arxiv.org/abs/1809.04259), without training: misspellings and inflections find their stem.
    The index of trigrams is built at the first unknown word: 0.5 s and 40 MB for 200,000 words.
    """
    if vectors.subwords is not None:
        made, found = vectors.subwords.vectors([word])
        return Substitute(made[0], ()) if found[0] else None
    if vectors not in INDEXES:
        INDEXES[vectors] = _TrigramIndex(vectors)
    rows, likeness = INDEXES[vectors].near(word)
    if len(rows) == 0:
        return None
    vector = (likeness[:, np.newaxis] * vectors.rows(rows)).sum(axis=0) / likeness.sum()
    return Substitute(vector.astype(np.float32), tuple(vectors.vocabulary.word(row) for row in rows.tolist()))


def mean(vectors: WordVectors, _word: str) -> Substitute | None:
    """The mean of all vectors: the same for every unknown word."""
    if vectors not in MEANS:
        total = np.zeros(vectors.vector_size, np.float64)
        for start in range(0, len(vectors), 65536):
            rows = vectors.rows(range(start, min(start + 65536, len(vectors))))
            total += rows.sum(axis=0, dtype=np.float64)
        MEANS[vectors] = (total / len(vectors)).astype(np.float32)
    return Substitute(MEANS[vectors], ())


def _find_substitute(vectors: WordVectors, word: str, policy: Policy) -> Substitute | None:
    """What a policy puts in the place of an unknown word, if it finds anything."""
    if policy.stand_ins is not None:
        return _mean_of(vectors, policy.stand_ins(word, vectors.key_to_index))
    if policy.maker is None:
        return None
    found: Substitute | None = resolve_name(policy.maker)(vectors, word)
    return found


def _mean_of(vectors: WordVectors, words: tuple[str, ...]) -> Substitute | None:
    """The mean of some words, if there are any."""
    return Substitute(vectors[list(words)].mean(axis=0), words) if words else None


class _TrigramIndex:
    """Which of the most frequent words have which letter trigrams (of UTF-8 bytes, < and > at the ends)."""

    def __init__(self, vectors: WordVectors) -> None:
        count = min(len(vectors), MOST_INDEXED)
        offsets = vectors.vocabulary.offsets[: count + 1].astype(np.int64)
        lengths = np.diff(offsets) + 2
        ends = np.cumsum(lengths)
        text = np.full(int(ends[-1]) if count else 0, ord("<"), np.uint8)
        text[ends - 1] = ord(">")
        inside = np.ones(len(text), np.bool_)
        inside[ends - 1] = inside[ends - lengths] = False
        text[inside] = vectors.vocabulary.text[: offsets[-1]]
        grams = _trigrams(text)
        owners = np.repeat(np.arange(count, dtype=np.int32), lengths)[: len(grams)]
        last = np.zeros(len(text), np.bool_)
        last[ends - 1] = last[np.maximum(ends - 2, 0)] = True  # a trigram here would reach into the next word
        whole = ~last[: len(grams)]
        grams, owners = grams[whole], owners[whole]
        order = np.argsort(grams, kind="stable")
        self._grams, self._owners = grams[order], owners[order]
        self._sizes = np.maximum(lengths - 2, 1)

    def near(self, word: str) -> tuple[NDArray[np.int64], Floats]:
        """(rows, likeness) of the words most like this one, best first; likeness is Dice's, 0 to 1."""
        grams = np.unique(_trigrams(np.frombuffer(f"<{word}>".encode("utf-8", "replace"), np.uint8)))
        first = self._grams.searchsorted(grams, "left")
        last = self._grams.searchsorted(grams, "right")
        owners = [self._owners[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        shared = np.bincount(np.concatenate(owners), minlength=len(self._sizes)) if owners else np.zeros(0)
        likeness = np.minimum(2 * shared / (len(grams) + self._sizes), 1)
        alike = np.flatnonzero(likeness >= NEAR_ENOUGH)
        best = alike[np.lexsort((alike, -likeness[alike]))][:NEAR_WORDS]
        return best, likeness[best].astype(np.float32)


def _trigrams(text: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Every three neighbouring bytes as one integer."""
    wide = text.astype(np.uint32)
    return ((wide[:-2] << 16) | (wide[1:-1] << 8) | wide[2:]).astype(np.uint32, copy=False)
