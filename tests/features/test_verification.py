"""What verification finds in features that disks damaged, and what is left once that is taken out."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.events import Event, Progress
from zoo.features.cache import FeatureCache
from zoo.features.segments import MAGIC, SUFFIX, checks_of, join_digests
from zoo.features.verification import verify_features

DIGESTS = [bytes([row, *range(1, 32)]) for row in range(20)]


@pytest.fixture
def kept(tmp_path: Path) -> FeatureCache:
    """A store with twenty features in a file."""
    cache = FeatureCache(tmp_path / "features", {"network": "one"})
    cache.add(DIGESTS, torch.arange(60.0).reshape(20, 3))
    return cache


@pytest.fixture
def file(kept: FeatureCache) -> Path:
    [path] = kept.table.glob(f"*{SUFFIX}")
    return path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_whole_features_are_left_as_they_are(file: Path, tmp_path: Path) -> None:
    before, told = file.read_bytes(), list[Event]()
    [verdict] = verify_features(tmp_path, fix=True, report=told.append)
    assert (verdict.path, verdict.state, verdict.rows, verdict.damaged) == (file, "whole", 20, 0)
    assert file.read_bytes() == before
    assert told[-1] == Progress("verify features", len(before), len(before), "bytes")
    assert [*verify_features(tmp_path / "elsewhere")] == []


@pytest.mark.parametrize("part", ["row", "key", "digest", "check"])
def test_a_damaged_row_is_counted_and_taken_out_alone(
    part: str, kept: FeatureCache, file: Path, tmp_path: Path
) -> None:
    index = len(MAGIC) + 20 * 12
    places = {
        "row": len(MAGIC) + 12 * 7,
        "key": index + 8 * 7 + 1,
        "digest": index + 8 * 20 + 32 * 7 + 9,
        "check": index + 48 * 20 + 8 * 7,
    }
    flip(file, places[part])
    [found] = verify_features(tmp_path)
    assert (found.state, found.rows, found.damaged) == ("damaged", 20, 1)
    assert found.detail == "1 of 20 features are not as they were written"
    [mended] = verify_features(tmp_path, fix=True)
    assert (mended.state, mended.rows) == ("deleted", 19)
    assert not file.exists()
    [again] = verify_features(tmp_path)
    assert (again.state, again.rows) == ("whole", 19)
    there, rows = kept.find(DIGESTS)
    assert int(there.sum()) == 19
    assert torch.equal(torch.as_tensor(rows[there]), torch.arange(60.0).reshape(20, 3)[there])


@pytest.mark.parametrize("damage", ["cut", "other", "moved"])
def test_what_is_no_file_of_features_is_deleted(damage: str, file: Path, tmp_path: Path) -> None:
    if damage == "moved":  # whole, but of other features than the folder is of
        other = file.parent.with_name("0" * 64)
        file.parent.rename(other)
        file = other / file.name
    else:
        file.write_bytes(file.read_bytes()[:-5] if damage == "cut" else b"something else")
    [found] = verify_features(tmp_path)
    assert (found.state, found.detail) == ("damaged", "it is not a whole file of features")
    assert file.exists()
    [mended] = verify_features(tmp_path, fix=True)
    assert mended.state == "deleted"
    assert not file.exists()
    assert [*verify_features(tmp_path)] == []


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"[" * 60_000,
        b'{"count": 20, "shape": [3]}',
        b'{"about": 1, "count": 1e999, "shape": [3]}',
        b'{"about": "", "count": 0, "shape": [3]}',
        b'{"about": "", "count": -1, "shape": [-340]}',
        b'{"about": "", "count": 24, "shape": [4294967296, 4294967296]}',
        b'{"about": "", "count": 24, "shape": [0]}',
    ],
    ids=lambda text: text[-40:].decode(),
)
def test_what_a_file_says_of_itself_is_not_believed(text: bytes, file: Path, tmp_path: Path) -> None:
    """Each has the checksum of its description; the last ones have the size that would follow from it."""
    rows = MAGIC + bytes(56 * 24)
    file.write_bytes(rows + text + sha256(text).digest() + len(text).to_bytes(8, "little"))
    [found] = verify_features(tmp_path)
    assert (found.state, found.detail) == ("damaged", "it is not a whole file of features")
    there, _ = FeatureCache(tmp_path / "features", {"network": "one"}).find(DIGESTS)
    assert not there.any()


def test_files_that_are_not_features_are_not_touched(file: Path, tmp_path: Path) -> None:
    (tmp_path / "features" / "mine").mkdir()
    for place in (tmp_path / "features" / "mine" / f"a{SUFFIX}", file.parent / "notes.txt"):
        place.write_text("mine")
    assert len([*verify_features(tmp_path, fix=True)]) == 1
    assert (file.parent / "notes.txt").exists()


@given(st.sets(st.integers(0, 12 * 8 - 1), min_size=1, max_size=3), st.integers(0, 19))
def test_no_few_changed_bits_of_a_row_go_unseen(bits: set[int], row: int) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    digests = join_digests(DIGESTS)
    before = checks_of(digests, rows)
    changed = rows.copy()
    for bit in bits:
        changed[row].view(np.uint8)[bit // 8] ^= 1 << bit % 8
    assert (checks_of(digests, changed) != before).nonzero()[0].tolist() == [row]


def test_a_sign_that_is_lost_in_every_number_is_seen() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 1280)).astype(np.float32)
    digests = join_digests(DIGESTS)
    for lost in (slice(1, None, 2), slice(None), slice(0, 2)):
        changed = rows.copy()
        changed[:, lost] *= -1
        assert (checks_of(digests, changed) != checks_of(digests, rows)).all()


def test_all_files_are_one_task_whose_progress_never_goes_back(kept: FeatureCache, tmp_path: Path) -> None:
    kept.add(DIGESTS[:5], torch.ones(5, 3))
    other = FeatureCache(tmp_path / "features", {"network": "two"})
    other.add(DIGESTS, torch.ones(20, 3))
    told: list[Event] = []
    assert len([*verify_features(tmp_path, report=told.append)]) == 3
    steps = [event for event in told if isinstance(event, Progress)]
    total = sum(path.stat().st_size for path in (tmp_path / "features").glob(f"*/*{SUFFIX}"))
    assert {(event.task, event.total) for event in steps} == {("verify features", total)}
    done = [event.done for event in steps]
    assert done == sorted(done)
    assert done.index(total) == len(done) - 1, "it is done once"


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_in_the_place_of_a_file_is_set_aside_with_what_is_in_it(
    linked: bool, file: Path, tmp_path: Path
) -> None:
    file.unlink()
    place = tmp_path / "mine" if linked else file
    place.mkdir()
    (place / "precious").write_text("mine")
    if linked:
        file.symlink_to(place)
    [found] = verify_features(tmp_path)
    assert (found.state, found.path) == ("damaged", file)
    assert found.detail == "it is a folder, and a file of features belongs in its place"
    [mended] = verify_features(tmp_path, fix=True)
    assert mended.state == "set aside"
    assert mended.detail == f"{found.detail}: renamed to {file.name}.aside"
    assert (file.with_name(f"{file.name}.aside") / "precious").read_text() == "mine"
    assert [*verify_features(tmp_path)] == []


def test_a_file_that_cannot_be_read_says_what_to_do(file: Path, tmp_path: Path) -> None:
    file.unlink()
    file.symlink_to(file)
    for fix in (False, True):
        [found] = verify_features(tmp_path, fix=fix)
        assert found.state == "damaged"
        assert found.detail is not None
        assert found.detail.startswith(
            "cannot be read: Too many levels of symbolic links. Make it readable, or"
        )
