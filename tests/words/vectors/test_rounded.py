"""The exact index finds what the plain search finds, whatever the vectors look like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from zoo.errors import UsageError, WrongValue
from zoo.words.vectors import rounded
from zoo.words.vectors.layout import CompiledFile
from zoo.words.vectors.nearest import Floats, Neighbours
from zoo.words.vectors.rounded import ExactIndex
from zoo.words.vectors.vocabulary import build_vocabulary
from zoo.words.vectors.word_vectors import WordVectors, open_vectors

ROWS = 20_000


def drawn(rng: np.random.Generator) -> Floats:
    """No structure."""
    return rng.normal(size=(ROWS, 50)).astype(np.float32)


def one_large_number(rng: np.random.Generator) -> Floats:
    """Vectors like GloVe's: one dimension is so large that rounding leaves little of the others."""
    found = drawn(rng)
    found[:, 7] += 30
    return found


def without_direction(rng: np.random.Generator) -> Floats:
    """Vectors of length zero, and others with what is not a number."""
    found = drawn(rng)
    found[::3] = 0
    found[1::50, 4] = np.nan
    found[2::50, 4] = np.inf
    return found


def copies(rng: np.random.Generator) -> Floats:
    """Every vector is there five times."""
    return np.repeat(drawn(rng)[: ROWS // 5], 5, axis=0)


def all_alike(rng: np.random.Generator) -> Floats:
    """All cosines are nearly one: every row is a candidate."""
    return (1 + 1e-3 * rng.normal(size=(ROWS, 50))).astype(np.float32)


def few(rng: np.random.Generator) -> Floats:
    """Fewer rows than a chunk has."""
    return drawn(rng)[:100]


def one_number(rng: np.random.Generator) -> Floats:
    """Vectors of a single number: the cosine is 1 or -1."""
    return rng.normal(size=(ROWS, 1)).astype(np.float32)


def huge_and_tiny(rng: np.random.Generator) -> Floats:
    """Lengths from 1e-15 to 1e15."""
    return (drawn(rng) * 10 ** rng.uniform(-15, 15, size=(ROWS, 1))).astype(np.float32)


SHAPES = (
    drawn,
    one_large_number,
    without_direction,
    copies,
    all_alike,
    few,
    one_number,
    huge_and_tiny,
)


def open_matrix(matrix: Floats, dtype: type = np.float32) -> WordVectors:
    """Word vectors of a matrix."""
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(matrix.astype(np.float64), axis=1).astype(np.float32)
    vocabulary = build_vocabulary([f"w{i}" for i in range(len(matrix))])
    arrays = {
        "vectors": matrix.astype(dtype),
        "norms": norms,
        "text": vocabulary.text,
        "offsets": vocabulary.offsets,
        "order": vocabulary.order,
        "prefixes": vocabulary.prefixes,
    }
    return WordVectors(CompiledFile(arrays, {"source": "made"}))


def assert_same(found: Neighbours, expected: Neighbours) -> None:
    """Equal cosines, and equal rows wherever cosines differ by more than float32 can tell."""
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-6)
    for rows, true, scores in zip(found.rows, expected.rows, expected.scores, strict=True):
        apart = scores > scores[-1] + 4e-6  # those beyond the last one's equals are settled
        assert set(true[apart]) <= set(rows)


@pytest.mark.parametrize("most", [1, 10, 300])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_the_nearest_are_those_of_the_plain_search(
    shape: Callable[[np.random.Generator], Floats], most: int
) -> None:
    rng = np.random.default_rng(0)
    matrix = shape(rng)
    vectors = open_matrix(matrix)
    index = ExactIndex(vectors)
    queries = rng.normal(size=(6, matrix.shape[1])).astype(np.float32)
    queries[:3] = np.nan_to_num(matrix[[3, 9, 30]], posinf=1)  # rows themselves, one of them of length zero
    queries /= np.maximum(np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True), 1e-30)
    for start, stop in ((0, 1), (1, 3), (3, 5), (0, 6)):
        with np.errstate(invalid="ignore"):  # of what is not a number
            expected = vectors.nearest(queries[start:stop], most)
            found = index.nearest(queries[start:stop], most)
        assert_same(found, expected)


def test_float16_vectors_have_the_same_nearest() -> None:
    vectors = open_matrix(drawn(np.random.default_rng(0)), np.float16)
    queries = vectors.rows([5]) / vectors.norms[5]
    assert_same(ExactIndex(vectors).nearest(queries, 10), vectors.nearest(queries, 10))


def test_only_a_few_rows_are_computed_again() -> None:
    vectors = open_matrix(drawn(np.random.default_rng(0)))
    index = ExactIndex(vectors)
    asked = [index._candidates(vectors.rows([row])[0] / vectors.norms[row], 10) for row in range(20)]
    assert max(map(len, asked)) < ROWS * rounded.MOST_CANDIDATES


def test_words_are_found_by_name_and_no_range_of_them() -> None:
    vectors = open_matrix(drawn(np.random.default_rng(0)))
    index = ExactIndex(vectors)
    plain, fast = vectors.most_similar("w7"), vectors.most_similar("w7", indexer=index)
    assert [word for word, _ in fast] == [word for word, _ in plain]
    assert dict(fast) == pytest.approx(dict(plain), abs=1e-6)
    with pytest.raises(WrongValue, match="an index covers all words"):
        vectors.most_similar("w7", restrict_vocab=100, indexer=index)


@pytest.mark.parametrize("strange", [np.nan, np.inf, 0.0])
def test_a_query_without_a_direction_is_answered_as_without_an_index(strange: float) -> None:
    vectors = open_matrix(drawn(np.random.default_rng(0))[:2000])
    query = np.full((1, 50), strange, np.float32)
    with np.errstate(invalid="ignore"):
        expected, found = vectors.nearest(query, 5), ExactIndex(vectors).nearest(query, 5)
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_an_index_of_other_vectors_is_refused() -> None:
    one, other = (open_matrix(drawn(np.random.default_rng(seed))[:2000]) for seed in (0, 1))
    with pytest.raises(UsageError, match="the index is not one of these vectors"):
        one.most_similar("w7", indexer=ExactIndex(other))
    with pytest.raises(UsageError, match="the index is not one of these vectors"):
        one.most_similar("w7", indexer="x")  # type: ignore[call-overload]
    for nothing in (None, "x"):
        with pytest.raises(UsageError, match="an index is made of word vectors, not of a "):
            ExactIndex(nothing)  # type: ignore[arg-type]


def test_an_index_serves_the_same_file_opened_again(vectors: WordVectors) -> None:
    assert vectors.path is not None
    index = ExactIndex(open_vectors(vectors.path))
    found = vectors.most_similar("king", indexer=index)
    assert [word for word, _ in found] == [word for word, _ in vectors.most_similar("king")]


def test_rows_of_length_zero_hide_no_word_where_all_others_point_away() -> None:
    missed = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        query = rng.normal(size=50)
        query /= np.linalg.norm(query)
        across = rng.normal(size=(20_000, 50))
        across -= (across @ query)[:, None] * query
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        cosines = -rng.uniform(0.1, 0.4, len(across))
        cosines[rng.permutation(len(across))[:300]] = -rng.uniform(0.027, 0.031, 300)
        matrix = (across * np.sqrt(1 - cosines**2)[:, None] + cosines[:, None] * query).astype(np.float32)
        matrix[::64] = 0
        vectors, asked = open_matrix(matrix), query.astype(np.float32)
        expected = [word for word, _ in vectors.most_similar(asked)]
        found = [word for word, _ in vectors.most_similar(asked, indexer=ExactIndex(vectors))]
        missed += len({*expected} - {*found})
    assert missed == 0
