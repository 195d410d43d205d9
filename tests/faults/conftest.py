"""What the fault rows share: a server with fault modes, an impatient store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.loopback import IMPATIENT, find_wrong_blobs

from zoo.store.store import Store


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store; the promise of the whole table is checked when the test is over."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(home.parent / "hf-home"))
    store = Store(home, settings=IMPATIENT)
    yield store
    assert find_wrong_blobs(store.home) == []
