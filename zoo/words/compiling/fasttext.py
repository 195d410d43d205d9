"""fastText's own .bin: words, and the table of character n-grams that unknown words get vectors from.

    header         magic, version, 12 int32 settings, one double; then the sizes of the dictionary
    dictionary     word, NUL, int64 count, int8 kind (0 word, 1 label)
    matrix         bool quantised; int64 rows, columns; float32: a row per word, then one per bucket
    output matrix  of training; not read

https://github.com/facebookresearch/fastText/blob/main/src/fasttext.cc (saveModel). The published vector of a
word is the mean of its own row and of its n-grams, so the whole matrix is needed for the first word: a plain
file is mapped, a packed one is unpacked into a temporary file beside the compiled one.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import IntegrityError
from zoo.words.compiling.archives import PackedSource
from zoo.words.compiling.fasttext_header import FETCH, HEADER_BYTES, FastTextHeader, cut_off, read_header
from zoo.words.compiling.parsing import LONGEST_WORD, Block, block_of_words
from zoo.words.vectors.faults import FaultCounter
from zoo.words.vectors.subwords import Subwords

READ_AT_ONCE = 4 << 20
WORDS_AT_ONCE = 4096
_COUNT_AND_KIND = 9  # bytes after the NUL of each word
_MATRIX = struct.Struct("<?2q")


@dataclass(frozen=True)
class FastTextModel:
    """A .bin whose dictionary was read and whose matrix is mapped.

    words: bytes of each. rows: (words, dimension) of the words themselves. subwords: None where the model was
    trained without n-grams.
    """

    words: list[bytes]
    rows: NDArray[np.float32]
    subwords: Subwords | None

    def blocks(self, faults: FaultCounter) -> Iterator[Block]:
        """The words and their vectors as fastText publishes them: the mean of the row and of the n-grams."""
        for start in range(0, len(self.words), WORDS_AT_ONCE):
            words = self.words[start : start + WORDS_AT_ONCE]
            vectors = np.array(self.rows[start : start + len(words)], np.float32)
            if self.subwords is not None:
                with np.errstate(over="ignore", invalid="ignore"):
                    sums, counts = self.subwords.sums(words)
                    vectors += sums
                    vectors /= (counts + 1)[:, np.newaxis].astype(np.float32)
            yield block_of_words(words, vectors, start + 1, faults)


@contextmanager
def open_fasttext(source: PackedSource, sample: bytes, folder: Path) -> Iterator[FastTextModel]:
    """The model whose first bytes, `sample`, were read already. folder: for what a packed file holds.

    Raises IntegrityError for a quantised model (.ftz), and for a file that is cut or states other sizes than
    it has.
    """
    header = read_header(sample, source.name)
    reader = _Reader(source, sample)
    reader.take(HEADER_BYTES)
    words = _read_words(reader, header)
    if header.pruned > 0:
        raise _quantised(source.name)
    quantised, rows, columns = _MATRIX.unpack(reader.take(_MATRIX.size))
    if quantised:
        raise _quantised(source.name)
    if (rows, columns) != (header.words + header.buckets, header.dimension):
        raise IntegrityError(
            f"{source.name}: its matrix is {rows:,} × {columns:,}, its header states "
            f"{header.words:,} words and {header.buckets:,} buckets of {header.dimension:,} numbers",
            hint=FETCH,
        )
    with ExitStack() as stack:
        matrix = _map_matrix(reader, rows, columns, folder, stack)
        table = matrix[header.words :]
        has_ngrams = header.buckets > 0 and header.longest >= max(1, header.shortest)
        subwords = Subwords(table, header.shortest, header.longest) if has_ngrams else None
        yield FastTextModel(words, matrix[: header.words], subwords)


class _Reader:
    """The bytes of a source from its beginning, of which the first were read already. at: bytes taken."""

    def __init__(self, source: PackedSource, sample: bytes) -> None:
        self.source = source
        self.rest = sample
        self.at = 0

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises IntegrityError where the file ends before."""
        while len(self.rest) < size:
            self.more()
        taken, self.rest = self.rest[:size], self.rest[size:]
        self.at += size
        return taken

    def more(self) -> None:
        """Read on. Raises IntegrityError at the end of the file."""
        read = self.source.read(READ_AT_ONCE)
        if not read:
            raise cut_off(self.source.name, "in its words")
        self.rest += read


def _read_words(reader: _Reader, header: FastTextHeader) -> list[bytes]:
    """The words of the dictionary, labels left out."""
    words: list[bytes] = []
    at = 0
    for number in range(1, header.entries + 1):
        while (end := reader.rest.find(b"\0", at, at + LONGEST_WORD)) < 0 or (
            end + _COUNT_AND_KIND >= len(reader.rest)
        ):
            if len(reader.rest) - at > LONGEST_WORD + _COUNT_AND_KIND:
                raise _lost(reader.source.name, number)
            reader.take(at)
            at = 0
            reader.more()
        kind = reader.rest[end + _COUNT_AND_KIND]
        if kind > 1:
            raise _lost(reader.source.name, number)
        if kind == 0:
            words.append(reader.rest[at:end])
        at = end + _COUNT_AND_KIND + 1
    reader.take(at)
    if len(words) != header.words:
        raise IntegrityError(
            f"{reader.source.name}: its header states {header.words:,} words, "
            f"its dictionary has {len(words):,}",
            hint=FETCH,
        )
    return words


def _map_matrix(
    reader: _Reader, rows: int, columns: int, folder: Path, stack: ExitStack
) -> NDArray[np.float32]:
    """(rows, columns) of the matrix that begins where the reader is, over a memory map."""
    size = 4 * rows * columns
    source = reader.source
    file, begin = source.plain_file, reader.at
    if file is None:
        unpacked = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the stack closes it
        file, begin = stack.enter_context(unpacked), 0
        left = size
        while left > 0:
            if not reader.rest and not (read := source.read(READ_AT_ONCE)):
                raise cut_off(source.name, "in its vectors")
            part, reader.rest = (reader.rest or read)[:left], b""
            file.write(part)
            left -= len(part)
        file.flush()
    elif begin + size > source.packed:
        raise cut_off(source.name, "in its vectors")
    memory: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(memory, "<f4", rows * columns, begin).reshape(rows, columns)


def _lost(name: str, number: int) -> IntegrityError:
    return IntegrityError(
        f"{name}: no word of a fastText model where word {number:,} should be: it is damaged there",
        hint=FETCH,
    )


def _quantised(name: str) -> IntegrityError:
    return IntegrityError(
        f"{name} is a quantised fastText model (.ftz): its vectors are stored as codes, and are not read",
        hint="Use the .bin or the .vec that is published beside it.",
    )
