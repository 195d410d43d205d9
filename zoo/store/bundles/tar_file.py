"""A reader of untrusted tar files: plain files under plain names, nothing else.

Python's tarfile supports links, devices, sparse files and headers of any length, each with past
vulnerabilities. A bundle needs none of them, so this reads the 512-byte headers of the POSIX format itself:
two kinds of members, every name checked, everything refused before the first byte is written.
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html ("ustar Interchange Format")
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zoo.catalogue.file_names import is_portable
from zoo.errors import IntegrityError, UnsafeFile
from zoo.store.trust.hashing import BLOCK

RECORD = 512
MOST_MEMBERS = 100_000
LONGEST_PART = 150


@dataclass(frozen=True)
class Member:
    """A file in a tar file: the position and number of its bytes."""

    name: str
    begin: int
    bytes: int


def read_members(path: Path) -> list[Member]:
    """Every file of a plain tar file.

    Raises UnsafeFile for anything but files and folders with relative, portable, distinct names, and
    IntegrityError if it is truncated or not a tar file. Reads headers only.
    """
    size = path.stat().st_size
    members: list[Member] = []
    seen: set[str] = set()
    with path.open("rb") as file:
        while header := file.read(RECORD):
            if not header.strip(b"\0"):
                return members
            kind, member = _parse_header(header, file.tell(), path)
            if member.begin + member.bytes > size:
                raise IntegrityError(
                    f"{path}: {member.name!r} is truncated",
                    hint="The copy is incomplete: copy the file again.",
                )
            if len(seen) >= MOST_MEMBERS:
                raise UnsafeFile(
                    f"{path}: more than {MOST_MEMBERS:,} members", hint="A bundle never has so many."
                )
            twin = unicodedata.normalize("NFC", member.name).casefold()
            if twin in seen:
                raise UnsafeFile(f"{path}: {member.name!r} occurs twice, or differs only by case")
            seen.add(twin)
            if kind == "file":
                members.append(member)
            file.seek(member.begin + -(-member.bytes // RECORD) * RECORD)
    raise IntegrityError(f"{path}: the end is missing", hint="The copy is incomplete: copy the file again.")


def check_name(name: str, path: Path) -> None:
    """Raise UnsafeFile unless a name stays inside the folder that it is unpacked to, on every system."""
    for part in name.split("/"):
        if len(part) > LONGEST_PART or not is_portable(part):
            raise UnsafeFile(
                f"{path}: {name!r} is not a name that may be unpacked", hint="Nothing was unpacked."
            )


def read_blocks(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The bytes of a member."""
    file.seek(member.begin)
    left = member.bytes
    while left > 0:
        block = file.read(min(BLOCK, left))
        if not block:
            raise IntegrityError(f"{member.name}: the file ends too early")
        left -= len(block)
        yield block


def _parse_header(header: bytes, begin: int, path: Path) -> tuple[str, Member]:
    """The kind, "file" or "folder", and the member that a header describes."""
    if len(header) < RECORD or header[257:262] != b"ustar":
        raise IntegrityError(f"{path} is not a tar file, or is truncated", hint="zoo bundle makes one.")
    blank = header[:148] + b" " * 8 + header[156:]
    if _number(header[148:156]) != sum(blank):
        raise IntegrityError(f"{path}: a header is damaged", hint="Copy the file again.")
    name = (_text(header[345:500]) + "/" if header[345] else "") + _text(header[:100])
    kind = {b"0": "file", b"\0": "file", b"5": "folder"}.get(header[156:157])
    if kind is None:
        raise UnsafeFile(
            f"{path}: {name!r} is not a plain file (a link, a device or another type: {header[156:157]!r})",
            hint="zoo bundle never makes such files: nothing was unpacked.",
        )
    check_name(name.removesuffix("/") if kind == "folder" else name, path)
    size = _number(header[124:136])
    if kind == "folder" and size:
        raise UnsafeFile(f"{path}: the folder {name!r} has {size:,} bytes")
    return kind, Member(name, begin, size)


def _text(field: bytes) -> str:
    """A name field; undecodable bytes become characters that check_name refuses."""
    return field.partition(b"\0")[0].decode("utf-8", "replace").replace("\ufffd", "\0")


def _number(field: bytes) -> int:
    """Parse an octal field; -1 if it is malformed (never a valid size or checksum)."""
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]{1,12}", digits) else -1
