"""The compiled file: one safetensors file that is opened as a memory map, with numpy alone.

    8 bytes        length of the header
    header         JSON, padded with spaces so that the vectors begin at byte HEADER_BYTES
    vectors        (words, dimension)  float32 or float16, rows as in the source
    padding        0 to 63 bytes, so that all that follows is aligned
    prefixes       (words,)      uint64   first eight bytes of each word, sorted
    offsets        (words + 1,)  uint64   where each row's word begins in `text`
    norms          (words,)      float32  length of each vector as stored
    order          (words,)      int32    the row of each word in sorted order
    text           (bytes,)      uint8    every word in UTF-8, in the order of the rows
    spacing        0 to 63 bytes
    ngrams         (buckets, dimension)  as the vectors: fastText's table of character n-grams, else of 0 rows
    tokenizer      (bytes,)      uint8    only where the rows are pieces of words: tokenizer.json

`__metadata__` states what the file was compiled from and what was wrong with it, and holds a CRC-32 over all
that follows the header. Any safetensors reader opens the file (https://github.com/huggingface/safetensors);
we don't use one because its import and its copies cost more than the whole lookup.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import IntegrityError

HEADER_BYTES = 32768
ALIGNMENT = 64
NO_RESERVE = 0x4000  # MAP_NORESERVE of Linux, which Python names from 3.13 on
# Version 1 has no n-grams, and a parser that misread fields apart by tabs wrote it too.
VERSION = "2"
FORMAT = "transfer-zoo words"
DTYPES: dict[str, str] = {"F32": "<f4", "F16": "<f2", "U64": "<u8", "I32": "<i4", "U8": "|u1"}
PRECISIONS: dict[str, str] = {"float32": "F32", "float16": "F16"}
SECTIONS = ("vectors", "padding", "prefixes", "offsets", "norms", "order", "text", "spacing", "ngrams")
OPTIONAL = ("tokenizer",)  # sections after those, in files of version 2 that have them


class CompiledFile(NamedTuple):
    """The arrays of a compiled file and its metadata.

    arrays: every section, read-only views of one shared memory map. private: `vectors` and `norms` once more,
    over a map whose pages are copied when they are written to; None where the system refuses such a map, and
    for vectors in memory.
    """

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]
    private: Mapping[str, NDArray[Any]] | None = None


def open_layout(path: Path) -> CompiledFile:
    """Map a compiled file into memory; nothing but the header is read.

    Raises IntegrityError where the header, the sizes and the length of the file do not fit together. A
    flipped byte in the vectors is found by `check_layout`, which reads all of them.
    """
    with path.open("rb") as file:
        tensors, metadata, end = _read_header(file, path)
        file.seek(0, os.SEEK_END)
        if file.tell() != end:
            raise _damaged(path, f"it has {file.tell():,} bytes, its header states {end:,}")
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        private = _map_privately(file)
    arrays = {name: _view(memory, *section) for name, section in tensors.items()}
    words = len(arrays["vectors"])
    expected = {"prefixes": words, "offsets": words + 1, "norms": words, "order": words}
    for name, length in expected.items():
        if arrays[name].shape != (length,):
            raise _damaged(path, f"{name} has shape {arrays[name].shape} for {words:,} words")
    if arrays["ngrams"].shape[1:] != arrays["vectors"].shape[1:]:
        raise _damaged(path, f"n-grams have shape {arrays['ngrams'].shape}")
    if private is None:
        return CompiledFile(arrays, metadata)
    return CompiledFile(
        arrays, metadata, {name: _view(private, *tensors[name]) for name in ("vectors", "norms")}
    )


def check_layout(path: Path) -> None:
    """Read every byte and compare the checksum. Raises IntegrityError where it differs."""
    with path.open("rb") as file:
        _, metadata, _ = _read_header(file, path)
        file.seek(HEADER_BYTES)
        crc = 0
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    if f"{crc:08x}" != metadata.get("crc32"):
        raise _damaged(path, f"its checksum is {crc:08x}, it should be {metadata.get('crc32')}")


def is_compiled(beginning: bytes) -> bool:
    """Whether a file that begins so is a compiled one."""
    return beginning[8:9] == b"{" and FORMAT.encode() in beginning[:HEADER_BYTES]


def write_header(
    file: IO[bytes], shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> None:
    """Write the header over the first HEADER_BYTES of a file whose sections are already there.

    shapes: name -> (safetensors dtype, shape), in the order in which they lie in the file.
    """
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "version": VERSION, **metadata}}
    at = 0
    for name, (dtype, shape) in shapes.items():
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(DTYPES[dtype]).itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    written = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    if len(written) > HEADER_BYTES - 8:  # the metadata are ours and capped: a fault of the program
        raise OverflowError(f"header of {len(written):,} bytes")
    file.seek(0)
    file.write((HEADER_BYTES - 8).to_bytes(8, "little") + written.ljust(HEADER_BYTES - 8))


def _map_privately(file: IO[bytes]) -> mmap.mmap | None:
    """A map that may be written to without changing the file; None where the system refuses one.

    It costs no memory before it is written to. Linux would still count all of it against the memory of the
    machine (and refuse a file larger than that), unless it is asked to reserve nothing.
    """
    options: dict[str, Any] = (
        {"flags": mmap.MAP_PRIVATE | NO_RESERVE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
        if platform.system() == "Linux"
        else {"access": mmap.ACCESS_COPY}
    )
    try:
        return mmap.mmap(file.fileno(), 0, **options)
    except OSError:
        return None


def _view(memory: mmap.mmap, dtype: str, shape: tuple[int, ...], begin: int) -> NDArray[Any]:
    """One section of a mapped file as an array that numpy does not write to."""
    count = int(np.prod(shape, dtype=np.int64))
    array = np.frombuffer(memory, dtype, count, begin).reshape(shape)
    array.setflags(write=False)
    return array


def _read_header(
    file: IO[bytes], path: Path
) -> tuple[dict[str, tuple[str, tuple[int, ...], int]], dict[str, str], int]:
    """The tensors (dtype, shape, first byte in the file), the metadata, and the length the file must have."""
    beginning = file.read(HEADER_BYTES)
    if not is_compiled(beginning):
        raise _damaged(path, "it is not a compiled file of word vectors")
    if int.from_bytes(beginning[:8], "little") != HEADER_BYTES - 8 or len(beginning) != HEADER_BYTES:
        raise _damaged(path, "its header is cut or was written by another version")
    try:
        header = json.loads(beginning[8:])
        metadata = header.pop("__metadata__")
        if metadata["version"] != VERSION:
            raise _damaged(path, f"it was written by version {metadata['version']} of the format")
        tensors, at = {}, 0
        for name in (*SECTIONS, *(name for name in OPTIONAL if name in header)):
            stored, shape = header[name]["dtype"], tuple(int(n) for n in header[name]["shape"])
            dtype = DTYPES[stored]
            begin, end = header[name]["data_offsets"]
            size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
            if begin != at or end - begin != size or min(shape) < 0:
                raise _damaged(path, f"its section {name} is not where it must be")
            tensors[name] = (dtype, shape, HEADER_BYTES + begin)
            at = end
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, "its header cannot be read") from error
    return tensors, metadata, HEADER_BYTES + at


def _damaged(path: Path, reason: str) -> IntegrityError:
    """The error of a compiled file that cannot be used."""
    return IntegrityError(f"{path.name}: {reason}", hint="Delete it and compile the vectors again.")
