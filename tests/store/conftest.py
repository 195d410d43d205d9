"""What the tests of the store share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def other_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the caches of other libraries, each by the name of its variable: TORCH_HOME and so on."""
    for name in ("TORCH_HOME", "HF_HOME", "GENSIM_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path
