"""The words that one run needs: those of its texts, as ids, so that it works without the full vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zoo.words.texts.policies import STAND_INS, parse_policy
from zoo.words.texts.tokens import WordTokenizer
from zoo.words.texts.unknown import resolve_words
from zoo.words.vectors.nearest import Floats
from zoo.words.vectors.word_vectors import WordVectors


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


@dataclass(frozen=True)
class ReadText:
    """A text as ids. ids: of its words, stand-ins included. words: how many are read. how: words by what was
    done for them: "known", the name of a policy, "new" (a vector of its own), "skipped". cut: how many more
    the text has, beyond the longest that is read."""

    ids: tuple[int, ...]
    words: int
    how: Counter[str]
    cut: int = 0

    @property
    def known(self) -> int:
        """How many of its words are read, as themselves or as others."""
        return self.words - self.how["skipped"]

    @property
    def is_empty(self) -> bool:
        """Whether no word of it is known: a model's answer to it means nothing."""
        return not self.ids


@dataclass(frozen=True)
class TextReader:
    """Turns texts into the ids that a network was trained on, in the same way every time.

    selection: the words that have ids. policy: what to do with others, see zoo.words.texts.unknown; only its
    stand-ins count here. longest: words of a text that are read.
    """

    tokenizer: WordTokenizer
    selection: WordSelection
    policy: str = "fold+hyphen"
    longest: int | None = None

    def __call__(self, text: str) -> ReadText:
        """One text.

        >>> from zoo.words.texts.tokens import usual_tokenizer
        >>> reader = TextReader(usual_tokenizer(True), WordSelection(("good", "film", "zzz"), 2))
        >>> reader("A good-film, zzz!")
        ReadText(ids=(1, 2, 3), words=5, how=Counter({'skipped': 3, 'hyphen': 1, 'new': 1}), cut=0)
        """
        whole = self.tokenizer(text)
        words = whole[: self.longest]
        ids: list[int] = []
        how: Counter[str] = Counter()
        for word in words:
            if word not in self.seen:
                self.seen[word] = self.look_up(word)
            numbers, what = self.seen[word]
            ids += numbers
            how[what] += 1
        return ReadText(tuple(ids), len(words), how, len(whole) - len(words))

    def look_up(self, word: str) -> tuple[tuple[int, ...], str]:
        """The ids that are read for one word, and what was done."""
        names, what = _stand_ins(word, self.selection.ids, self.policies)
        numbers = tuple(self.selection.ids[name] for name in names)
        is_new = what == "known" and numbers[0] > self.selection.known
        return numbers, "new" if is_new else what

    @cached_property
    def seen(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """What was looked up before: texts are read again and again, and their words come often."""
        return {}

    @cached_property
    def policies(self) -> list[str]:
        """The stand-ins of the policy, in the order to try."""
        return [name for name in parse_policy(self.policy) if name in STAND_INS]


def known_forms(
    vectors: WordVectors, texts: Iterable[str], tokenizer: WordTokenizer, policy: str, longest: int | None
) -> list[list[str]]:
    """Each text as the words that the vectors know, stand-ins included, and the unknown ones as they are."""
    policies = [name for name in parse_policy(policy) if name in STAND_INS]
    cut = [tokenizer(text)[:longest] for text in texts]
    kinds = list({word for words in cut for word in words})
    there = vectors.vocabulary.find_many(kinds) >= 0
    read = {
        word: (word,) if found else _stand_ins(word, vectors.key_to_index, policies)[0] or (word,)
        for word, found in zip(kinds, there.tolist(), strict=True)
    }
    return [[name for word in words for name in read[word]] for words in cut]


def _stand_ins(word: str, known: Container[str], policies: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """The known words that stand for a word, and what was done: "known", the name of a policy, "skipped"."""
    if word in known:
        return (word,), "known"
    for policy in policies:
        if names := STAND_INS[policy](word, known):
            return names, policy
    return (), "skipped"
