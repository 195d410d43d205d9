"""What the tests of the store share."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.store.store import Store, open_store


@pytest.fixture
def store(home: Path) -> Store:
    """An empty store of this test alone."""
    return open_store()
