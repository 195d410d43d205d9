"""Small folders of images, planted file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Plant = Callable[..., Path]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A function that makes (empty) files below a folder `photos` and returns it; a name that ends in / is a
    folder. A scan opens no file, so they need no content."""

    def make(*names: str) -> Path:
        root = tmp_path / "photos"
        root.mkdir(exist_ok=True)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
        return root

    return make
