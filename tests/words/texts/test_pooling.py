"""Texts become words, words that are unknown are dealt with by name, and what was done is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.errors import IntegrityError, UnknownName, UsageError
from zoo.words.texts.policies import POLICIES, folded_forms
from zoo.words.texts.pooling import POOLINGS, coverage, embed_texts, fit_pooling
from zoo.words.texts.tokens import TOKENIZERS, WordTokenizer, tokenize, tokenize_all
from zoo.words.texts.unknown import resolve_words
from zoo.words.vectors.word_vectors import WordVectors

TEXTS = [
    "the king and the queen of spain",
    "a car , a bus and a train",
    "wug blick",
    "",
    "the wug is in the car",
    "The KING !",
]


@pytest.fixture(scope="session")
def reviews(data: Path) -> list[str]:
    """The 10,662 sentences of rt-polarity."""
    files = [data / "reviews" / name for name in ("positive.txt", "negative.txt")]
    return [line for file in files for line in file.read_text("latin-1").split("\n") if line.strip()]


# --- words of a text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's", "It 's"),
        ("IT’S", "IT 'S"),
        ("don't can't won't", "do n't ca n't wo n't"),
        ("they'll we've I'm I'd you're", "they 'll we 've I 'm I 'd you 're"),
        ("o'brien's rock'n'roll", "o'brien 's rock'n'roll"),
        ("too-tepid, state-of-the-art!", "too-tepid , state-of-the-art !"),
        ("the U.S.A. in 1990s: 1,000.50 or 3/4", "the U.S.A. in 1990s : 1,000.50 or 3/4"),
        ("wait... no -- stop", "wait ... no -- stop"),
        ('say "hi" (now)', 'say " hi " ( now )'),
        ("naïve café Ελλάδα 東京", "naïve café Ελλάδα 東京"),
        ("cafe\u0301", "café"),
        ("<user> said <b", "<user> said < b"),
        ("n't 's '", "n't 's '"),
        (" \t\n", ""),
    ],
)
def test_texts_are_cut_as_the_treebank_is(text: str, words: str) -> None:
    assert tokenize(text, lowercase=False) == words.split()
    assert [word.lower() for word in words.split()] == tokenize(text, lowercase=True)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("lowercase", [True, False])
def test_a_tokenizer_is_built_again_from_the_settings_that_a_run_keeps(
    name: str, lowercase: bool, reviews: list[str]
) -> None:
    first = WordTokenizer(lowercase=lowercase, name=name)
    again = WordTokenizer.from_settings(json.loads(json.dumps(first.settings)))
    assert [first(text) for text in reviews[:200]] == [again(text) for text in reviews[:200]]
    assert first.settings["library"] == "tokenizers"
    assert first.settings["version"]


def test_settings_that_are_none_and_unknown_tokenizers_are_refused() -> None:
    with pytest.raises(UnknownName, match="treebank"):
        WordTokenizer(lowercase=True, name="treebanc")
    settings = dict(WordTokenizer(lowercase=True).settings)
    for definition in ("", "{}", '{"model": 1}'):
        with pytest.raises(IntegrityError, match="not settings of a tokenizer"):
            WordTokenizer.from_settings(settings | {"definition": definition})


def test_no_letter_or_digit_of_the_reviews_is_lost(reviews: list[str]) -> None:
    for text, words in zip(reviews[:2000], tokenize_all(reviews[:2000], lowercase=False), strict=True):
        assert "".join(words) == "".join(text.replace("’", "'").split())


# --- coverage


def test_the_word_file_covers_seventy_percent_of_the_reviews(
    vectors: WordVectors, reviews: list[str]
) -> None:
    plain = coverage(vectors, reviews, tokenizer=WordTokenizer(lowercase=True, name="whitespace"))
    assert plain.share == pytest.approx(0.70, abs=0.005)
    cut = coverage(vectors, reviews, most=3)
    assert cut.share == pytest.approx(0.723, abs=0.005)
    assert [word for word, _ in cut.unknown] == ["comedy", "funny", "["]
    assert cut.unknown[0][1] > 300


def test_coverage_counts_words_kinds_and_the_texts_that_are_lost(vectors: WordVectors) -> None:
    found = coverage(vectors, ["the the wug", "", "blick wug", "king"])
    assert (found.tokens, found.known, found.kinds, found.known_kinds) == (6, 3, 4, 2)
    assert found.share == 0.5
    assert found.unknown == (("wug", 2), ("blick", 1))
    assert found.without_known == (1, 2)
    assert coverage(vectors, []).share == 0.0


# --- unknown words


def test_fold_finds_another_case_and_folded_digits(compile_bytes: Any) -> None:
    vectors, _ = compile_bytes(b"Paris 1 0\nnato 0 1\n####s 2 2\ncafe 3 3\nusa 5 5\n")
    resolved = resolve_words(vectors, ["paris", "NATO", "1990s", "café", "Usa", "wug"], "fold")
    assert resolved.matrix.tolist() == [[1, 0], [0, 1], [2, 2], [3, 3], [5, 5], [0, 0]]
    assert resolved.how == ("fold",) * 5 + ("skipped",)
    assert "paris" not in folded_forms("paris")


def test_hyphen_takes_the_mean_of_the_parts_that_are_there(vectors: WordVectors) -> None:
    resolved = resolve_words(vectors, ["king-queen", "King/wug", "wug-blick", "wug", "-_"], "hyphen")
    assert np.allclose(resolved.matrix[0], (vectors["king"] + vectors["queen"]) / 2)
    assert np.allclose(resolved.matrix[1], vectors["king"])
    assert resolved.how == ("hyphen", "hyphen", "skipped", "skipped", "skipped")


def test_ngrams_stand_in_words_that_share_most_letters(vectors: WordVectors) -> None:
    unknown = ["governmentally", "presidental", "internationaly", "qqxqq"]
    assert not any(word in vectors for word in unknown)
    resolved = resolve_words(vectors, unknown, "ngrams")
    assert resolved.how == ("ngrams", "ngrams", "ngrams", "skipped")
    for vector, near in zip(resolved.matrix, ["government", "president", "international"], strict=False):
        assert near in [word for word, _ in vectors.similar_by_vector(vector, topn=5)]


def test_trigrams_never_reach_from_one_word_into_the_next(compile_bytes: Any) -> None:
    vectors, _ = compile_bytes(b"ab 1 2\ncd 3 4\nabcdef 5 6\n\xc3\xa9 7 8\n")
    found = resolve_words(vectors, ["b><c", "abcdefg", "\u00e8"], "ngrams")
    assert found.how == ("skipped", "ngrams", "skipped")
    assert found.matrix[1].tolist() == [5, 6]


def test_mean_is_the_mean_of_all_vectors(vectors: WordVectors) -> None:
    resolved = resolve_words(vectors, ["wug", "the"], "mean")
    assert np.allclose(resolved.matrix[0], vectors.vectors.mean(axis=0), atol=1e-6)
    assert np.array_equal(resolved.matrix[1], vectors["the"])
    assert resolved.how == ("mean", "known")


@pytest.mark.parametrize("policy", [*POLICIES, "fold+hyphen+ngrams+mean"])
def test_no_policy_touches_a_known_word(policy: str, vectors: WordVectors) -> None:
    words = list(vectors.index_to_key)[:300]
    resolved = resolve_words(vectors, words, policy)
    assert np.array_equal(resolved.matrix, vectors.vectors[:300])
    assert resolved.known.all()


def test_policies_combine_in_order_and_an_unknown_one_names_the_others(vectors: WordVectors) -> None:
    resolved = resolve_words(
        vectors, ["King", "king-wug", "governmentally", "qqxqq"], "fold+hyphen+ngrams+mean"
    )
    assert resolved.how == ("fold", "hyphen", "ngrams", "mean")
    with pytest.raises(UnknownName, match="Did you mean hyphen"):
        resolve_words(vectors, ["the"], "fold+hypen")


# --- texts as vectors


def test_the_mean_of_a_text_is_the_mean_of_its_known_words(vectors: WordVectors) -> None:
    embedded = embed_texts(vectors, TEXTS)
    expected = vectors.get_mean_vector(TEXTS[0].split(), pre_normalize=False)
    assert np.allclose(embedded.matrix[0], expected, atol=1e-6)
    assert embedded.tokens.tolist() == [7, 8, 2, 0, 6, 3]
    assert embedded.known.tolist() == [7, 8, 0, 0, 5, 3]
    assert embedded.how == {"known": 23, "skipped": 3}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_without_a_known_word_is_flagged_in_every_pooling(pooling: str, vectors: WordVectors) -> None:
    embedded = embed_texts(vectors, TEXTS, pooling=pooling)
    assert embedded.without_vector.tolist() == [False, False, True, True, False, False]
    assert not embedded.matrix[[2, 3]].any()
    assert "2 of 6 texts have no known word" in str(embedded)
    rescued = embed_texts(vectors, TEXTS, pooling=pooling, policy="mean")
    assert rescued.without_vector.tolist() == [False, False, False, True, False, False]
    assert rescued.known.tolist() == embedded.known.tolist()
    assert "1 of 6 texts" in str(rescued)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_fitted_pooling_gives_a_text_the_same_vector_in_any_company(
    pooling: str, vectors: WordVectors, reviews: list[str]
) -> None:
    fitted = fit_pooling(vectors, reviews[:3000], pooling)
    together = embed_texts(vectors, reviews[:2500], pooling=fitted).matrix
    for i in (0, 7, 2400):
        alone = embed_texts(vectors, [reviews[i]], pooling=fitted).matrix[0]
        assert np.allclose(alone, together[i], atol=1e-6)


def test_tfidf_weights_are_scikit_learns(vectors: WordVectors, reviews: list[str]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = reviews[:500]
    fitted = fit_pooling(vectors, texts, "tfidf")
    theirs = TfidfVectorizer(analyzer=lambda text: tokenize(text, lowercase=True)).fit(texts)
    assert fitted.weights == pytest.approx(
        dict(zip(theirs.get_feature_names_out(), theirs.idf_, strict=True))
    )


def test_sif_takes_the_common_direction_out_and_frequent_words_down(
    vectors: WordVectors, reviews: list[str]
) -> None:
    fitted = fit_pooling(vectors, reviews, "sif")
    assert fitted.component is not None
    assert np.linalg.norm(fitted.component) == pytest.approx(1, abs=1e-5)
    embedded = embed_texts(vectors, reviews, pooling=fitted)
    assert np.abs(embedded.matrix @ fitted.component).max() < 1e-5
    assert fitted.weights["the"] < 0.03 < fitted.weights["king"]


def test_sifs_direction_is_the_first_singular_vector_of_the_weighted_means(
    vectors: WordVectors, reviews: list[str]
) -> None:
    fitted = fit_pooling(vectors, reviews[:400], "sif")
    means = [
        np.mean([fitted.weights[w] * vectors[w] for w in words if w in vectors] or [np.zeros(50)], axis=0)
        for words in tokenize_all(reviews[:400], lowercase=True)
    ]
    first = np.linalg.svd(np.stack(means), full_matrices=False)[2][0]
    assert fitted.component is not None
    assert abs(first @ fitted.component) == pytest.approx(1, abs=1e-4)


def test_a_single_string_and_an_unknown_pooling_are_mistakes(vectors: WordVectors) -> None:
    with pytest.raises(UsageError, match="Put it in a list"):
        embed_texts(vectors, "the king")
    with pytest.raises(UnknownName, match="tfidf"):
        embed_texts(vectors, ["the king"], pooling="tfid")
    with pytest.raises(UsageError, match="nothing to fit sif on"):
        embed_texts(vectors, ["wug"], pooling="sif")


def test_lists_of_words_are_taken_as_they_are(vectors: WordVectors) -> None:
    cut = embed_texts(vectors, [["the", "king"], ["The", "KING"]])
    assert cut.known.tolist() == [2, 0]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_logistic_regression_on_the_vectors_of_the_reviews_is_well_above_chance(
    pooling: str, vectors: WordVectors, reviews: list[str]
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    labels = np.arange(len(reviews)) < len(reviews) // 2
    train, test, train_labels, test_labels = train_test_split(
        reviews, labels, test_size=0.1, random_state=0, stratify=labels
    )
    fitted = fit_pooling(vectors, train, pooling)
    x = embed_texts(vectors, train, pooling=fitted).matrix
    scale = x.std(axis=0)
    model = LogisticRegression(max_iter=1000).fit(x / scale, train_labels)
    assert model.score(embed_texts(vectors, test, pooling=fitted).matrix / scale, test_labels) >= 0.60
