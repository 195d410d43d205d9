"""A file of word vectors becomes the same vectors, compiled; whatever is wrong with it is told."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import examples

from zoo.errors import DiskFull, IntegrityError, UnknownName, UnsafeFile, UsageError, ZooError
from zoo.events import Event, Note, Progress
from zoo.words.compiling.compiler import compile_vectors
from zoo.words.vectors.layout import HEADER_BYTES, check_layout
from zoo.words.vectors.word_vectors import WordVectors, open_vectors

TEXT = b"the 0.1 0.2 0.3\nof 1 -2 3e-2\nand 4 5 6\n"


def binary(words: dict[bytes, list[float]], header: bytes | None = None, end: bytes = b"") -> bytes:
    """A word2vec .bin file."""
    dimension = len(next(iter(words.values())))
    body = b"".join(w + b" " + np.array(v, "<f4").tobytes() + end for w, v in words.items())
    return (header or b"%d %d" % (len(words), dimension)) + b"\n" + body


def found(report: Any) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {fault.kind: (fault.count, fault.lines) for fault in report.faults}


def as_dict(vectors: WordVectors) -> dict[str, list[float]]:
    return {word: vectors[word].tolist() for word in vectors.index_to_key}


# --- the same vectors as gensim


def test_the_real_file_gives_the_words_vectors_and_norms_of_gensim(
    vectors: WordVectors, reference: Any
) -> None:
    assert list(vectors.index_to_key) == reference.index_to_key
    assert np.array_equal(vectors.vectors, reference.vectors)
    reference.fill_norms()
    assert np.array_equal(vectors.norms, reference.norms)
    assert all(vectors.key_to_index[word] == row for row, word in enumerate(reference.index_to_key))


def test_the_real_file_has_its_bad_words_counted_with_their_lines(vectors: WordVectors) -> None:
    counted = {fault.kind: (fault.count, fault.lines[:2]) for fault in vectors.faults}
    assert counted == {"not-utf8": (5, (218, 785)), "duplicate": (3, (1329, 1409))}
    assert vectors.lowercase


@pytest.mark.parametrize("form", ["text", "binary"])
def test_both_forms_that_gensim_writes_give_the_same_vectors(
    form: str, reference: Any, vectors: WordVectors, tmp_path: Path
) -> None:
    source = tmp_path / "written.vec"
    reference.save_word2vec_format(str(source), binary=form == "binary")
    report = compile_vectors(source, tmp_path / "out", format="auto")
    assert report.format == f"word2vec-{form}"
    assert report.header_words == len(reference)
    assert report.faults == ()
    again = open_vectors(tmp_path / "out")
    assert np.array_equal(again.vectors, vectors.vectors)
    assert list(again.index_to_key) == list(vectors.index_to_key)


@pytest.mark.parametrize("packing", ["gz", "zip", "two gz in one"])
def test_a_packed_file_gives_the_same_vectors(
    packing: str, glove: Path, vectors: WordVectors, tmp_path: Path
) -> None:
    content = glove.read_bytes()
    source = tmp_path / f"glove.txt.{packing[-3:].strip()}"
    if packing == "zip":
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._glove.txt", b"junk")
            archive.writestr("folder/glove.txt", content)
    elif packing == "gz":
        source.write_bytes(gzip.compress(content, 1))
    else:  # as parts of a release are, put together
        source.write_bytes(gzip.compress(content[:500_000], 1) + gzip.compress(content[500_000:], 1))
    compile_vectors(source, tmp_path / "out")
    assert np.array_equal(open_vectors(tmp_path / "out").vectors, vectors.vectors)


def test_an_archive_of_several_files_asks_which_and_takes_the_one_named(tmp_path: Path) -> None:
    source = tmp_path / "glove.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("glove.2d.txt", b"a 1 2\nb 3 4\n")
        archive.writestr("../glove.3d.txt", TEXT)
    with pytest.raises(UsageError, match=r"several files\n.*glove\.2d\.txt, \.\./glove\.3d\.txt"):
        compile_vectors(source, tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds no 'glove\.4d\.txt'"):
        compile_vectors(source, tmp_path / "out", member="glove.4d.txt")
    assert compile_vectors(source, tmp_path / "out", member="glove.3d.txt").dimension == 3


# --- every fault is counted, with its line


@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    ("content", "faults", "words"),
    [
        (b"a 1 2\nb 3 4\n", {}, "a b"),
        (b"a 1 2 \nb 3 4 \n", {}, "a b"),  # word2vec.c and fastText end each line so
        (b"a 1 2\r\nb 3 4\r\n", {}, "a b"),
        (b'" 1 2\n"b 3 4\n# 5 6\nNA 7 8\nnull 9 1\n', {}, '" "b # NA null'),
        (b"a 1 2\r\nb\r 3 4\r\n\rc\rd 5 6\r\n", {}, "a b\r \rc\rd"),
        (b"1 1 2\n2.5 3 4\nnan 5 6\n", {}, "1 2.5 nan"),
        (b"a 1 2\nb 3\nc 5 6\n", {"wrong-dimension": (1, (2,))}, "a c"),
        (b"a 1 2\nb 3 4 5\nc 5 6\n", {"wrong-dimension": (1, (2,))}, "a c"),
        (b"a 1 2\nb\nc 5 6\n", {"wrong-dimension": (1, (2,))}, "a c"),
        (b"b 3\na 1 2\nc 5 6\n", {"wrong-dimension": (1, (1,))}, "a c"),
        (b"a 1 2\nb 3 x\nc 5 6\n", {"not-a-number": (1, (2,))}, "a c"),
        (b"a 1 2\nb 3 1_0\nc 5 6\n", {"not-a-number": (1, (2,))}, "a c"),
        (b"a 1 2\nb 3  4\nc\t5 6\n", {}, "a b c"),
        (b"a\t1\t2\nb\t3\t4\n", {}, "a b"),
        (b"a\t1 2\nb\t3 4\n", {}, "a b"),
        (b"  a  1   2  \n b 3  4 \n  c 5 6\n", {}, "a b c"),
        (b" a 1 2\r\n b 3 4\r\n", {}, "a b"),
        (b"New York\t1 2\nb\t3 4\nc\t5 6\n", {"spaces": (1, (1,))}, "New York|b|c"),
        (b"a 1 2\nb nan 4\nc 5 inf\nd 1e39 0\ne 5 6\n", {"not-finite": (3, (2, 3, 4))}, "a e"),
        (b"a 1 2\n\n \nb 3 4\n", {"empty-line": (2, (2, 3))}, "a b"),
        (b"a 1 2\nb 3 4\na 5 6\na 7 8\n", {"duplicate": (2, (3, 4))}, "a b"),
        (
            b"a 1 2\n. . . 3 4\nat name@domain.com 5 6\n",
            {"spaces": (2, (2, 3))},
            "a|. . .|at name@domain.com",
        ),
        (b"a 1 2\n 3 4\n", {"empty-word": (1, (2,))}, "a|"),
        (b"a 1 2\n\x96 3 4\nb\xff 5 6\n", {"not-utf8": (2, (2, 3))}, "a \ufffd b\ufffd"),
        (
            b"a 1 2\n\x96 3 4\n\x97 5 6\n",  # two that become one
            {"not-utf8": (2, (2, 3)), "duplicate": (1, (3,))},
            "a \ufffd",
        ),
        (b"a 1 2\nb 3 4", {"no-line-end": (1, (2,))}, "a b"),
        (b"a 1 2\nb 3", {"truncated": (1, (2,))}, "a"),
        (b"a 1 2\nb 3 4\nb\xff 3", {"truncated": (1, (3,))}, "a b"),
        (b"\xef\xbb\xbfa 1 2\nb 3 4\n", {"byte-order-mark": (1, (1,))}, "a b"),
        (b"\xef\xbb\xbf2 2\na 1 2\nb 3 4\n", {"byte-order-mark": (1, (1,))}, "a b"),
        (b"2 2\na 1 2\nb 3 4\n", {}, "a b"),
        (b"4000000000 2\na 1 2\nb 3 4\n", {"header": (1, (1,))}, "a b"),
        (b"1 2\na 1 2\nb 3 4\n", {"header": (1, (1,))}, "a b"),
        (b"3 2\na 1 2\nb 3\nc 4 5\n", {"wrong-dimension": (1, (3,))}, "a c"),
    ],
    ids=repr,
)
def test_a_fault_of_a_text_file_is_counted_with_its_line(
    content: bytes, faults: dict[str, Any], words: str, compile_bytes: Any
) -> None:
    vectors, report = compile_bytes(content)
    assert found(report) == faults
    assert list(vectors.index_to_key) == (words.split("|") if "|" in words else words.split(" "))
    for line in content.removeprefix(b"\xef\xbb\xbf").split(
        b"\n"
    ):  # each vector is the one of its first line
        word = line.rsplit(b" ", 2)[0].decode("utf-8", "replace")
        if word == "a":
            assert vectors["a"].tolist() == [1, 2]
            break
    if faults:
        with pytest.raises(IntegrityError, match="refused, because strict"):
            compile_bytes(content, strict=True)


@pytest.mark.fault("S7")
def test_faults_far_into_a_file_have_the_right_lines_and_harm_nobody_else(compile_bytes: Any) -> None:
    rng = random.Random(0)
    lines = [b"w%d %.5f %.5f %.5f" % (i, rng.random(), rng.random(), rng.random()) for i in range(200_000)]
    clean, _ = compile_bytes(b"\n".join(lines) + b"\n")
    matrix = clean.vectors.copy()
    lines[150_000] = b"short 0.5"
    lines[150_001] = b""
    lines[199_998] = b"long 1 2 3 4"
    lines[70_000] = b"w5 9 9 9"
    lines[30_000] = b"\xef\xbb\xbfmark 1 2 3"
    vectors, report = compile_bytes(b"\n".join(lines) + b"\n")
    assert found(report) == {
        "wrong-dimension": (2, (150_001, 199_999)),
        "empty-line": (1, (150_002,)),
        "duplicate": (1, (70_001,)),
    }
    assert "\ufeffmark" in vectors
    gone = [150_000, 150_001, 199_998, 70_000]
    expected = np.delete(matrix, gone, axis=0)
    expected[30_000] = [1, 2, 3]
    assert np.array_equal(vectors.vectors, expected)
    assert vectors["w5"].tolist() == matrix[5].tolist()
    check_layout(vectors.path)


@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    ("content", "faults", "words"),
    [
        (binary({b"a": [1, 2], b"b": [3, 4]}), {}, "a b"),
        (binary({b"a": [1, 2], b"b": [3, 4]}, end=b"\n"), {}, "a b"),
        (binary({b"a": [1, 2], b"b": [3, 4]})[:-1], {"truncated": (1, (2,))}, "a"),
        (binary({b"a": [1, 2], b"b": [3, 4]}, b"4000000000 2"), {"header": (1, (1,))}, "a b"),
        (binary({b"a": [1, 2], b"b": [3, 4]}, b"1 2"), {"more-bytes": (1, ())}, "a"),
        (binary({b"a": [1, 2], b"\xff": [3, 4]}), {"not-utf8": (1, (2,))}, "a \ufffd"),
        (binary({b"a": [1, 2], b"\na": [3, 4]}), {"duplicate": (1, (2,))}, "a"),
        (binary({b"a": [1, 2], b"b": [3, float("nan")]}), {"not-finite": (1, (2,))}, "a"),
    ],
    ids=range(8),
)
def test_a_fault_of_a_binary_file_is_counted_with_its_word(
    content: bytes, faults: dict[str, Any], words: str, compile_bytes: Any
) -> None:
    vectors, report = compile_bytes(content, "vectors.bin")
    assert report.format == "word2vec-binary"
    assert found(report) == faults
    assert list(vectors.index_to_key) == words.split(" ")
    assert vectors["a"].tolist() == [1, 2]


@pytest.mark.fault("S7")
@pytest.mark.parametrize("declared", ["glove-text", "words/word2vec-text", "word2vec-binary", "keyedvectors"])
@pytest.mark.parametrize("content", [TEXT, b"3 3\n" + TEXT, binary({b"a": [0.1, 0.2], b"b": [3, 4]})])
def test_the_bytes_win_over_a_wrong_declaration_and_the_report_says_so(
    declared: str, content: bytes, compile_bytes: Any
) -> None:
    right, report = compile_bytes(content)
    told, again = compile_bytes(content, format=declared)
    assert as_dict(told) == as_dict(right)
    wrong = declared != "keyedvectors" and declared.removeprefix("words/") != report.format
    assert ("declared" in found(again)) == wrong
    if wrong:
        assert report.format in str(again)
        with pytest.raises(IntegrityError, match=f"declared as .*{report.format}"):
            compile_bytes(content, format=declared, strict=True)


@pytest.mark.fault("S7")
def test_a_header_with_another_dimension_than_the_lines_is_refused(compile_bytes: Any) -> None:
    with pytest.raises(
        IntegrityError, match=r"line 1: the header states 300 dimensions, the lines have 3 numbers"
    ):
        compile_bytes(b"3 300\n" + TEXT)


@pytest.mark.fault("S7")
def test_a_binary_file_whose_header_has_another_dimension_is_refused(compile_bytes: Any) -> None:
    rng = np.random.default_rng(0)
    words = {b"word%d" % i: rng.normal(size=20).tolist() for i in range(100)}
    for dimension in (10, 19, 21, 40):
        with pytest.raises(IntegrityError, match="word"):
            compile_bytes(binary(words, b"100 %d" % dimension), "vectors.bin")


@pytest.mark.thorough
@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    "header",
    [b"4000000000 50", b"4000000000 200000", b"99999999999999999999 3", b"9999999999999999999 9999999999"],
)
@pytest.mark.parametrize("form", ["text", "binary"])
def test_memory_is_bounded_by_the_file_and_not_by_its_header(
    header: bytes, form: str, tmp_path: Path
) -> None:
    body = TEXT if form == "text" else binary({b"a": [1.5] * 50}).split(b"\n", 1)[1] * 2
    (tmp_path / "lie").write_bytes(header + b"\n" + body)
    script = (
        "import re\n"
        "from pathlib import Path\n"
        "from zoo.errors import IntegrityError\n"
        "from zoo.words.compiling.compiler import compile_vectors\n"
        "try: compile_vectors(Path('lie'), Path('out'))\n"
        "except IntegrityError as error: print(error)\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 200_000  # kB; Python, numpy and polars are 80,000


@pytest.mark.fault("S7")
@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_a_cut_archive_is_refused_and_nothing_is_left(packing: str, glove: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    if packing == "gz":
        whole.write_bytes(gzip.compress(glove.read_bytes(), 1))
    else:
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("glove.txt", glove.read_bytes())
    content = whole.read_bytes()
    whole.unlink()
    source = tmp_path / f"glove.txt.{packing}"
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 255
    for bad in (content[: len(content) // 2], content[:-4], bytes(damaged)):
        source.write_bytes(bad)
        with pytest.raises(IntegrityError, match=r"glove\.txt\.(gz|zip)"):
            compile_vectors(source, tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == [source.name]


@pytest.mark.thorough
@pytest.mark.fault("S3")
@pytest.mark.fault("S7")
@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_a_decompression_bomb_is_stopped(packing: str, tmp_path: Path) -> None:
    source = tmp_path / f"bomb.{packing}"
    block = (b"word" + b" 0.1" * 50 + b"\n") * 1000
    with contextlib.ExitStack() as stack:
        if packing == "gz":
            file = stack.enter_context(gzip.open(source, "wb", 9))
        else:
            archive = stack.enter_context(zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED))
            file = stack.enter_context(archive.open("bomb.txt", "w"))
        for _ in range(500):
            file.write(block)
    with pytest.raises(IntegrityError, match="decompression bomb"):
        compile_vectors(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n", "is empty"),
        ("a.txt", b"<!DOCTYPE html><html>", "is a web page"),
        ("a.txt", b'{"a": 1}', "is JSON"),
        ("a.npy", b"\x93NUMPY\x01\x00", "is a numpy array"),
        ("a.bin", struct.pack("<i", 793712314) + b"\0" * 50, "fastText model ends in its header"),
        ("a.txt", b"Once upon a time\nthere was a queen\n", "is neither text"),
        (
            "a.txt",
            b"10 300\nonce upon a time there was a file that had no vectors in it at all, only words.\n" * 3,
            "is neither",
        ),
        ("a.bin", b"\0" * 1000, "is neither text"),
        ("a.txt", b"x" * 7_000_000, "is neither text"),
        ("a.txt", b"a 1 2\nb 3 4\n" + b"x" * 7_000_000, "line 3: longer than"),
    ],
)
def test_a_file_without_vectors_is_refused_with_what_it_is(
    name: str, content: bytes, message: str, compile_bytes: Any
) -> None:
    with pytest.raises(IntegrityError, match=message):
        compile_bytes(content, name)


def test_tokens_that_look_like_other_formats_are_words(compile_bytes: Any) -> None:
    vectors, _ = compile_bytes(b"{ 1 2\n<html> 3 4\n(dp 5 6\n")
    assert list(vectors.index_to_key) == ["{", "<html>", "(dp"]
    vectors, _ = compile_bytes(b"<html> 3 4\n{ 1 2\n")
    assert list(vectors.index_to_key) == ["<html>", "{"]


# --- gensim's own save is a pickle


@pytest.mark.fault("S5")
@pytest.mark.parametrize("name", ["vectors.kv", "vectors.model", "vectors.txt", "vectors.kv.gz"])
def test_vectors_saved_by_gensim_are_refused_with_what_to_do(
    name: str, reference: Any, tmp_path: Path
) -> None:
    source = tmp_path / name
    reference.save(str(tmp_path / "saved.kv"))
    saved = (tmp_path / "saved.kv").read_bytes()
    source.write_bytes(gzip.compress(saved) if name.endswith(".gz") else saved)
    with pytest.raises(UnsafeFile, match=r"could run any code|can run any code") as error:
        compile_vectors(source, tmp_path / "out", format="words/keyedvectors")
    assert "save_word2vec_format('vectors.bin', binary=True)" in str(error.value)


class Gadget:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.fault("S5")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["words.kv", "words.bin", "words.txt", "words"])
def test_no_pickle_of_any_protocol_runs_or_is_taken(protocol: int, name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    source = tmp_path / name
    source.write_bytes(pickle.dumps(Gadget(marker), protocol))
    with pytest.raises(UnsafeFile):
        compile_vectors(source, tmp_path / "out")
    assert not marker.exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]


# --- what is written


def test_float16_states_its_largest_error_and_keeps_it(
    glove: Path, vectors: WordVectors, tmp_path: Path
) -> None:
    told: list[Event] = []
    report = compile_vectors(glove, tmp_path / "half", precision="float16", report=told.append)
    half = open_vectors(tmp_path / "half")
    error = float(np.abs(half.vectors.astype(np.float32) - vectors.vectors).max())
    assert half.vectors.dtype == np.float16
    assert 0 < report.max_error == error < 0.002
    assert any(isinstance(event, Note) and f"{error:.2g}" in event.message for event in told)
    assert half["the"].dtype == np.float32
    assert half.most_similar("king", topn=3)[0][0] == vectors.most_similar("king", topn=3)[0][0]


def test_a_number_too_large_for_float16_is_refused_with_its_line(compile_bytes: Any) -> None:
    with pytest.raises(IntegrityError, match="line 2: a number is too large for float16"):
        compile_bytes(b"a 1 2\nb 70000 1\n", precision="float16")


def test_the_last_progress_is_the_whole_file(glove: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    compile_vectors(glove, tmp_path / "out", report=told.append)
    progress = [event for event in told if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == glove.stat().st_size
    assert [p.done for p in progress] == sorted(p.done for p in progress)
    assert sum(p.done == p.total for p in progress) == 1, "the end is told once"
    assert sum(isinstance(event, Note) and event.level == "warning" for event in told) == 2


def test_a_failure_leaves_the_old_file_and_no_other(compile_bytes: Any, tmp_path: Path) -> None:
    compile_bytes(TEXT)
    before = (tmp_path / "compiled.words").read_bytes()
    with pytest.raises(IntegrityError):
        compile_bytes(TEXT + b"the 0 0 0\n", strict=True)
    assert (tmp_path / "compiled.words").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["compiled.words", "vectors.txt"]


def test_a_full_disk_is_named_and_leaves_nothing(glove: Path, tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from zoo.errors import DiskFull\n"
        "from zoo.words.compiling.compiler import compile_vectors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"try: compile_vectors(Path({str(glove)!r}), Path('out'))\n"
        "except DiskFull as error: print('full:', error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "full: no room left" in done.stdout, done.stderr
    assert DiskFull.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_and_precisions_name_the_known_ones(glove: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean word2vec-binary"):
        compile_vectors(glove, tmp_path / "out", format="word2vec-binari")
    with pytest.raises(UnknownName, match="float16"):
        compile_vectors(glove, tmp_path / "out", precision="float61")
    with pytest.raises(UsageError, match="no file"):
        compile_vectors(tmp_path / "absent", tmp_path / "out")


def test_the_compiled_file_is_a_safetensors_file(vectors: WordVectors) -> None:
    from safetensors import safe_open

    assert vectors.path is not None
    with safe_open(vectors.path, "np") as file:
        assert file.metadata()["format"] == "transfer-zoo words"
        assert file.metadata()["source"] == "glove.6B.50d.head.txt"
        assert np.array_equal(file.get_tensor("vectors"), vectors.vectors)
        assert bytes(file.get_tensor("text")[:3]) == b"the"


def test_a_compiled_file_is_not_compiled_again(vectors: WordVectors, tmp_path: Path) -> None:
    assert vectors.path is not None
    with pytest.raises(IntegrityError, match="is compiled already"):
        compile_vectors(vectors.path, tmp_path / "out")


def test_a_flipped_byte_anywhere_after_the_header_is_found(compile_bytes: Any, tmp_path: Path) -> None:
    compile_bytes(TEXT)
    path = tmp_path / "compiled.words"
    check_layout(path)
    content = bytearray(path.read_bytes())
    for place in range(HEADER_BYTES, len(content), 7):
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match="its checksum is"):
            check_layout(path)
        content[place] ^= 1


def test_a_damaged_header_or_length_is_refused_at_opening(compile_bytes: Any, tmp_path: Path) -> None:
    compile_bytes(TEXT)
    path = tmp_path / "compiled.words"
    content = path.read_bytes()
    rng = random.Random(0)
    for bad in (b"", content[:100], content[:-1], content + b"\0", TEXT, b"\0" * 100_000):
        path.write_bytes(bad)
        with pytest.raises(IntegrityError):
            open_vectors(path)
    for _ in range(300):  # a flipped byte of the header: an error of ours, or harmless
        changed = bytearray(content)
        changed[rng.randrange(700)] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with suppress(ZooError):
            assert as_dict(open_vectors(path))


# --- laws


def line_by_line(content: bytes, dimension: int) -> dict[str, list[float]]:
    """What a text file says, by the plainest code there is."""
    said: dict[str, list[float]] = {}
    for line in content.split(b"\n"):
        found = re.fullmatch(rb"(.*?)((?:[ \t]+[^ \t]+){%d})" % dimension, line.rstrip(), re.DOTALL)
        if found is None:
            continue
        word, numbers = found[1], found[2].split()
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            continue
        name = word.decode("utf-8", "replace")
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.array(values, np.float64).astype(np.float32)).all()
        if len(values) == dimension and finite and b"_" not in b"".join(numbers):
            try:
                float(name.rsplit(" ", 1)[1])
            except (IndexError, ValueError):
                said.setdefault(name, np.array(values, np.float32).tolist())
    return said


@pytest.mark.fault("S7")
def test_damage_at_random_places_never_crashes_and_never_changes_another_vector(
    glove: Path, compile_bytes: Any
) -> None:
    rng = random.Random(1)
    original = b"".join(glove.read_bytes().splitlines(keepends=True)[:300])
    for _ in range(80):
        content = bytearray(original)
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(content))
            action = rng.randrange(4)
            if action == 0:
                content[place] = rng.randrange(256)
            elif action == 1:
                del content[place : place + rng.randrange(1, 2000)]
            elif action == 2:
                content[place:place] = rng.choice(
                    [b"\n", b" ", b"\r\n", b"\0", b"nan", b"\xff", b"1e99", b"  "]
                )
            else:
                content[place:place] = content[rng.randrange(len(content)) :][: rng.randrange(900)]
        vectors, report = compile_bytes(bytes(content))
        assert as_dict(vectors) == line_by_line(bytes(content), 50), report


@examples(60)
@given(
    words=st.lists(
        st.text(
            st.characters(blacklist_categories=["Cs"], blacklist_characters=" \n"), min_size=1, max_size=30
        ).filter(lambda word: word.strip("\ufeff")),
        min_size=1,
        max_size=40,
        unique=True,
    ),
    binary_form=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_word_is_found_again_with_its_own_vector(
    words: list[str], binary_form: bool, seed: int, compile_bytes: Any
) -> None:
    matrix = np.random.default_rng(seed).normal(size=(len(words), 4)).astype(np.float32)
    if binary_form:
        words = [word for word in words if min(word.encode()) >= 32] or ["a"]
        content = binary({w.encode(): v.tolist() for w, v in zip(words, matrix, strict=False)})
    else:
        content = b"".join(
            w.encode() + b" " + b" ".join(repr(float(x)).encode() for x in v) + b"\n"
            for w, v in zip(words, matrix, strict=True)
        )
    # Named, not sniffed: a few bytes of words that are all control characters are told apart by nobody.
    kind = "words/word2vec-binary" if binary_form else "words/glove-text"
    vectors, report = compile_bytes(content, f"a{'.bin' if binary_form else '.txt'}", format=kind)
    assert report.words == len(words), report
    assert list(vectors.index_to_key) == words
    rows = vectors.vocabulary.find_many([*words, "absent word"])
    assert rows.tolist() == [*range(len(words)), -1]
    for row, word in enumerate(words):
        assert vectors.key_to_index[word] == row
        assert vectors[word].tolist() == matrix[row].tolist()


def test_blanks_and_tabs_of_any_number_give_the_numbers_that_are_written(
    compile_bytes: Any,
) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"w{i}", [f"{x:.4f}" for x in rng.normal(size=5)]) for i in range(3000)]
    expected, _ = compile_bytes("".join(f"{w} {' '.join(n)}\n" for w, n in rows).encode())
    for between, first in (("\t", ""), ("  ", ""), (" \t ", " "), (" ", "  ")):
        text = "".join(f"{first}{w}{between}{between.join(n)}\n" for w, n in rows)
        found, report = compile_bytes(text.encode())
        assert report.faults == ()
        assert list(found.index_to_key) == list(expected.index_to_key)
        assert np.array_equal(found.vectors, expected.vectors)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"the 1061396\nof 593677\nking 4\n", "one number on each line: a list of words and their counts"),
        (b"the 0.5\nof 0.25\n", "one number on each line"),
        (b"the,0.1,0.2 0.3\nof,0.2,0.1 0.4\n", "one number on each line"),
        (b"the,0.1,0.2 0.3 0.5\nof,0.2,0.1 0.4 0.5\n", r"most words hold numbers, as 'the,0\.1,0\.2'"),
        (b"the:0.1;0.2 1 2\nof:0.3;0.4 3 4\n", "most words hold numbers"),
    ],
)
def test_lists_that_are_not_vectors_are_refused(content: bytes, reason: str, compile_bytes: Any) -> None:
    with pytest.raises(IntegrityError, match=reason):
        compile_bytes(content)


def test_a_header_may_state_one_dimension(compile_bytes: Any) -> None:
    vectors, _ = compile_bytes(b"2 1\nthe 0.5\nof 0.25\n")
    assert vectors.vectors.tolist() == [[0.5], [0.25]]


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress], ids=["bz2", "xz"])
def test_vectors_packed_otherwise_are_read_and_cut_ones_refused(pack: Any, compile_bytes: Any) -> None:
    plain = "".join(f"w{i} {i} {-i}\n" for i in range(5000)).encode()
    vectors, _ = compile_bytes(pack(plain), "vectors.txt.packed")
    assert vectors["w4321"].tolist() == [4321, -4321]
    assert len(vectors) == 5000
    with pytest.raises(IntegrityError, match="compressed data"):
        compile_bytes(pack(plain)[:-300], "vectors.txt.packed")


def test_lines_that_end_in_carriage_returns_are_read(compile_bytes: Any) -> None:
    for content in (b"a 1 2\rb 3 4\rc 5 6\r", b"3 2\ra 1 2\rb 3 4\rc 5 6\r"):
        vectors, report = compile_bytes(content)
        assert list(vectors.index_to_key) == ["a", "b", "c"]
        assert vectors["c"].tolist() == [5, 6]
        assert report.faults == ()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a pointer of Git LFS"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x8d\x03" + bytes(99), "an ONNX model"),
        (b"<!DOCTYPE html>\n<html>\n", "a web page"),
        (b'{"a": 1}\n', "JSON text"),
        (b"\x10\0\0\0\0\0\0\0{}              " + bytes(99), "safetensors"),
    ],
)
def test_files_of_other_kinds_are_called_by_their_names(
    content: bytes, what: str, compile_bytes: Any
) -> None:
    with pytest.raises(IntegrityError, match=f"is {what}.*, not word vectors") as raised:
        compile_bytes(content)
    assert raised.value.hint
