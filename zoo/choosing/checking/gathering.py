"""The evidence of a data set: each file is decoded once, and shown to a model once, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.choosing.checking.copies import Copies, find_copy_groups
from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.item_features import compute_item_features
from zoo.data.dataset import Dataset, Item
from zoo.data.pixels.appearance import Appearance, read_appearances
from zoo.data.pixels.batches import measure_range
from zoo.errors import UnreadableFile
from zoo.events import Report, silent
from zoo.features.suspects import JudgedLabels, judge_labels
from zoo.store.store import Store
from zoo.targets import Model

_WIDTH_OF_TEXTS = 100  # directions of TF-IDF that texts are judged by where no vectors are named


def gather_evidence(
    dataset: Dataset,
    target: Model | None,
    *,
    store: Store,
    device: str = "auto",
    report: Report = silent,
) -> Evidence:
    """What the checks look at. target: the model whose features are looked at; None: of images nothing, of
    texts what TF-IDF says. Raises what fetching and loading the model raise."""
    items, kind = dataset.items, dataset.kind
    values = measure_range(items) if kind.in_files else None
    appearances: dict[Path, Appearance] = {}
    unreadable: dict[Path, str] = {}
    if kind.in_files:
        paths = list(dict.fromkeys(item.path for item in items))
        for path, appearance in zip(
            paths, read_appearances(paths, values=values, report=report), strict=True
        ):
            if isinstance(appearance, UnreadableFile):
                unreadable[path] = appearance.reason
            else:
                appearances[path] = appearance
    copies = find_copy_groups(items, kind, appearances)
    passed_over = {item for group in copies for item in _not_judged(group)}
    readable = [item for item in items if item.path not in unreadable and item not in passed_over]
    judged: Sequence[Item] = ()
    features: NDArray[np.float32] | None = None
    if target is not None and readable:
        found = compute_item_features(
            target, readable, store=store, device=device, values=values, report=report
        )
        judged, features = found.items, found.features
    elif not kind.in_files:
        judged, features = _by_words(readable)
    return Evidence(
        dataset,
        appearances,
        unreadable,
        copies,
        tuple(judged),
        features,
        JudgedLabels() if features is None else judge_labels(features, _labels(judged)),
    )


def _not_judged(group: Copies) -> Sequence[Item]:
    """All but one of some copies: a model that has seen one of them would know the label of the other. All of
    them, where they have several labels: one of these is wrong already."""
    return group.items[1:] if len({item.label for item in group.items}) == 1 else group.items


def _labels(items: Sequence[Item]) -> NDArray[np.int64]:
    return np.array([item.label for item in items], dtype=np.int64)


def _by_words(items: Sequence[Item]) -> tuple[Sequence[Item], NDArray[np.float32] | None]:
    """Texts by the widest directions of their words' TF-IDF; None where that says nothing."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len({item.text for item in items}) < 10:
        return (), None
    try:
        counts = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(
            [item.text or "" for item in items]
        )
    except ValueError:  # no word comes twice
        return (), None
    width = min(_WIDTH_OF_TEXTS, counts.shape[1] - 1)
    if width < 2:
        return (), None
    return items, TruncatedSVD(width, random_state=0).fit_transform(counts).astype(np.float32)
