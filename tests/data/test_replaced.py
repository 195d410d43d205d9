"""Files that hold something else than they did."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from zoo.data.contents import read_contents
from zoo.data.replaced import Watched, name_replaced


def watch(paths: list[Path]) -> Watched:
    """The files as they are now."""
    return Watched(paths, read_contents(paths))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_what_is_replaced_is_found_even_with_the_size_and_the_date_of_before(files: list[Path]) -> None:
    watched, then = watch(files), files[1].stat()
    files[1].write_text("9.png")
    os.utime(files[1], ns=(then.st_atime_ns, then.st_mtime_ns))
    assert [*watched.find_replaced(files)] == [files[1]]
    assert [*watched.find_replaced(files[:1])] == []
    assert watched.fingerprint(files) != watch(files).fingerprint(files)


def test_what_is_touched_copied_or_gone_is_not_replaced(files: list[Path]) -> None:
    watched = watch(files)
    os.utime(files[0])
    files[1].rename(files[1].with_suffix(".old"))
    files[1].write_bytes(files[1].with_suffix(".old").read_bytes())
    files[2].unlink()
    assert watched.find_replaced(files) == {}
    assert watched.fingerprint(files[:2]) == watch(files).fingerprint(files[:2])


def test_a_file_that_was_touched_is_read_again_once(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(files)
    os.utime(files[0])
    assert watched.find_replaced(files) == {}
    monkeypatch.setattr("zoo.data.contents.open_file", None)
    assert watched.find_replaced(files) == {}


def test_a_member_of_a_zip_is_found(tmp_path: Path) -> None:
    archive, members = tmp_path / "all.zip", [tmp_path / "all.zip" / name for name in ("a.png", "b.png")]

    def pack(second: str) -> None:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("a.png", "the same")
            packed.writestr("b.png", second)

    pack("before")
    watched = watch(members)
    pack("after, and longer")
    assert [*watched.find_replaced(members)] == [members[1]]


def test_a_few_are_named_below_the_root(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / f"{number}.png" for number in range(5)]
    assert name_replaced(paths[::-1], tmp_path) == "a/0.png, a/1.png, a/2.png and 2 more"
