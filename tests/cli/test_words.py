"""Exploring real GloVe words from the command line, with gensim as the judge."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def judge(data: Path):
    """gensim's own vectors of the same file, without the one word that is not valid UTF-8."""
    from gensim.models import KeyedVectors

    return KeyedVectors.load_word2vec_format(
        data / "words" / "glove.6B.50d.head.txt", no_header=True, unicode_errors="replace"
    )


@pytest.fixture
def words(zoo, home: Path, data: Path):
    """`words("similar", "king")`: a verb on the real vectors."""
    return lambda verb, *rest: zoo(verb, "glove_demo", *rest, "--registry", data / "registry.yaml")


def test_similar_answers_as_gensim_does(words, judge):
    first, second = words("similar", "king", "france", "--top", "5", "--json").json
    assert [n["word"] for n in first["similar"]] == [word for word, _ in judge.most_similar("king", topn=5)]
    assert [n["word"] for n in second["similar"]] == [
        word for word, _ in judge.most_similar("france", topn=5)
    ]


def test_analogy_answers_as_gensim_does(words, judge):
    rows = words("analogy", "king", "-", "man", "+", "woman", "--json").json
    expected = judge.most_similar(positive=["king", "woman"], negative=["man"], topn=5)
    assert [row["word"] for row in rows] == [word for word, _ in expected]
    assert [row["similarity"] for row in rows] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)


def test_odd_answers_as_gensim_does(words, judge):
    chosen = ["france", "germany", "italy", "football"]
    assert words("odd", *chosen).out.strip() == judge.doesnt_match(chosen) == "football"


def test_case_is_folded_when_only_the_lower_case_is_known(words):
    assert words("similar", "France", "--json").json[0]["similar"][0]["word"] == "french"


def test_an_unknown_word_is_named_with_close_ones(words):
    said = words("similar", "kingdon")
    assert said.code == 2
    assert "kingdon" in said.err
    assert "kingdom" in said.err


def test_an_image_model_has_no_words(zoo, home: Path):
    said = zoo("similar", "resnet18", "king")
    assert said.code == 2
    assert "zoo list --task word-vectors" in said.err
