"""Texts as vectors: weighted means of their words, and how much of them the vectors know.

A pooling is fitted once, on training texts, and then gives the same vector for a text whatever other texts it
comes with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UnknownName, UsageError
from zoo.events import Progress, Report, silent
from zoo.words.texts.policies import STAND_INS
from zoo.words.texts.tokens import (
    WordTokenizer,
    blankless_note,
    script_without_blanks,
    tokenizer_of,
    usual_tokenizer,
)
from zoo.words.texts.unknown import Resolved, resolve_words, usual_policy
from zoo.words.vectors.nearest import Floats
from zoo.words.vectors.pieces import Pieces, PieceVectors
from zoo.words.vectors.subwords import Subwords
from zoo.words.vectors.word_vectors import WordVectors

TEXTS_AT_ONCE = 2048
SIF_A = 1e-3  # Arora et al.: 1e-3 to 1e-4 are equally good


@dataclass(frozen=True)
class Pooling:
    """How the vectors of a text's words become one: the weighted mean, less a common direction.

    weights: of words seen when it was fitted; `other` is that of all the rest. component: (dimension,) of
    length one, taken out of every text's vector, or None. All of it is plain data that a run can keep.
    """

    name: str
    weights: Mapping[str, float] = field(default_factory=dict)
    other: float = 1.0
    component: Floats | None = None


@dataclass(frozen=True)
class TextVectors:
    """One vector per text, and how much of each text stands behind it.

    matrix: (texts, dimension) float32. Per text, (texts,): tokens, how many words it has; known, how many of
    them the vectors have; used, how many have a vector of their own or by the policy. how: tokens by what was
    done for them ("known", a policy's name, "skipped"). unit: what the tokens are.
    """

    matrix: Floats
    tokens: NDArray[np.int64]
    known: NDArray[np.int64]
    used: NDArray[np.int64]
    how: Mapping[str, int]
    unit: str = "words"

    @property
    def without_vector(self) -> NDArray[np.bool_]:
        """(texts,) True where no word has a vector: that row of the matrix is zeros and means nothing."""
        flags: NDArray[np.bool_] = self.used == 0
        return flags

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {how}" for how, count in self.how.items())
        lost = int(self.without_vector.sum())
        flagged = f"; {lost:,} of {len(self.tokens):,} texts have no known word" if lost else ""
        return f"{int(self.tokens.sum()):,} {self.unit}: {counts or 'none'}{flagged}"


@dataclass(frozen=True)
class Coverage:
    """How much of some texts the vectors know. tokens, known: all words; kinds, known_kinds: different ones.

    unknown: the most frequent unknown words and how often each comes, most frequent first. without_known: the
    numbers, from 0, of the texts that have no known word. from_ngrams: unknown words (all of them, as
    `tokens`) that a fastText model makes a vector for. from_parts: unknown words that are read by what an
    apostrophe joins in them, as `embed_texts` does it. script: of most words, where they are unknown because
    it has no blanks between words. cut: of a static embedding model, whose known words are those that are one
    piece, and from_ngrams those of several: the pieces of each unknown word, "?" for one that is not known.
    """

    texts: int
    tokens: int
    known: int
    kinds: int
    known_kinds: int
    unknown: tuple[tuple[str, int], ...]
    without_known: tuple[int, ...]
    from_ngrams: int = 0
    from_parts: int = 0
    script: str | None = None
    cut: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Known words per word, 0 to 1; 0 for no words."""
        return self.known / self.tokens if self.tokens else 0.0


def coverage(
    vectors: WordVectors,
    texts: Sequence[str] | Sequence[Sequence[str]],
    *,
    tokenizer: WordTokenizer | None = None,
    most: int = 20,
) -> Coverage:
    """The share of the words of some texts that the vectors have, and the `most` frequent that they lack.

    texts: strings, cut by `tokenizer` (the default one, lowering as the vectors want it), or lists of words.
    """
    pieces = vectors.pieces
    if pieces is not None:
        tokenizer = tokenizer or usual_tokenizer(
            False
        )  # words; the model's own gives nothing but known pieces
    cut = _cut_texts(vectors, texts, tokenizer)
    counts = Counter(word for words in cut for word in words)
    kinds = list(counts)
    known = _known_kinds(vectors, kinds) if pieces is None else {w for w in kinds if len(pieces.cut(w)) == 1}
    unknown = Counter({word: count for word, count in counts.items() if word not in known})
    apart = _read_apart(vectors, unknown) if pieces is None else set()
    whole = Counter({word: count for word, count in unknown.items() if word not in apart})
    usable = known | apart if pieces is None else {word for word in kinds if pieces.cut(word)}
    named = unknown.most_common(most)
    return Coverage(
        texts=len(cut),
        tokens=counts.total(),
        known=counts.total() - unknown.total(),
        kinds=len(kinds),
        known_kinds=len(known),
        unknown=tuple(named),
        without_known=tuple(i for i, words in enumerate(cut) if usable.isdisjoint(words)),
        from_ngrams=0 if vectors.subwords is None else _count_with_ngrams(vectors.subwords, whole),
        from_parts=unknown.total() - whole.total(),
        script=None if pieces is not None else script_without_blanks(unknown, counts.total()),
        cut=() if pieces is None else tuple(_shown_pieces(pieces, word) for word, _ in named),
    )


def _known_kinds(vectors: WordVectors, kinds: Sequence[str]) -> set[str]:
    """Those of some words that the vectors have."""
    found = vectors.vocabulary.find_many(kinds) >= 0
    return {word for word, there in zip(kinds, found.tolist(), strict=True) if there}


def _read_apart(vectors: WordVectors, unknown: Iterable[str]) -> set[str]:
    """The unknown words that are read by the parts that an apostrophe joins."""
    return {word for word in unknown if STAND_INS["apostrophe"](word, vectors.key_to_index)}


def _shown_pieces(pieces: Pieces, word: str) -> str:
    """The pieces of a word, with blanks between them."""
    return " ".join(part or "?" for part in pieces.parts(word))


def _count_with_ngrams(subwords: Subwords | PieceVectors, unknown: Counter[str]) -> int:
    """How often the unknown words come that have n-grams."""
    there = subwords.has_ngrams(list(unknown)).tolist()
    return sum(count for count, found in zip(unknown.values(), there, strict=True) if found)


def embed_texts(
    vectors: WordVectors,
    texts: Sequence[str] | Sequence[Sequence[str]],
    *,
    pooling: Pooling | str = "mean",
    policy: str | None = None,
    tokenizer: WordTokenizer | None = None,
    report: Report = silent,
) -> TextVectors:
    """One vector per text, in order, and how much of each text is known.

    pooling: one that was fitted, or a name of POOLINGS, which is then fitted on these very texts.
    policy: what to do with unknown words, see zoo.words.texts.policies; None: split at apostrophes, then the
    n-grams of a fastText model. texts: as for `coverage`.
    """
    cut = _cut_texts(vectors, texts, tokenizer)
    policy = policy or f"apostrophe+{usual_policy(vectors)}"
    if isinstance(pooling, str):
        pooling = fit_pooling(vectors, cut, pooling, policy=policy)
    tell_of_missing_blanks(vectors, cut, report)
    return _pool_words(vectors, cut, pooling, policy=policy, report=report)


def tell_of_missing_blanks(vectors: WordVectors, texts: Sequence[Sequence[str]], report: Report) -> None:
    """Report that most words of some texts are unknown because their script has no blanks between them."""
    counts = Counter(word for words in texts for word in words)
    strange = [word for word in counts if not word.isascii()]
    rows = vectors.vocabulary.find_many(strange).tolist()
    unknown = {word: counts[word] for word, row in zip(strange, rows, strict=True) if row < 0}
    script = script_without_blanks(unknown, counts.total())
    if script is not None:
        report(blankless_note(script, vectors.subwords is not None))


def fit_pooling(
    vectors: WordVectors,
    texts: Sequence[str] | Sequence[Sequence[str]],
    name: str = "mean",
    *,
    policy: str = "skip",
    tokenizer: WordTokenizer | None = None,
) -> Pooling:
    """A pooling of POOLINGS, its weights from these texts. Raises UnknownName."""
    if name not in POOLINGS:
        raise UnknownName("pooling", name, POOLINGS)
    return POOLINGS[name](vectors, _cut_texts(vectors, texts, tokenizer), policy)


def _fit_mean(_vectors: WordVectors, _texts: Sequence[Sequence[str]], _policy: str) -> Pooling:
    """The plain mean: nothing to fit."""
    return Pooling("mean")


def _fit_tfidf(_vectors: WordVectors, texts: Sequence[Sequence[str]], _policy: str) -> Pooling:
    """Means weighted by ln((1 + texts) / (1 + texts with the word)) + 1, scikit-learn's smoothed idf."""
    frequency = Counter(word for words in texts for word in set(words))
    weights = {word: math.log((1 + len(texts)) / (1 + count)) + 1 for word, count in frequency.items()}
    return Pooling("tfidf", weights, math.log(1 + len(texts)) + 1)


def _fit_sif(vectors: WordVectors, texts: Sequence[Sequence[str]], policy: str) -> Pooling:
    """Means weighted by a / (a + p(word)), less their first principal component.

    Arora, Liang, Ma 2017: A Simple but Tough-to-Beat Baseline for Sentence Embeddings,
    https://openreview.net/forum?id=SyK00v5xx. p is the word's share of all words of these texts.
    """
    counts = Counter(word for words in texts for word in words)
    total = max(1, counts.total())
    weighted = Pooling("sif", {word: SIF_A / (SIF_A + count / total) for word, count in counts.items()})
    matrix = _pool_words(vectors, texts, weighted, policy=policy).matrix.astype(np.float64)
    if not matrix.any():
        raise UsageError("none of the texts has a known word: there is nothing to fit sif on")
    _, directions = np.linalg.eigh(matrix.T @ matrix)  # the last is the largest
    return Pooling("sif", weighted.weights, weighted.other, directions[:, -1].astype(np.float32))


def _cut_texts(
    vectors: WordVectors, texts: Sequence[str] | Sequence[Sequence[str]], tokenizer: WordTokenizer | None
) -> Sequence[Sequence[str]]:
    """Lists of words, whatever `texts` are."""
    if isinstance(texts, str):
        raise UsageError(
            "one text was given where a list of texts is expected", hint="Put it in a list: [text]."
        )
    cutter = tokenizer or tokenizer_of(vectors)
    return [cutter(text) if isinstance(text, str) else text for text in texts]


def _pool_words(
    vectors: WordVectors,
    texts: Sequence[Sequence[str]],
    pooling: Pooling,
    *,
    policy: str = "skip",
    report: Report = silent,
) -> TextVectors:
    """`embed_texts` of texts that are cut already, with a pooling that is fitted already."""
    kinds = {word: i for i, word in enumerate(dict.fromkeys(word for words in texts for word in words))}
    resolved = resolve_words(vectors, list(kinds), policy)
    weights = np.array([pooling.weights.get(word, pooling.other) for word in kinds], np.float32)
    matrix = np.zeros((len(texts), vectors.vector_size), np.float32)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        chunk = texts[start : start + TEXTS_AT_ONCE]
        matrix[start : start + len(chunk)] = _weighted_means(chunk, kinds, resolved, weights, pooling.name)
        report(Progress("embed", start + len(chunk), len(texts), "texts"))
    if pooling.component is not None:
        matrix -= np.outer(matrix @ pooling.component, pooling.component)
    if vectors.normalize:
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        np.divide(matrix, lengths, out=matrix, where=lengths > 0)
    known, usable = resolved.known, resolved.usable
    ids = [[kinds[word] for word in words] for words in texts]
    how = Counter(resolved.how[i] for text in ids for i in text)
    return TextVectors(
        matrix,
        np.array([len(text) for text in ids], np.int64),
        np.array([known[text].sum() if text else 0 for text in ids], np.int64),
        np.array([usable[text].sum() if text else 0 for text in ids], np.int64),
        {name: how[name] for name in ["known", *dict.fromkeys(resolved.how)] if how[name]},
        "words" if vectors.pieces is None else "pieces of words",
    )


def _weighted_means(
    texts: Sequence[Sequence[str]], kinds: Mapping[str, int], resolved: Resolved, weights: Floats, name: str
) -> Floats:
    """(texts, dimension): each text's weighted mean over its words that have a vector; zeros where none has.

    The weights of a mean and of tf-idf sum to one; SIF divides by the number of words, as its paper does.
    """
    means = np.zeros((len(texts), resolved.matrix.shape[1]), np.float32)
    usable = resolved.usable
    for i, words in enumerate(texts):
        ids = np.array([kinds[word] for word in words], np.int64)
        ids = ids[usable[ids]]
        if len(ids):
            factors = weights[ids]
            divisor = len(ids) if name == "sif" else factors.sum()
            means[i] = factors @ resolved.matrix[ids] / divisor
    return means


POOLINGS: dict[str, Callable[[WordVectors, Sequence[Sequence[str]], str], Pooling]] = {
    "mean": _fit_mean,
    "tfidf": _fit_tfidf,
    "sif": _fit_sif,
}
