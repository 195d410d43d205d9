"""The promise of the whole fault table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.loopback import find_wrong_blobs

from zoo.store.store import Store


@pytest.fixture(autouse=True)
def no_wrong_file(store: Store) -> Iterator[None]:
    """Whatever happened: no file of the store has a name that is not the hash of its bytes."""
    yield
    assert find_wrong_blobs(store.home) == []
