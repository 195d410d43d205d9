"""What all tests share: the real data, and a home of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("ZOO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photographs, weights, words and reviews (see README, "Tests")."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}: set ZOO_TEST_DATA")
    return DATA


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ZOO_HOME of this test alone, with every other setting of the environment out of the way."""
    for name in list(os.environ):
        if name.startswith("ZOO_") and name != "ZOO_TEST_DATA":
            monkeypatch.delenv(name)
    folder = tmp_path / "zoo-home"
    monkeypatch.setenv("ZOO_HOME", str(folder))
    return folder
