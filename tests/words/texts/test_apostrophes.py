"""Words with apostrophes are cut as the vectors write them; texts without blanks are told as that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from zoo.events import Event, Note
from zoo.words.compiling.compiler import CompileReport
from zoo.words.texts.policies import STAND_INS
from zoo.words.texts.pooling import coverage, embed_texts
from zoo.words.texts.tokens import fitting_tokenizer, script_without_blanks
from zoo.words.vectors.word_vectors import WordVectors

Compile = Callable[..., tuple[WordVectors, CompileReport]]
split = STAND_INS["apostrophe"]


@pytest.mark.parametrize(
    ("word", "known", "read"),
    [
        ("l'homme", "l' l homme", "l' homme"),
        ("l'homme", "l homme", "l homme"),
        ("l'homme", "l’ homme", "l’ homme"),
        ("L’Homme", "l' homme", "l' homme"),
        ("l'homme", "homme", "homme"),
        ("l'homme", "l'", "l'"),
        ("dell'acqua", "dell' acqua", "dell' acqua"),
        ("l'arc-en-ciel", "l' arc en ciel", "l' arc en ciel"),
        ("quest'un'altra", "quest' un' altra", "quest' un' altra"),
        ("o'clock", "o’clock o clock", "o’clock"),
        ("rock'n'roll", "rock n roll", "rock n roll"),
        ("don't", "do n't not don t", "do n't"),
        ("don't", "do not don t", "do not"),
        ("Don't", "do not", "do not"),
        ("they're", "they are", "they are"),
        ("n't", "n t not", "not"),
        ("'s", "s is", ""),
        ("paul's", "paul s", "paul"),
        ("homme", "l' homme", ""),
        ("'", "a", ""),
        ("qqx'qqy", "a", ""),
    ],
)
def test_an_elided_word_is_read_as_the_vectors_write_its_parts(word: str, known: str, read: str) -> None:
    assert split(word, set(known.split())) == tuple(read.split())


@pytest.mark.parametrize("mark", "'’ʼ＇")
def test_every_apostrophe_is_the_same(mark: str, compile_bytes: Compile) -> None:
    vectors, _ = compile_bytes(b"l' 1 2\nhomme 3 4\nest 5 6\n")
    found = embed_texts(vectors, [f"l{mark}homme"])
    assert found.matrix.tolist() == [[2, 3]]
    assert found.how == {"apostrophe": 1}
    assert embed_texts(vectors, [f"l{mark}homme"], policy="skip").without_vector.tolist() == [True]


def test_contractions_stay_whole_for_vectors_that_have_them_so(compile_bytes: Compile) -> None:
    whole, _ = compile_bytes(b"don't 1 2\ni 3 4\n")
    assert embed_texts(whole, ["I don’t"]).matrix.tolist() == [[2, 3]]
    cut, _ = compile_bytes(b"do 1 2\nn't 5 0\ni 3 4\n")
    assert embed_texts(cut, ["I don’t"]).matrix.tolist() == [[3, 2]]
    assert fitting_tokenizer(whole.key_to_index, True)("O’Brien's o'clock 3.5 U.S.") == [
        "o'brien's",
        "o'clock",
        "3.5",
        "u.s.",
    ]


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (["我喜欢这部电影。", "这部电影很差"], "Chinese or Japanese"),
        (["この映画はとても面白い", "つまらない"], "Japanese"),
        (["ผมชอบหนังเรื่องนี้"], "Thai"),
        (["Мне нравится этот фильм", "저는 이 영화를 좋아해요"], None),
        (["I like 東京 very much"], None),
    ],
)
def test_texts_in_a_script_without_blanks_are_told_as_that(
    texts: list[str], script: str | None, vectors: WordVectors
) -> None:
    assert coverage(vectors, texts).script == script
    told: list[Event] = []
    embed_texts(vectors, texts, report=told.append)
    notes = [event.message for event in told if isinstance(event, Note)]
    assert notes == [] if script is None else f"these texts are {script}, which has no blanks" in notes[0]


def test_words_without_blanks_that_are_known_need_no_remark(compile_bytes: Compile) -> None:
    vectors, _ = compile_bytes("我 1 2\n喜欢 3 4\n电影 5 6\n".encode())
    assert coverage(vectors, ["我 喜欢 电影"]).script is None
    assert np.array_equal(embed_texts(vectors, ["我 喜欢 电影"]).matrix, [[3, 4]])
    assert script_without_blanks({}, 0) is None
