"""Files in the caches of other libraries: copied if their hash is right, never changed.

torch.hub names files by their URL, huggingface_hub by their hash, gensim by the data set. No name is trusted:
a file is copied and hashed like a download.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo.catalogue.schemes import parse_hub_url
from zoo.errors import UsageError
from zoo.store.disk.homes import expand
from zoo.store.trust.expected import Proof


def find_adoptable(url: str, proof: Proof) -> Iterator[tuple[str, Path]]:
    """(library, file) for each file of another cache that may be that of a URL.

    Only if a hash can prove it, and only files of the right size if that is known.
    """
    if not proof.has_hash:
        return
    for library, path in _candidates(url, proof):
        try:
            size = path.stat().st_size if path.is_file() and os.access(path, os.R_OK) else None
        except OSError:
            continue
        if size is not None and proof.bytes in (None, size):
            yield library, path


def torch_cache() -> Path:
    """The folder of torch.hub's checkpoints: $TORCH_HOME, $XDG_CACHE_HOME."""
    home = os.environ.get("TORCH_HOME")
    return expand(home or _cache_home() / "torch") / "hub" / "checkpoints"


def hub_cache() -> Path:
    """The folder of huggingface_hub's repositories: $HF_HUB_CACHE, $HF_HOME."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return expand(given)
    home = os.environ.get("HF_HOME")
    return expand(home or _cache_home() / "huggingface") / "hub"


def gensim_cache() -> Path:
    """The folder of gensim's data sets: $GENSIM_DATA_DIR."""
    return expand(os.environ.get("GENSIM_DATA_DIR") or "~/gensim-data")


def _candidates(url: str, proof: Proof) -> Iterator[tuple[str, Path]]:
    parts = urlsplit(url)
    if parts.scheme == "https":
        yield "torch.hub", torch_cache() / Path(unquote(parts.path)).name
    elif parts.scheme == "gensim":
        yield "gensim", gensim_cache() / parts.netloc / (parts.path.strip("/") or f"{parts.netloc}.gz")
    elif parts.scheme == "hf":
        try:
            named = parse_hub_url(url)
        except UsageError:
            return
        folder = hub_cache() / f"models--{named.repo.replace('/', '--')}"
        if proof.sha256 is not None:
            yield "huggingface_hub", folder / "blobs" / proof.sha256
        if named.file is not None and named.revision is not None:
            yield "huggingface_hub", folder / "snapshots" / named.revision / named.file


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
