"""The nearest rows of a matrix by cosine: exact, block by block, any number of queries in one pass.

Reading the matrix is the cost of one query (160 MB for 400,000 x 100): 64 queries share it. Sorting all
scores would cost as much again: only chunks with a score among the best are ever looked into.

Several blocks are shared out among threads of ours, each with a BLAS of one thread: so the search for the
best is shared out too, and on a busy machine no thread waits for the slowest after every product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock, local
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SCORES_AT_ONCE = 1 << 20  # 4 MB: they stay in the processor's cache
QUERIES_AT_ONCE = 64  # more would make the blocks of rows too small for a fast product
FEW = 2  # queries that are faster one by one: numpy's loops over their scores would be too short
WIDENED_AT_ONCE = 1 << 23  # numbers of float16 that are widened in one block: 32 MB
CHUNK = 128  # a power of two
LOWEST = np.finfo(np.float32).min

ONE_SEARCH = Lock()  # two that limit BLAS at once would restore each other's limit


class Neighbours(NamedTuple):
    """rows: (queries, n) best first. scores: (queries, n) cosines. Rows of length zero never appear.

    A query of which there are fewer (one of length zero, say) has row -1 and score -inf in the last places.
    """

    rows: Rows
    scores: Floats


class Index(Protocol):
    """Anything that finds nearest rows: an exact index of word vectors, an approximate one."""

    def covers(self, vectors: Any, /) -> bool:
        """Whether its rows are those of these word vectors."""
        ...

    def nearest(self, queries: Floats, most: int) -> Neighbours:
        """The rows nearest to vectors of length one, (queries, dimension); -1 where none was found."""
        ...


def nearest_rows(
    matrix: NDArray[Any],
    norms: Floats,
    queries: Floats,
    most: int,
    *,
    start: int = 0,
    stop: int | None = None,
) -> Neighbours:
    """The `most` rows between start and stop whose cosine with each query is largest.

    matrix: (words, dimension) float32 or float16. norms: (words,). queries: (queries, dimension) of length
    one. Of equal scores the lower row comes first. Fewer columns come back where no query has so many.
    """
    stop = len(matrix) if stop is None else min(stop, len(matrix))
    most = max(0, min(most, stop - start))
    best = [
        _search(matrix, norms, np.ascontiguousarray(group, np.float32), most, start, stop)
        for group in _groups_of(queries, most)
    ]
    rows, scores = np.concatenate([b.rows for b in best]), np.concatenate([b.scores for b in best])
    found = int((rows >= 0).sum(axis=1).max()) if len(queries) else most
    return Neighbours(rows[:, :found], scores[:, :found])


def _groups_of(queries: Floats, most: int) -> list[Floats]:
    """The queries in groups that share a pass over the matrix; at least one group, which may be empty."""
    size = 1 if len(queries) <= FEW else max(1, min(QUERIES_AT_ONCE, SCORES_AT_ONCE // max(1, most)))
    return [queries[i : i + size] for i in range(0, max(1, len(queries)), size)]


def _search(
    matrix: NDArray[Any], norms: Floats, queries: Floats, most: int, start: int, stop: int
) -> _BestSoFar:
    """The best rows of one group of queries."""
    best = _BestSoFar(len(queries), most)
    if most == 0 or len(queries) == 0:
        return best
    step = max(most, SCORES_AT_ONCE // len(queries))
    if matrix.dtype != np.float32:
        step = min(step, max(1, WIDENED_AT_ONCE // matrix.shape[1]))

    scratch = _Scratch(min(step, stop - start), len(queries))

    def scan(begin: int) -> None:
        rows = slice(begin, min(begin + step, stop))
        best.add(begin, _cosines(matrix[rows], norms[rows], queries, scratch.scores))

    _share_out(scan, range(start, stop, step))
    return best


class _Scratch(local):
    """Memory for the scores of one block, one per thread: new memory for each would double the time."""

    def __init__(self, rows: int, queries: int) -> None:
        self.scores: Floats = np.empty((rows, queries), np.float32)


def _cosines(block: NDArray[Any], norms: Floats, queries: Floats, scratch: Floats) -> Floats:
    """Cosine of every row with every query, shape (rows, queries), written into `scratch`.

    -inf for rows of length zero.
    """
    scores = scratch[: len(block)]
    np.matmul(block.astype(np.float32, copy=False), queries.T, out=scores)
    usable = (norms > 0) & np.isfinite(norms)
    if usable.all():
        scores /= norms[:, np.newaxis]
    else:
        scores /= np.where(usable, norms, 1)[:, np.newaxis]
        scores[~usable] = -np.inf
    return scores


class _BestSoFar:
    """The best rows of each query among the blocks seen so far, whatever their order.

    rows, scores: (queries, most), best first; -1 and -inf where there is none yet.
    """

    def __init__(self, queries: int, most: int) -> None:
        self.rows: Rows = np.full((queries, most), -1, np.int64)
        self.scores: Floats = np.full((queries, most), -np.inf, np.float32)
        self._lock = Lock()

    def add(self, begin: int, scores: Floats) -> None:
        """Look through the scores (rows, queries) of the rows from `begin` on."""
        most = self.rows.shape[1]
        bar = np.maximum(self.scores[:, -1], LOWEST)  # a row as good as the last one may be a lower one
        chunks = scores[: len(scores) // CHUNK * CHUNK].reshape(-1, CHUNK, scores.shape[1])
        peaks = peaks_of(chunks)
        # As many chunks as rows are wanted reach this score, so as many rows do.
        high = peaks if len(peaks) > most else scores
        if len(high) > most:
            bar = np.maximum(bar, np.partition(high, -most, axis=0)[-most])
        chunk, query = np.nonzero(peaks >= bar)
        inside = chunks[chunk, :, query]
        pair, place = np.nonzero(inside >= bar[query, np.newaxis])
        rest = chunks.shape[0] * CHUNK
        last, last_query = np.nonzero(scores[rest:] >= bar)
        self._merge(
            np.concatenate([query[pair], last_query]),
            np.concatenate([begin + chunk[pair] * CHUNK + place, begin + rest + last]),
            np.concatenate([inside[pair, place], scores[rest:][last, last_query]]),
        )

    def _merge(self, queries: Rows, rows: Rows, scores: Floats) -> None:
        """Put candidates among the best: three arrays of equal length."""
        if len(rows) == 0:
            return
        count, most = self.rows.shape
        with self._lock:
            queries = np.concatenate([np.repeat(np.arange(count), most), queries])
            rows = np.concatenate([self.rows.ravel(), rows])
            scores = np.concatenate([self.scores.ravel(), scores])
            order = np.lexsort((rows, -scores, queries))
            firsts = np.searchsorted(queries[order], np.arange(count))
            kept = order[firsts[:, np.newaxis] + np.arange(most)]
            self.rows, self.scores = rows[kept], scores[kept]


def peaks_of(chunks: Floats) -> Floats:
    """The largest score of each chunk and query: (chunks, CHUNK, queries) becomes (chunks, queries).

    Halving keeps numpy's inner loops long: three times as fast as max(axis=1).
    """
    while chunks.shape[1] > 1:
        half = chunks.shape[1] // 2
        chunks = np.maximum(chunks[:, :half], chunks[:, half:])
    return chunks[:, 0]


def _share_out(work: Callable[[int], None], blocks: Sequence[int]) -> None:
    """Do the work of every block, with as many threads as BLAS would have taken ($OPENBLAS_NUM_THREADS)."""
    if len(blocks) == 1:
        work(blocks[0])
        return
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import ThreadpoolController

    with ONE_SEARCH:
        blas = ThreadpoolController().select(user_api="blas")
        threads = max((library.num_threads for library in blas.lib_controllers), default=1)
        with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, blocks):
                pass
