"""Answers are gensim's on the same file; what gensim is silent about is told."""

from __future__ import annotations

import errno
import json
import mmap
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.errors import UnknownName, UsageError, ZooError
from zoo.words.vectors.nearest import nearest_rows
from zoo.words.vectors.word_vectors import NoKnownWord, UnknownWord, WordVectors, open_vectors

QUESTIONS = """\
: family
king queen man woman
he she his her
father mother son daughter
brother sister himself herself
: capitals
paris france london britain
tokyo japan beijing china
moscow russia berlin germany
baghdad iraq Kabul Afghanistan
: tenses and a line that is too short
said say
go going play playing
say said go went
think thought wugwug wugged
"""


def same(ours: Any, theirs: Any) -> bool:
    """The same words in the same order, scores within a float32 rounding."""
    return [w for w, _ in ours] == [w for w, _ in theirs] and np.allclose(
        [s for _, s in ours], [s for _, s in theirs], atol=2e-6
    )


def flat(answer: Any) -> tuple[list[str], list[float]]:
    """The words and the numbers of an answer, however they are nested."""
    if isinstance(answer, str):
        return [answer], []
    if isinstance(answer, list | tuple):
        parts = [flat(part) for part in answer]
        return [w for words, _ in parts for w in words], [n for _, numbers in parts for n in numbers]
    return [], np.asarray(answer, np.float64).ravel().tolist()


# --- neighbours


def test_the_neighbours_of_every_word_are_gensims(vectors: WordVectors, reference: Any) -> None:
    words = list(vectors.index_to_key)
    ours = vectors.most_similar_many(words, topn=8)
    assert all(same(ours[row], reference.most_similar(word, topn=8)) for row, word in enumerate(words))
    assert all(same(vectors.most_similar(word, topn=8), ours[row]) for row, word in enumerate(words[:50]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"positive": ["king", "woman"], "negative": ["man"]},
        {"positive": ["paris", "germany"], "negative": ["france"], "topn": 3},
        {"positive": "king"},
        {"positive": ["king"], "negative": "queen"},
        {"negative": ["king"]},
        {"positive": [("king", 2.0), "queen", ("man", -0.5)]},
        {"positive": [5, 7], "negative": [np.int64(9)]},
        {"positive": ["king"], "restrict_vocab": 500},
        {"positive": ["king"], "clip_start": 100, "clip_end": 900},
        {"positive": ["king"], "topn": 5000},
        {"positive": ["king", "king"], "topn": 1},
    ],
    ids=str,
)
def test_combined_queries_are_answered_as_gensim_does(
    arguments: dict[str, Any], vectors: WordVectors, reference: Any
) -> None:
    assert same(vectors.most_similar(**arguments), reference.most_similar(**arguments))


def test_vectors_as_queries_are_answered_as_gensim_does(vectors: WordVectors, reference: Any) -> None:
    query = np.random.default_rng(0).normal(size=50).astype(np.float32)
    assert same(vectors.similar_by_vector(query), reference.similar_by_vector(query))
    assert same(
        vectors.most_similar(vectors[["king", "queen"]]), reference.most_similar(reference[["king", "queen"]])
    )
    assert np.allclose(
        vectors.most_similar("king", topn=None), reference.most_similar("king", topn=None), atol=2e-6
    )
    assert vectors.most_similar("king", topn=0) == []
    assert vectors.most_similar_many([]) == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rows", "asked"), [(1, 5), (2, 1), (9, 5), (1000, 1), (1000, 100), (200_000, 1), (200_000, 70)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_blocked_search_finds_what_sorting_everything_finds(rows: int, asked: int, dtype: Any) -> None:
    rng = np.random.default_rng(rows)
    matrix = rng.integers(-3, 4, size=(rows, 6)).astype(dtype)  # many equal scores, and rows of length zero
    norms = np.linalg.norm(matrix.astype(np.float32), axis=1)
    queries = rng.normal(size=(asked, 6)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = nearest_rows(matrix, norms, queries, 10)
    usable = np.flatnonzero(norms > 0)
    for query, rows_found, scores in zip(queries, found.rows, found.scores, strict=True):
        exact = (matrix[usable].astype(np.float32) @ query) / norms[usable]
        best = np.sort(exact)[::-1][: min(10, len(usable))]
        assert np.allclose(scores, best, atol=1e-6)
        assert np.allclose(
            (matrix[rows_found].astype(np.float32) @ query) / norms[rows_found], scores, atol=1e-6
        )
        assert len(set(rows_found.tolist())) == len(rows_found)
        equal = [(a, b) for (a, s), (b, t) in pairwise(zip(rows_found, scores, strict=True)) if s == t]
        assert all(a < b for a, b in equal)


def test_a_word_whose_vector_is_zero_has_no_neighbours_and_takes_none_from_the_others(
    compile_bytes: Callable[..., Any],
) -> None:
    vectors, _ = compile_bytes(b"a 1 0\nzero 0 0\nb 1 1\nc 0 1\n")
    nothing, of_a, of_b = vectors.most_similar_many(["zero", "a", "b"])
    assert nothing == vectors.most_similar("zero") == []
    assert of_a == vectors.most_similar("a")
    assert [word for word, _ in of_b] == ["a", "c"]


def test_of_rows_that_are_all_the_same_the_first_are_found_whatever_thread_is_first() -> None:
    matrix = np.ones((60_000, 4), np.float32)
    found = nearest_rows(matrix, np.full(60_000, 2, np.float32), np.full((64, 4), 0.5, np.float32), 10)
    assert (found.rows == np.arange(10)).all()
    assert (found.scores == 1).all()


# --- the rest of the interface


@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v.similarity("king", "queen"),
        lambda v: v.distance("king", "queen"),
        lambda v: v.distances("king"),
        lambda v: v.distances("king", ["queen", "man"]),
        lambda v: v.distances(v["king"], ["queen", 3]),
        lambda v: v.n_similarity(["king", "queen"], ["man", "woman", "child"]),
        lambda v: v.closer_than("king", "president"),
        lambda v: v.rank("king", "queen"),
        lambda v: v.doesnt_match(["monday", "tuesday", "king", "friday"]),
        lambda v: v.rank_by_centrality(["monday", "tuesday", "king", "friday"]),
        lambda v: v.get_vector("king", norm=True),
        lambda v: v["king"],
        lambda v: v[["king", "queen", 3]],
        lambda v: v.get_index("king"),
        lambda v: v.get_index("no such word", -5),
        lambda v: v.has_index_for("king"),
        lambda v: "king" in v,
        lambda v: 17 in v,
        lambda v: 10**6 in v,
        lambda v: v.get_mean_vector(["king", "queen", "no such word"]),
        lambda v: v.get_mean_vector(["king", "queen"], weights=[0.5, -2.0], pre_normalize=False),
        lambda v: v.get_mean_vector(["king", 4], post_normalize=True),
        lambda v: v.get_normed_vectors()[:100],
        lambda v: v.similar_by_word("king", 3),
        lambda v: v.similar_by_key("king", 3),
        lambda v: v.similar_by_key(key="king", topn=3),
        lambda v: v.similarity(w1="king", w2="queen"),
        lambda v: v.distance(w1="king", w2="queen"),
        lambda v: v.n_similarity(ws1=["king", "queen"], ws2=["man"]),
        lambda v: v.rank(key1="king", key2="queen"),
        lambda v: v.closer_than(key1="king", key2="president"),
        lambda v: v.words_closer_than("king", "president"),
        lambda v: v.cosine_similarities(v["king"], v[["queen", "man"]]),
        lambda v: v.word_vec("king", norm=True),
        lambda v: v.fill_norms() or 1,
        lambda v: v.most_similar("king", topn=2, clip_start=-1000),
        lambda v: v.most_similar("king", topn=2, restrict_vocab=-2000),
        lambda v: v.most_similar("king", topn=2, clip_start=10, clip_end=-1500),
        lambda v: v.index_to_key.copy()[:5],
        lambda v: v.vector_size,
        lambda v: len(v),
        lambda v: v.most_similar_cosmul(["king", "woman"], ["man"], topn=3),
        lambda v: v.relative_cosine_similarity("king", "queen"),
    ],
)
def test_every_question_has_gensims_answer(
    ask: Callable[[Any], Any], vectors: WordVectors, reference: Any
) -> None:
    (words, numbers), (their_words, their_numbers) = flat(ask(vectors)), flat(ask(reference))
    assert words == their_words
    assert numbers == pytest.approx(their_numbers, abs=2e-6)


@pytest.mark.parametrize("insensitive", [True, False])
@pytest.mark.parametrize("dummy", [True, False])
@pytest.mark.parametrize("restrict", [300_000, 800])
def test_analogies_score_and_sort_as_gensims(
    insensitive: bool, dummy: bool, restrict: int, vectors: WordVectors, reference: Any, tmp_path: Path
) -> None:
    file = tmp_path / "questions.txt"
    file.write_text(QUESTIONS)
    options = {"restrict_vocab": restrict, "case_insensitive": insensitive, "dummy4unknown": dummy}
    ours = vectors.evaluate_word_analogies(file, **options)
    assert ours == reference.evaluate_word_analogies(str(file), **options)
    assert 0 < ours[0] < 1


def test_judgements_of_pairs_correlate_as_gensims(
    vectors: WordVectors, reference: Any, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text(
        "# a comment\nking\tqueen\t8.5\nKing\tcar\t2\nday\tnight\t7\nwug\tday\t3\nbad line\nman\twoman\t9\n"
    )
    for options in ({}, {"dummy4unknown": True}, {"case_insensitive": False}):
        ours = vectors.evaluate_word_pairs(file, **options)
        theirs = reference.evaluate_word_pairs(str(file), **options)
        assert np.allclose(np.array(ours[0]), np.array(theirs[0]), atol=1e-5)
        assert np.allclose(np.array(ours[1]), np.array(theirs[1]), atol=1e-5)
        assert ours[2] == theirs[2]


def test_files_without_questions_say_so(vectors: WordVectors, tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("a b c d\n")
    with pytest.raises(UsageError, match="line 1: a question before any section"):
        vectors.evaluate_word_analogies(file)
    file.write_text(": empty\n")
    with pytest.raises(UsageError, match="has no question"):
        vectors.evaluate_word_analogies(file)
    with pytest.raises(UsageError, match="0 pairs"):
        vectors.evaluate_word_pairs(file)


def test_gensims_own_object_shares_the_vectors(vectors: WordVectors) -> None:
    model = vectors.to_gensim()
    assert np.shares_memory(model.vectors, vectors.vectors)
    assert same(model.most_similar("king"), vectors.most_similar("king"))


# --- unknown words


def test_an_unknown_word_is_a_key_error_that_names_the_close_ones(vectors: WordVectors) -> None:
    with pytest.raises(KeyError) as error:
        vectors["goverment"]
    assert isinstance(error.value, UnknownWord)
    assert isinstance(error.value, UnknownName | ZooError)
    assert error.value.exit_code == 2
    assert "government" in error.value.close
    assert str(error.value).startswith("no word 'goverment' among 2,441\nDid you mean government")


@pytest.mark.parametrize(
    ("word", "close"),
    [("Monday", "monday"), ("teh", "the"), ("prezident", "president"), ("countri", "country")],
)
def test_close_words_are_another_case_one_letter_off_or_of_one_beginning(
    word: str, close: str, vectors: WordVectors
) -> None:
    assert close in vectors.close_words(word)


@pytest.mark.parametrize(
    ("content", "word", "close"),
    [
        ("/c/en/{}", "king", "/c/en/king"),
        ("/c/en/{}", "King", "/c/en/king"),
        ("{}_NOUN", "king", "king_NOUN"),
        ("{}|NN", "king", "king|NN"),
        ("ENTITY/{}", "king", "ENTITY/king"),
    ],
)
def test_a_word_is_suggested_in_the_form_that_the_file_has(
    content: str, word: str, close: str, compile_bytes: Callable[..., Any]
) -> None:
    lines = [
        f"{content.format(w)} {i} 1\n"
        for i, w in enumerate(["the", "king", "queen", "man", "woman", "good", "bad"])
    ]
    vectors, _ = compile_bytes("".join(lines).encode())
    assert vectors.close_words(word)[0] == close
    with pytest.raises(UnknownWord, match="Did you mean " + re.escape(close)):
        raise UnknownWord(word, vectors)


@pytest.mark.parametrize("word", ["new york", "New York", "new-york"])
def test_words_of_several_parts_are_suggested_joined(word: str, compile_bytes: Callable[..., Any]) -> None:
    vectors, _ = compile_bytes(b"the 1 0\nNew_York 0 1\nof 1 1\n")
    assert vectors.close_words(word) == ["New_York"]


def test_what_would_write_names_gensims_own_object(vectors: WordVectors) -> None:
    for ask in (
        lambda: vectors.add_vector("x", np.zeros(50)),
        lambda: vectors.unit_normalize_all(),
        lambda: vectors.init_sims(replace=True),
    ):
        with pytest.raises(UsageError, match="would change the vectors") as raised:
            ask()
        assert "to_gensim()" in str(raised.value.hint)


def test_bytes_are_not_taken_for_rows_and_a_word_is_at_no_distance_from_itself(vectors: WordVectors) -> None:
    with pytest.raises(UsageError, match="is bytes, not a word"):
        vectors.most_similar(b"the")  # type: ignore[arg-type]
    assert vectors.distance("king", "king") == 0
    assert vectors.index_to_key == list(vectors.index_to_key)
    assert vectors.index_to_key != ["the"]
    with pytest.raises(KeyError, match="no attribute 'count'"):
        vectors.get_vecattr("king", "count")


def test_nothing_close_says_nothing(vectors: WordVectors) -> None:
    error = UnknownWord("qqqqqqqq", vectors)
    assert error.close == []
    assert error.hint is None
    assert str(error) == "no word 'qqqqqqqq' among 2,441"


def test_a_mean_of_unknown_words_only_is_an_error_and_not_a_zero_vector(
    vectors: WordVectors, reference: Any
) -> None:
    assert not reference.get_mean_vector(["wug", "blick"]).any()  # gensim is silent
    with pytest.raises(NoKnownWord, match="none of 2 words is known: 'wug', 'blick'"):
        vectors.get_mean_vector(["wug", "blick"])
    with pytest.raises(KeyError):
        vectors.n_similarity(["king"], ["wug"])
    with pytest.raises(UnknownWord):
        vectors.most_similar(["king", "wug"])
    with pytest.raises(NoKnownWord):
        vectors.doesnt_match(["wug", "blick"])
    with pytest.warns(UserWarning, match="left out: wug"):
        assert vectors.doesnt_match(["monday", "wug", "king", "friday"]) == "king"


@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v.get_mean_vector([]),
        lambda v: v.get_mean_vector(["king"], weights=[1, 2]),
        lambda v: v.n_similarity([], ["king"]),
        lambda v: v.most_similar([]),
    ],
)
def test_nothing_asked_is_a_usage_error(ask: Callable[[WordVectors], Any], vectors: WordVectors) -> None:
    with pytest.raises(UsageError):
        ask(vectors)


def test_vectors_cannot_be_written_to(vectors: WordVectors) -> None:
    for array in (vectors.vectors, vectors["king"], vectors.get_vector("king", norm=True), vectors.norms):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


TRAIN = """
import hashlib, pickle, sys, warnings
from pathlib import Path
import numpy as np, torch
from torch import nn
from zoo.words.vectors.word_vectors import open_vectors

warnings.simplefilter("ignore")  # torch's, that numpy calls the array read-only
path = Path(sys.argv[1])
before = hashlib.sha256(path.read_bytes()).hexdigest()
untouched = open_vectors(path)
expected = [untouched.most_similar("king"), untouched["king"].tolist(), untouched.similarity("king", "man")]
ways = {
    "FloatTensor": lambda v: torch.FloatTensor(v.vectors),
    "from_numpy": lambda v: torch.from_numpy(v.vectors),
    "as_tensor": lambda v: torch.as_tensor(v.vectors),
    "gensim": lambda v: torch.FloatTensor(v.to_gensim().vectors),
    "row": lambda v: torch.from_numpy(v["king"])[None],
    "norms": lambda v: torch.from_numpy(v.norms)[:, None],
    "in memory": lambda v: torch.from_numpy(pickle.loads(pickle.dumps(in_memory(v))).vectors),
}

def in_memory(v):
    from zoo.words.vectors.word_vectors import WordVectors
    return WordVectors(v._compiled)

for name, share in ways.items():
    vectors = open_vectors(path)
    embedding = nn.Embedding.from_pretrained(share(vectors), freeze=False)
    optimizer = torch.optim.SGD(embedding.parameters(), lr=1.0)
    embedding(torch.tensor([0])).sum().backward()
    first = embedding.weight[0].detach().clone()
    optimizer.step()
    assert torch.equal(embedding.weight[0], first - 1), name
    answers = [vectors.most_similar("king"), vectors["king"].tolist(), vectors.similarity("king", "man")]
    assert answers == expected, name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before, name
    print(name)
"""


def test_an_embedding_trained_over_the_vectors_changes_neither_the_file_nor_an_answer(
    vectors: WordVectors,
) -> None:
    command = [sys.executable, "-c", TRAIN, str(vectors.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr  # torch wrote into a read-only map: -11, no message
    assert done.stdout.split("\n")[-2] == "in memory"


def test_vectors_open_where_the_system_refuses_a_private_map(
    vectors: WordVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> mmap.mmap:
        if options.get("access") != mmap.ACCESS_READ:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return real(*args, **options)

    real = mmap.mmap
    monkeypatch.setattr("zoo.words.vectors.layout.mmap.mmap", refuse)
    assert vectors.path is not None
    opened = open_vectors(vectors.path)
    assert np.array_equal(opened.vectors, vectors.vectors)
    assert opened.vectors.base is None, "a copy in memory, which torch may write to"
    assert opened.most_similar("king") == vectors.most_similar("king")


# --- light


def test_opening_and_looking_up_imports_numpy_only(vectors: WordVectors) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from zoo.words.vectors.word_vectors import open_vectors\n"
        f"v = open_vectors(Path({str(vectors.path)!r}))\n"
        "v['king'], v.most_similar('king')\n"
        "print({'torch', 'gensim', 'polars', 'scipy', 'safetensors', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_moved_or_replaced_file_keeps_serving_who_opened_it(vectors: WordVectors, tmp_path: Path) -> None:
    assert vectors.path is not None
    copy = tmp_path / "copy.words"
    copy.write_bytes(vectors.path.read_bytes())
    opened = open_vectors(copy)
    copy.unlink()
    assert np.array_equal(opened["king"], vectors["king"])


def test_attributes_that_nobody_has_are_attribute_errors(vectors: WordVectors) -> None:
    with pytest.raises(AttributeError, match="has no 'no_such_thing'"):
        _ = vectors.no_such_thing


def test_a_pickled_object_is_the_path_of_its_file_and_opens_it_again(vectors: WordVectors) -> None:
    pickled = pickle.dumps(vectors)
    assert len(pickled) < 1000
    assert np.array_equal(pickle.loads(pickled).vectors, vectors.vectors)


@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v.most_similar([]),
        lambda v: v.get_mean_vector([]),
        lambda v: v.get_mean_vector(["king"], weights=[1, 2]),
        lambda v: v.doesnt_match([]),
        lambda v: v.n_similarity([], ["king"]),
    ],
)
def test_a_wrong_value_is_a_value_error_as_in_gensim(
    ask: Callable[[WordVectors], object], vectors: WordVectors
) -> None:
    with pytest.raises(ValueError, match=r"no words|weights|given no|none of") as caught:
        ask(vectors)
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v[b"the"],
        lambda v: v.get_index(b"the"),
        lambda v: v.get_vector(b"the"),
        lambda v: v.similarity(b"the", "king"),
        lambda v: v.most_similar(b"the"),
        lambda v: v.most_similar([b"the"]),
    ],
)
def test_bytes_are_refused_as_words_and_never_taken_for_rows(
    ask: Callable[[WordVectors], object], vectors: WordVectors
) -> None:
    with pytest.raises(ValueError, match="b'the'"):
        ask(vectors)
    assert b"the" not in vectors


def test_the_words_of_vectors_are_json_as_a_list(vectors: WordVectors) -> None:
    assert json.loads(json.dumps(list(vectors.index_to_key))) == list(vectors.index_to_key)
    assert vectors.index_to_key.copy() == vectors.index_to_key
