"""The plain bytes of a vector file, whatever it is packed in: streamed, never unpacked to the disk."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from zoo.errors import IntegrityError, UsageError

ZIP_MAGIC = b"PK\x03\x04"
# Numbers as text pack 2.5 to 4 times. deflate can reach 1032: that is a bomb, not a vocabulary.
MOST_RATIO = 100
FREE_BYTES = 16 << 20  # a small file may pack better
READ_AT_ONCE = 1 << 20
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
VECTOR_SUFFIXES = (".txt", ".vec", ".bin", "")


class _Stream(NamedTuple):
    """A way to compress one file. magic: its bytes from `at` on. open: (packed stream) -> plain stream."""

    at: int
    magic: bytes
    suffix: str
    open: Callable[[IO[bytes]], IO[bytes]]


_STREAMS = (
    _Stream(0, b"\x1f\x8b", ".gz", lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))),
    _Stream(4, b"1AY&SY", ".bz2", lambda raw: cast(IO[bytes], bz2.BZ2File(raw))),
    _Stream(0, b"\xfd7zXZ\x00", ".xz", lambda raw: cast(IO[bytes], lzma.LZMAFile(raw))),  # noqa: SIM115 - the caller closes it
)


class SeveralFiles(UsageError):
    """An archive of several files, of which none was chosen."""


class PackedSource:
    """A readable stream of plain bytes that knows how far it is in the file on disk.

    packed_name: of the file on disk. name: the same, or of what is in it. packed: its bytes.
    """

    def __init__(self, packed_name: str, name: str, plain: IO[bytes], raw: IO[bytes], packed: int) -> None:
        self.packed_name = packed_name
        self.name = name
        self.packed = packed
        self._plain = plain
        self._raw = raw
        self._given = 0
        self._unread = b""
        self._compressed = plain is not raw

    @property
    def done(self) -> int:
        """Bytes of the file on disk that were used up so far."""
        return self._raw.tell()

    @property
    def plain_file(self) -> IO[bytes] | None:
        """The file on disk where its bytes are the plain ones, to be mapped; None where it is packed."""
        return None if self._compressed else self._raw

    def unread(self, begun: bytes) -> None:
        """Give back the first bytes that were read, fewer than will be read next."""
        self._unread = begun

    def read(self, size: int) -> bytes:
        """Up to `size` plain bytes; fewer only at the end.

        Raises IntegrityError where a packed file is cut, damaged, or unpacks to far more than it can hold.
        """
        parts = [self._unread] if self._unread else []
        wanted = size - len(self._unread)
        self._unread = b""
        try:
            while wanted > 0 and (part := self._plain.read(wanted)):
                parts.append(part)
                wanted -= len(part)
        except EOFError as error:
            raise IntegrityError(
                f"{self.packed_name} ends in the middle of its compressed data", hint="Fetch it again."
            ) from error
        except (zlib.error, lzma.LZMAError, OSError, zipfile.BadZipFile) as error:
            if not self._compressed:
                raise
            raise IntegrityError(
                f"{self.packed_name}: damaged compressed data: {error}", hint="Fetch it again."
            ) from error
        self._given += size - wanted
        if self._compressed and self._given > FREE_BYTES + MOST_RATIO * self.packed:
            raise IntegrityError(
                f"{self.packed_name}: {self.packed:,} bytes unpack to more than {self._given:,}: "
                "stopped, this is a decompression bomb"
            )
        return b"".join(parts) if len(parts) != 1 else parts[0]


class RecodedSource(PackedSource):
    """A text file of another encoding as one of UTF-8. Bytes that are wrong in it stay as they are."""

    def __init__(self, source: PackedSource, encoding: str, begun: bytes = b"") -> None:
        super().__init__(source.packed_name, source.name, source._plain, source._raw, source.packed)
        self._compressed = True  # its bytes are not those of the file on disk
        self._source = source
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._waiting = self._recode(begun)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of UTF-8; fewer only at the end. Raises IntegrityError as its source does."""
        while len(self._waiting) < size and (part := self._source.read(READ_AT_ONCE)):
            self._waiting += self._recode(part)
            if len(part) < READ_AT_ONCE:
                self._waiting += self._recode(b"", last=True)
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        return taken

    def _recode(self, part: bytes, last: bool = False) -> bytes:
        try:
            return self._decoder.decode(part, last).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise IntegrityError(
                f"{self.packed_name} is not text in {self._encoding}: {error}",
                hint="Name another one: --encoding NAME.",
            ) from error


@contextmanager
def open_source(
    path: Path, member: str | None = None, name: str | None = None, encoding: str | None = None
) -> Iterator[PackedSource]:
    """The plain bytes of a file that may be a .gz, .bz2, .xz or .zip (detected by its first bytes).

    member: which file of a .zip; needed only where it holds several. name: what the file is called in errors.
    encoding: of its text, which comes as UTF-8; None recodes only what has the mark of UTF-16.

    Raises UsageError where a .zip holds several vector files and `member` names none of them, or where a
    member is given for a file that is not a .zip; IntegrityError for .zst.
    """
    with _open_packed(path, member, name) as source:
        if encoding is not None:
            yield RecodedSource(source, encoding)
            return
        begun = source.read(2)
        if begun in UTF16_MARKS:
            yield RecodedSource(source, "utf-16", begun)
        else:
            source.unread(begun)
            yield source


@contextmanager
def _open_packed(path: Path, member: str | None, name: str | None) -> Iterator[PackedSource]:
    """`open_source`, whatever its text is encoded in."""
    size = path.stat().st_size
    packed_name = name or path.name
    with path.open("rb", buffering=0) as raw:
        magic = raw.read(10)
        raw.seek(0)
        if member is not None and not magic.startswith(ZIP_MAGIC):
            raise UsageError(f"{packed_name} is not a .zip: there is no {member!r} in it")
        if magic.startswith(ZSTD_MAGIC):
            raise IntegrityError(
                f"{packed_name} is compressed with Zstandard, which is not read here",
                hint=f"Unpack it, and use that file: zstd -d {shlex.quote(packed_name)}",
            )
        packing = next((row for row in _STREAMS if magic[row.at :].startswith(row.magic)), None)
        if packing is not None:
            name = packed_name.removesuffix(packing.suffix)
            with io.BufferedReader(raw, 1 << 18) as packed, packing.open(packed) as plain:
                yield PackedSource(packed_name, name, plain, raw, size)
        elif magic.startswith(ZIP_MAGIC):
            try:
                archive = zipfile.ZipFile(raw)
            except zipfile.BadZipFile as error:
                raise IntegrityError(
                    f"{packed_name}: damaged archive: {error}", hint="Fetch it again."
                ) from error
            with archive:
                chosen = _choose_member(archive.infolist(), packed_name, member)
                if chosen.flag_bits & 1:
                    raise UsageError(f"{packed_name}: {chosen.filename} is encrypted")
                try:
                    opened = archive.open(chosen)
                except (zipfile.BadZipFile, NotImplementedError) as error:
                    raise IntegrityError(f"{packed_name}: damaged archive: {error}") from error
                with opened as plain_member:
                    yield PackedSource(packed_name, Path(chosen.filename).name, plain_member, raw, size)
        else:
            yield PackedSource(packed_name, packed_name, raw, raw, size)


def _choose_member(members: list[zipfile.ZipInfo], archive: str, wanted: str | None) -> zipfile.ZipInfo:
    """The member that holds the vectors: the wanted one, or the only one there is.

    Its name is compared, never used as a path.
    """
    files = [
        m
        for m in members
        if not m.is_dir()
        and not m.filename.startswith("__MACOSX/")
        and not Path(m.filename).name.startswith(".")
    ]
    if wanted is not None:
        files = [m for m in files if wanted in (m.filename, Path(m.filename).name)]
    else:
        files = [m for m in files if Path(m.filename).suffix.lower() in VECTOR_SUFFIXES] or files
    if len(files) == 1:
        return files[0]
    names = [m.filename for m in members if not m.is_dir()]
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    if wanted is not None:
        raise UsageError(f"{archive} holds no {wanted!r}", hint=f"It holds: {listed}")
    if not files:
        raise IntegrityError(f"{archive} is an archive without a file in it")
    raise SeveralFiles(f"{archive} holds several files", hint=f"Say which one with --member: {listed}")
