"""Every example in a docstring is true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"zoo": ROOT, "adapters": ROOT, "tests/support": ROOT / "tests", "tools": ROOT / "tools"}
"""Folder -> what its modules are imported from."""
MODULES = [
    ".".join(path.relative_to(top).with_suffix("").parts).removesuffix(".__init__")
    for folder, top in PACKAGES.items()
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
