"""A run keeps the words of its texts; with those, tuned, it classifies real reviews as well as it should."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from zoo.words.texts.selection import select_words
from zoo.words.texts.tokens import tokenize_all
from zoo.words.vectors.word_vectors import WordVectors

TEXTS = [["the", "wug", "king"], ["the", "wug", "blick"], ["the", "king", "queen"], []]


def test_known_words_come_first_and_each_group_by_frequency(vectors: WordVectors) -> None:
    selected = select_words(vectors, TEXTS)
    assert selected.words == ("the", "king", "queen", "wug")
    assert selected.known == 3
    assert select_words(vectors, TEXTS, new_from=1).words == ("the", "king", "queen", "wug", "blick")
    assert select_words(vectors, TEXTS, new_from=None).words == ("the", "king", "queen")


def test_texts_are_encoded_from_one_without_the_words_that_were_not_selected(vectors: WordVectors) -> None:
    selected = select_words(vectors, TEXTS)
    assert [selected.encode(text) for text in TEXTS] == [[1, 4, 2], [1, 4], [1, 2, 3], []]
    assert np.array_equal(selected.matrix(vectors), vectors[["the", "king", "queen"]])
    assert select_words(vectors, [["wug"]], new_from=None).matrix(vectors).shape == (0, 50)


def test_new_words_may_begin_with_what_a_policy_gives_them(vectors: WordVectors) -> None:
    selected = select_words(vectors, [["Queen", "king-queen", "qqxqq"]], new_from=1)
    first, given = selected.first_vectors(vectors)
    assert given.tolist() == [True, True, False]
    assert np.array_equal(first[0], vectors["queen"])
    assert not first[2].any()


@pytest.mark.slow
@pytest.mark.parametrize(("frozen", "epochs", "least"), [(True, 6, 0.60), (False, 4, 0.74)])
def test_the_reviews_are_told_apart_by_frozen_vectors_and_better_by_tuned_ones(
    frozen: bool, epochs: int, least: float, vectors: WordVectors, data: Path
) -> None:
    import torch

    from adapters.texts import TextClassifier, TextEncoder, pad_ids

    files = [data / "reviews" / name for name in ("positive.txt", "negative.txt")]
    texts = [line for file in files for line in file.read_text("latin-1").split("\n") if line.strip()]
    labels = torch.tensor([0] * (len(texts) // 2) + [1] * (len(texts) // 2))
    words = tokenize_all(texts, vectors.lowercase)
    places = random.Random(0).sample(range(len(texts)), len(texts))
    test, train = places[:1066], places[1066:]
    selected = select_words(vectors, [words[i] for i in train], new_from=None if frozen else 2)
    ids = [selected.encode(text) for text in words]
    torch.manual_seed(0)
    encoder = TextEncoder(
        torch.from_numpy(selected.matrix(vectors)),
        frozen=frozen,
        new_words=len(selected.words) - selected.known,
    )
    model = TextClassifier(encoder, classes=2)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(epochs):
        order = torch.randperm(len(train)).tolist()
        for start in range(0, len(order), 64):
            batch = [train[i] for i in order[start : start + 64]]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(pad_ids([ids[i] for i in batch])), labels[batch])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = (model(pad_ids([ids[i] for i in test])).argmax(dim=1) == labels[test]).float().mean()
    assert right >= least
