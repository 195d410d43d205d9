"""The examples in the docstrings of this room are true."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("module", ["names", "finding.folder", "splits", "pixels.preprocessing"])
def test_the_examples_of_a_module_are_true(module: str) -> None:
    result = doctest.testmod(import_module(f"zoo.data.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
