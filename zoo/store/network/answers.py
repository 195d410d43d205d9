"""How to handle a server's answer: pure decisions on status, headers and the partial file."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Literal

from zoo.store.disk.partial_files import UNKNOWN, validator_of
from zoo.store.trust.expected import Proof

PASSING = {408, 425, 429, 500, 502, 503, 504}  # temporary errors
GONE = {401, 403, 404, 410, 451}
_LONGEST_MESSAGE = 300  # characters of a server's own words


@dataclass(frozen=True)
class Reply:
    """The decision on an answer.

    append: the body continues the partial file. restart: the body is the whole file. again: discard the
    partial file and ask without a Range. done: the partial file is complete. total: bytes of the whole file,
    None if unknown.
    """

    action: Literal["append", "restart", "again", "done"]
    total: int | None = None
    validator: str = UNKNOWN


def judge(
    status: int, headers: Message, length: int | None, *, offset: int, validator: str, proof: Proof
) -> Reply:
    """The decision on an answer of status 200, 206 or 416 to a request for the bytes from `offset` on.

    A partial file grows only if the server sends the same version of the same file from the right byte on; or
    if the sha256 is known in advance, which decides at the end (and makes mirrors interchangeable).
    """
    if status == 200:
        return Reply("restart", length, _version_of(headers, length, proof))
    begin, total = parse_range(headers)
    version = _version_of(headers, total, proof)
    same = version != UNKNOWN and version == validator
    if status == 206 and offset and begin == offset and same and total not in (None, offset):
        return Reply("append", total, version)
    if status == 416 and offset and total == offset and (same or proof.has_hash):
        return Reply("done", total, validator)
    return Reply("again")


def strong_etag(headers: Message) -> str | None:
    """The ETag, unless it is a weak one, which other bytes may share."""
    etag = (headers.get("ETag") or "").strip()
    return etag if etag and not etag.startswith("W/") else None


def parse_range(headers: Message) -> tuple[int | None, int | None]:
    """(first byte, total) of the Content-Range: (5, 10) of `bytes 5-9/10`, (None, 10) of `bytes */10`."""
    text = (headers.get("Content-Range") or "").strip()
    found = re.fullmatch(r"bytes\s+(?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)", text)
    if found is None:
        return None, None
    begin, total = found.groups()
    return None if begin is None else int(begin), None if total == "*" else int(total)


def parse_retry_after(text: str | None, *, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number or a date; None if absent or malformed.

    >>> parse_retry_after("3"), parse_retry_after("soon")
    (3.0, None)
    """
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(r"\d{1,12}", text):
        return float(text)
    try:
        then = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(then - (time.time() if now is None else now), 0.0)


def wait_of(headers: Message) -> float | None:
    """Seconds that an answer asks to wait: its Retry-After, else the end of a used-up RateLimit of the Hub.

    >>> headers = Message()
    >>> headers["RateLimit"] = '"api";r=0;t=55'
    >>> wait_of(headers)
    55.0
    """
    wait = parse_retry_after(headers.get("Retry-After"))
    if wait is not None:
        return wait
    found = re.search(r";\s*r=0\s*;\s*t=(\d{1,12})\b", headers.get("RateLimit") or "")
    return None if found is None else float(found[1])


def server_message(headers: Message) -> str | None:
    """What the Hub says about an error, in one printable line; None if it says nothing."""
    text = " ".join((headers.get("X-Error-Message") or headers.get("X-Error-Code") or "").split())
    text = "".join(letter for letter in text if letter.isprintable())
    return text[:_LONGEST_MESSAGE].rstrip(". ") or None


def is_page(beginning: bytes) -> bool:
    """Whether this is a web page: a network's sign-in portal sends one instead of any file.

    >>> is_page(b"  <!DOCTYPE html><p>Please sign in"), is_page(b"PK")
    (True, False)
    """
    start = beginning[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta"))


def _version_of(headers: Message, total: int | None, proof: Proof) -> str:
    """The identifier of this version of the file: its known hash, else ETag, else date and size."""
    if proof.sha256 is not None:
        return validator_of("sha256", proof.sha256)
    etag = strong_etag(headers)
    if etag is not None:
        return validator_of("etag", etag, total)
    modified = headers.get("Last-Modified")
    return UNKNOWN if modified is None or total is None else validator_of("date", modified, total)
