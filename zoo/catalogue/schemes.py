"""The table of URL schemes: how a URL of each is written, what proves its bytes, and what finds them.

A new scheme is a row here and a file in `zoo/store/sources` with its resolver; other packages add theirs
through an entry point (see zoo.plugins).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from zoo.catalogue.file_names import fault_of_path
from zoo.errors import UsageError

CREDENTIALS = "a URL with credentials in it"  # such a URL is never printed
_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*):"
_LOOPBACK = r"localhost|127(?:\.[0-9]{1,3}){3}|::1"
_UNSAFE = r'[\s\\<>"`{}|^]'
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_HF = rf"hf://(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^@/\s]+))?(?:/(?P<file>\S.*))?"
_GENSIM = rf"gensim://(?P<name>{_PART})(?:/(?P<file>{_PART}))?(?:\?parts=(?P<parts>[1-9][0-9]?))?"
_PACKAGE = r"package://(?P<package>[A-Za-z_][A-Za-z0-9_]*)/(?P<file>.+)"


class UrlScheme(NamedTuple):
    """A row of the table.

    fault: what is wrong with a URL of this scheme, or None. proofs: one of these fields of `weights` must be
    stated; empty where the source states a hash itself. resolver: "module:name" of the function that finds
    the file of a URL, imported when it is first needed. local: no network is needed, so offline mode does not
    forbid it.
    """

    fault: Callable[[str], str | None]
    proofs: tuple[str, ...]
    example: str
    resolver: str
    local: bool = False


def scheme_of(url: str) -> str:
    """The scheme of a URL; a relative path is a file.

    >>> scheme_of("hf://timm/resnet18.a1_in1k/model.safetensors"), scheme_of("weights/net.pth")
    ('hf', 'file')
    """
    found = re.match(_SCHEME, url)
    return "file" if found is None or len(found[1]) == 1 else found[1].lower()


def allowed_hosts() -> set[str]:
    """The hosts that $ZOO_ALLOW_HOST names, separated by commas: private ones too, with or without a port."""
    return {part.strip().lower() for part in os.environ.get("ZOO_ALLOW_HOST", "").split(",")} - {""}


class HubFile(msgspec.Struct, frozen=True):
    """The parts of an `hf://` URL. revision: branch, tag or commit; None for the main branch."""

    repo: str
    revision: str | None
    file: str | None


def parse_hub_url(url: str) -> HubFile:
    """The parts of an `hf://` URL; file is None for a whole repository. A slash in a revision is written %2F.

    >>> parse_hub_url("hf://timm/resnet18.a1_in1k@main/model.safetensors")
    HubFile(repo='timm/resnet18.a1_in1k', revision='main', file='model.safetensors')
    """
    found = re.fullmatch(_HF, url)
    if found is None or ".." in url.split("/"):
        raise UsageError(
            f"{url} names nothing on the Hub",
            hint="Write it as hf://OWNER/REPO/FILE or hf://OWNER/REPO@REVISION/FILE.",
        )
    revision = None if found["revision"] is None else unquote(found["revision"])
    return HubFile(found["repo"], revision, found["file"])


def parse_gensim_url(url: str) -> tuple[str, str, int] | None:
    """(data set, file, number of parts) of `gensim://NAME[/FILE][?parts=N]`; None for anything else.

    >>> parse_gensim_url("gensim://glove-twitter-25"), parse_gensim_url("gensim://a/b.txt?parts=3")
    (('glove-twitter-25', 'glove-twitter-25.gz', 1), ('a', 'b.txt', 3))
    """
    found = re.fullmatch(_GENSIM, url)
    if found is None:
        return None
    return found["name"], found["file"] or f"{found['name']}.gz", int(found["parts"] or 1)


def parse_package_url(url: str) -> tuple[str, str] | None:
    """(package, file) of `package://PACKAGE/FILE`; None for anything else."""
    found = re.fullmatch(_PACKAGE, url)
    return None if found is None else (found["package"], unquote(found["file"]))


_ANY = ("sha256", "sha256_prefix", "md5")


def _fault_of_https(url: str) -> str | None:
    parts = _split(url)
    if parts is None or not parts.hostname or re.search(_UNSAFE, url):
        return "not a URL"
    if parts.username is not None or parts.password is not None:
        return CREDENTIALS
    return None if parts.path.strip("/") else "a URL without a path"


def _fault_of_http(url: str) -> str | None:
    """As for https; and it must be of this machine, or of a host that the user allows."""
    parts = _split(url)
    if parts is None or not parts.hostname or re.fullmatch(_LOOPBACK, parts.hostname):
        return _fault_of_https(url)
    if {parts.hostname, parts.netloc.lower()} & allowed_hosts():
        return _fault_of_https(url)
    return f"plain http to another machine, which only ZOO_ALLOW_HOST={parts.hostname} would allow"


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None where it has none (an unclosed bracket, letters for a port)."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _fault_of_hf(url: str) -> str | None:
    found = re.fullmatch(_HF, url)
    if found is None or found["file"] is None:
        return "not OWNER/REPO[@REVISION]/FILE"
    return fault_of_path(found["file"])


def _fault_of_gensim(url: str) -> str | None:
    return None if parse_gensim_url(url) is not None else "not the name of a gensim-data set"


def _fault_of_package(url: str) -> str | None:
    found = parse_package_url(url)
    return "not PACKAGE/FILE" if found is None else fault_of_path(found[1])


def _fault_of_file(url: str) -> str | None:
    """Of a file: URL (absolute, on this machine), or of a path relative to the registry."""
    if re.match(_SCHEME, url) and scheme_of(url) == "file" and url.lower().startswith("file:"):
        return None if url.startswith("file:///") and "\0" not in url else "not file:///PATH"
    return fault_of_path(url)


SCHEMES: dict[str, UrlScheme] = {
    "https": UrlScheme(
        _fault_of_https, _ANY, "https://example.org/net.safetensors", "zoo.store.sources.https:resolve"
    ),
    # to this machine alone, or to hosts that are allowed: zoo/store/trust/addresses.py
    "http": UrlScheme(
        _fault_of_http, _ANY, "http://127.0.0.1:8000/net.safetensors", "zoo.store.sources.https:resolve"
    ),
    "hf": UrlScheme(
        _fault_of_hf, (), "hf://timm/resnet18.a1_in1k/model.safetensors", "zoo.store.sources.hf:resolve"
    ),
    "gensim": UrlScheme(
        _fault_of_gensim,
        ("sha256", "md5"),
        "gensim://glove-wiki-gigaword-50",
        "zoo.store.sources.gensim:resolve",
    ),
    "package": UrlScheme(
        _fault_of_package,
        ("sha256",),
        "package://zoo/weights/net.safetensors",
        "zoo.store.sources.package:resolve",
        local=True,
    ),
    "file": UrlScheme(
        _fault_of_file, ("sha256",), "weights/net.safetensors", "zoo.store.sources.file:resolve", local=True
    ),
}
