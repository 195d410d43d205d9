"""What one command reads once: a run and the page about it are about the same data."""

from __future__ import annotations

from pathlib import Path

from zoo.data.once import read_once
from zoo.data.scanning import scan_dataset, scan_evaluation


def test_data_are_listed_once_within_a_command_and_anew_after_it(tmp_path: Path) -> None:
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        for number in range(5):
            (tmp_path / label / f"{number}.jpg").write_bytes(f"{label} {number}".encode())
    alone = scan_dataset(tmp_path), scan_evaluation(tmp_path, ("bee", "ant"))
    with read_once():
        first = scan_dataset(tmp_path), scan_evaluation(tmp_path, ("bee", "ant"))
        assert first == alone
        (tmp_path / "ant" / "new.jpg").write_bytes(b"new")
        assert (scan_dataset(tmp_path), scan_evaluation(tmp_path, ("bee", "ant"))) == alone
        other = scan_dataset(tmp_path, seed=1)
        assert len(other.items) == 10
        assert other.split != alone[0].split
        assert scan_dataset(tmp_path, classes=("bee", "ant")).classes == ("bee", "ant")
    assert len(scan_dataset(tmp_path).items) == 11
    assert len(scan_evaluation(tmp_path, ("bee", "ant")).items) == 11
