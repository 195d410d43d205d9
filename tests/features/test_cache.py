"""Features are found again by content, never when damaged, and the folder stays within bounds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.events import Event, Note
from zoo.features.cache import LARGE, MANY, SUFFIX, FeatureCache, _prune_features


def content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def some_features(rows: int, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_features_are_found_by_content_in_any_order(tmp_path: Path) -> None:
    features = some_features(5)
    FeatureCache(tmp_path, {"network": "a"}).add([content(n) for n in range(5)], features)
    found, rows = FeatureCache(tmp_path, {"network": "a"}).find([content(n) for n in (4, 99, 0, 4)])
    assert found.tolist() == [True, False, True, True]
    assert torch.equal(rows, features[[4, 0, 4]])


def test_another_network_precision_or_input_has_features_of_its_own(tmp_path: Path) -> None:
    FeatureCache(tmp_path, {"network": "a", "precision": "fp32"}).add([content(1)], some_features(1))
    found, _ = FeatureCache(tmp_path, {"network": "a", "precision": "bf16"}).find([content(1)])
    assert not found.any()


def test_an_empty_cache_finds_nothing_and_writes_nothing(tmp_path: Path) -> None:
    found, rows = FeatureCache(tmp_path / "features", {}).find([content(1)])
    assert found.tolist() == [False]
    assert len(rows) == 0
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "header", "swapped"])
def test_a_damaged_shard_is_never_used_and_is_removed(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(tmp_path, {"network": "a"})
    cache.add([content(1), content(2)], some_features(2))
    [shard] = cache.table.glob("*")
    data = bytearray(shard.read_bytes())
    if damage == "flipped":
        data[-3] ^= 1
    elif damage == "cut":
        del data[-8:]
    elif damage == "empty":
        data.clear()
    elif damage == "header":
        data[:8] = (2**62).to_bytes(8, "little")
    else:  # a sound shard of another network under this name
        other = FeatureCache(tmp_path / "other", {"network": "b"})
        other.add([content(1), content(2)], some_features(2, seed=1))
        [path] = other.table.glob("*")
        data[:] = path.read_bytes()
    shard.write_bytes(data)
    events: list[Event] = []
    found, _ = FeatureCache(tmp_path, {"network": "a"}, report=events.append).find([content(1)])
    assert not found.any()
    assert not shard.exists()
    assert [e for e in events if isinstance(e, Note) and "damaged" in e.message]


def test_many_small_shards_become_one_and_lose_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {})
    features = some_features(3 * MANY)
    for n in range(3 * MANY):
        cache.add([content(n), content(n // 2)], features[[n, n // 2]])
    assert len(list(cache.table.glob(f"*{SUFFIX}"))) <= MANY
    found, rows = cache.find([content(n) for n in range(3 * MANY)])
    assert found.all()
    assert torch.equal(rows, features)


def test_large_shards_are_not_written_again(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {})
    wide = LARGE // 4
    cache.add([content(0)], torch.zeros(1, wide))
    [large] = cache.table.glob("*")
    before = large.stat()
    for n in range(1, MANY + 2):
        cache.add([content(n)], torch.zeros(1, 4))
    assert large.stat() == before


WRITER = """
import sys, hashlib, torch
from pathlib import Path
from zoo.features.cache import FeatureCache
folder, first = Path(sys.argv[1]), int(sys.argv[2])
for n in range(first, first + 30):
    FeatureCache(folder, {}).add([hashlib.sha256(str(n).encode()).digest()], torch.full((1, 4), float(n)))
"""


@pytest.mark.slow
def test_several_processes_add_and_merge_at_once_without_loss(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(first)]) for first in (0, 20, 40)
    ]
    assert [w.wait(timeout=120) for w in writers] == [0, 0, 0]
    found, rows = FeatureCache(tmp_path, {}).find([content(n) for n in range(70)])
    assert found.all()
    assert torch.equal(rows[:, 0], torch.arange(70.0))


def test_the_tables_used_longest_ago_are_pruned_first(tmp_path: Path) -> None:
    caches = [FeatureCache(tmp_path, {"network": n}) for n in range(4)]
    for n, cache in enumerate(caches):
        cache.add([content(n)], some_features(1, width=1000))
        os.utime(cache.table, (time.time() - 1000 + n, time.time() - 1000 + n))
    caches[0].find([content(0)])  # used just now
    freed = _prune_features(tmp_path, most=9_000)
    assert 8_000 < freed < 10_000
    assert [cache.find([content(n)])[0].item() for n, cache in enumerate(caches)] == [
        True,
        False,
        False,
        True,
    ]


def test_the_limit_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_FEATURES_SIZE", "9kB")
    for n in range(4):
        cache = FeatureCache(tmp_path, {"network": n})
        cache.add([content(n)], some_features(1, width=1000))
        os.utime(cache.table, (time.time() - 1000 + n, time.time() - 1000 + n))
    there = [FeatureCache(tmp_path, {"network": n}).find([content(n)])[0].item() for n in range(4)]
    assert there == [False, False, True, True]


def test_a_limit_that_is_no_size_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_FEATURES_SIZE", "much")
    with pytest.raises(UsageError, match="ZOO_FEATURES_SIZE: 'much' is not a size"):
        FeatureCache(tmp_path, {"network": 1})


def test_pruning_leaves_what_is_not_ours_and_takes_what_killed_processes_left(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {})
    cache.add([content(1)], some_features(1))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    old, fresh = cache.table / "a.partial", cache.table / "b.partial"
    for path in (old, fresh):
        path.write_bytes(b"torn")
    os.utime(old, (0, 0))
    assert _prune_features(tmp_path, most=10**9) == 4
    assert not old.exists()
    assert fresh.exists()
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize("clock", [0, 4_102_444_800], ids=["1970", "2100"])
def test_a_wrong_clock_neither_crashes_nor_protects(tmp_path: Path, clock: int) -> None:
    cache = FeatureCache(tmp_path, {})
    cache.add([content(1)], some_features(1))
    os.utime(cache.table, (clock, clock))
    assert _prune_features(tmp_path, most=0) > 0
    assert not cache.table.exists()


def test_a_cache_that_cannot_be_written_costs_only_a_warning(tmp_path: Path) -> None:
    blocked = tmp_path / "features"
    blocked.write_text("a file where the folder should be")
    events: list[Event] = []
    FeatureCache(blocked, {}, report=events.append).add([content(1)], some_features(1))
    [note] = events
    assert isinstance(note, Note)
    assert note.level == "warning"
    assert "could not be stored" in note.message
