"""A store of its own for every test of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.store.store import Store


@pytest.fixture
def store(home: Path) -> Store:
    """An empty store in the test's own home."""
    return Store(home)
