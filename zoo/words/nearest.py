"""The nearest rows of a matrix by cosine: exact, block by block, any number of queries in one pass.

Reading the matrix is the cost of one query (160 MB for 400,000 x 100): 64 queries share it. Sorting all
scores would cost as much again: only what beats the worst of the best so far is ever looked at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# Scores of one block stay in the processor's cache, and one product is large enough for its threads: of one
# query all 400,000 rows are one block, because on a busy machine every product waits for the slowest thread.
SCORES_AT_ONCE = 1 << 19
CHUNK = 128


class Neighbours(NamedTuple):
    """rows: (queries, n) best first. scores: (queries, n) cosines. Rows of length zero never appear."""

    rows: Rows
    scores: Floats


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
    one. Of equal scores the lower row comes first. Fewer columns come back where there are fewer rows.
    """
    stop = len(matrix) if stop is None else min(stop, len(matrix))
    most = max(0, min(most, stop - start))
    best = Neighbours(
        np.full((len(queries), most), -1, np.int64), np.full((len(queries), most), -np.inf, np.float32)
    )
    if most == 0:
        return best
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    step = max(most, SCORES_AT_ONCE // max(1, len(queries)))
    for begin in range(start, stop, step):
        end = min(begin + step, stop)
        scores = cosines(matrix[begin:end], norms[begin:end], queries)
        for query in np.flatnonzero(scores.max(axis=1) > best.scores[:, -1]).tolist():
            merge_best(best, query, scores[query], begin)
    found = int((best.rows >= 0).sum(axis=1).min()) if len(queries) else most
    return Neighbours(best.rows[:, :found], best.scores[:, :found])


def cosines(block: NDArray[Any], norms: Floats, queries: Floats) -> Floats:
    """Cosine of every query with every row, shape (queries, rows); -inf for rows of length zero."""
    block = block.astype(np.float32, copy=False)
    scores: Floats = queries @ block.T
    usable = (norms > 0) & np.isfinite(norms)
    if usable.all():
        scores /= norms
    else:
        scores /= np.where(usable, norms, 1)
        scores[:, ~usable] = -np.inf
    return scores


def merge_best(best: Neighbours, query: int, scores: Floats, begin: int) -> None:
    """Put the better ones of a block's scores among the best so far."""
    most = best.rows.shape[1]
    least = best.scores[query, -1]
    if len(scores) > 2 * CHUNK * most:  # the best of each chunk: of these as many as wanted are good enough
        whole = scores[: len(scores) // CHUNK * CHUNK].reshape(-1, CHUNK).max(axis=1)
        least = max(least, np.nextafter(np.partition(whole, -most)[-most], np.float32(-np.inf)))
    better = np.flatnonzero(scores > least)
    if len(better) > 2 * most:
        edge = np.partition(scores[better], -most)[-most]
        better = better[scores[better] >= edge]
    rows = np.concatenate([best.rows[query], better + begin])
    values = np.concatenate([best.scores[query], scores[better]])
    order = np.lexsort((rows, -values))[:most]
    best.rows[query], best.scores[query] = rows[order], values[order]
