"""Files that other libraries have already: taken over where they are provably right, and left as they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.loopback import (
    BODY,
    SHA256,
    Server,
    entry_for,
    unproven,
)

from zoo.errors import (
    DownloadFailed,
    Offline,
)
from zoo.events import Event, Note
from zoo.store.store import Store

OTHER = BODY[::-1]


def put(path: Path, body: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize(
    ("url", "place", "facts"),
    [
        ("https://a.example/net.pth", "TORCH_HOME/hub/checkpoints/net.pth", {"sha256": SHA256}),
        ("https://a.example/net.pth", "TORCH_HOME/hub/checkpoints/net.pth", {"sha256_prefix": SHA256[:8]}),
        ("hf://a/net/model.bin", f"HF_HOME/hub/models--a--net/blobs/{SHA256}", {"sha256": SHA256}),
        ("hf://a/net@v1/x.bin", "HF_HOME/hub/models--a--net/snapshots/v1/x.bin", {"sha256": SHA256}),
        ("gensim://glove", "GENSIM_DATA_DIR/glove/glove.gz", {"md5": hashlib.md5(BODY).hexdigest()}),
    ],
)
def test_a_file_that_another_library_has_is_taken_over_even_offline(
    store: Store, other_caches: Path, url: str, place: str, facts: dict[str, object]
) -> None:
    path = put(other_caches / place)
    before = path.stat().st_mtime_ns
    told: list[Event] = []
    offline = Store(store.home, offline=True)
    assert offline.fetch(entry_for(url, **facts), report=told.append).sha256 == SHA256
    assert any(isinstance(event, Note) and "taken from the cache of" in event.message for event in told)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == (before, BODY), "the other cache is never touched"


def test_a_file_of_another_cache_that_is_not_provably_right_is_left_alone(
    store: Store, other_caches: Path, server: Server
) -> None:
    url = "https://models.example/net.pth"
    put(other_caches / "TORCH_HOME/hub/checkpoints/net.pth", OTHER)
    with pytest.raises(DownloadFailed):  # it goes on to the network, where there is no such host
        store.fetch(entry_for(url))
    put(other_caches / "TORCH_HOME/hub/checkpoints/net.pth")
    with pytest.raises(Offline):
        Store(store.home, offline=True).fetch(unproven(url, bytes=len(BODY)))
    assert list(store.blobs) == []
