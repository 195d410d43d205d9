"""Runs that keep decoded photographs from one epoch to the next: the same weights as those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kits import on_tiny
from support.weights import assert_equal_weights

from zoo.data.pixels import decoding
from zoo.errors import UsageError
from zoo.runs.record import RunResult

Finetune = Callable[..., RunResult]
QUICK: dict[str, Any] = {"unfreeze": 1, "epochs": 1, "tune_epochs": 3, "tune_patience": 0, "batch_size": 4}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file was read to be decoded."""
    counted: Counter[Path] = Counter()
    plain = decoding.read_bytes

    def count(path: Path) -> bytes:
        counted[path] += 1
        return plain(path)

    monkeypatch.setattr(decoding, "read_bytes", count)
    return counted


@on_tiny
@pytest.mark.parametrize("options", [{}, {"augment": "strong", "workers": 3}, {"sampling": "balanced"}])
def test_the_weights_are_the_same_with_and_without(
    options: dict[str, Any],
    few: Path,
    finetune: Finetune,
    read: Counter[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = finetune(folder=few, out=tmp_path / "kept", **QUICK, **options)
    with_it = read.total()
    read.clear()
    monkeypatch.setenv("ZOO_PIXELS_MEMORY", "0")
    plain = finetune(folder=few, out=tmp_path / "plain", **QUICK, **options)
    assert with_it < read.total()
    assert_equal_weights(tmp_path / "kept", tmp_path / "plain")
    assert kept.val_loss == plain.val_loss


@on_tiny
def test_a_setting_that_is_no_size_is_refused_before_anything_is_computed(
    few: Path, finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_PIXELS_MEMORY", "much")
    with pytest.raises(UsageError, match="ZOO_PIXELS_MEMORY: 'much' is not a size"):
        finetune(folder=few, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
