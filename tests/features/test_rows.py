"""Features in a file are those that were put there, in any order, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import examples

from zoo.errors import DiskFull, StorageError, UsageError
from zoo.features import rows as module
from zoo.features.rows import (
    StoredRows,
    are_equal,
    blocks_of,
    most_held,
    new_rows,
    part_of,
    read_rows,
    select_rows,
)


@pytest.fixture
def table() -> torch.Tensor:
    return torch.randn(1000, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def stored(table: torch.Tensor, tmp_path: Path) -> StoredRows:
    """The table in a file, written in three parts, not in order."""
    rows = new_rows((1000, 7), tmp_path)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    for part in order.split(400):
        rows[part] = table[part]
    return rows


def test_rows_come_back_in_the_order_in_which_they_are_asked_for(
    table: torch.Tensor, stored: StoredRows
) -> None:
    places = torch.tensor([999, 3, 3, 500, 0, 4, 5, 998])
    assert torch.equal(stored.read(places), table[places])
    assert stored.read([]).shape == (0, 7)
    assert (len(stored), stored.nbytes) == (1000, 28_000)


@examples(50)
@given(st.data())
def test_whatever_is_selected_of_what_was_selected_is_what_a_tensor_has(data: st.DataObject) -> None:
    table = torch.arange(60.0).reshape(30, 2)
    rows: module.Rows = new_rows((30, 2), Path(gettempdir()))
    assert isinstance(rows, StoredRows)
    rows[torch.arange(30)] = table
    expected: module.Rows = table
    for _ in range(2):
        places = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=40))
        rows, expected = select_rows(rows, places), select_rows(expected, places)
        stop = data.draw(st.integers(1, len(rows)))
        rows, expected = part_of(rows, 0, stop), part_of(expected, 0, stop)
    assert torch.equal(torch.cat([*blocks_of(rows)]), torch.cat([*blocks_of(expected)]))
    assert torch.equal(read_rows(rows, torch.tensor([0])), read_rows(expected, torch.tensor([0])))


def test_blocks_are_all_rows_a_few_mb_at_a_time(
    table: torch.Tensor, stored: StoredRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 28 * 300)
    blocks = [*blocks_of(stored)]
    assert [len(block) for block in blocks] == [300, 300, 300, 100]
    assert torch.equal(torch.cat(blocks), table)
    assert torch.equal(stored.read(torch.arange(999, -1, -1)), table.flip(0))


def test_equal_rows_are_told_from_others_in_memory_and_in_a_file(
    table: torch.Tensor, stored: StoredRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 28 * 300)
    assert not are_equal(stored)
    assert not are_equal(table)
    for places in (torch.arange(999), torch.tensor([999])):
        stored[places] = torch.ones(len(places), 7)
    assert are_equal(stored)
    stored[torch.tensor([999])] = torch.zeros(1, 7)  # only the last of the last block
    assert not are_equal(stored)


def test_a_folder_that_cannot_be_made_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    rows = new_rows((10, 2), tmp_path / "file" / "features")
    assert rows.folder == Path(gettempdir())
    assert not rows.read(torch.arange(10)).any()


def test_nothing_is_left_of_the_file(tmp_path: Path) -> None:
    rows = new_rows((10, 2), tmp_path / "new" / "folder")
    assert rows.folder == tmp_path / "new" / "folder"
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_full_disk_is_an_error_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(DiskFull, match=r"the features of a run needs? 5\.1 MB, 1 MB free in"):
        new_rows((1000, 1280), tmp_path)


def test_a_file_that_has_become_shorter_is_an_error(stored: StoredRows) -> None:
    stored.file.truncate(100)
    with pytest.raises(StorageError, match=r"cannot be read again in .*has become shorter"):
        stored.read(torch.arange(1000))


def test_how_much_is_held_is_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_held() == 512_000_000
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "2GB")
    assert most_held() == 2_000_000_000
    monkeypatch.setenv("ZOO_FEATURES_MEMORY", "much")
    with pytest.raises(UsageError, match="ZOO_FEATURES_MEMORY: 'much' is not a size"):
        most_held()


def test_rows_in_memory_are_copied_only_where_others_are_wanted() -> None:
    rows = torch.arange(12.0).reshape(4, 3)
    assert select_rows(rows, range(4)) is rows
    for places in ([1, 0, 2, 3], [0, 1, 2], [0, 1, 2, 3, 3]):
        chosen = select_rows(rows, places)
        assert torch.equal(torch.as_tensor(chosen), rows[places])
