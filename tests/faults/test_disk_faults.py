"""Rows D19, D20, K4 and K5: disks that are full, read-only, or in odd places."""

from __future__ import annotations

import errno
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import write_registry
from support.forks import Forks
from support.loopback import (
    BODY,
    SHA256,
    Server,
    entry_for,
    find_wrong_blobs,
    leftovers,
    unproven,
    without_length,
)

from zoo.cli.main import answer
from zoo.cli.sink import Mode, Sink
from zoo.errors import StorageError
from zoo.runs.using.embedding import WRITERS as EMBEDDING_FORMATS
from zoo.runs.using.prediction_files import FORMATS as PREDICTION_FORMATS
from zoo.store.disk.homes import find_homes
from zoo.store.sources.other_caches import find_adoptable
from zoo.store.store import Store, open_store
from zoo.store.trust.expected import Proof

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="zoo-test-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Forks, Path]]:
    """Processes that see a disk of 3 MB at a path, in a mount namespace of their own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with Forks(on_small_disk(disk)) as forks:
        yield forks, disk


def on_small_disk(disk: Path) -> tuple[str, ...]:
    """What to put before a command that shall see a disk of 3 MB at a path."""
    mount = f"mount -t tmpfs -o size=3m tmpfs '{disk}' && exec \"$@\""
    prefix = ("unshare", "-Urm", "sh", "-c", mount, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here: a small disk cannot be mounted")
    return prefix


@pytest.mark.fault("D19")
def test_too_small_a_disk_is_told_before_anything_is_asked(
    server: Server, small_disk: tuple[Forks, Path]
) -> None:
    forks, disk = small_disk
    url = server.add("/net", BODY)
    what, code, message = forks.wait(
        forks.start(home=str(disk), url=url, facts={"sha256": SHA256, "bytes": 98_000_000})
    )
    assert (what, code) == ("DiskFull", 7)
    assert f"net needs 98 MB, 3.1 MB free in {disk}" in message
    assert "set ZOO_HOME" in message
    assert server.connections == 0


@pytest.mark.fault("D19")
def test_a_size_that_only_the_server_knows_is_checked_before_the_body(
    server: Server, small_disk: tuple[Forks, Path]
) -> None:
    forks, disk = small_disk
    url = server.add("/net", BODY * 20)
    what, code, message = forks.wait(forks.start(home=str(disk), url=url))
    assert (what, code) == ("DiskFull", 7)
    assert "net needs 6 MB" in message
    assert len(server.log) == 1


@pytest.mark.fault("D19")
def test_a_disk_that_fills_up_on_the_way_ends_the_fetch_without_another_try(
    server: Server, small_disk: tuple[Forks, Path]
) -> None:
    forks, disk = small_disk
    url = server.add("/net", BODY * 20, without_length())
    what, code, message = forks.wait(forks.start(home=str(disk), url=url))
    assert (what, code) == ("DiskFull", 7)
    assert "set ZOO_HOME" in message
    assert len(server.log) == 1


@pytest.mark.fault("D19")
def test_a_full_disk_is_told_in_two_lines_on_the_command_line(
    server: Server, tmp_path: Path, home: Path
) -> None:
    home.mkdir()
    entry = entry_for(server.add("/net", BODY * 20), sha256=SHA256, bytes=98_000_000)
    registry = write_registry(tmp_path / "r.yaml", entry)
    command = [*on_small_disk(home), sys.executable, "-m", "zoo", "fetch", "net", "--registry", str(registry)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.splitlines() == [
        f"error: net needs 98 MB, 3.1 MB free in {home / 'blobs'}",
        "Free some space (zoo cache lists the models), or set ZOO_HOME to a folder on a larger disk.",
    ]
    assert server.connections == 0


PREDICTIONS = """
from zoo.runs.using.prediction_files import PredictionFile
def write(out):
    with PredictionFile(out) as file:
        for row in range(200_000):
            file.add({"path": os.urandom(32).hex()})
"""
FEATURES = """
import numpy
from zoo.runs.using.embedding import Embeddings, write_embeddings
rng = numpy.random.default_rng(0)
def write(out):
    paths = tuple(Path(f"{row}.jpg") for row in range(3000))
    write_embeddings(Embeddings(paths, rng.random((3000, 500), numpy.float32)), out)
"""


@pytest.mark.fault("D19")
@pytest.mark.parametrize(
    ("writer", "suffix"),
    [
        *((PREDICTIONS, suffix) for suffix in PREDICTION_FORMATS),
        *((FEATURES, suffix) for suffix in EMBEDDING_FORMATS),
    ],
)
def test_a_full_disk_is_told_for_every_format_that_is_written(
    tmp_path: Path, writer: str, suffix: str
) -> None:
    """Libraries have errors of their own for it: polars says so in the text of a ComputeError alone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    ending = (
        "from zoo.cli.main import answer\n"
        "from zoo.cli.sink import Mode, Sink\n"
        "try: write(Path(sys.argv[1]))\n"
        "except BaseException as error: code = answer(error, Sink(Mode.HUMAN))\n"
        "print(code, os.listdir(Path(sys.argv[1]).parent))"
    )
    program = f"import os, sys\nfrom pathlib import Path\n{writer}\n{ending}"
    out = disk / f"out{suffix}"
    command = [*on_small_disk(disk), sys.executable, "-c", program, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "7 []\n", done.stderr
    happened, to_do = done.stderr.splitlines()
    assert re.fullmatch(f"error: no room for {out}: .* free in {disk}", happened)
    assert to_do == "Free some space, or name a file on a larger disk."


@pytest.mark.fault("D19")
def test_weights_that_cannot_be_kept_on_a_full_disk_are_used_and_not_blamed(tmp_path: Path) -> None:
    """safetensors has an error of its own, too: the file is sound, and the message names the model."""
    import torch

    disk, net = tmp_path / "disk", tmp_path / "net.pth"
    disk.mkdir()
    torch.save({"layer.weight": torch.ones(500, 1000)}, net)  # 2 of 3 MB
    program = (
        "import sys\nfrom pathlib import Path\nfrom support.loopback import unproven\n"
        "from zoo.store.store import Store\nfrom zoo.backbones.checkpoints import load_weights\n"
        "store = Store(Path(sys.argv[1]))\nlocal = store.fetch(unproven(sys.argv[2]))\n"
        "print(load_weights(local, store, report=lambda event: print(event.message))['layer.weight'].sum())"
    )
    command = [*on_small_disk(disk), sys.executable, "-c", program, str(disk), net.as_uri()]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=found)
    assert done.returncode == 0, done.stderr
    *_, note, total = done.stdout.splitlines()
    assert note.startswith("net is not kept as safetensors: convert net needs more space, ")
    assert total == "tensor(500000.)"


@pytest.mark.fault("D19")
@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 7), (errno.EDQUOT, 7), (errno.EROFS, 7), (errno.EIO, 1)]
)
def test_what_a_library_says_of_the_disk_is_no_fault_of_zoo(
    number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it was raised: the last place that words an error knows them as well."""
    error = RuntimeError(f"parquet: underlying IO error: {os.strerror(number)} (os error {number})")
    assert answer(error, Sink(Mode.HUMAN)) == code
    told = capsys.readouterr().err
    assert os.strerror(number) in told
    assert ("fault of zoo" in told) == (code == 1)


@pytest.mark.fault("D19")
def test_a_limit_on_file_sizes_is_told_like_a_full_disk(server: Server, store: Store) -> None:
    with Forks() as forks:
        url = server.add("/net", BODY)
        what, code, _ = forks.wait(forks.start(home=str(store.home), url=url, largest=100_000))
    assert (what, code) == ("DiskFull", 7)
    assert len(server.log) == 1
    assert store.fetch(entry_for(url)).path.read_bytes() == BODY
    assert server.offsets("/net")[-1] == 100_000, "what came is kept"


@pytest.mark.fault("D19")
@pytest.mark.parametrize("adopted", [False, True], ids=["a local file", "another library's cache"])
def test_a_copy_that_is_cut_by_a_limit_never_gets_a_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adopted: bool
) -> None:
    """A write may take a part of a block without an error: what was read is not what is on the disk."""
    source = tmp_path / "torch" / "hub" / "checkpoints" / "net"
    source.parent.mkdir(parents=True)
    source.write_bytes(BODY)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    url = "https://models.example/net" if adopted else source.as_uri()
    with Forks() as forks:
        what, code, _ = forks.wait(forks.start(home=str(home), url=url, largest=100_000))
    assert (what, code) == ("DiskFull", 7)
    assert find_wrong_blobs(home) == []
    assert Store(home).fetch(entry_for(url)).path.read_bytes() == BODY


@pytest.mark.fault("K5")
@pytest.mark.parametrize("variable", ["TORCH_HOME", "ZOO_HOME"])
def test_a_home_of_nobody_is_no_fault_of_zoo(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """As in a container, whose user the system does not know."""
    monkeypatch.setenv(variable, "~no-such-user-here/x")
    monkeypatch.chdir(tmp_path)
    entry = entry_for(server.add("/net", BODY), "https://models.example/net")
    assert open_store().fetch(entry).path.read_bytes() == BODY
    assert list(find_adoptable(entry.weights.urls[1], Proof(sha256=SHA256))) == []


@pytest.mark.fault("D20")
@as_root
def test_a_shared_folder_that_may_not_be_read_is_passed_over(server: Server, open_folder: Path) -> None:
    url, locked = server.add("/net", BODY), open_folder / "locked"
    Store(locked).fetch(entry_for(url))
    (locked / "registries").mkdir()
    home = open_folder / "home"
    home.mkdir()
    home.chmod(0o777)
    locked.chmod(0o700)
    with Forks() as forks:
        what, code, message = forks.wait(
            forks.start(home=str(home), shared=[str(locked)], url=url, uid=NOBODY)
        )
    assert (what, code) == ("fetched", 0), message


@pytest.mark.fault("D20")
def test_a_source_that_cannot_be_read_is_not_called_a_fault_of_the_store(store: Store) -> None:
    broken = Path("/proc/self/mem")  # a regular file whose first byte is an error
    if not broken.is_file():
        pytest.skip("no /proc here")
    with pytest.raises(StorageError, match=f"net: {broken} cannot be read: Input/output error"):
        store.fetch(unproven(broken.as_uri()))
    assert leftovers(store.home) == []


@pytest.mark.fault("D20")
@as_root
def test_a_read_only_store_is_read_without_a_try_to_write(server: Server, open_folder: Path) -> None:
    url = server.add("/net", BODY)
    home = open_folder / "home"
    Store(home).fetch(entry_for(url))
    for folder in [home, *[path for path in home.rglob("*") if path.is_dir()]]:
        folder.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    with Forks() as forks:
        assert forks.wait(forks.start(home=str(home), url=url, uid=NOBODY))[:2] == ("fetched", 0)
        other = server.add("/other", BODY[::-1])
        what, code, message = forks.wait(
            forks.start(home=str(home), url=other, uid=NOBODY, facts={"bytes": len(BODY)})
        )
    assert (what, code) == ("StorageError", 7)
    assert str(home) in message
    assert "ZOO_HOME" in message
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


@pytest.mark.fault("D20")
@as_root
def test_a_home_that_cannot_be_made_is_named(server: Server, open_folder: Path) -> None:
    with Forks() as forks:
        job = {"home": str(open_folder / "home"), "url": server.add("/net", BODY), "uid": NOBODY}
        what, code, message = forks.wait(forks.start(**job))
    assert (what, code) == ("StorageError", 7)
    assert str(open_folder / "home") in message


@pytest.mark.fault("K4")
def test_a_store_on_another_disk_than_the_temporary_folder_works(
    server: Server, small_disk: tuple[Forks, Path], tmp_path: Path
) -> None:
    forks, disk = small_disk
    before = set(tmp_path.rglob("*")) | set(Path(tempfile.gettempdir()).glob("*"))
    url = server.add("/net", BODY)
    assert forks.wait(forks.start(home=str(disk / "home"), url=url))[:2] == ("fetched", 0)
    assert forks.wait(forks.start(home=str(disk / "home"), url=url, offline=True))[0] == "fetched"
    made = set(tmp_path.rglob("*")) | set(Path(tempfile.gettempdir()).glob("*"))
    assert made == before, "nothing is written beside the store"


@pytest.mark.fault("K5")
@pytest.mark.parametrize("name", ["with space", "ünïcödé – 模型", "-dash", "per%cent#?", "new\nline"])
def test_a_store_in_an_oddly_named_folder_works(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / name))
    store = open_store()
    assert store.home == tmp_path / name
    local = store.fetch(entry_for(server.add("/net", BODY)))
    copy = tmp_path / name / "copy"
    shutil.copy(local.path, copy)
    assert store.fetch(unproven(copy.as_uri())).sha256 == SHA256
    assert leftovers(store.home) == []


@pytest.mark.fault("K5")
def test_a_store_behind_a_symbolic_link_works(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "link"))
    assert open_store().fetch(entry_for(server.add("/net", BODY))).sha256 == SHA256
    assert find_wrong_blobs(tmp_path / "real") == []
    assert len(list((tmp_path / "real" / "blobs").iterdir())) == 1


@pytest.mark.fault("K5")
def test_home_is_the_cache_folder_of_the_platform_and_zoo_home_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (default,) = find_homes()
    assert default.is_relative_to(tmp_path)
    assert default.name == "zoo"
    monkeypatch.setenv("ZOO_HOME", "")
    assert find_homes() == (default,)
    monkeypatch.setenv("ZOO_HOME", os.pathsep.join(["/lab", "~/mine"]))
    assert find_homes() == (Path("/lab"), tmp_path / "mine")


@pytest.mark.fault("K5")
def test_without_home_the_user_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "ZOO_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert find_homes()[0].is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.fault("K5")
@as_root
def test_without_home_and_for_an_unknown_user_the_error_says_what_to_set() -> None:
    code = (
        "import os, platformdirs\n"
        "from zoo.errors import StorageError\n"
        "from zoo.store.disk.homes import find_homes\n"
        "os.setuid(54321)\n"
        "try:\n    find_homes()\n"
        "except StorageError as error:\n    print(error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "ZOO_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "HOME is not set" in result.stdout
    assert "ZOO_HOME" in result.stdout
