"""Text vectors that are not UTF-8: the encoding named, guessed, or neither; and what they are packed in."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo import load_model
from zoo.catalogue.registry import load_registry
from zoo.errors import IntegrityError, InvalidRegistry, UnknownName, UsageError
from zoo.store.store import Store
from zoo.words.compiling.compiler import CompileReport
from zoo.words.vectors.word_vectors import WordVectors

Compile = Callable[..., tuple[WordVectors, CompileReport]]
WORDS = {
    "cp1252": "the été café naïve Übermut señor déjà",
    "cp1250": "the łódź ścieżka gęś źródło",
    "cp1251": "the не что Москва СССР было",
    "koi8-r": "the не что Москва СССР было",
    "cp1253": "the και στην Αθήνα πόλη",
    "cp1255": "the שלום ירושלים ספר",
    "cp1256": "the كتاب مدينة سلام بيت",
    "shift_jis": "the 東京 こんにちは データ 日本語",
    "euc_jp": "the 東京 こんにちは データ 日本語",
    "euc_kr": "the 한국어 서울 사람 나라",
    "gb18030": "the 中国 北京 我们 学习 经济",
    "big5": "the 中國 學習 經濟 臺灣 圖書館",
}


def lines(words: str) -> str:
    """A file of vectors of two numbers each."""
    return "".join(f"{word} {row}.5 -{row}\n" for row, word in enumerate(words.split()))


@pytest.mark.parametrize("encoding", WORDS)
def test_the_encoding_is_guessed_where_most_words_are_not_utf8_and_that_is_said(
    encoding: str, compile_bytes: Compile
) -> None:
    vectors, report = compile_bytes(lines(WORDS[encoding]).encode(encoding))
    assert list(vectors.index_to_key) == WORDS[encoding].split()
    assert vectors.vectors[:, 0].tolist() == [row + 0.5 for row in range(len(vectors))]
    (fault,) = report.faults
    assert f"read as {encoding} (" in str(fault)
    assert "--encoding NAME" in str(fault)


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_small_letters_alone_say_which_cyrillic_it_is(encoding: str, compile_bytes: Compile) -> None:
    words = "москва город река человек вода дом лес окно солнце зима это стол"
    vectors, report = compile_bytes(lines(words).encode(encoding))
    assert list(vectors.index_to_key) == words.split()
    assert "would fit as well" not in str(report.faults[0])


def test_an_encoding_that_fits_as_well_is_named(compile_bytes: Compile) -> None:
    """Czech words are words of some language in Windows-1252 too."""
    _, report = compile_bytes(lines("the člověk řeka město žena dítě kůň").encode("cp1250"))
    assert "read as cp1252 (" in str(report.faults[0])
    assert "cp1250 (Central European, Windows-1250) would fit as well" in str(report.faults[0])


@pytest.mark.parametrize("encoding", WORDS)
def test_a_named_encoding_gives_what_gensim_reads_and_no_fault(
    encoding: str, compile_bytes: Compile, tmp_path: Path
) -> None:
    from gensim.models import KeyedVectors

    content = lines(WORDS[encoding]).encode(encoding)
    vectors, report = compile_bytes(content, encoding=encoding, strict=True)
    assert report.faults == ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        judge = KeyedVectors.load_word2vec_format(
            str(tmp_path / "vectors.txt"), no_header=True, encoding=encoding
        )
    assert list(vectors.index_to_key) == judge.index_to_key
    assert np.array_equal(vectors.vectors, judge.vectors)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_states_the_encoding(encoding: str, compile_bytes: Compile) -> None:
    vectors, _ = compile_bytes(lines(WORDS["cp1251"]).encode(encoding))
    assert list(vectors.index_to_key) == WORDS["cp1251"].split()


def test_a_large_file_of_another_encoding_is_recoded_piece_by_piece(compile_bytes: Compile) -> None:
    words = " ".join(f"мир{number}" for number in range(120_000))
    vectors, _ = compile_bytes(lines(words).encode("utf-16"))
    assert len(vectors) == 120_000
    assert vectors["мир119999"].tolist() == [119999.5, -119999]


def test_a_few_bad_words_among_many_are_faults_and_nothing_is_guessed(compile_bytes: Compile) -> None:
    content = lines("été café naïve").encode() + b"caf\xe9 1 2\nna\xefve 3 4\n"
    vectors, report = compile_bytes(content)
    assert [fault.kind for fault in report.faults] == ["not-utf8"]
    assert "caf�" in vectors


def test_bytes_that_are_wrong_in_the_named_encoding_are_counted(compile_bytes: Compile) -> None:
    vectors, report = compile_bytes("été 1 2\n".encode("cp1252") + b"a\x81 3 4\n", encoding="cp1252")
    assert "été" in vectors
    assert [(fault.kind, fault.lines) for fault in report.faults] == [("not-utf8", (2,))]


def test_utf8_may_be_named_so_that_nothing_is_guessed(compile_bytes: Compile) -> None:
    _, report = compile_bytes(lines(WORDS["cp1252"]).encode("cp1252"), encoding="UTF-8")
    assert [(fault.kind, fault.count) for fault in report.faults] == [("not-utf8", 6)]


@pytest.mark.parametrize("name", ["latin-99", "base64", "rot13", "a\0b"])
def test_what_is_no_encoding_is_refused(name: str, compile_bytes: Compile) -> None:
    with pytest.raises(UnknownName, match="no encoding"):
        compile_bytes(b"the 1 2\n", encoding=name)


def test_an_encoding_of_a_binary_file_is_refused(compile_bytes: Compile) -> None:
    content = b"1 2\nthe " + np.array([0.3, 0.7], "<f4").tobytes()
    with pytest.raises(UsageError, match="word2vec-binary: the encoding cp1252 can be named for text only"):
        compile_bytes(content, "vectors.bin", encoding="cp1252")


def test_text_in_no_such_encoding_is_refused_by_its_cause(compile_bytes: Compile) -> None:
    with pytest.raises(IntegrityError, match="not text in utf_16"):
        compile_bytes(b"\x00\xd8" * 20, encoding="utf-16")


def zipped(content: bytes, path: Path) -> None:
    """A zip with one file of vectors."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vectors.txt", content)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gz", lambda content, path: path.write_bytes(gzip.compress(content))),
        (".bz2", lambda content, path: path.write_bytes(bz2.compress(content))),
        (".xz", lambda content, path: path.write_bytes(lzma.compress(content))),
        (".zip", zipped),
    ],
)
def test_a_packed_file_of_another_encoding_is_read_too(
    suffix: str, pack: Any, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / f"vectors.txt{suffix}"
    pack(lines(WORDS["cp1251"]).encode("cp1251"), path)
    assert list(load_model(str(path), store=store).index_to_key) == WORDS["cp1251"].split()


def test_a_zst_file_is_refused_with_what_to_type(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "my vectors.vec.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(40))
    with pytest.raises(IntegrityError, match=r"Zstandard[^\n]*\n.*zstd -d 'my vectors.vec.zst'"):
        load_model(str(path), store=store)


def test_the_encoding_that_was_named_last_is_kept(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(lines(WORDS["koi8-r"]).encode("koi8-r"))
    assert "Москва" in load_model(str(path), store=store)
    assert "Москва" not in load_model(str(path), store=store, encoding="cp1251")
    assert "Москва" not in load_model(str(path), store=store)
    assert "Москва" in load_model(str(path), store=store, encoding="koi8-r")
    assert "Москва" not in load_model(str(path), store=store, encoding="cp1251")


def test_an_entry_of_a_registry_names_the_encoding_of_its_file(store: Store, tmp_path: Path) -> None:
    content = "".join(f"{word} {n} 1\n" for n, word in enumerate(["и", "не", "Москва"])).encode("koi8-r")
    (tmp_path / "words.txt").write_bytes(content)
    entry = (
        "models:\n  own:\n    family: own\n    task: word-vectors\n    architecture: words/glove-text\n"
        f"    weights: {{url: words.txt, sha256: {hashlib.sha256(content).hexdigest()}}}\n"
        "    input: {dimension: 2, encoding: koi8-r}\n    license: mit\n"
    )
    registry = tmp_path / "registry.yaml"
    registry.write_text(entry)
    vectors = load_model("own", registry=load_registry([registry]), store=store, strict=True)
    assert list(vectors.index_to_key) == ["и", "не", "Москва"]
    registry.write_text(entry.replace("koi8-r", "koi9"))
    with pytest.raises(InvalidRegistry, match="no encoding 'koi9'"):
        load_registry([registry])
