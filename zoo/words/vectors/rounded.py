"""An exact index of word vectors for one query after another: a copy in bytes finds who may be the nearest.

Reading the matrix is the cost of one query. Here each row of length one is kept as int8 with a scale, and
with the length of what rounding took away, so that every cosine is known within bounds (Cauchy and Schwarz):
a quarter of the memory is read, and only the rows whose upper bound reaches the best lower bounds are
computed from the matrix itself. The products are torch's, by the processor's instructions for int8, of which
numpy has none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from zoo.errors import UsageError
from zoo.words.vectors.nearest import CHUNK, FEW, Floats, Neighbours, Rows, peaks_of
from zoo.words.vectors.word_vectors import WordVectors

ROWS_AT_ONCE = 1 << 16
LARGEST = 127  # of int8, on both sides of zero
SLACK = 4e-6  # what float32 may change a cosine by
MOST_CANDIDATES = 1 / 16  # of all rows: with more, the plain search is faster


class ExactIndex:
    """Finds the nearest rows, every one of them, in a fraction of the plain search's time for one query.

    vectors.most_similar("king", indexer=ExactIndex(vectors)). Costs a pass over the matrix when it is made,
    and from then on a byte per number and eight per word. Raises UsageError for anything but word vectors.
    """

    def __init__(self, vectors: WordVectors) -> None:
        if not isinstance(vectors, WordVectors):
            raise UsageError(f"an index is made of word vectors, not of a {type(vectors).__name__}")
        self._vectors = vectors
        words, dimension = vectors.vectors.shape
        codes, scales = np.empty((words, dimension), np.int8), np.empty(words, np.float32)
        errors, usable = np.empty(words, np.float32), np.empty(words, np.bool_)
        for start in range(0, words, ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, words))
            some = usable[rows] = self._have_direction(rows)
            units: Floats = np.where(some[:, np.newaxis], vectors.rows(rows), 0)
            units /= np.where(some, vectors.norms[rows], 1)[:, np.newaxis]
            codes[rows], scales[rows], errors[rows] = _round(units)
        self._never = np.flatnonzero(~usable)  # near to nothing
        self._codes, self._scales, self._errors = torch.from_numpy(codes), torch.from_numpy(scales), errors
        self._openmp = ThreadpoolController().select(user_api="openmp")

    def covers(self, vectors: WordVectors) -> bool:
        """Whether it is an index of these vectors."""
        return self._vectors.is_same(vectors)

    def nearest(self, queries: Floats, most: int) -> Neighbours:
        """The rows nearest to vectors of length one, (queries, dimension), as `nearest_rows` finds them.

        More than two queries share the plain search's pass over the matrix, which is faster.
        """
        if not 1 <= len(queries) <= FEW or most < 1 or not np.isfinite(queries).all():
            return self._vectors.nearest(queries, most)
        candidates = [self._candidates(query, most) for query in queries]
        if any(len(rows) > len(self._errors) * MOST_CANDIDATES for rows in candidates):
            return self._vectors.nearest(queries, most)
        best = [self._best(rows, query, most) for rows, query in zip(candidates, queries, strict=True)]
        if any(len(b.rows) < most for b in best):
            return self._vectors.nearest(queries, most)
        return Neighbours(np.stack([b.rows for b in best]), np.stack([b.scores for b in best]))

    def _candidates(self, query: Floats, most: int) -> Rows:
        """The rows that may be among the nearest to one query, in their order: none of these is left out."""
        asked = _round(query[np.newaxis])
        cosines = self._products(asked.codes) * float(asked.scales[0])
        whole = len(cosines) // CHUNK * CHUNK
        surely = cosines - self._errors
        surely[self._never] = -np.inf
        peaks = peaks_of(surely[:whole].reshape(-1, CHUNK, 1)).ravel()
        if most >= len(peaks):
            return np.arange(len(cosines))
        # u, v and what is kept of them, u', v': |u.v - u'.v'| <= |u - u'| |v| + |u'| |v - v'|.
        # The errors of the rows are the first; what the query lost is the same for all but for |u'| <= 2.
        beyond = 2 * (2 * float(asked.errors[0]) + SLACK)
        sure = np.partition(peaks, -most)[-most]  # as many chunks as rows are wanted have a row above it
        return np.flatnonzero(cosines + self._errors >= sure - beyond)

    def _products(self, code: NDArray[np.int8]) -> Floats:
        """Of each row with one code (1, dimension), (rows,), scaled as the rows are.

        By one thread: two wait for each other on a busy machine, and one reads as fast as the memory gives.
        """
        with self._openmp.limit(limits=1):
            products = torch._int_mm(self._codes, torch.from_numpy(code).T.contiguous())
            scaled: Floats = (products.view(-1) * self._scales).numpy()
        return scaled

    def _best(self, rows: Rows, query: Floats, most: int) -> Neighbours:
        """The nearest of some rows to one query, best first; of equal cosines the lower row comes first."""
        rows = rows[self._have_direction(rows)]
        products = np.einsum("rd,d->r", self._vectors.rows(rows).astype(np.float64), query)
        scores = (products / self._vectors.norms[rows]).astype(np.float32)
        order = np.lexsort((rows, -scores))[:most]
        return Neighbours(rows[order], scores[order])

    def _have_direction(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows (n,) can be near to anything: those of length zero cannot."""
        norms = self._vectors.norms[rows]
        return (norms > 0) & np.isfinite(norms)


class _Rounded(NamedTuple):
    """Vectors as whole numbers: codes (rows, dimension) times scales (rows,), and the distances, (rows,)."""

    codes: NDArray[np.int8]
    scales: Floats
    errors: Floats


def _round(units: Floats) -> _Rounded:
    """Vectors (rows, dimension) of length one or zero, rounded."""
    scales = np.abs(units).max(axis=1, initial=0) / LARGEST
    codes = np.rint(units / np.where(scales > 0, scales, 1)[:, np.newaxis])
    errors = np.linalg.norm(units - codes * scales[:, np.newaxis], axis=1)
    return _Rounded(codes.astype(np.int8), scales, errors)
