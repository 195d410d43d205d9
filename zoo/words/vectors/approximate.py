"""An approximate index of word vectors, for many queries on large vocabularies, that states its recall.

Exact search reads the whole matrix (5 ms for 400,000 x 100). This one, faiss's inverted file
(https://github.com/facebookresearch/faiss/wiki), sorts the vectors into clusters and reads only the nearest
of them: 0.3 ms at recall 0.98 where words lie in clusters. It costs a copy of the matrix in memory and 5
seconds at every start, and pays from some thousand queries on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.errors import MissingExtra, UsageError
from zoo.events import Note, Report, silent
from zoo.words.vectors.nearest import Floats, Neighbours
from zoo.words.vectors.word_vectors import WordVectors

VECTORS_PER_CLUSTER_TO_TRAIN = 40  # faiss warns below 39 and samples above 256
ASKED = 256  # words by which recall is measured
NEIGHBOURS_ASKED = 10


class ApproximateIndex:
    """Finds most of the nearest rows. `recall` is the share of the true ten nearest that it found, 0 to 1.

    vectors.most_similar("king", indexer=ApproximateIndex(vectors)). wanted: the recall to reach; as many
    clusters are read per query as that takes, all of them in the end. Raises MissingExtra without faiss.
    """

    def __init__(
        self, vectors: WordVectors, *, wanted: float = 0.95, seed: int = 0, report: Report = silent
    ) -> None:
        if not 0 < wanted <= 1:
            raise UsageError(f"a recall of {wanted} cannot be reached: it is between 0 and 1")
        if not isinstance(vectors, WordVectors):
            raise UsageError(f"an index is made of word vectors, not of a {type(vectors).__name__}")
        self._vectors = vectors
        try:
            import faiss
        except ImportError as error:
            raise MissingExtra("faiss-cpu", "index") from error
        usable = np.flatnonzero((vectors.norms > 0) & np.isfinite(vectors.norms))
        self._rows = usable
        clusters = max(
            1, min(round(float(np.sqrt(len(usable)))), len(usable) // VECTORS_PER_CLUSTER_TO_TRAIN)
        )
        size = vectors.vector_size
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, clusters, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.seed = seed
        rng = np.random.default_rng(seed)
        sample = rng.permutation(usable)[: max(clusters * VECTORS_PER_CLUSTER_TO_TRAIN, ASKED)]
        self._index.train(_units(vectors, np.sort(sample)))
        for start in range(0, len(usable), 65536):
            self._index.add(_units(vectors, usable[start : start + 65536]))
        asked = _units(vectors, sample[:ASKED])
        exact = vectors.nearest(asked, NEIGHBOURS_ASKED)
        probes = 1
        while True:
            self._index.nprobe = self.probes = probes
            self.recall = _share_found(exact, self.nearest(asked, NEIGHBOURS_ASKED))
            if self.recall >= wanted or probes >= clusters:
                break
            probes = min(2 * probes, clusters)
        report(
            Note(
                f"approximate index: recall {self.recall:.3f} of the {NEIGHBOURS_ASKED} nearest, "
                f"reading {probes:,} of {clusters:,} clusters"
            )
        )

    def covers(self, vectors: WordVectors) -> bool:
        """Whether it is an index of these vectors."""
        return self._vectors.is_same(vectors)

    def nearest(self, queries: Floats, most: int) -> Neighbours:
        """As `nearest_rows`, but some may be missed; places without an answer have row -1 and score -inf."""
        scores, places = self._index.search(np.ascontiguousarray(queries, np.float32), most)
        rows = np.where(places >= 0, self._rows[places], -1)
        return Neighbours(rows, np.where(places >= 0, scores, -np.inf).astype(np.float32))


def _units(vectors: WordVectors, rows: Any) -> Floats:
    """Some rows scaled to length one, in memory."""
    scaled: Floats = vectors.rows(rows) / vectors.norms[rows][:, np.newaxis]
    return np.ascontiguousarray(scaled)


def _share_found(exact: Neighbours, found: Neighbours) -> float:
    """How many of the exact neighbours are among the found ones, 0 to 1."""
    hits = sum(
        len(set(true) & set(some))
        for true, some in zip(exact.rows.tolist(), found.rows.tolist(), strict=True)
    )
    return hits / exact.rows.size
