"""What the tests of the store share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.loopback import IMPATIENT

from zoo.store.store import Store


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """An empty, impatient store of this test alone; nothing of other libraries beside it."""
    for name in ("TORCH_HOME", "HF_HOME", "GENSIM_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return Store(home, settings=IMPATIENT)
