"""The approximate index finds nearly what exact search finds, and says how nearly."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from zoo.errors import UsageError
from zoo.events import Event, Note
from zoo.words.vectors.layout import CompiledFile
from zoo.words.vectors.vocabulary import build_vocabulary
from zoo.words.vectors.word_vectors import WordVectors


@pytest.fixture(scope="module")
def clustered() -> WordVectors:
    """20,000 vectors around 200 centres, and one of length zero."""
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'transfer-zoo[index]'")
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(20_000, 16)).astype(np.float32) * 0.5
    matrix += rng.normal(size=(200, 16)).astype(np.float32)[rng.integers(0, 200, 20_000)]
    matrix[7] = 0
    vocabulary = build_vocabulary([f"w{i}" for i in range(20_000)])
    arrays = {
        "vectors": matrix,
        "norms": np.linalg.norm(matrix, axis=1),
        "text": vocabulary.text,
        "offsets": vocabulary.offsets,
        "order": vocabulary.order,
        "prefixes": vocabulary.prefixes,
    }
    return WordVectors(CompiledFile(arrays, {"source": "made"}))


def test_the_recall_that_is_told_is_that_of_other_queries_too(clustered: WordVectors) -> None:
    from zoo.words.vectors.approximate import ApproximateIndex

    told: list[Event] = []
    index = ApproximateIndex(clustered, wanted=0.9, report=told.append)
    assert 0.9 <= index.recall <= 1
    assert any(isinstance(event, Note) and f"recall {index.recall:.3f}" in event.message for event in told)
    words = [f"w{i}" for i in range(10_000, 10_500)]
    exact = clustered.most_similar_many(words)
    found = clustered.most_similar_many(words, indexer=index)
    hits = [len(dict(a).keys() & dict(b).keys()) / 10 for a, b in zip(exact, found, strict=True)]
    assert abs(np.mean(hits) - index.recall) < 0.05
    for true, some in zip(exact, found, strict=True):
        scores = dict(true)
        assert all(score == pytest.approx(scores[word], abs=1e-5) for word, score in some if word in scores)


def test_a_recall_of_one_reads_what_it_takes(clustered: WordVectors) -> None:
    from zoo.words.vectors.approximate import ApproximateIndex

    index = ApproximateIndex(clustered, wanted=1.0)
    assert index.recall == 1.0
    for word in ("w1", "w19999"):
        assert [w for w, _ in clustered.most_similar(word, indexer=index)] == [
            w for w, _ in clustered.most_similar(word)
        ]
    everything = clustered.most_similar("w1", topn=30_000, indexer=index)
    assert "w7" not in dict(everything)
    assert len(everything) <= 19_998


def test_a_part_of_the_words_and_an_impossible_recall_are_refused(clustered: WordVectors) -> None:
    from zoo.words.vectors.approximate import ApproximateIndex

    index = ApproximateIndex(clustered)
    with pytest.raises(UsageError, match="covers all words"):
        clustered.most_similar("w1", restrict_vocab=100, indexer=index)
    with pytest.raises(UsageError, match=r"recall of 1\.5"):
        ApproximateIndex(clustered, wanted=1.5)


def test_without_faiss_the_extra_is_named(vectors: WordVectors) -> None:
    script = (
        "import sys\nsys.modules['faiss'] = None\nfrom pathlib import Path\n"
        "from zoo.words.vectors.approximate import ApproximateIndex\n"
        "from zoo.words.vectors.word_vectors import open_vectors\n"
        f"ApproximateIndex(open_vectors(Path({str(vectors.path)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "pip install 'transfer-zoo[index]'" in done.stderr
