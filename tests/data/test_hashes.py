"""Hashes that are remembered by stamp: never a wrong one, whatever happens to the files or to the memory."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from zoo.data import contents, hash_segments, hashes
from zoo.data.contents import digest_files, know_files, read_contents
from zoo.data.file_systems import identify, kind_of
from zoo.data.hashes import Hashes, most_bytes, stamp_rows
from zoo.data.leaks import find_copies
from zoo.errors import UsageError
from zoo.features.segments import join_digests

TICK = 0.03  # seconds; the kernel's clock for files ticks every 1 to 10 ms
FALSE = b"\2" * 32


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder on a file system that can be trusted."""
    folder = tmp_path / "photos"
    folder.mkdir()
    if identify(os.fspath(folder), folder.stat().st_dev) is None:
        pytest.skip(f"{folder} is on a file system whose stamps are not trusted")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file counts as settled after some ticks: on this file system, the clock has many in a second."""
    monkeypatch.setattr(hashes, "GRAIN", int(TICK * 5e8))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def digests(paths: list[Path], home: Path | None) -> list[bytes | None]:
    return [content.digest for content in read_contents(list(paths), home)]


def stamp(path: Path) -> tuple[int, ...]:
    found = contents._stamp_of_file(path)
    assert found is not None
    return found


Stamps = list[tuple[int, ...]]


def add(
    memory: Hashes, paths: Sequence[str | Path], stamps: Stamps, known: list[bytes], began: int | None = None
) -> None:
    """Remember digests; a file with an odd one counts as plain."""
    rows = join_digests(known)
    began = time.time_ns() if began is None else began
    memory.add(paths, stamp_rows(stamps), rows, rows[:, 0] % 2 == 1, began=began)


def find(memory: Hashes, paths: Sequence[str | Path], stamps: Stamps) -> list[bytes | None]:
    """What is remembered, after a look at whether the rest of each row belongs to its digest."""
    found, plain, known = memory.find(paths, stamp_rows(stamps))
    assert (plain == (found[:, 0] % 2 == 1)).all()
    assert not found[~known].any()
    return [row.tobytes() if there else None for row, there in zip(found, known, strict=True)]


def is_remembered(path: Path, home: Path) -> bool:
    return bool(Hashes(home / "hashes").find([path], stamp_rows([stamp(path)]))[2].all())


def settle() -> None:
    time.sleep(TICK)


def poison(paths: list[Path], home: Path) -> None:
    """Remember a false digest of each file: who answers with it has not read the file."""
    stamps = [stamp(path) for path in paths]
    add(Hashes(home / "hashes"), paths, stamps, [FALSE] * len(paths))


# --- what is believed


def test_a_file_is_read_once_and_its_hash_is_the_same_ever_after(photos: Path, home: Path) -> None:
    paths = [write(photos / f"{number}.jpg", b"%d" % number) for number in range(300)]
    before = os.environ.get("ZOO_HASHES")
    assert before is None
    time.sleep(hashes.GRAIN / 1e9 + 0.1)  # once, with the real one
    true = [sha256(path) for path in paths]
    assert digests(paths, home) == true
    assert all(is_remembered(path, home) for path in paths)
    assert digests(paths, home) == true == digests(paths, None)


@pytest.mark.usefixtures("quick")
def test_what_is_remembered_is_not_read_and_who_gives_no_home_reads(photos: Path, home: Path) -> None:
    path = write(photos / "a.jpg", b"bee")
    settle()
    poison([path], home)
    assert digests([path], home) == [FALSE]
    assert digests([path], None) == [sha256(path)]


@pytest.mark.usefixtures("quick")
def test_with_zoo_hashes_0_nothing_is_believed_and_nothing_written(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(photos / "a.jpg", b"bee")
    settle()
    poison([path], home)
    monkeypatch.setenv("ZOO_HASHES", "0")
    assert digests([path], home) == [sha256(path)]
    shutil.rmtree(home)
    assert digests([path], home) == [sha256(path)]
    assert not home.exists()
    monkeypatch.setenv("ZOO_HASHES", "much")
    with pytest.raises(UsageError, match="ZOO_HASHES: 'much' is not a size"):
        most_bytes()


def test_a_file_that_was_just_written_is_not_remembered(photos: Path, home: Path) -> None:
    """Git's racy files: it may change once more within a tick, with the same size and the same times."""
    path = photos / "a.jpg"
    for number in range(50):
        content = b"%2d" % number
        write(path, content)
        assert digests([path], home) == [hashlib.sha256(content).digest()]
        assert not is_remembered(path, home)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seconds", [-1e9, 0, 1e9])
def test_a_change_is_noticed_though_size_and_date_are_restored(
    photos: Path, home: Path, seconds: float
) -> None:
    path = write(photos / "a.jpg", b"one")
    then = time.time() + seconds  # also a date in the future, and one of long ago
    os.utime(path, (then, then))
    date = path.stat().st_mtime_ns
    settle()
    assert digests([path], home) == [sha256(path)]
    assert is_remembered(path, home)
    with path.open("r+b") as file:  # in place: the inode stays
        file.write(b"two")
    os.utime(path, ns=(date, date))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (3, date)
    assert digests([path], home) == [hashlib.sha256(b"two").digest()]


@pytest.mark.usefixtures("quick")
def test_renamed_copied_linked_and_replaced_files_have_their_own_hashes(photos: Path, home: Path) -> None:
    a, b = (write(photos / name, name.encode()) for name in ("a.jpg", "b.jpg"))
    link, copy, moved = photos / "link.jpg", photos / "copy.jpg", photos / "moved.jpg"
    settle()
    digests([a, b], home)
    os.link(a, link)
    shutil.copy2(a, copy)  # with its date
    for paths in ([a, b, link, copy], [a, b, link, copy]):
        assert digests(paths, home) == [sha256(path) for path in paths]
        settle()
    assert is_remembered(a, home)
    assert is_remembered(link, home)  # one file
    a.rename(moved)
    b.rename(a)  # a is b now
    assert digests([moved, a, link], home) == [sha256(path) for path in (moved, a, link)]
    settle()
    digests([moved, a, link], home)
    later = write(photos / "later", b"c.jpg")
    os.utime(later, ns=(a.stat().st_mtime_ns, a.stat().st_mtime_ns))
    later.replace(a)
    assert digests([moved, a, link], home) == [sha256(path) for path in (moved, a, link)]


@pytest.mark.usefixtures("quick")
def test_an_inode_that_is_used_again_is_another_file(photos: Path, home: Path) -> None:
    for number in range(20):
        path = write(photos / f"{number}.jpg", b"%2d" % number)
        settle()
        assert digests([path], home) == [hashlib.sha256(b"%2d" % number).digest()]
        assert is_remembered(path, home)
        path.unlink()


@pytest.mark.usefixtures("quick")
def test_a_file_of_the_future_is_read_every_time(photos: Path, home: Path) -> None:
    """Its ctime lies after the moment of reading: the clock was, or will be, put back."""
    path = write(photos / "a.jpg", b"one")
    settle()
    memory = Hashes(home / "hashes")
    add(memory, [path], [stamp(path)], [FALSE], stamp(path)[2] - 3600 * 10**9)
    assert not is_remembered(path, home)


def test_random_edits_never_give_a_wrong_hash(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes in place, dates put back, renames, replacements, links, and readings at any moment between."""
    monkeypatch.setattr(hashes, "GRAIN", 10_000_000)
    draw = random.Random(0)
    names = [photos / f"{name}.jpg" for name in "abcdef"]
    for name in names:
        write(name, b"00")
    for _ in range(600):
        one, other = draw.sample(names, 2)
        match draw.randrange(6):
            case 0:
                date = one.stat().st_mtime_ns
                with one.open("r+b") as file:
                    file.write(b"%2d" % draw.randrange(100))
                os.utime(one, ns=(date, date))
            case 1:
                shutil.copy2(one, photos / "new")
                (photos / "new").replace(other)
            case 2:
                other.unlink()
                os.link(one, other)
            case 3:
                one.rename(photos / "x")
                other.rename(one)
                (photos / "x").rename(other)
            case 4:
                write(one, b"%2d" % draw.randrange(100))
            case _:
                time.sleep(0.015)
        if draw.random() < 0.7:
            assert digests(names, home) == [sha256(name) for name in names]


# --- which files


def test_folders_pipes_gone_files_and_members_of_archives_are_as_without_a_memory(
    photos: Path, home: Path
) -> None:
    import zipfile

    pipe, archive = photos / "pipe", photos / "a.zip"
    os.mkfifo(pipe)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x/1.jpg", b"member")
    paths = [None, pipe, photos, photos / "gone.jpg", archive / "x/1.jpg", write(photos / "a.jpg", b"a")]
    for _ in range(2):
        assert list(read_contents(paths, home)) == list(read_contents(paths))
    assert read_contents(paths, home)[4].digest == hashlib.sha256(b"member").digest()


@pytest.mark.usefixtures("quick")
def test_copies_are_found_with_and_without_a_memory(photos: Path, home: Path) -> None:
    paths = [write(photos / f"{n}.jpg", b"%d" % (n % 7)) for n in range(9)] + [write(photos / "e.jpg", b"")]
    settle()
    for _ in range(2):
        assert find_copies(paths, digest_files(paths, home)) == find_copies(paths) == [[0, 7], [1, 8]]


def test_file_systems_of_networks_and_images_are_not_trusted(tmp_path: Path) -> None:
    mounts = write(
        tmp_path / "mountinfo",
        b"22 1 8:1 / / rw - ext4 /dev/sda rw\n"
        b"23 22 0:30 / /data/my\\040photos rw,relatime shared:1 - nfs4 server:/p rw\n"
        b"24 22 0:31 / /data rw - xfs /dev/sdb rw\n"
        b"25 24 0:32 / /data/over rw - ext4 /dev/sdc rw\n"
        b"26 25 0:33 / /data/over rw - fuse.sshfs host: rw\n",
    )
    found = {
        path: kind_of(path, os.fspath(mounts))
        for path in ("/home/a.jpg", "/data/my photos/a.jpg", "/data/mine", "/data/over/x", "/data/over2", "/")
    }
    assert [*found.values()] == ["ext4", "nfs4", "xfs", "fuse.sshfs", "xfs", "ext4"]
    assert identify("/proc/self/stat", Path("/proc/self/stat").stat().st_dev) is None
    assert identify(os.fspath(mounts), 12345) is None  # it moved to another device meanwhile
    assert identify("/no/such/file", 1) is None


@pytest.mark.usefixtures("quick")
def test_files_of_a_file_system_that_is_not_trusted_are_read(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(photos / "a.jpg", b"bee")
    settle()
    poison([path], home)
    monkeypatch.setattr("zoo.data.file_systems.LOCAL", frozenset({"none"}))
    assert digests([path], home) == [sha256(path)]


@pytest.mark.usefixtures("quick")
def test_that_a_file_is_plain_is_remembered_with_its_hash_and_forgotten_with_it(
    photos: Path, home: Path
) -> None:
    grey = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8)
    starts = {
        "a.jpg": (b"\xff\xd8\xff\xe0 and so on", True),
        "b.png": (grey + b"\x08\0", True),
        "deep.png": (grey + b"\x10\0", False),
        "c.jpg": (b"<html>", False),
        "d.tif": (b"II*\0", False),
        "e.jpg": (b"", False),
    }
    paths = [write(photos / name, start) for name, (start, _) in starts.items()]
    settle()
    for _ in range(2):  # read, and remembered
        known = know_files([*paths, photos / "gone.jpg"], home)
        unusual = {path for path, (_, plain) in zip(paths, starts.values(), strict=True) if not plain}
        assert known.unusual == unusual | {photos / "gone.jpg"}
    assert is_remembered(paths[0], home)
    write(paths[0], b"<html> where a JPEG was")
    assert paths[0] in know_files(paths, home).unusual


# --- how they are kept


def numbered(count: int, start: int = 0) -> tuple[list[str], list[tuple[int, ...]], list[bytes]]:
    """So many files of this file system that are not there: stamps and digests that go with them."""
    device = Path().stat().st_dev
    stamps = [(n, n - 5, n, 7 * n - 2**40, device) for n in range(start, start + count)]
    return ["."] * count, stamps, [hashlib.sha256(b"%d" % n).digest() for n in range(start, start + count)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.hashes"))


@pytest.mark.usefixtures("photos")
def test_many_small_additions_become_few_segments_that_know_everything(tmp_path: Path) -> None:
    memory = Hashes(tmp_path / "hashes")
    paths, stamps, known = numbered(5000)
    order = list(range(5000))
    random.Random(1).shuffle(order)
    for start in range(0, 5000, 50):
        part = order[start : start + 50]
        add(memory, ["."] * 50, [stamps[n] for n in part], [known[n] for n in part])
    assert len(segments(tmp_path)) <= 8
    assert find(memory, paths, stamps) == known
    others = [(size + 1, *rest) for size, *rest in stamps]
    assert find(memory, paths, others) == [None] * 5000
    newer = [(size, mtime, ctime + 1, *rest) for size, mtime, ctime, *rest in stamps]
    add(memory, paths, newer, [FALSE] * 5000)
    assert find(memory, paths, newer) == [FALSE] * 5000


@pytest.mark.usefixtures("photos")
def test_any_flipped_byte_or_cut_is_noticed_and_the_rest_is_still_known(tmp_path: Path) -> None:
    memory = Hashes(tmp_path / "hashes")
    paths, stamps, known = numbered(3000)
    add(memory, paths, stamps, known)
    (path,) = segments(tmp_path)
    whole, draw = path.read_bytes(), random.Random(2)
    for place in [*range(0, 80, 3), *(draw.randrange(len(whole)) for _ in range(60))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        found = find(memory, paths, stamps)
        assert all(digest in (None, true) for digest, true in zip(found, known, strict=True))
        assert found.count(None) in ((1024, 952) if place > 100 else (3000, 0))
    for length in (0, 10, 40, 60, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert find(memory, paths, stamps) == [None] * 3000
    path.write_bytes(whole + b"x")
    assert find(memory, paths, stamps) == [None] * 3000
    path.write_bytes(whole)
    assert find(memory, paths, stamps) == known
    elsewhere = tmp_path / "hashes" / ("0" * 64)
    path.parent.rename(elsewhere)  # as if it were of another file system
    with hash_segments.open_segment(elsewhere / path.name) as segment:
        assert segment is None


@pytest.mark.usefixtures("photos")
def test_the_least_used_segments_go_when_there_are_too_many(tmp_path: Path) -> None:
    memory = Hashes(tmp_path / "hashes", most=72 * 2500)
    for number in range(5):
        add(memory, *numbered(1000, 1000 * number))
        assert sum(path.stat().st_size for path in segments(tmp_path)) <= 72 * 2500
    torn = segments(tmp_path)[0].with_suffix(".partial")
    torn.touch()
    os.utime(torn, (0, 0))
    add(memory, *numbered(10, 9000))
    assert not torn.exists()
    paths, stamps, known = numbered(10, 9000)
    assert find(memory, paths, stamps) == known


@pytest.mark.usefixtures("photos")
def test_times_beyond_64_bits_are_remembered_too(tmp_path: Path) -> None:
    memory = Hashes(tmp_path / "hashes")
    device = Path().stat().st_dev
    stamps = [(1, 10**19, 5, 2**64 - 1, device), (2, -(10**18), 5, 3, device)]
    add(memory, [".", "."], stamps, [b"a" * 32, b"b" * 32])
    assert find(memory, [".", "."], stamps) == [b"a" * 32, b"b" * 32]


@pytest.mark.usefixtures("quick")
def test_a_home_that_cannot_be_written_or_is_full_is_done_without(
    photos: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(photos / "a.jpg", b"bee")
    settle()
    home.mkdir()
    write(home / "hashes", b"a file, where a folder belongs")
    assert digests([path], home) == [sha256(path)]
    (home / "hashes").unlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hash_segments, "write_segment", full)
    assert digests([path], home) == [sha256(path)]
    assert segments(home) == []


ADDER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_hashes import add, numbered
from zoo.data.hashes import Hashes
memory, number = Hashes(Path(sys.argv[1])), int(sys.argv[3])
print("ready", flush=True)
for turn in range(int(sys.argv[4])):
    start = 100_000 * number + 100 * turn
    add(memory, *numbered(100, start))
    print(start, flush=True)
"""


def adder(folder: Path, number: int, turns: int) -> subprocess.Popen[str]:
    here = os.fspath(Path(__file__).parent)
    command = [sys.executable, "-c", ADDER, os.fspath(folder), here, str(number), str(turns)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("photos")
def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "hashes"
    for process in [adder(folder, number, 25) for number in range(3)]:
        assert process.communicate()[0].split()[-1] == str(100_000 * (int(process.args[5])) + 2400)
        assert process.returncode == 0
    for number in range(3):
        paths, stamps, known = numbered(2500, 100_000 * number)
        assert find(Hashes(folder), paths, stamps) == known
    assert len(segments(tmp_path)) <= 12


@pytest.mark.usefixtures("photos")
def test_a_process_that_is_killed_at_any_moment_leaves_only_true_hashes(tmp_path: Path) -> None:
    folder, draw = tmp_path / "hashes", random.Random(3)
    for number in range(6):
        process = adder(folder, number, 900)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        done = [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait()
        process.stdout.close()
        paths, stamps, known = numbered(90_000, 100_000 * number)
        found = find(Hashes(folder), paths, stamps)
        assert all(digest in (None, true) for digest, true in zip(found, known, strict=True))
        for start in done:
            place = start - 100_000 * number
            assert found[place : place + 100] == known[place : place + 100]


def test_a_segment_opens_at_once_and_reads_only_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.zeros(100_000, hash_segments.ROW)
    rows["stamp"][:, 3] = np.arange(100_000)
    rows["digest"][:, 0] = np.arange(100_000) % 251
    rows["plain"] = np.arange(100_000) < 1000
    path = hash_segments.write_segment(tmp_path, rows)
    read: list[int] = []
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: read.append(n) or whole(fd, n, at))
    with hash_segments.open_segment(path) as segment:
        assert segment is not None
        wanted = np.array([[0, 0, 0, n] for n in (5, 50_000, 99_999, 100_000, -1)])
        found, known, plain = np.zeros((5, 32), np.uint8), np.zeros(5, bool), np.zeros(5, bool)
        segment.find(wanted, found, plain, known)
    assert plain.tolist() == [True, False, False, False, False]
    assert known.tolist() == [True, True, True, False, False]
    assert found[:, 0].tolist() == [5, 50_000 % 251, 99_999 % 251, 0, 0]
    assert sum(read) < 250_000 < path.stat().st_size
