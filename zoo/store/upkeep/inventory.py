"""The inventory of the disk: models and leftovers of the store, and the caches of other libraries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.store.disk.blobs import Blobs
from zoo.store.disk.partial_files import find_partials
from zoo.store.disk.records import Records
from zoo.store.disk.space import free_bytes
from zoo.store.sources.other_caches import gensim_cache, hub_cache, torch_cache
from zoo.store.upkeep.pruning import last_use, size_of

if TYPE_CHECKING:
    from zoo.store.store import Store


@dataclass(frozen=True)
class StoredModel:
    """A model of the store. kinds: "published" and the kinds of derived files. idle: seconds since last read.

    home: the folder that has it, the user's own or a shared one.
    """

    name: str
    license: str
    sha256: str
    bytes: int
    kinds: tuple[str, ...]
    idle: float
    home: Path


@dataclass(frozen=True)
class ForeignFile:
    """A file in another library's cache: listed, copied by a fetch if its hash is right, never deleted."""

    library: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class CacheReport:
    """The whole inventory. models: those of shared folders too; everything else is about `home` only.

    bytes: of models; shared files are counted once. free: bytes left on the disk. orphans: files that no
    model needs. feature_bytes, export_bytes: of what zoo/features keeps; hash_bytes: of what zoo/data/hashes
    does.
    """

    home: Path
    shared: tuple[Path, ...]
    models: tuple[StoredModel, ...]
    bytes: int
    free: int
    orphans: tuple[Path, ...]
    orphan_bytes: int
    partials: tuple[Path, ...]
    partial_bytes: int
    feature_bytes: int
    export_bytes: int
    hash_bytes: int
    foreign: tuple[ForeignFile, ...]


def report_cache(store: Store) -> CacheReport:
    """The inventory of the store and of other caches. Reads only."""
    models = [model for blobs, records in store.places for model in _stored_models(blobs, records)]
    needed = {sha256 for _, record in store.records for sha256 in record.blobs}
    orphans = tuple(store.blobs.path(sha256) for sha256 in store.blobs if sha256 not in needed)
    partials = tuple(partial.path for partial in find_partials(store.blobs.folder))
    return CacheReport(
        home=store.home,
        shared=tuple(blobs.folder.parent for blobs, _ in store.places[:-1]),
        models=tuple(sorted(models, key=lambda model: -model.bytes)),
        bytes=size_of(tuple(store.blobs.path(sha256) for sha256 in needed)),
        free=free_bytes(store.home),
        orphans=orphans,
        orphan_bytes=size_of(orphans),
        partials=partials,
        partial_bytes=size_of(partials),
        feature_bytes=size_of(tuple((store.home / "features").rglob("*"))),
        export_bytes=size_of(tuple((store.home / "onnx").rglob("*"))),
        hash_bytes=size_of(tuple((store.home / "hashes").rglob("*"))),
        foreign=tuple(_find_foreign()),
    )


def _stored_models(blobs: Blobs, records: Records) -> Iterator[StoredModel]:
    """The models of one folder."""
    now = time.time()
    for _, record in records:
        paths = tuple(blobs.path(sha256) for sha256 in record.blobs)
        kinds = (("published",) if record.stamp is not None else ()) + tuple(record.derived)
        idle = max(now - last_use(record, paths), 0.0)
        home = blobs.folder.parent
        yield StoredModel(record.name, record.license, record.sha256, size_of(paths), kinds, idle, home)


def _find_foreign() -> Iterator[ForeignFile]:
    """The model files in the caches of torch.hub, huggingface_hub and gensim."""
    places = (
        ("torch.hub", torch_cache(), "*"),
        ("huggingface_hub", hub_cache(), "models--*/blobs/*"),
        ("gensim", gensim_cache(), "*/*.gz"),
    )
    for library, folder, pattern in places:
        for path in sorted(folder.glob(pattern)) if folder.is_dir() else []:
            if path.is_file():
                yield ForeignFile(library, path, path.stat().st_size)
