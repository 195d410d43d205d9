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
from zoo.features import cache as caching
from zoo.features.cache import MANY, SUFFIX, FeatureCache, _prune_features
from zoo.features.segments import Segment


def content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def some_features(rows: int, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_features_are_found_by_content_in_any_order(tmp_path: Path) -> None:
    features = some_features(5)
    FeatureCache(tmp_path, {"network": "a"}).add([content(n) for n in range(5)], features)
    found, rows = FeatureCache(tmp_path, {"network": "a"}).find([content(n) for n in (4, 99, 0, 4)])
    assert found.tolist() == [True, False, True, True]
    assert torch.equal(rows[found], features[[4, 0, 4]])
    assert not rows[1].any()


def test_another_network_precision_or_input_has_features_of_its_own(tmp_path: Path) -> None:
    FeatureCache(tmp_path, {"network": "a", "precision": "fp32"}).add([content(1)], some_features(1))
    found, _ = FeatureCache(tmp_path, {"network": "a", "precision": "bf16"}).find([content(1)])
    assert not found.any()


def test_an_empty_cache_finds_nothing_and_writes_nothing(tmp_path: Path) -> None:
    found, rows = FeatureCache(tmp_path / "features", {}).find([content(1)])
    assert found.tolist() == [False]
    assert len(rows) == 0
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "end", "length", "swapped"])
def test_a_damaged_segment_is_never_used_and_is_removed(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(tmp_path, {"network": "a"})
    cache.add([content(1), content(2)], some_features(2))
    [segment] = cache.table.glob("*")
    data = bytearray(segment.read_bytes())
    if damage == "cut":
        del data[-8:]
    elif damage == "empty":
        data.clear()
    elif damage == "end":
        data[-60] ^= 1
    elif damage == "length":
        data[-8:] = (2**62).to_bytes(8, "little")
    else:  # a sound segment of another network under this name
        other = FeatureCache(tmp_path / "other", {"network": "b"})
        other.add([content(1), content(2)], some_features(2, seed=1))
        [path] = other.table.glob("*")
        data[:] = path.read_bytes()
    segment.write_bytes(data)
    events: list[Event] = []
    found, _ = FeatureCache(tmp_path, {"network": "a"}, report=events.append).find([content(1)])
    assert not found.any()
    assert not segment.exists()
    assert [e for e in events if isinstance(e, Note) and "damaged" in e.message]


def test_any_changed_byte_costs_its_row_and_never_gives_a_wrong_one(tmp_path: Path) -> None:
    """Every byte of a segment, one at a time: what is found is right, and what is not is computed again."""
    features = some_features(3, width=5)
    cache = FeatureCache(tmp_path, {"network": "a"})
    cache.add([content(n) for n in range(3)], features)
    [segment] = cache.table.glob("*")
    sound = segment.read_bytes()
    lost = []
    for place in range(len(sound)):
        segment.write_bytes(sound[:place] + bytes([sound[place] ^ 0x80]) + sound[place + 1 :])
        found, rows = cache.find([content(n) for n in range(3)])
        lost.append(int((~found).sum()))
        if found.any():
            assert torch.equal(rows[found], features[found]), place
    in_rows = lost[64 : 64 + features.numel() * 4]
    assert set(in_rows) == {1}
    assert lost.count(3) < len(sound)  # the description at the end, and the beginning


def test_a_damaged_row_is_computed_again_once(tmp_path: Path) -> None:
    features = some_features(4)
    everything = [content(n) for n in range(4)]
    cache = FeatureCache(tmp_path, {})
    cache.add(everything, features)
    [segment] = cache.table.glob("*")
    data = bytearray(segment.read_bytes())
    data[64 + 2 * 24] ^= 1
    segment.write_bytes(data)
    os.utime(segment, (1, 1))
    found, _ = cache.find(everything)
    assert found.tolist() == [True, True, False, True]
    cache.add(everything[2:3], features[2:3])
    events: list[Event] = []
    found, rows = FeatureCache(tmp_path, {}, report=events.append).find(everything)
    assert found.all()
    assert torch.equal(rows, features)
    assert not events


def test_one_of_a_million_reads_a_few_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that nobody asks for are not read; the number of bytes does not grow with the table."""
    read = []
    real = caching.open_segment

    def spy(path: Path, about: str) -> Segment:
        segment = real(path, about)
        inner = segment._read_block
        object.__setattr__(segment, "_read_block", lambda first, n: read.append(n) or inner(first, n))
        return segment

    monkeypatch.setattr(caching, "open_segment", spy)
    cache = FeatureCache(tmp_path, {})
    rows = torch.arange(20_000.0)[:, None].expand(-1, 4).contiguous()
    cache.add([content(n) for n in range(20_000)], rows)
    found, got = cache.find([content(5), content(19_000), content(30_000)])
    assert found.tolist() == [True, True, False]
    assert got[:, 0].tolist() == [5, 19_000, 0]
    assert sum(read) == 2


def test_contents_with_one_beginning_are_told_apart(tmp_path: Path) -> None:
    """Somebody may make two files whose hashes begin alike: neither gets the features of the other."""
    twins = [b"12345678" + bytes([n]) * 24 for n in range(3)]
    features = some_features(3)
    cache = FeatureCache(tmp_path, {})
    for n in range(3):
        cache.add(twins[n : n + 1], features[n : n + 1])
        for at in range(3):
            found, rows = cache.find([twins[at], content(1)])
            assert not found.any() or torch.equal(rows[0], features[at])
    found, rows = cache.find(twins)
    assert found.any()
    assert torch.equal(rows[found], features[found])


def test_what_has_no_digest_is_not_there(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {})
    cache.add([None, content(1), None], some_features(3))
    found, rows = cache.find([None, content(1), None, content(2)])
    assert found.tolist() == [False, True, False, False]
    assert torch.equal(rows[1], some_features(3)[1])
    assert cache.find([None])[0].tolist() == [False]


def test_many_small_segments_become_one_and_lose_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {})
    features = some_features(3 * MANY)
    for n in range(3 * MANY):
        cache.add([content(n), content(n // 2)], features[[n, n // 2]])
    assert len(list(cache.table.glob(f"*{SUFFIX}"))) <= MANY
    found, rows = cache.find([content(n) for n in range(3 * MANY)])
    assert found.all()
    assert torch.equal(rows, features)


def test_large_segments_are_merged_with_large_ones_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "LARGE", 2_000)
    cache = FeatureCache(tmp_path, {})
    features = some_features(1_000, width=100)
    cache.add([content(n) for n in range(20)], features[:20])
    [large] = cache.table.glob("*")
    before = large.stat()
    for n in range(20, 29):
        cache.add([content(n)], features[n : n + 1])
    assert large.stat() == before
    for first in range(100, 1_000, 20):
        cache.add([content(n) for n in range(first, first + 20)], features[first : first + 20])
    assert len(list(cache.table.glob("*"))) < 2 * MANY
    everything = [*range(29), *range(100, 1_000)]
    found, rows = cache.find([content(n) for n in everything])
    assert found.all()
    assert torch.equal(rows, features[everything])


def test_merging_drops_damaged_rows_and_keeps_the_sound_copy(tmp_path: Path) -> None:
    features = some_features(MANY + 2)
    cache = FeatureCache(tmp_path, {})
    cache.add([content(0), content(1)], features[:2])
    [segment] = cache.table.glob("*")
    data = bytearray(segment.read_bytes())
    data[64] ^= 1
    segment.write_bytes(data)
    for n in range(MANY + 2):
        cache.add([content(n)], features[n : n + 1])
    found, rows = cache.find([content(n) for n in range(MANY + 2)])
    assert found.all()
    assert torch.equal(rows, features)


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
