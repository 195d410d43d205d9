"""Word vectors over a memory map, with the interface of gensim's KeyedVectors.

Opening reads a header; a lookup reads a few pages; processes that open the same file share its memory.
Answers are gensim's on the same file. Where gensim is silent about unknown words, this raises or warns.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UnknownName, UsageError, WrongValue, close_names
from zoo.words.vectors.faults import Fault
from zoo.words.vectors.layout import CompiledFile, open_layout
from zoo.words.vectors.nearest import Floats, Index, Neighbours, Rows, nearest_rows
from zoo.words.vectors.pieces import Pieces, PieceVectors, pieces_of
from zoo.words.vectors.subwords import Subwords, subwords_of
from zoo.words.vectors.vocabulary import IndexToKey, KeyToIndex, Vocabulary

Key = str | int | np.integer[Any]
Query = Key | NDArray[Any]
Weighted = Query | tuple[Query, float]

# What gensim's KeyedVectors has beyond this class; asking for one builds gensim's object once.
GENSIM_ONLY = frozenset(
    [
        "most_similar_cosmul",
        "most_similar_to_given",
        "relative_cosine_similarity",
        "save",
        "save_word2vec_format",
        "vectors_for_all",
        "wmdistance",
    ]
)
SAMPLED = 400  # words that show how a file writes its words
# Methods of gensim's that change the vectors.
WRITING = frozenset(
    [
        "add_vector",
        "add_vectors",
        "allocate_vecattrs",
        "resize_vectors",
        "set_vecattr",
        "sort_by_descending_frequency",
        "unit_normalize_all",
    ]
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class UnknownWord(UnknownName, KeyError):
    """A word that the vectors lack. Close words are searched only when `close` or `hint` is read: code
    that catches a hundred thousand of these pays nothing.

    word: what was asked for. close: up to three words that are there.
    """

    def __init__(self, word: object, vectors: WordVectors) -> None:
        Exception.__init__(self, word)
        self.name = self.word = str(word)
        self.message = f"no word {self.name!r} among {len(vectors):,}"
        self._vectors = vectors

    @cached_property
    def close(self) -> list[str]:  # type: ignore[override]
        """Up to three known words of similar spelling."""
        return self._vectors.close_words(self.word)

    @property
    def hint(self) -> str | None:  # type: ignore[override]
        """The close words as a question, or None."""
        return f"Did you mean {', '.join(self.close)}?" if self.close else None


class NoKnownWord(WrongValue, KeyError):
    """None of the words of a text is known: it has no vector, and a zero vector would be a lie."""

    def __init__(self, words: Sequence[object]) -> None:
        shown = ", ".join(repr(str(word)) for word in words[:5]) + (", …" if len(words) > 5 else "")
        super().__init__(
            f"none of {len(words):,} words is known: {shown}",
            hint="Ask `word in vectors` first, or choose a policy for unknown words.",
        )


class WordVectors:
    """Words and their vectors.

    lowercase: no word has an upper-case letter, so lower your texts. path: the compiled file, None for
    vectors made in memory. subwords: the n-grams of a fastText model, of which `vectors[word]` of an unknown
    word is made; `word in vectors` is then True, `word in vectors.key_to_index` is not.
    pieces: of a static embedding model, whose rows are pieces of words; subwords then makes the mean of a
    word's pieces. normalize: such a model scales the vectors of texts to length one.
    """

    def __init__(self, compiled: CompiledFile, path: Path | None = None) -> None:
        arrays = compiled.arrays
        self.path = path
        self._compiled = compiled
        self._matrix: NDArray[Any] = arrays["vectors"]
        self._norms: Floats = arrays["norms"]
        self.metadata = compiled.metadata
        self.vocabulary = Vocabulary(arrays["text"], arrays["offsets"], arrays["order"], arrays["prefixes"])
        self.key_to_index = KeyToIndex(self.vocabulary)
        self.index_to_key = IndexToKey(self.vocabulary)
        self.pieces: Pieces | None = pieces_of(compiled)
        self.subwords: Subwords | PieceVectors | None = (
            subwords_of(compiled)
            if self.pieces is None
            else PieceVectors(self.pieces, self.vocabulary, self._matrix)
        )
        self.normalize = compiled.metadata.get("normalize") == "true"
        self.lowercase = compiled.metadata.get("lowercase") == "true"

    def __repr__(self) -> str:
        return f"<WordVectors {self.source}: {len(self):,} × {self.vector_size} {self._matrix.dtype}>"

    def __getattr__(self, name: str) -> Any:
        if name in GENSIM_ONLY:
            return getattr(self.gensim, name)
        if name in WRITING:
            raise _read_only(name)
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process opens the file again and shares its memory, instead of getting a copy of it all.
        if self.path is None:
            return WordVectors, (CompiledFile(dict(self._compiled.arrays), dict(self.metadata)),)
        return open_vectors, (self.path.absolute(),)

    # --- contents

    @cached_property
    def vectors(self) -> NDArray[Any]:
        """All vectors, (words, dimension) float32, or float16 where they were compiled so.

        numpy refuses to write to it. torch ignores that flag: `torch.from_numpy(vectors.vectors)` shares its
        memory, and what an optimizer writes there changes neither the file nor any answer of this object.
        """
        return self._lend("vectors")

    @cached_property
    def norms(self) -> Floats:
        """The length of each vector, (words,) float32; shared as `vectors` is."""
        return self._lend("norms")

    def _lend(self, name: str) -> NDArray[Any]:
        if self._compiled.private is not None:
            return self._compiled.private[name]
        copied: NDArray[Any] = self._compiled.arrays[name].copy()
        copied.setflags(write=False)
        return copied

    @property
    def vector_size(self) -> int:
        """The dimension of one vector."""
        return int(self._matrix.shape[1])

    @property
    def source(self) -> str:
        """The name of the file that was compiled."""
        return self.metadata.get("source", "")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What was wrong with that file."""
        stored = json.loads(self.metadata.get("faults", "[]"))
        return tuple(
            Fault(f["kind"], f["count"], tuple(f["lines"]), tuple(f["details"]), f["unit"]) for f in stored
        )

    def __len__(self) -> int:
        return len(self._matrix)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | int | np.integer) and (self.has_index_for(key) or self._has_ngrams(key))

    @overload
    def __getitem__(self, keys: Key) -> Floats: ...
    @overload
    def __getitem__(self, keys: Iterable[Key]) -> Floats: ...
    def __getitem__(self, keys: Key | Iterable[Key]) -> Floats:
        """One vector (dimension,) for one word; (n, dimension) for several. Raises UnknownWord."""
        if isinstance(keys, str | int | np.integer):
            return self.get_vector(keys)
        if isinstance(keys, bytes):
            raise _no_word(keys)
        if self.subwords is not None:
            keys = list(keys)
            return np.vstack([self.get_vector(key) for key in keys]) if keys else self.rows([])
        return self.rows([self.get_index(key) for key in keys])

    def has_index_for(self, key: Key) -> bool:
        """Whether the word, or the row, is there."""
        return self.get_index(key, -1) >= 0

    def get_index(self, key: Key | bytes, default: int | None = None) -> int:
        """The row of a word (a row number stays what it is). Raises UnknownWord without a default, WrongValue
        for bytes."""
        if isinstance(key, str):
            row = self.vocabulary.find(key)
        elif isinstance(key, bytes):  # Python would take its bytes for rows
            raise _no_word(key)
        else:
            row = int(key) if 0 <= key < len(self) else -1
        if row >= 0:
            return row
        if default is not None:
            return default
        raise UnknownWord(key, self)

    def get_vector(self, key: Key, norm: bool = False) -> Floats:
        """The vector of a word, (dimension,) float32, read-only; with `norm` scaled to length one."""
        row = self.get_index(key, -1)
        if row < 0:
            made = self._from_ngrams(key)
            if made is None:
                raise UnknownWord(key, self)
            made = _unit(made) if norm else made
            made.setflags(write=False)
            return made
        vector: Floats = self._matrix[row].astype(np.float32)  # a copy: torch would write into the file's map
        if norm:
            with np.errstate(invalid="ignore"):
                vector = (vector / self._norms[row]).astype(np.float32, copy=False)
        vector.setflags(write=False)
        return vector

    word_vec = get_vector

    def _has_ngrams(self, key: Key) -> bool:
        return self.subwords is not None and isinstance(key, str) and bool(self.subwords.has_ngrams([key])[0])

    def _from_ngrams(self, key: Key) -> Floats | None:
        """The vector of an unknown word from its n-grams; None where there are none."""
        if self.subwords is None or not isinstance(key, str):
            return None
        made, found = self.subwords.vectors([key])
        return made[0] if found[0] else None

    @property
    def expandos(self) -> dict[str, NDArray[Any]]:
        """Attributes of words, as gensim has them: none are published with vectors, nor kept here."""
        return {}

    def get_vecattr(self, key: Key, attr: str) -> Any:
        """An attribute of a word. Raises KeyError: there is none (see `expandos`)."""
        self.get_index(key)
        raise KeyError(f"no attribute {attr!r}: a file of vectors has only words and vectors")

    def fill_norms(self, force: bool = False) -> None:
        """Nothing to do: `norms` were computed when the vectors were compiled."""

    def init_sims(self, replace: bool = False) -> None:
        """Nothing to do, as for `fill_norms`. Raises UsageError with `replace`, which would write."""
        if replace:
            raise _read_only("init_sims(replace=True)")

    def rows(self, rows: Rows | Sequence[int]) -> Floats:
        """The vectors of many rows, (n, dimension) float32, a copy."""
        return self._matrix[np.asarray(rows, np.int64)].astype(np.float32, copy=False)

    def get_normed_vectors(self) -> Floats:
        """All vectors scaled to length one: a copy of the whole matrix in memory."""
        with np.errstate(invalid="ignore"):
            normed: Floats = (self._matrix / self._norms[:, np.newaxis]).astype(np.float32, copy=False)
        return normed

    def close_words(self, word: str, most: int = 3) -> list[str]:
        """Known words of similar spelling: another case, one letter off, or the same beginning.

        About a millisecond: only words that can be looked up are tried, the vocabulary is never walked.
        """
        usual = self._in_own_form(word)
        splits = [(word[:i], word[i:]) for i in range(min(len(word), 24) + 1)]
        edits = {word.lower(), word.title(), word.upper(), word.capitalize()}
        edits.update(left + right[1:] for left, right in splits if right)
        edits.update(left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1)
        edits.update(left + letter + right[1:] for left, right in splits if right for letter in ALPHABET)
        edits.update(left + letter + right for left, right in splits for letter in ALPHABET)
        candidates = sorted(edits - {word, ""})
        rows = self.vocabulary.find_many(candidates)
        found = set(rows[rows >= 0].tolist())
        if len(word) >= 4:
            found.update(np.sort(self.vocabulary.starting_with(word[:4]))[:100].tolist())
        close = close_names(word, [self.vocabulary.word(row) for row in sorted(found)], most)
        return list(dict.fromkeys([*usual, *close]))[:most]

    def _in_own_form(self, word: str) -> list[str]:
        """A word as this file writes its words: /c/en/king, New_York, king_NOUN."""
        joined = re.sub(r"[\s_-]+", "_", word.strip())
        forms = dict.fromkeys(form for base in (word, joined) for form in (base, base.lower(), base.title()))
        forms |= dict.fromkeys([joined.replace("_", "-"), joined.replace("_", "")])
        before, after = self._affixes
        candidates = [*forms, *(b + f for b in before for f in forms), *(f + a for a in after for f in forms)]
        rows = self.vocabulary.find_many(candidates)
        return [c for c, row in zip(candidates, rows.tolist(), strict=True) if row >= 0 and c != word]

    @cached_property
    def _affixes(self) -> tuple[list[str], list[str]]:
        """What many words begin or end with, the commonest first: paths of concepts, parts of speech."""
        rows = range(0, len(self), max(1, len(self) // SAMPLED))
        words = [self.vocabulary.word(row) for row in rows]
        before = Counter(word[: word.rindex("/") + 1] for word in words if "/" in word[:-1])
        after = Counter(found[0] for word in words if (found := re.search(r"[_|#/][A-Z]{1,5}$", word)))
        enough = max(2, len(words) // 20)
        return (
            [affix for affix, count in before.most_common(4) if count >= enough],
            [affix for affix, count in after.most_common(4) if count >= enough],
        )

    # --- means

    def get_mean_vector(
        self,
        keys: Sequence[Query],
        weights: Sequence[float] | NDArray[Any] | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> Floats:
        """The weighted mean of the vectors of `keys` (words, rows or vectors), (dimension,) float32.

        As gensim's, but where no key is known it raises NoKnownWord: gensim gives a zero vector.
        """
        if len(keys) == 0:
            raise WrongValue("no words to take the mean of")
        factors = np.ones(len(keys), np.float32) if weights is None else np.asarray(weights)
        if len(factors) != len(keys):
            raise WrongValue(f"{len(keys)} words, but {len(factors)} weights")
        mean = np.zeros(self.vector_size, np.float32)
        total = 0.0
        known = 0
        for key, factor in zip(keys, factors, strict=True):
            if isinstance(key, np.ndarray):
                vector: NDArray[Any] = key
            elif key in self:
                vector = self.get_vector(key, norm=pre_normalize)
            elif ignore_missing:
                continue
            else:
                raise UnknownWord(key, self)
            known += 1
            mean += factor * vector
            total += abs(factor)
        if known == 0:
            raise NoKnownWord(keys)
        if total > 0:
            mean = (mean / total).astype(np.float32)
        return _unit(mean) if post_normalize else mean

    # --- similarity

    def similarity(self, w1: Key, w2: Key) -> float:
        """The cosine of two words."""
        return float(_unit(self.get_vector(w1)) @ _unit(self.get_vector(w2)))

    def distance(self, w1: Key, w2: Key) -> float:
        """One minus the cosine of two words; 0 for a word and itself."""
        same = w1 == w2 or (self.has_index_for(w1) and self.get_index(w1) == self.get_index(w2, -1))
        return 0.0 if same and w1 in self else 1 - self.similarity(w1, w2)

    def distances(self, word_or_vector: Query, other_words: Sequence[Key] = ()) -> Floats:
        """One minus the cosine with each of the other words, or with all of them by row."""
        vector = self._vector_of(word_or_vector)
        if len(other_words):
            rows = np.array([self.get_index(word) for word in other_words], np.int64)
            matrix, norms = self.rows(rows), self._norms[rows]
        else:
            matrix, norms = self._matrix, self._norms
        length = np.float32(np.linalg.norm(vector))
        with np.errstate(invalid="ignore"):
            return np.float32(1) - _dot_blocks(matrix, vector) / (length * norms)

    def n_similarity(self, ws1: Sequence[Key], ws2: Sequence[Key]) -> float:
        """The cosine of the means of two groups of words. Raises NoKnownWord where a group has none."""
        mean1 = self.get_mean_vector(ws1, pre_normalize=False)
        mean2 = self.get_mean_vector(ws2, pre_normalize=False)
        return float(_unit(mean1) @ _unit(mean2))

    @staticmethod
    def cosine_similarities(vector_1: NDArray[Any], vectors_all: NDArray[Any]) -> Floats:
        """The cosine of one vector (dimension,) with each of many, (n, dimension)."""
        lengths = np.linalg.norm(vectors_all, axis=1) * np.linalg.norm(vector_1)
        cosines: Floats = vectors_all @ vector_1 / lengths
        return cosines

    def closer_than(self, key1: Key, key2: Key) -> list[str]:
        """All words that are closer to the first word than the second is, in the order of their rows."""
        row1, row2 = self.get_index(key1), self.get_index(key2)
        distances = self.distances(key1)
        closer = np.flatnonzero(distances < distances[row2]).tolist()
        return [self.vocabulary.word(row) for row in closer if row != row1]

    words_closer_than = closer_than

    def rank(self, key1: Key, key2: Key) -> int:
        """The place of the second word among the neighbours of the first, from 1."""
        return len(self.closer_than(key1, key2)) + 1

    def rank_by_centrality(self, words: Sequence[str], use_norm: bool = True) -> list[tuple[float, str]]:
        """(cosine with the mean of all, word), most central first. Warns of unknown words, left out."""
        known = [word for word in words if word in self]
        if not known:
            raise NoKnownWord(words)
        if len(known) < len(words):
            unknown = [word for word in words if word not in self]
            warnings.warn(f"unknown words left out: {', '.join(unknown)}", stacklevel=3)
        vectors = np.vstack([self.get_vector(word, norm=use_norm) for word in known])
        scores = vectors @ self.get_mean_vector(list(vectors), post_normalize=True)
        return sorted(zip(scores.tolist(), known, strict=True), reverse=True)

    def doesnt_match(self, words: Sequence[str]) -> str:
        """The word that fits least: farthest from the mean of all."""
        return self.rank_by_centrality(words)[-1][1]

    # --- neighbours

    @overload
    def most_similar(
        self,
        positive: Weighted | Sequence[Weighted] | None = ...,
        negative: Weighted | Sequence[Weighted] | None = ...,
        topn: int = ...,
        clip_start: int = ...,
        clip_end: int | None = ...,
        restrict_vocab: int | None = ...,
        indexer: Index | None = ...,
    ) -> list[tuple[str, float]]: ...
    @overload
    def most_similar(
        self,
        positive: Weighted | Sequence[Weighted] | None = ...,
        negative: Weighted | Sequence[Weighted] | None = ...,
        *,
        topn: None,
        clip_start: int = ...,
        clip_end: int | None = ...,
        restrict_vocab: int | None = ...,
        indexer: None = ...,
    ) -> Floats: ...
    def most_similar(
        self,
        positive: Weighted | Sequence[Weighted] | None = None,
        negative: Weighted | Sequence[Weighted] | None = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
        indexer: Index | None = None,
    ) -> list[tuple[str, float]] | Floats:
        """(word, cosine) of the words nearest to the sum of `positive` less `negative`, best first.

        Each may be a word, a row, a vector, or (one of them, weight). Words given are not among the answers.
        restrict_vocab: search the first so many words only. topn=None: the cosines of all words.
        indexer: an index of these vectors, the ExactIndex of zoo.words.vectors.rounded, which is faster from
        a hundred queries or so on, or the ApproximateIndex of zoo.words.vectors.approximate, which may miss
        some; without one, the search is exact.
        Raises UnknownWord, and UsageError for an index of other vectors.
        """
        if topn is not None and topn < 1:
            return []
        mean, given = self.combine(positive, negative)
        first, last = (0, restrict_vocab) if restrict_vocab else (clip_start, clip_end or len(self))
        start, stop, _ = slice(first, last).indices(len(self))  # negative ones count from the end
        if topn is None:
            with np.errstate(invalid="ignore"):
                return _dot_blocks(self._matrix[start:stop], mean) / self._norms[start:stop]
        return self._named(mean[np.newaxis], [given], topn, start, stop, indexer)[0]

    def most_similar_many(
        self,
        queries: Sequence[Query],
        topn: int = 10,
        restrict_vocab: int | None = None,
        indexer: Index | None = None,
    ) -> list[list[tuple[str, float]]]:
        """`most_similar` of each of many words or vectors, in one pass: seven times as fast and more."""
        combined = [self.combine([query], None) for query in queries]
        if not combined:
            return []
        means = np.vstack([mean for mean, _ in combined])
        given = [rows for _, rows in combined]
        return self._named(means, given, topn, 0, restrict_vocab or len(self), indexer)

    def similar_by_word(
        self, word: Key, topn: int = 10, restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """The words nearest to one word."""
        return self.most_similar([word], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_key(
        self, key: Key, topn: int = 10, restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """The words nearest to one word or row."""
        return self.similar_by_word(key, topn, restrict_vocab)

    def similar_by_vector(
        self, vector: NDArray[Any], topn: int = 10, restrict_vocab: int | None = None
    ) -> list[tuple[str, float]]:
        """The words nearest to a vector."""
        return self.most_similar([vector], topn=topn, restrict_vocab=restrict_vocab)

    def combine(
        self,
        positive: Weighted | Sequence[Weighted] | None,
        negative: Weighted | Sequence[Weighted] | None,
    ) -> tuple[Floats, list[int]]:
        """(the mean of length one, the rows that were given) of what `most_similar` takes."""
        weighted = [
            item if isinstance(item, tuple) else (item, sign)
            for items, sign in ((positive, 1.0), (negative, -1.0))
            for item in _as_list(items)
        ]
        if not weighted:
            raise WrongValue("most_similar was given no words")
        keys = [key for key, _ in weighted]
        weights = np.array([weight for _, weight in weighted], np.float64)
        mean = self.get_mean_vector(keys, weights, post_normalize=True, ignore_missing=False)
        rows = [self.get_index(key, -1) for key in keys if not isinstance(key, np.ndarray)]
        return mean, [row for row in rows if row >= 0]

    def _named(
        self,
        means: Floats,
        given: Sequence[Sequence[int]],
        topn: int,
        start: int,
        stop: int,
        indexer: Index | None,
    ) -> list[list[tuple[str, float]]]:
        most = topn + max(len(rows) for rows in given)
        if indexer is not None and not (hasattr(indexer, "covers") and indexer.covers(self)):
            raise UsageError(
                "the index is not one of these vectors",
                hint="Make one: ExactIndex(vectors), of zoo.words.vectors.rounded.",
            )
        if indexer is None:
            found = self.nearest(means, most, start=start, stop=stop)
        elif start == 0 and stop >= len(self):
            found = indexer.nearest(means, most)
        else:
            raise WrongValue("an index covers all words: it cannot search some of them only")
        return [
            [
                (self.vocabulary.word(row), score)
                for row, score in zip(rows, scores, strict=True)
                if row >= 0 and row not in excluded
            ][:topn]
            for rows, scores, excluded in zip(found.rows.tolist(), found.scores.tolist(), given, strict=True)
        ]

    def is_same(self, other: WordVectors) -> bool:
        """Whether these are the same vectors: the same object, or those of the same file, opened again."""
        if self.path is None or other.path is None:
            return self is other
        return self.path.absolute() == other.path.absolute() and len(self) == len(other)

    def nearest(self, queries: Floats, most: int, *, start: int = 0, stop: int | None = None) -> Neighbours:
        """The rows nearest to vectors of length one, exactly: see `nearest_rows`."""
        return nearest_rows(self._matrix, self._norms, queries, most, start=start, stop=stop)

    def _vector_of(self, query: Query) -> NDArray[Any]:
        return query if isinstance(query, np.ndarray) else self.get_vector(query)

    # --- evaluation

    def evaluate_word_analogies(
        self,
        analogies: Path | str,
        restrict_vocab: int = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
        similarity_function: str = "most_similar",
    ) -> tuple[float, list[dict[str, Any]]]:
        """(share right, sections) on a file of analogies, as gensim's; see zoo.words.vectors.evaluation."""
        if similarity_function != "most_similar":
            return cast(
                "tuple[float, list[dict[str, Any]]]",
                self.gensim.evaluate_word_analogies(
                    str(analogies), restrict_vocab, case_insensitive, dummy4unknown, similarity_function
                ),
            )
        from zoo.words.vectors.evaluation import evaluate_analogies

        return evaluate_analogies(self, Path(analogies), restrict_vocab, case_insensitive, dummy4unknown)

    def evaluate_word_pairs(
        self,
        pairs: Path | str,
        delimiter: str = "\t",
        encoding: str = "utf8",
        restrict_vocab: int = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[Any, Any, float]:
        """(Pearson, Spearman, percent unknown) against people's judgements, as gensim's."""
        from zoo.words.vectors.evaluation import evaluate_pairs

        return evaluate_pairs(
            self, Path(pairs), delimiter, encoding, restrict_vocab, case_insensitive, dummy4unknown
        )

    # --- gensim's own object

    def to_gensim(self) -> Any:
        """A gensim KeyedVectors over the same memory. Builds gensim's dictionary of all words."""
        from gensim.models import FastText, KeyedVectors

        if not isinstance(self.subwords, Subwords):
            model = KeyedVectors(self.vector_size)
        else:
            table, shortest, longest = self.subwords.table, self.subwords.shortest, self.subwords.longest
            model = FastText(vector_size=self.vector_size, min_n=shortest, max_n=longest, bucket=1).wv
            model.bucket, model.vectors_ngrams = len(table), table.astype(np.float32, copy=False)
        model.vectors = self.vectors.astype(np.float32, copy=False)
        model.norms = self.norms
        model.index_to_key = list(self.index_to_key)
        model.key_to_index = {word: row for row, word in enumerate(model.index_to_key)}
        model.next_index = len(self)
        return model

    @cached_property
    def gensim(self) -> Any:
        """`to_gensim()`, made once: for what is in gensim only."""
        return self.to_gensim()


def open_vectors(path: Path) -> WordVectors:
    """Word vectors from a compiled file (zoo/words/compiling), in milliseconds and with numpy alone.

    Raises IntegrityError where the file is not a compiled one, or is damaged in its header or its length.
    """
    return WordVectors(open_layout(path), path)


def _read_only(what: str) -> UsageError:
    return UsageError(
        f"{what} would change the vectors, which are read from a file",
        hint="gensim's own object can be changed: vectors.to_gensim()",
    )


def _no_word(key: bytes) -> WrongValue:
    return WrongValue(f"{key!r} is bytes, not a word", hint="Decode it: word.decode('utf-8').")


def _unit(vector: NDArray[Any]) -> Floats:
    """The vector scaled to length one; a zero vector stays what it is."""
    length = np.linalg.norm(vector)
    return (vector / length if length > 0 else vector).astype(np.float32, copy=False)


def _dot_blocks(matrix: NDArray[Any], vector: NDArray[Any]) -> Floats:
    """matrix @ vector; a float16 matrix is widened a block at a time, never as a whole."""
    if matrix.dtype == np.float32:
        product: Floats = matrix @ vector.astype(np.float32, copy=False)
        return product
    return np.concatenate(
        [matrix[i : i + 65536].astype(np.float32) @ vector for i in range(0, len(matrix), 65536)]
    )


def _as_list(items: Weighted | Sequence[Weighted] | None) -> list[Weighted]:
    """What gensim takes for `positive`: nothing, one, several, or a matrix of vectors."""
    if items is None:
        return []
    if isinstance(items, bytes):
        raise _no_word(items)
    if isinstance(items, str | int | np.integer) or (isinstance(items, np.ndarray) and items.ndim == 1):
        return [items]
    if isinstance(items, tuple) and len(items) == 2 and isinstance(items[1], float):
        return [cast(Weighted, items)]
    return list(cast(Sequence[Weighted], items))
