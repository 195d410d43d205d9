"""The formats of word vectors: detected by their bytes, never by their name alone, and never unpickled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from zoo.errors import IntegrityError, UnknownName, UnsafeFile
from zoo.file_formats import BEGINNING, detect_bytes, refuse_foreign
from zoo.words.compiling import fasttext_header
from zoo.words.vectors.layout import is_compiled

FormatName = Literal["glove-text", "word2vec-text", "word2vec-binary", "fasttext-binary", "model2vec"]
SAMPLE_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"

# What an entry's `architecture: words/NAME` and `--format NAME` may state; the bytes decide.
FORMATS: dict[str, str] = {
    "auto": "detected by its bytes",
    "glove-text": "GloVe: one word and its numbers per line, no header",
    "word2vec-text": "word2vec or fastText .vec: the same after a line 'WORDS DIMENSION'",
    "word2vec-binary": "word2vec .bin: 'WORDS DIMENSION', then word, space, float32 numbers",
    "fasttext-binary": "fastText .bin: words, and n-grams that give unknown words vectors",
    "model2vec": "model2vec: pieces of words, beside a tokenizer.json and a config.json",
    "keyedvectors": "gensim's own save: refused where it is a pickle",
}

CONVERT = (
    "In a process that you trust with this file, once:\n"
    "  gensim.models.KeyedVectors.load(FILE).save_word2vec_format('vectors.bin', binary=True)\n"
    "then use vectors.bin."
)
# first bytes -> (what it is, what to do). Opening a pickle runs whatever code is in it.
UNSAFE_MAGIC: dict[bytes, str] = {
    **{b"\x80" + bytes([protocol]): "a Python pickle" for protocol in range(2, 6)},
    b"ccopy_reg\n": "a Python pickle (protocol 0)",
    b"ccopyreg\n": "a Python pickle (protocol 0)",
    b"cgensim.": "a Python pickle (protocol 0)",
    b"(dp": "a Python pickle (protocol 0)",
    b"(lp": "a Python pickle (protocol 0)",
    b"(ip": "a Python pickle (protocol 0)",
    b"cos\n": "a Python pickle (protocol 0)",
    b"cposix\n": "a Python pickle (protocol 0)",
    b"cbuiltins\n": "a Python pickle (protocol 0)",
    b"c__builtin__\n": "a Python pickle (protocol 0)",
}
_BLANKS = re.compile(rb"[ \t]+")  # a word may hold other white space
_LOOSE = re.compile(rb"\t|  |^ ")
_NUMBERS_INSIDE = re.compile(rb"[,;:|]\s*-?\d+\.\d+")


class WordCounts(IntegrityError):
    """A list of words with one number each, as it lies beside many vectors."""


UNSAFE_SUFFIXES = (".kv", ".model", ".pkl", ".pickle", ".w2v_format.pkl")
WRONG_MAGIC: dict[bytes, tuple[str, str]] = {
    b"\x93NUMPY": (
        "a numpy array: gensim writes it beside its own saved vectors, and it holds no words",
        CONVERT,
    ),
    b"\x1f\x8b": ("compressed twice", "Decompress it once by hand."),
    b"PK\x03\x04": ("an archive in an archive", "Unpack it once by hand."),
}


@dataclass(frozen=True)
class Shape:
    """What the beginning of a file shows about the rest.

    words: what the header claims, None without one; a claim only, no memory is reserved for it.
    header_bytes: length of the header line (and of a byte-order mark before it). trailing_space: each line
    ends with one (word2vec.c and fastText write it). loose: fields are apart by more than one blank, or by
    tabs, or blanks come first. carriage_returns: they end the lines (old Macintosh). contradictions: what is
    not as it was declared.
    """

    format: FormatName
    dimension: int
    words: int | None
    header_bytes: int = 0
    trailing_space: bool = False
    loose: bool = False
    carriage_returns: bool = False
    contradictions: tuple[str, ...] = ()

    @property
    def header_lines(self) -> int:
        """Lines before the first word."""
        return 0 if self.words is None else 1

    @property
    def is_binary(self) -> bool:
        """Whether its words have numbers instead of lines."""
        return self.format.endswith("-binary") or self.format == "model2vec"


def check_format(name: str) -> str:
    """The format's name without `words/`. Raises UnknownName for one that is not in FORMATS."""
    plain = name.removeprefix("words/")
    if plain not in FORMATS:
        raise UnknownName("format of word vectors", plain, FORMATS)
    return plain


def refuse_unsafe(name: str, beginning: bytes) -> None:
    """Raise UnsafeFile for a pickle, by its first bytes and by its name; IntegrityError for other things.

    name: of the file, or of the member of an archive.
    """
    for magic, what in UNSAFE_MAGIC.items():
        if beginning.startswith(magic) and not _looks_like_text_vectors(beginning):
            raise UnsafeFile(f"{name} is {what}: loading it could run any code in it", hint=CONVERT)
    if name.lower().endswith(UNSAFE_SUFFIXES):
        raise UnsafeFile(
            f"{name} has the name of a gensim save or a pickle: loading those can run any code in them",
            hint=f"{CONVERT}\nIf it is a text or binary vector file, rename it to .txt or .bin.",
        )
    if is_compiled(beginning):
        raise IntegrityError(f"{name} is compiled already", hint="Open it as it is.")
    for magic, (what, hint) in WRONG_MAGIC.items():
        if beginning.startswith(magic) and not _looks_like_text_vectors(beginning):
            raise IntegrityError(f"{name} is {what}", hint=hint)
    kind = detect_bytes(beginning[:BEGINNING], len(beginning))
    if kind == "safetensors" and beginning[8:9] == b"{":
        raise IntegrityError(
            f"{name} is safetensors, not word vectors",
            hint="To register a network: zoo registry add FILE",
        )
    refuse_foreign(kind, name, "word vectors")


def sniff_format(sample: bytes, name: str, declared: str = "auto") -> Shape:
    """What kind of file begins with `sample` (its first SAMPLE_BYTES, or all of it).

    declared: a name of FORMATS; where the bytes are of another, they win, and `contradictions` states it.

    Raises UnsafeFile for pickles; IntegrityError for a file that does not hold word vectors, or whose header
    states another dimension than its lines have.
    """
    refuse_unsafe(name, sample)
    if not sample.strip():
        raise IntegrityError(f"{name} is empty")
    mark = len(BOM) if sample.startswith(BOM) else 0
    if sample.startswith(fasttext_header.MAGIC):
        header = fasttext_header.read_header(sample, name)
        shape: Shape | None = Shape("fasttext-binary", header.dimension, header.words)
    else:
        shape = _sniff_text(sample, mark, name) or _sniff_binary(sample, name)
    if shape is None:
        raise IntegrityError(
            f"{name} is neither text (a word and its numbers on each line) nor word2vec's binary format",
            hint=f"Its first bytes are {sample[:40]!r}.",
        )
    if declared in get_args(FormatName) and declared != shape.format:
        contradiction = f"declared as {declared}, but its bytes are {shape.format}"
        shape = Shape(**{**shape.__dict__, "contradictions": (contradiction,)})
    return shape


def is_number(field: bytes) -> bool:
    """Whether float() takes it, without the underscores that Python alone allows.

    >>> is_number(b"-1.5e-3"), is_number(b"1_0"), is_number(b"nan"), is_number(b"")
    (True, False, True, False)
    """
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _looks_like_text_vectors(beginning: bytes) -> bool:
    """Whether the first line is a word and numbers: `{` and `<html` are words of real vocabularies."""
    return _trailing_numbers(beginning[:SAMPLE_BYTES].split(b"\n", 1)[0]) > 0


def _sniff_text(sample: bytes, mark: int, name: str) -> Shape | None:
    """The shape of a text file, or None where the sample is not text vectors."""
    end = b"\r" if b"\r" in sample and b"\n" not in sample else b"\n"
    lines = sample[mark:].split(end)
    if len(sample) >= SAMPLE_BYTES:
        lines = lines[:-1]  # cut by the sample
    header = _read_header_line(lines[0]) if lines else None
    rows = [line for line in (lines[1:] if header else lines)[:200] if line.strip()]
    dimension = _usual_dimension(rows)
    _refuse_counts(rows, dimension, header, name)
    if header and not rows:
        header, rows, dimension = None, lines[:1], 1  # a file of one word that is a number
    if dimension == 0:
        return None
    if header and header[1] != dimension:
        if dimension == 1:  # one-dimensional vectors whose first word is a number
            header = None
        else:
            raise IntegrityError(
                f"{name}, line 1: the header states {header[1]:,} dimensions, "
                f"the lines have {dimension:,} numbers",
                hint="The file is damaged, or was put together from two.",
            )
    trailing = sum(line.rstrip(b"\r").endswith(b" ") for line in rows) * 2 > len(rows)
    loose = sum(_LOOSE.search(line) is not None for line in rows) * 2 > len(rows)
    return Shape(
        "word2vec-text" if header else "glove-text",
        dimension,
        header[0] if header else None,
        mark + (len(lines[0]) + 1 if header else 0),  # a mark is never part of the first word
        trailing,
        loose,
        end == b"\r",
    )


def _refuse_counts(rows: Sequence[bytes], dimension: int, header: tuple[int, int] | None, name: str) -> None:
    """Raise WordCounts for words with a number each, IntegrityError where "words" hold the numbers."""
    if dimension == 1 and len(rows) > 1 and not header:
        raise WordCounts(
            f"{name} has one number on each line: a list of words and their counts, not vectors",
            hint="Use the file of the vectors.",
        )
    words = [b" ".join(_BLANKS.split(line.strip())[:-dimension]) for line in rows] if dimension else []
    strange = [word for word in words if _NUMBERS_INSIDE.search(word)]
    if len(strange) * 2 > len(rows):
        shown = strange[0][:40].decode("utf-8", "replace")
        raise IntegrityError(
            f"{name}: most words hold numbers, as {shown!r}: fields are apart by something else than blanks",
            hint="Write it again with a blank between the word and each number.",
        )


def _sniff_binary(sample: bytes, name: str) -> Shape | None:
    """The shape of a word2vec .bin file, or None where the sample is not one."""
    line, newline, body = sample.partition(b"\n")
    header = _read_header_line(line) if newline and len(line) < 100 else None
    if header is None:
        return None
    if _is_plain_text(body[:4096]):
        return None
    words, dimension = header
    if dimension < 1 or dimension * 4 >= SAMPLE_BYTES:
        raise IntegrityError(f"{name}, line 1: the header states {dimension:,} dimensions")
    space = body[:1024].find(b" ")
    vector = body[space + 1 : space + 1 + 4 * dimension]
    if space < 0 or len(vector) < 4 * dimension:
        raise IntegrityError(
            f"{name}, word 1: the header states {dimension:,} dimensions, "
            f"the file ends before that many numbers of its first word"
        )
    return Shape("word2vec-binary", dimension, words, len(line) + 1)


def _is_plain_text(body: bytes) -> bool:
    """Whether enough bytes are there, and none of them is a control character: float32 numbers have many."""
    return len(body) >= 64 and not any(byte < 9 or 13 < byte < 32 for byte in body)


def _read_header_line(line: bytes) -> tuple[int, int] | None:
    """`WORDS DIMENSION` as two whole numbers, or None.

    >>> _read_header_line(b"400000 100\\n"), _read_header_line(b"the 0.4 0.2")
    ((400000, 100), None)
    """
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 20 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _usual_dimension(rows: Sequence[bytes]) -> int:
    """How many numbers most rows end with; 0 where most end with none.

    Most, not the first: any single line may be the damaged one.
    """
    widths = Counter(width for width in map(_trailing_numbers, rows) if width)
    if not widths or sum(widths.values()) * 2 < len(rows):
        return 0
    return widths.most_common(1)[0][0]


def _trailing_numbers(line: bytes) -> int:
    """How many numbers a line ends with, less the word before them, which may be a number too.

    >>> [_trailing_numbers(line) for line in (b"the 0.1 0.2", b"1984 0.1 0.2", b". . . 0.1 0.2", b"a word")]
    [2, 2, 2, 0]
    """
    fields = _BLANKS.split(line.strip())
    count = 0
    while count < len(fields) - 1 and is_number(fields[-1 - count]):
        count += 1
    return count
