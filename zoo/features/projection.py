"""Items as points in a plane, near each other where a network sees the same in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST = 2_000
"""Points of a map: more lie upon each other, and t-SNE takes seconds for these."""


def draw_rows(items: int) -> NDArray[np.int64]:
    """The rows of a map: all, or MOST of them drawn at random."""
    rows = np.arange(items)
    return rows if items <= MOST else np.sort(np.random.default_rng(0).choice(items, MOST, replace=False))


def project(features: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Two views of features (items, numbers), by name, (items, 2) each: the widest directions, and t-SNE (van
    der Maaten and Hinton 2008) of the 50 widest where there are items enough."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    widest = PCA(min(50, *features.shape), svd_solver="randomized", random_state=0).fit_transform(features)
    flat = widest[:, :2] if widest.shape[1] > 1 else np.hstack([widest, np.zeros_like(widest)])
    views = {"PCA": flat}
    if len(features) >= 30:
        tsne = TSNE(init="pca", random_state=0, perplexity=min(30.0, (len(features) - 1) / 3), max_iter=500)
        with threadpool_limits(1):  # on two busy cores its threads wait for each other: 25 s instead of 2
            views["t-SNE"] = tsne.fit_transform(widest)
    return views
