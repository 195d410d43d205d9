"""fastText's own .bin, against gensim's reading of it, and damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.errors import IntegrityError, UnknownName
from zoo.words.compiling.compiler import compile_vectors
from zoo.words.texts.pooling import coverage, embed_texts
from zoo.words.texts.unknown import resolve_words
from zoo.words.vectors.layout import check_layout
from zoo.words.vectors.word_vectors import WordVectors, open_vectors

SENTENCES = [
    ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"],
    ["größere", "füchse", "springen", "über", "müde", "hunde", "und", "schöne", "katzen"],
    ["быстрая", "лиса", "прыгает", "через", "ленивую", "собаку"],
    ["日本語", "の", "狐", "は", "速い", "a", "I"],
] * 5
UNKNOWN = ["foxes", "Quickly", "größte", "лисы", "日本", "z", "🦊🦊", "naïve-looking", "x" * 300, "b c"]
DICTIONARY = 92  # where it begins


def train(path: Path, **options: Any) -> Path:
    """A small model, saved as fastText does."""
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    options = {"min_n": 3, "max_n": 6, "bucket": 500} | options
    model = FastText(SENTENCES, vector_size=12, min_count=1, epochs=2, workers=1, seed=1, **options)
    save_facebook_model(model, str(path))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("fasttext") / "tiny.bin")


def compiled(source: Path, folder: Path, **options: Any) -> WordVectors:
    target = folder / "compiled.words"
    compile_vectors(source, target, **options)
    check_layout(target)
    return open_vectors(target)


def gensim_reads(path: Path) -> Any:
    from gensim.models.fasttext import load_facebook_vectors

    return load_facebook_vectors(str(path))


@pytest.mark.parametrize(
    ("shortest", "longest", "bucket"), [(3, 6, 500), (1, 2, 50), (2, 4, 1), (5, 5, 2000), (0, 3, 40)]
)
def test_words_known_and_unknown_have_the_vectors_that_gensim_reads(
    shortest: int, longest: int, bucket: int, tmp_path: Path
) -> None:
    source = train(tmp_path / "tiny.bin", min_n=shortest, max_n=longest, bucket=bucket)
    ours, theirs = compiled(source, tmp_path), gensim_reads(source)
    assert list(ours.index_to_key) == theirs.index_to_key
    np.testing.assert_allclose(ours.vectors, theirs.vectors, rtol=1e-5, atol=1e-8)
    compared = 0
    for word in UNKNOWN:
        assert word not in ours.key_to_index
        if word in ours:
            np.testing.assert_allclose(ours[word], theirs[word], rtol=1e-5, atol=1e-8)
            near = [neighbour for neighbour, _ in ours.most_similar(word, topn=3)]
            assert near == [neighbour for neighbour, _ in theirs.most_similar(word, topn=3)]
            compared += 1
        else:  # gensim gives zeros
            assert not theirs[word].any()
            with pytest.raises(UnknownName):
                ours.get_vector(word)
    assert compared >= 6
    np.testing.assert_allclose(ours[["fox", "foxes"]], theirs[["fox", "foxes"]], rtol=1e-5, atol=1e-8)
    assert ours.similarity("fox", "foxes") == pytest.approx(theirs.similarity("fox", "foxes"), abs=1e-5)
    assert ours.distance("fox", "foxes") == pytest.approx(theirs.distance("fox", "foxes"), abs=1e-5)
    np.testing.assert_allclose(ours.to_gensim()["foxes"], theirs["foxes"], rtol=1e-5, atol=1e-8)


def test_a_packed_model_is_the_same_and_leaves_nothing_behind(model: Path, tmp_path: Path) -> None:
    packed = tmp_path / "tiny.bin.gz"
    packed.write_bytes(gzip.compress(model.read_bytes()))
    ours = compiled(packed, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.bin.gz", "compiled.words"}
    theirs = gensim_reads(model)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(ours["foxes"], theirs["foxes"], rtol=1e-5, atol=1e-8)


def test_float16_rounds_words_and_ngrams_and_states_by_how_much(model: Path, tmp_path: Path) -> None:
    ours, theirs = compiled(model, tmp_path, precision="float16"), gensim_reads(model)
    error = float(ours.metadata["max_error"])
    assert 0 < error < 1e-4
    assert np.abs(ours.vectors.astype(np.float32) - theirs.vectors).max() <= error * 1.01
    assert np.abs(ours["foxes"] - theirs["foxes"]).max() <= error * 1.01


def test_a_model_without_ngrams_has_no_vectors_for_unknown_words(tmp_path: Path) -> None:
    source = train(tmp_path / "tiny.bin", max_n=0)
    ours, theirs = compiled(source, tmp_path), gensim_reads(source)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, rtol=1e-5, atol=1e-8)
    assert ours.subwords is None
    assert "foxes" not in ours


def test_labels_of_a_classifier_are_not_words(model: Path, tmp_path: Path) -> None:
    content = bytearray(model.read_bytes())
    entries, words = struct.unpack_from("<2i", content, 64)
    struct.pack_into("<3i", content, 64, entries + 1, words, 1)
    end = DICTIONARY
    for _ in range(words):
        end = content.index(b"\0", end) + 10
    content[end:end] = b"__label__animal\0" + struct.pack("<qb", 7, 1)
    source = tmp_path / "classifier.bin"
    source.write_bytes(content)
    ours = compiled(source, tmp_path)
    assert "__label__animal" not in ours.key_to_index
    np.testing.assert_allclose(ours.vectors, gensim_reads(model).vectors, rtol=1e-5, atol=1e-8)


def matrix_at(content: bytes) -> int:
    """Where the flag for quantised models is."""
    at = DICTIONARY
    for _ in range(struct.unpack_from("<i", content, 64)[0]):
        at = content.index(b"\0", at) + 10
    return at


def matrix_end(content: bytes) -> int:
    """Where the last number of the last n-gram ends."""
    rows, columns = struct.unpack_from("<2q", content, matrix_at(content) + 1)
    return matrix_at(content) + 17 + 4 * int(rows * columns)


DAMAGES = {
    "cut in its header": (lambda c: c[:50], "ends in its header: it is cut off"),
    "cut in its words": (lambda c: c[:200], "ends in its words: it is cut off"),
    "cut in its vectors": (lambda c: c[: matrix_at(c) + 1000], "ends in its vectors: it is cut off"),
    "cut before its vectors": (lambda c: c[: matrix_at(c)], "ends in its words: it is cut off"),
    "quantised": (
        lambda c: c[: matrix_at(c)] + b"\1" + c[matrix_at(c) + 1 :],
        r"is a quantised fastText model \(\.ftz\)",
    ),
    "pruned": (lambda c: c[:84] + struct.pack("<q", 20) + c[92:], "is a quantised fastText model"),
    "another version": (lambda c: c[:4] + struct.pack("<i", 99) + c[8:], "version 99"),
    "no dimension": (lambda c: c[:8] + struct.pack("<i", 0) + c[12:], "states 0 dimensions"),
    "many dimensions": (lambda c: c[:8] + struct.pack("<i", 2**31 - 1) + c[12:], "dimensions"),
    "another dimension": (lambda c: c[:8] + struct.pack("<i", 13) + c[12:], "its matrix is .* × 12"),
    "negative buckets": (lambda c: c[:40] + struct.pack("<i", -1) + c[44:], "states -1 buckets"),
    "other buckets": (lambda c: c[:40] + struct.pack("<i", 2**31 - 1) + c[44:], "its matrix is"),
    "long n-grams": (lambda c: c[:48] + struct.pack("<i", 2**30) + c[52:], "n-grams of 3 to"),
    "four thousand million words": (
        lambda c: c[:64] + struct.pack("<2i", 2**31 - 1, 2**31 - 1) + c[72:],
        "no word of a fastText model|cut off",
    ),
    "negative words": (lambda c: c[:64] + struct.pack("<2i", -5, -5) + c[72:], "states -5 words"),
    "a huge matrix": (
        lambda c: c[: matrix_at(c) + 1] + struct.pack("<q", 2**62) + c[matrix_at(c) + 9 :],
        "its matrix is",
    ),
    "NaN in an n-gram": (
        lambda c: c[: matrix_end(c) - 4] + struct.pack("<f", float("nan")) + c[matrix_end(c) :],
        "n-gram 499 has NaN",
    ),
}


@pytest.mark.fault("S7")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_with_what_is_wrong(
    damage: str, packed: bool, model: Path, tmp_path: Path
) -> None:
    broken, message = DAMAGES[damage]
    content = broken(model.read_bytes())
    source = tmp_path / "broken.bin"
    source.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(IntegrityError, match=message):
        compile_vectors(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.bin"]


@pytest.mark.fault("S7")
def test_no_byte_that_is_flipped_before_the_vectors_ends_in_anything_but_a_sentence(
    model: Path, tmp_path: Path
) -> None:
    content = model.read_bytes()
    random = np.random.default_rng(0)
    source = tmp_path / "flipped.bin"
    refused = 0
    for place in random.integers(4, matrix_at(content) + 17, 150).tolist():
        flipped = bytearray(content)
        flipped[place] ^= int(random.integers(1, 256))
        source.write_bytes(flipped)
        try:
            compile_vectors(source, tmp_path / "out")
        except IntegrityError:
            refused += 1
    assert refused > 10


def test_unknown_words_of_texts_get_their_vectors_from_ngrams_unless_they_are_skipped(
    model: Path, tmp_path: Path
) -> None:
    ours, theirs = compiled(model, tmp_path), gensim_reads(model)
    texts = [["fox", "foxes"], ["Quickly"]]
    found = embed_texts(ours, texts)
    np.testing.assert_allclose(found.matrix[0], (theirs["fox"] + theirs["foxes"]) / 2, atol=1e-7)
    np.testing.assert_allclose(found.matrix[1], theirs["Quickly"], atol=1e-7)
    assert found.how == {"known": 1, "ngrams": 2}
    assert embed_texts(ours, texts, policy="skip").how == {"known": 1, "skipped": 2}
    assert resolve_words(ours, ["Fox", "foxes"], "fold+ngrams").how == ("fold", "ngrams")
    covered = coverage(ours, texts)
    assert (covered.known, covered.tokens, covered.from_ngrams) == (1, 3, 2)
