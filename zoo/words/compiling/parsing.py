"""Word vectors out of a stream of bytes, a block at a time: memory is bounded by the block, not by the file.

What a header claims reserves nothing. A block of text is parsed by polars' CSV parser as it is, quoting off
(`"` is a word); where polars finds anything unusual, the block is read again line by line, which is 80 times
slower and knows every fault by its line number.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import IntegrityError
from zoo.words.compiling.archives import PackedSource
from zoo.words.compiling.formats import BOM, SAMPLE_BYTES, Shape, is_number
from zoo.words.vectors.faults import FaultCounter

# Larger blocks are not faster (measured from 0.5 to 32 MB) and cost 12 bytes of memory per byte.
TEXT_BLOCK = 4 << 20
BINARY_BLOCK = 4 << 20
PARSED_AHEAD = 2
_BLANKS = re.compile(rb"([ \t]+)")
PIECE = 1 << 16  # of a block with a fault: what is read line by line around it
LONGEST_LINE = 1 << 20
LONGEST_WORD = 1 << 12  # in a binary file, where a longer one means that the reader lost its place


class Block(NamedTuple):
    """Some words and their vectors.

    text: the words' UTF-8 bytes, one after another. lengths: (n,) bytes of each. vectors: (n, dimension)
    float32, all finite. lines: (n,) where each was, from 1.
    """

    text: bytes
    lengths: NDArray[np.int64]
    vectors: NDArray[np.float32]
    lines: NDArray[np.int64]


Reader = Callable[[PackedSource, bytes, Shape, FaultCounter], Iterator[Block]]


def _read_text(source: PackedSource, sample: bytes, shape: Shape, faults: FaultCounter) -> Iterator[Block]:
    """The blocks of a text file whose first bytes, `sample`, were read already.

    Two blocks are parsed ahead in threads, while the one before is written: 1.3 times as fast on two cores.
    """
    if sample.startswith(BOM):
        faults.add("byte-order-mark", 1)
    blocks = _whole_lines(source, sample, shape)
    waiting: deque[tuple[bytes, int, Future[Block | None]]] = deque()
    with ThreadPoolExecutor(PARSED_AHEAD) as threads:
        try:
            while True:
                while len(waiting) < PARSED_AHEAD and (ahead := next(blocks, None)):
                    waiting.append((*ahead, threads.submit(_parse_regular, *ahead, shape)))
                if not waiting:
                    break
                block, line, parsed = waiting.popleft()
                yield from _check_block(block, line, shape, parsed.result(), faults)
        finally:
            threads.shutdown(cancel_futures=True)


def _whole_lines(source: PackedSource, sample: bytes, shape: Shape) -> Iterator[tuple[bytes, int]]:
    """The lines after the header, about TEXT_BLOCK bytes at a time, and the number of the first of each."""

    def plain(block: bytes) -> bytes:
        return block.replace(b"\r", b"\n") if shape.carriage_returns else block

    rest = plain(sample[shape.header_bytes :])
    line = 1 + shape.header_lines
    ended = len(sample) < SAMPLE_BYTES
    more = b""
    while True:
        cut = more.rfind(b"\n") + 1 if more else rest.rfind(b"\n") + 1
        if ended:
            block, rest = rest + more, b""
        elif cut:
            block, rest = (rest + more[:cut], more[cut:]) if more else (rest[:cut], rest[cut:])
        else:
            block, rest = b"", rest + more
            if len(rest) > LONGEST_LINE:
                raise IntegrityError(
                    f"{source.name}, line {line:,}: longer than {LONGEST_LINE:,} bytes: "
                    "not a line of word vectors"
                )
        if block:
            yield block, line
            line += _count_lines(block)
        if ended:
            return
        more = plain(source.read(TEXT_BLOCK))
        ended = len(more) < TEXT_BLOCK


def _check_block(
    block: bytes, line: int, shape: Shape, parsed: Block | None, faults: FaultCounter
) -> Iterator[Block]:
    """The words of whole lines, of which the first has number `line`.

    parsed: what `_parse_regular` made of them. Where it gave up, the lines are tried again in pieces, and the
    piece with the fault in it line by line.
    """
    if parsed is not None:
        if not block.endswith(b"\n"):
            faults.add("no-line-end", line + len(parsed.lengths) - 1)
        yield parsed
        return
    start = 0
    while start < len(block):
        stop = block.find(b"\n", start + PIECE) + 1 or len(block)
        piece = block[start:stop]
        if len(piece) < len(block):
            yield from _check_block(piece, line, shape, _parse_regular(piece, line, shape), faults)
        else:
            yield _parse_lines(piece, line, shape, faults)
        line += _count_lines(piece)
        start = stop


def _count_lines(block: bytes) -> int:
    """How many line ends there are: 10 times as fast as bytes.count."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))


def _parse_regular(block: bytes, line: int, shape: Shape) -> Block | None:
    """The words of a block in which every line is as it should be; None where any is not."""
    import polars

    if shape.loose:
        block = _tighten(block)
    if block.startswith(BOM):  # polars would drop it: in the middle of a file it is part of a word
        return None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):  # and one at the end of any field
        return None
    numbers = [f"n{i}" for i in range(shape.dimension)]
    schema = {"word": polars.String, **dict.fromkeys(numbers, polars.Float32)}
    if shape.trailing_space and not shape.loose:
        schema["after"] = polars.String
    try:
        table = polars.read_csv(block, has_header=False, separator=" ", quote_char=None, schema=schema)
    except polars.exceptions.PolarsError:  # too many fields, no number, bytes that are not UTF-8
        return None
    words = table["word"]
    expected = _count_lines(block) + (not block.endswith(b"\n"))
    if len(table) != expected or words.null_count():  # empty lines, empty words
        return None
    if "after" in schema and table["after"].null_count() != expected:  # one number too many
        return None
    vectors = np.ascontiguousarray(table.select(numbers).to_numpy(), dtype=np.float32)
    if not np.isfinite(vectors).all():  # NaN, infinity, or a number that is missing
        return None
    text = "".join(words.to_list()).encode()
    lengths = words.str.len_bytes().to_numpy().astype(np.int64)
    return Block(text, lengths, vectors, np.arange(line, line + len(table), dtype=np.int64))


def _tighten(block: bytes) -> bytes:
    """The lines with one blank between their fields, and none before or after them."""
    block = re.sub(rb"[ \t]+", b" ", block)
    block = re.sub(rb" (?=\r?\n)", b"", block).replace(b"\n ", b"\n")
    return block.strip(b" ")


def _parse_lines(block: bytes, line: int, shape: Shape, faults: FaultCounter) -> Block:
    """The words of a few lines, each looked at by itself."""
    contents = block.split(b"\n")
    cut = contents.pop()  # what comes after the last line end: nothing, unless the file stops there
    words: list[bytes] = []
    vectors: list[list[float]] = []
    lines: list[int] = []
    for number, content in enumerate([*contents, cut] if cut else contents, line):
        fault, word, vector = _parse_line(content, shape.dimension, shape.loose)
        last = bool(cut) and number == line + len(contents)
        if fault:
            faults.add("truncated" if last and fault == "wrong-dimension" else fault, number)
        if vector is not None:
            if last:
                faults.add("no-line-end", number)
            words.append(word)
            vectors.append(vector)
            lines.append(number)
    text, lengths = _join_words(words, lines, faults)
    matrix = np.array(vectors, np.float64).reshape(len(words), shape.dimension)
    return _keep_finite(Block(text, lengths, _as_float32(matrix), np.array(lines, np.int64)), faults)


def _parse_line(
    content: bytes, dimension: int, loose: bool = False
) -> tuple[str | None, bytes, list[float] | None]:
    """(fault, word, vector) of one line; no vector where the line is left out. loose: blanks may come first.

    >>> _parse_line(b". . . 0.5 1", 2)
    ('spaces', b'. . .', [0.5, 1.0])
    >>> _parse_line(b"the 0.25 0.5 1", 2)  # one number too many is not a word "the 0.25"
    ('wrong-dimension', b'', None)
    """
    content = content.rstrip()
    if not content:
        return "empty-line", b"", None
    pieces = _BLANKS.split(content)  # field, blanks, field, …
    if len(pieces) <= 2 * dimension:
        return "wrong-dimension", b"", None
    numbers = pieces[1 - 2 * dimension :: 2]
    word = b"".join(pieces[: -2 * dimension])
    if loose:
        word = word.lstrip(b" \t")
    if b" " in word and is_number(word.rsplit(b" ", 1)[1]):
        return "wrong-dimension", b"", None
    if not all(is_number(field) for field in numbers):
        return "not-a-number", b"", None
    fault = "empty-word" if not word else "spaces" if b" " in word else None
    return fault, word, [float(field) for field in numbers]


def _read_binary(source: PackedSource, sample: bytes, shape: Shape, faults: FaultCounter) -> Iterator[Block]:
    """The blocks of a word2vec .bin file whose first bytes, `sample`, were read already.

    Raises IntegrityError where the reader loses its place: such a file has no line ends to find it again.
    """
    width = 4 * shape.dimension
    rest = sample[shape.header_bytes :]
    ended = len(sample) < SAMPLE_BYTES
    number = 1
    strange = 0
    most = shape.words if shape.words is not None else -1
    while True:
        words, starts, used = _find_words(rest, width, most - number + 1)
        if words:
            if _has_control_characters(b"".join(words)):
                words = [word.lstrip(b"\n") for word in words]  # some writers end each vector with a line end
                strange += sum(map(_has_control_characters, words))
            vectors = _vectors_at(starts, rest, shape.dimension)
            strange += _count_absurd(vectors)
            if strange * 5 >= number + len(words):
                raise _lost_place(source.name, number, shape)
            yield block_of_words(words, vectors, number, faults)
            number += len(words)
            rest = rest[used:]
        if number > most or (ended and not words):
            break
        if len(rest) > width + LONGEST_WORD and not words:
            raise _lost_place(source.name, number, shape)
        more = source.read(max(BINARY_BLOCK, width + LONGEST_WORD + 1) - len(rest)) if not ended else b""
        ended = ended or not more
        rest += more
    if number > most:
        rest += source.read(1)
        if rest.strip(b"\n"):
            faults.add("more-bytes", None, f"after {most:,} words, as many as the header states")
    elif rest.strip(b"\n"):
        if _has_control_characters(rest.strip(b"\n").split(b" ", 1)[0]):
            raise _lost_place(source.name, number, shape)
        faults.add("truncated", number)


def _find_words(rest: bytes, width: int, most: int) -> tuple[list[bytes], list[int], int]:
    """The words that are whole in `rest`, where the numbers of each begin, and where the next word begins.

    One search per word is all that Python does: 0.2 s for 400,000.
    """
    words: list[bytes] = []
    starts: list[int] = []
    at, last = 0, len(rest) - width
    find = rest.find
    while len(words) < most:
        space = find(b" ", at, at + LONGEST_WORD)
        if space < 0 or space >= last:
            break
        words.append(rest[at:space])
        starts.append(space + 1)
        at = space + 1 + width
    return words, starts, at


def _vectors_at(starts: list[int], rest: bytes, dimension: int) -> NDArray[np.float32]:
    """The vectors whose bytes begin at `starts`, (n, dimension): one copy each, whatever their alignment."""
    width = 4 * dimension
    places = np.ndarray((len(rest) - width + 1,), f"V{width}", rest, strides=(1,))  # every possible place
    return places[starts].view("<f4").reshape(len(starts), dimension).astype(np.float32, copy=False)


def _has_control_characters(word: bytes) -> bool:
    """Whether bytes that should be words have what float32 numbers have and words have not."""
    return bool((np.frombuffer(word, np.uint8) < 32).any())


def _count_absurd(vectors: NDArray[np.float32]) -> int:
    """How many vectors have a number that no training gives, but letters read as float32 do."""
    largest = np.abs(vectors).max(axis=1)
    return int(np.count_nonzero((largest > 1e10) & np.isfinite(largest)))


def _lost_place(name: str, number: int, shape: Shape) -> IntegrityError:
    """The error of a binary file in which words are not where they should be."""
    return IntegrityError(
        f"{name}: no words where they should be, from word {number:,} on: the file is damaged there, "
        f"or does not have {shape.dimension:,} dimensions",
        hint="Fetch it again; if its bytes are the published ones, its header is wrong.",
    )


def block_of_words(
    words: list[bytes], vectors: NDArray[np.float32], number: int, faults: FaultCounter
) -> Block:
    """The block of words of a binary file, of which the first has this number."""
    lines = np.arange(number, number + len(words), dtype=np.int64)
    faults.add_many("empty-word", (number + i for i, word in enumerate(words) if not word))
    text, lengths = _join_words(words, lines.tolist(), faults)
    return _keep_finite(Block(text, lengths, vectors, lines), faults)


def _join_words(
    words: list[bytes], lines: list[int], faults: FaultCounter
) -> tuple[bytes, NDArray[np.int64]]:
    """The words' bytes, valid UTF-8 from here on, and their lengths."""
    if not _is_utf8(b" ".join(words)):  # nearly always all of them are valid
        for i, word in enumerate(words):
            if not _is_utf8(word):
                words[i] = word.decode("utf-8", "replace").encode()  # as gensim's unicode_errors="replace"
                faults.add("not-utf8", lines[i])
    return b"".join(words), np.fromiter(map(len, words), np.int64, len(words))


def _is_utf8(text: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _keep_finite(block: Block, faults: FaultCounter) -> Block:
    """The block without the vectors that have NaN or infinity in them."""
    finite = np.isfinite(block.vectors).all(axis=1)
    if finite.all():
        return block
    faults.add_many("not-finite", block.lines[~finite].tolist())
    ends = np.cumsum(block.lengths)
    kept = np.flatnonzero(finite).tolist()
    text = b"".join(block.text[ends[i] - block.lengths[i] : ends[i]] for i in kept)
    return Block(text, block.lengths[finite], block.vectors[finite], block.lines[finite])


def _as_float32(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rounded to float32; what is too large becomes infinity without a warning, and is then left out."""
    with np.errstate(over="ignore"):
        return matrix.astype(np.float32)


READERS: dict[str, Reader] = {
    "glove-text": _read_text,
    "word2vec-text": _read_text,
    "word2vec-binary": _read_binary,
}
