"""A file of word vectors, parsed once into the compiled file that opens in milliseconds.

Memory: three blocks of the source (4 MB each) and what the parser makes of them, and up to 170 bytes per word
for the vocabulary, the norms and the sorting (measured on 3 million words that all begin alike, the worst
case); the vectors go to the disk block by block. 400,000 words of 100 numbers take about 160 MB, of which
80 MB are Python, numpy and polars.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DiskFull, IntegrityError, UnknownName, UsageError, WrongValue
from zoo.events import Note, Progress, Report, silent
from zoo.words.compiling.archives import PackedSource, open_source
from zoo.words.compiling.encodings import Guess, check_encoding, guess_encoding
from zoo.words.compiling.fasttext import open_fasttext
from zoo.words.compiling.formats import SAMPLE_BYTES, Shape, check_format, refuse_unsafe, sniff_format
from zoo.words.compiling.model2vec import StaticModel, open_model2vec
from zoo.words.compiling.model2vec_header import COMPANIONS, WEIGHTS
from zoo.words.compiling.parsing import READERS, Block
from zoo.words.vectors.faults import Fault, FaultCounter
from zoo.words.vectors.layout import ALIGNMENT, DTYPES, HEADER_BYTES, PRECISIONS, write_header
from zoo.words.vectors.subwords import Subwords
from zoo.words.vectors.vocabulary import SortedWords, offsets_of, sort_words

ROWS_AT_ONCE = 8192
MOST_WORDS = 2**31 - 1  # rows are int32 in the compiled file


@dataclass(frozen=True)
class CompileReport:
    """What a file of vectors turned out to be, and what was wrong with it.

    words: how many there are now. header_words: how many the header claimed, None without one.
    lowercase: no word has an upper-case letter. max_error: largest change of a number by float16, 0.0 for
    float32. source_sha256: of the file on disk, "" where it was not computed.
    """

    source: str
    source_bytes: int
    source_sha256: str
    format: str
    words: int
    dimension: int
    precision: str
    lowercase: bool
    header_words: int | None
    faults: tuple[Fault, ...]
    max_error: float
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.words:,} words × {self.dimension:,}, {self.format}, {self.precision}"]
        if self.precision != "float32":
            lines.append(f"{self.precision}: no number changed by more than {self.max_error:.2g}")
        return "\n".join([*lines, *map(str, self.faults)])


def compile_vectors(
    source: Path,
    target: Path,
    *,
    format: str = "auto",  # noqa: A002 - the word that users type
    precision: str = "float32",
    strict: bool = False,
    member: str | None = None,
    source_sha256: str = "",
    encoding: str | None = None,
    limit: int | None = None,
    report: Report = silent,
) -> CompileReport:
    """Parse a file of word vectors once, and write `target`, which `open_vectors` opens in milliseconds.

    source: GloVe text, word2vec text or binary, fastText .vec or .bin; plain, .gz, .bz2, .xz
    or .zip (member: which file of it); or the folder of a static embedding model of model2vec.
    format: a name of FORMATS, with or without `words/`; the bytes win over it, and the report states that.
    strict: refuse a file with any fault instead of reporting it. target appears whole or not at all.
    encoding: of a text file, by Python's name; None takes it for UTF-8, or guesses it, as a fault, where most
    words beyond ASCII are not. limit: only so many of the first words; the rest of the file is not read.

    Raises UnsafeFile for pickles (gensim's own save); IntegrityError for a file that does not hold vectors,
    is cut in its compression, or has a fault while `strict`; DiskFull; UnknownName for a format, a
    precision or an encoding; UsageError for an encoding of a binary file.
    """
    companions = None
    if source.is_dir():
        companions, source = {name: source / name for name in COMPANIONS}, source / WEIGHTS
    for path in (source, *(companions or {}).values()):
        if not path.is_file():
            raise UsageError(f"no file {path}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w+b") as file:
            compiled = compile_into(
                file,
                source,
                format=format,
                precision=precision,
                strict=strict,
                member=member,
                source_sha256=source_sha256,
                encoding=encoding,
                companions=companions,
                limit=limit,
                report=report,
            )
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DiskFull(
            f"no room left in {target.parent} for the compiled vectors of {source.name}",
            hint="Free some space, or point ZOO_HOME to a larger disk.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return compiled


def compile_into(
    file: IO[bytes],
    source: Path,
    *,
    name: str | None = None,
    format: str = "auto",  # noqa: A002 - as above
    precision: str = "float32",
    strict: bool = False,
    member: str | None = None,
    source_sha256: str = "",
    encoding: str | None = None,
    companions: Mapping[str, Path] | None = None,
    limit: int | None = None,
    report: Report = silent,
) -> CompileReport:
    """`compile_vectors` into an empty file, open for reading and writing, that the caller syncs and renames.

    name: what the source was published as, where its name on disk has no meaning. companions: the other files
    of a static embedding model, by their names in COMPANIONS, whose weights the source is then.
    """
    declared = check_format(format)
    if limit is not None and limit < 1:
        raise WrongValue(f"a limit of {limit} words", hint="It is at least 1.")
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    started = time.monotonic()
    name = name or source.name
    if companions is not None:
        compiled = _compile_static(
            file,
            source,
            companions,
            name,
            precision,
            strict,
            source_sha256,
            encoding or member or limit,
            report,
        )
        return _report_faults(replace(compiled, seconds=time.monotonic() - started), name, report)
    refuse_unsafe(name, b"")
    named, guess = check_encoding(encoding), None
    if named is None:
        guess = _guess_encoding(source, member, name)
    else:
        _refuse_binary(source, member, name, named)
    with open_source(source, member, name, guess.encoding if guess else named) as stream:
        compiled = _write_compiled(
            file, stream, declared, guess, precision, strict, source_sha256, limit, report
        )
    return _report_faults(replace(compiled, seconds=time.monotonic() - started), name, report)


def _report_faults(compiled: CompileReport, name: str, report: Report) -> CompileReport:
    """Report what compiling found."""
    for fault in compiled.faults:
        report(Note(f"{name}: {fault}", level="warning"))
    if compiled.precision != "float32":
        report(Note(f"{compiled.precision}: no number changed by more than {compiled.max_error:.2g}"))
    return compiled


def _compile_static(
    file: IO[bytes],
    source: Path,
    companions: Mapping[str, Path],
    name: str,
    precision: str,
    strict: bool,
    source_sha256: str,
    unfit: str | int | None,
    report: Report,
) -> CompileReport:
    """Write the pieces of a static embedding model. unfit: an option that only other files have."""
    if unfit is not None:
        raise UsageError(
            f"{name} is a static embedding model: it has no member, no encoding and no limit",
            hint="Leave it out.",
        )
    with open_source(source, None, name) as stream, open_model2vec(source, companions, name) as model:
        shape, faults = Shape("model2vec", model.dimension, None), FaultCounter("word")
        blocks = model.blocks(faults)
        return _write_model(
            file, stream, shape, blocks, model, precision, strict, source_sha256, faults, report
        )


def _guess_encoding(source: Path, member: str | None, name: str) -> Guess | None:
    """The encoding of a text file, where it has to be guessed."""
    with open_source(source, member, name) as stream:
        sample = stream.read(SAMPLE_BYTES)
        if sample.isascii() or sniff_format(sample, stream.name).is_binary:
            return None
    return guess_encoding(sample.splitlines())


def _refuse_binary(source: Path, member: str | None, name: str, encoding: str) -> None:
    """Raise UsageError where an encoding is named for a file that is not text."""
    with open_source(source, member, name) as stream:
        try:
            shape = sniff_format(stream.read(SAMPLE_BYTES), stream.name)
        except IntegrityError:
            return  # it may be text in that encoding alone
    if shape.is_binary:
        raise UsageError(
            f"{name} is {shape.format}: the encoding {encoding} can be named for text only",
            hint="Leave it out.",
        )


def _write_compiled(
    file: IO[bytes],
    stream: PackedSource,
    declared: str,
    guess: Guess | None,
    precision: str,
    strict: bool,
    source_sha256: str,
    limit: int | None,
    report: Report,
) -> CompileReport:
    """Write everything into an empty file; the header last."""
    sample = stream.read(SAMPLE_BYTES)
    shape = sniff_format(sample, stream.name, declared)
    faults = FaultCounter("word" if shape.is_binary else "line")
    if guess is not None:
        faults.add("encoding", None, str(guess))
    for contradiction in shape.contradictions:
        faults.add("declared", None, contradiction)
    with ExitStack() as stack:
        model = None
        if shape.format == "fasttext-binary":
            folder = Path(os.fsdecode(file.name)).parent
            model = stack.enter_context(open_fasttext(stream, sample, folder))
            blocks = model.blocks(faults)
        else:
            blocks = READERS[shape.format](stream, sample, shape, faults)
        subwords = None if model is None else model.subwords
        if limit is not None:
            blocks, shape = _first_words(blocks, limit), replace(shape, words=None)
        return _write_model(
            file, stream, shape, blocks, subwords, precision, strict, source_sha256, faults, report
        )


def _first_words(blocks: Iterator[Block], limit: int) -> Iterator[Block]:
    """The blocks of the first words; nothing is read beyond the last of them."""
    left = limit
    for block in blocks:
        kept = min(left, len(block.lengths))
        text = block.text[: int(block.lengths[:kept].sum())]
        yield Block(text, block.lengths[:kept], block.vectors[:kept], block.lines[:kept])
        left -= kept
        if left == 0:
            return


def _write_model(
    file: IO[bytes],
    stream: PackedSource,
    shape: Shape,
    blocks: Iterator[Block],
    subwords: Subwords | StaticModel | None,
    precision: str,
    strict: bool,
    source_sha256: str,
    faults: FaultCounter,
    report: Report,
) -> CompileReport:
    """Write the words of all blocks, and the n-grams or the tokenizer, if any."""
    file.seek(HEADER_BYTES)
    rows = _write_rows(file, stream, blocks, precision, faults, report)
    count = len(rows.lengths)
    if count == 0:
        raise IntegrityError(f"{stream.name} has no readable word", hint=_listing(faults.found))
    if shape.words is not None and shape.words != count + rows.left_out:
        faults.add("header", 1, f"it states {shape.words:,} words, there are {count + rows.left_out:,}")
    rows, ordered = _drop_duplicates(file, rows, shape.dimension, precision, faults)
    found = faults.found
    if strict and found:
        raise IntegrityError(
            f"{stream.name}: refused, because strict:\n{_listing(found)}",
            hint="Without strict these are reported, and the rest is compiled.",
        )
    text = np.frombuffer(rows.text, np.uint8)
    compiled = CompileReport(
        source=stream.packed_name,
        source_bytes=stream.packed,
        source_sha256=source_sha256,
        format=shape.format,
        words=len(rows.lengths),
        dimension=shape.dimension,
        precision=precision,
        lowercase=not bool(((text >= ord("A")) & (text <= ord("Z"))).any()),
        header_words=shape.words,
        faults=found,
        max_error=rows.max_error,
        seconds=0.0,
    )
    compiled = _write_rest(file, rows, ordered, text, compiled, subwords, stream.name)
    report(Progress(f"compile {stream.packed_name}", stream.packed, stream.packed, "bytes"))
    return compiled


@dataclass
class _Rows:
    """What is kept in memory of the rows whose vectors are on disk already.

    left_out: lines that hold no usable vector. crc: of the vectors as written.
    """

    text: bytearray | bytes
    lengths: NDArray[np.int64]
    lines: NDArray[np.int64]
    norms: NDArray[np.float32]
    left_out: int
    max_error: float
    crc: int


def _write_rows(
    file: IO[bytes],
    stream: PackedSource,
    blocks: Iterator[Block],
    precision: str,
    faults: FaultCounter,
    report: Report,
) -> _Rows:
    """Write all vectors, block by block, from where the file is; duplicates are still among them."""
    dtype = np.dtype(DTYPES[PRECISIONS[precision]])
    text = bytearray()
    lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    lines: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    norms: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    words, max_error, crc = 0, 0.0, 0
    for block in blocks:
        written, error = _rounded(block.vectors, dtype, stream.name, faults.unit, block.lines)
        max_error = max(max_error, error)
        content = written.data.cast("B") if len(written) else b""
        file.write(content)
        crc = zlib.crc32(content, crc)
        text += block.text
        lengths.append(block.lengths)
        lines.append(block.lines)
        with np.errstate(over="ignore"):
            norms.append(np.linalg.norm(written.astype(np.float32, copy=False), axis=1))
        words += len(block.lengths)
        if words > MOST_WORDS:
            raise IntegrityError(f"{stream.name} has more than {MOST_WORDS:,} words")
        done = min(stream.done, stream.packed - 1)  # the whole is done when the vocabulary is written too
        report(Progress(f"compile {stream.packed_name}", done, stream.packed, "bytes"))
    left_out = sum(
        fault.count
        for fault in faults.found
        if fault.kind in ("wrong-dimension", "not-a-number", "not-finite", "truncated")
    )
    return _Rows(
        text, np.concatenate(lengths), np.concatenate(lines), np.concatenate(norms), left_out, max_error, crc
    )


def _rounded(
    vectors: NDArray[np.float32], dtype: np.dtype[Any], name: str, unit: str, numbers: NDArray[np.int64]
) -> tuple[NDArray[Any], float]:
    """(the vectors as they are stored, largest change of a number). numbers: of each, for messages.

    Raises IntegrityError where a number is too large for the precision.
    """
    if dtype == vectors.dtype or not len(vectors):
        return vectors.astype(dtype, copy=False), 0.0
    with np.errstate(over="ignore"):
        stored = vectors.astype(dtype)
    finite = np.isfinite(stored).all(axis=1)
    if not finite.all():
        raise IntegrityError(
            f"{name}, {unit} {int(numbers[np.flatnonzero(~finite)[0]]):,}: a number is too large for {dtype}",
            hint="Compile it with precision float32.",
        )
    return stored, float(np.abs(stored.astype(np.float32) - vectors).max())


def _write_ngrams(
    file: IO[bytes], subwords: Subwords, precision: str, name: str, crc: int
) -> tuple[int, float]:
    """Append the table of n-grams: (the checksum with it, largest change of a number)."""
    dtype = np.dtype(DTYPES[PRECISIONS[precision]])
    max_error = 0.0
    for start in range(0, len(subwords.table), ROWS_AT_ONCE):
        rows = np.array(subwords.table[start : start + ROWS_AT_ONCE], np.float32)
        numbers = np.arange(start, start + len(rows), dtype=np.int64)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise IntegrityError(
                f"{name}: n-gram {int(numbers[~finite][0]):,} has NaN or infinity",
                hint="Fetch it again; if its bytes are the published ones, use the .vec of the same model.",
            )
        written, error = _rounded(rows, dtype, name, "n-gram", numbers)
        max_error = max(max_error, error)
        content = written.data.cast("B")
        file.write(content)
        crc = zlib.crc32(content, crc)
    return crc, max_error


def _drop_duplicates(
    file: IO[bytes], rows: _Rows, dimension: int, precision: str, faults: FaultCounter
) -> tuple[_Rows, SortedWords]:
    """The rows without words that come again, sorted; the vectors on disk move together in place."""
    text = np.frombuffer(rows.text, np.uint8)
    ordered = sort_words(text, offsets_of(rows.lengths))
    again = ordered.duplicates
    if not again.any():
        return rows, ordered
    faults.add_many("duplicate", rows.lines[again].tolist())
    keep = ~again
    width = dimension * np.dtype(DTYPES[PRECISIONS[precision]]).itemsize
    crc = 0
    write_at = HEADER_BYTES
    for start in range(0, len(keep), ROWS_AT_ONCE):
        file.seek(HEADER_BYTES + start * width)
        block = np.frombuffer(file.read(min(ROWS_AT_ONCE, len(keep) - start) * width), np.uint8)
        kept = block.reshape(-1, width)[keep[start : start + ROWS_AT_ONCE]].tobytes()
        file.seek(write_at)
        file.write(kept)
        write_at += len(kept)
        crc = zlib.crc32(kept, crc)
    file.truncate(write_at)
    kept_bytes = np.repeat(keep, rows.lengths)
    fewer = _Rows(
        text[kept_bytes].tobytes(),
        rows.lengths[keep],
        rows.lines[keep],
        rows.norms[keep],
        rows.left_out,
        rows.max_error,
        crc,
    )
    kept_places = keep[ordered.order]
    new_row = np.cumsum(keep, dtype=np.int64) - 1
    order = new_row[ordered.order[kept_places]].astype(np.int32)
    return fewer, SortedWords(order, ordered.prefixes[kept_places], again[keep])


def _write_rest(
    file: IO[bytes],
    rows: _Rows,
    ordered: SortedWords,
    text: NDArray[np.uint8],
    compiled: CompileReport,
    subwords: Subwords | StaticModel | None,
    name: str,
) -> CompileReport:
    """Write all that follows the vectors, then the header. The report with the error of the n-grams in it."""
    vectors = file.seek(0, os.SEEK_END) - HEADER_BYTES
    sections: dict[str, NDArray[Any]] = {
        "padding": np.zeros(-vectors % ALIGNMENT, np.uint8),
        "prefixes": ordered.prefixes,
        "offsets": offsets_of(rows.lengths),
        "norms": rows.norms,
        "order": ordered.order,
        "text": text,
    }
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "vectors": (PRECISIONS[compiled.precision], (compiled.words, compiled.dimension))
    }
    crc = rows.crc
    for section, array in sections.items():
        content = np.ascontiguousarray(array).tobytes()
        file.write(content)
        crc = zlib.crc32(content, crc)
        shapes[section] = (names[array.dtype], array.shape)
    spacing = bytes(-file.tell() % ALIGNMENT)
    file.write(spacing)
    crc = zlib.crc32(spacing, crc)
    shapes["spacing"] = ("U8", (len(spacing),))
    buckets = 0
    if isinstance(subwords, Subwords):
        crc, error = _write_ngrams(file, subwords, compiled.precision, name, crc)
        compiled = replace(compiled, max_error=max(compiled.max_error, error))
        buckets = len(subwords.table)
    shapes["ngrams"] = (PRECISIONS[compiled.precision], (buckets, compiled.dimension))
    if isinstance(subwords, StaticModel):
        definition = subwords.pieces.definition.encode()
        file.write(definition)
        crc = zlib.crc32(definition, crc)
        shapes["tokenizer"] = ("U8", (len(definition),))
    metadata = {
        "source": compiled.source[:500],
        "source_bytes": str(compiled.source_bytes),
        "source_sha256": compiled.source_sha256,
        "source_format": compiled.format,
        "header_words": "" if compiled.header_words is None else str(compiled.header_words),
        "lowercase": "true" if compiled.lowercase else "false",
        "precision": compiled.precision,
        "max_error": repr(compiled.max_error),
        "faults": json.dumps([asdict(fault) for fault in compiled.faults]),
        "crc32": f"{crc:08x}",
        **({} if subwords is None else subwords.settings),
    }
    write_header(file, shapes, metadata)
    file.flush()
    return compiled


def _listing(faults: tuple[Fault, ...]) -> str:
    """Faults as a list, one per line."""
    return "\n".join(f"  {fault}" for fault in faults)
