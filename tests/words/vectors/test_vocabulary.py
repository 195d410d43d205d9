"""Words are found by binary search, whatever bytes they are made of."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.words.vectors.vocabulary import build_vocabulary, encode, offsets_of, sort_words
from zoo.words.vectors.word_vectors import WordVectors

WORDS = st.lists(st.one_of(st.text(max_size=20), st.text("ab\0", max_size=24)), max_size=60)


@given(WORDS)
def test_the_order_is_that_of_the_bytes_and_the_duplicates_are_the_later_ones(words: list[str]) -> None:
    encoded = [encode(word) for word in words]
    text = np.frombuffer(b"".join(encoded), np.uint8)
    ordered = sort_words(text, offsets_of(np.array([len(e) for e in encoded], np.int64)))
    assert [encoded[row] for row in ordered.order] == sorted(encoded)
    assert ordered.order.tolist() == sorted(range(len(words)), key=lambda row: (encoded[row], row))
    assert ordered.duplicates.tolist() == [word in words[:row] for row, word in enumerate(words)]


@given(WORDS, WORDS)
def test_a_word_is_found_at_its_row_and_no_other_word_is(words: list[str], others: list[str]) -> None:
    words = list(dict.fromkeys(words))
    vocabulary = build_vocabulary(words)
    rows = {word: row for row, word in enumerate(words)}
    asked = [*words, *others]
    assert [vocabulary.find(word) for word in asked] == [rows.get(word, -1) for word in asked]
    assert vocabulary.find_many(asked).tolist() == [rows.get(word, -1) for word in asked]
    assert list(vocabulary) == [vocabulary.word(row) for row in range(len(words))] == words


@given(WORDS, st.text("ab", max_size=3))
def test_words_with_one_beginning_are_those_that_start_so(words: list[str], beginning: str) -> None:
    words = list(dict.fromkeys(words))
    found = build_vocabulary(words).starting_with(beginning).tolist()
    expected = sorted((encode(w), row) for row, w in enumerate(words) if w.startswith(beginning))
    assert found == [row for _, row in expected]


def test_many_words_that_share_their_first_letters_are_told_apart() -> None:
    rng = random.Random(0)
    words = list(
        dict.fromkeys("counter" + "".join(rng.choices("aé", k=rng.randrange(40))) for _ in range(5000))
    )
    vocabulary = build_vocabulary(words)
    assert vocabulary.find_many(words).tolist() == list(range(len(words)))


def test_the_views_behave_like_the_list_and_the_dictionary_of_gensim(vectors: WordVectors) -> None:
    words = list(vectors.index_to_key)
    assert len(words) == len(vectors.index_to_key) == len(vectors.key_to_index) == len(vectors)
    assert vectors.index_to_key[0] == words[0] == "the"
    assert vectors.index_to_key[-1] == words[-1]
    assert vectors.index_to_key[5:9] == words[5:9]
    assert "the" in vectors.index_to_key
    assert dict(vectors.key_to_index) == {word: row for row, word in enumerate(words)}
    assert vectors.key_to_index.get("no such word") is None
    assert 7 not in vectors.key_to_index
    with pytest.raises(KeyError):
        vectors.key_to_index["no such word"]
    with pytest.raises(IndexError):
        vectors.index_to_key[len(words)]
    assert "\ud800" not in vectors.key_to_index
