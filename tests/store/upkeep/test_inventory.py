"""What lies in the store and around it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.loopback import (
    BODY,
    Server,
    cut,
    entry_for,
    unproven,
)

from zoo.errors import (
    DownloadFailed,
)
from zoo.store.store import Store
from zoo.store.upkeep.inventory import report_cache


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_the_report_tells_models_leftovers_and_other_caches(
    store: Store, server: Server, other_caches: Path
) -> None:
    store.fetch(entry_for(server.add("/net", BODY)))
    with pytest.raises(DownloadFailed):
        store.fetch(unproven(server.add("/cut", BODY, cut(0.0001)), bytes=len(BODY)))
    put(store.home / "blobs" / hashlib.sha256(b"x").hexdigest(), b"x")
    put(store.home / "features" / "table", b"four")
    put(other_caches / "TORCH_HOME/hub/checkpoints/net.pth", b"torch")
    put(other_caches / "HF_HOME/hub/models--a--b/blobs/1234", b"hub")
    found = report_cache(store)
    (model,) = found.models
    assert (model.name, model.license, model.bytes, model.kinds) == ("net", "mit", len(BODY), ("published",))
    assert (found.bytes, found.orphan_bytes, found.feature_bytes) == (len(BODY), 1, 4)
    assert found.partial_bytes > 0
    assert found.free > 0
    assert [(file.library, file.bytes) for file in found.foreign] == [
        ("torch.hub", 5),
        ("huggingface_hub", 3),
    ]


def test_the_report_of_a_store_that_was_never_used_is_empty(store: Store) -> None:
    found = report_cache(store)
    assert (found.models, found.bytes) == ((), 0)
    assert not store.home.exists()
