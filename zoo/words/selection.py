"""The words that one run needs: those of its texts, as ids, so that it works without the full vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zoo.words.nearest import Floats
from zoo.words.unknown import resolve_words
from zoo.words.vectors import WordVectors


@dataclass(frozen=True)
class WordSelection:
    """Some words, numbered from 1: first the `known` ones, which have vectors, then new ones. 0 is padding.

    words: plain data, all that a run needs to keep beside the vectors that it trained.
    """

    words: tuple[str, ...]
    known: int

    @cached_property
    def ids(self) -> dict[str, int]:
        """word -> its number."""
        return {word: number for number, word in enumerate(self.words, 1)}

    def encode(self, words: Sequence[str]) -> list[int]:
        """The numbers of a text's words, in order; words that were not selected are left out."""
        return [self.ids[word] for word in words if word in self.ids]

    def matrix(self, vectors: WordVectors) -> Floats:
        """(known, dimension): the vectors of the known words, in the order of their numbers."""
        return vectors[self.words[: self.known]] if self.known else np.zeros((0, vectors.vector_size), "f4")

    def first_vectors(
        self, vectors: WordVectors, policy: str = "fold+hyphen+ngrams"
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """((new, dimension), (new,)): what a policy gives new words to begin with, if any."""
        resolved = resolve_words(vectors, self.words[self.known :], policy)
        return resolved.matrix, resolved.usable


def select_words(
    vectors: WordVectors, texts: Sequence[Sequence[str]], *, new_from: int | None = 2
) -> WordSelection:
    """The words of some texts (lists of words), the more frequent before the rarer, of equal ones the first.

    new_from: a word that the vectors lack is taken where it comes at least so often; None takes none.
    """
    counts = Counter(word for words in texts for word in words)
    words = [word for word, _ in counts.most_common()]
    there = (vectors.vocabulary.find_many(words) >= 0).tolist()
    known = [word for word, found in zip(words, there, strict=True) if found]
    new = [
        word
        for word, found in zip(words, there, strict=True)
        if not found and new_from is not None and counts[word] >= new_from
    ]
    return WordSelection((*known, *new), len(known))
