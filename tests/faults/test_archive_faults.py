"""Row S3: bundles of strangers. Refused before anything is written, or unpacked as they were packed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.commands import write_registry
from support.loopback import BODY, SHA256, Server, entry_for, unproven

from zoo.errors import HashMismatch, IntegrityError, RunExists, UnsafeFile, UsageError, ZooError
from zoo.events import Event, Note
from zoo.store.bundles.packing import bundle
from zoo.store.bundles.tar_file import read_members
from zoo.store.bundles.unpacking import unbundle
from zoo.store.store import Store
from zoo.store.upkeep.verification import verify_store

Add = Callable[[tarfile.TarFile], None]


def member(name: str, body: bytes = b"x", **facts: object) -> Add:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(body)
        for field, value in facts.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(body))

    return add


def write_tar(path: Path, *members: Add, format: int = tarfile.USTAR_FORMAT) -> Path:  # noqa: A002
    with tarfile.open(path, "w", format=format) as archive:
        for add in members:
            add(archive)
    return path


def everything_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def made(server: Server, store: Store, tmp_path: Path) -> Path:
    """A bundle of one model and one run."""
    run = tmp_path / "run-1"
    (run / "deep").mkdir(parents=True)
    (run / "run.json").write_text('{"schema": 1}')
    (run / "deep" / "adapter.safetensors").write_bytes(b"the head of the run")
    entry = unproven(server.add("/net", BODY), sha256_prefix=SHA256[:8])
    return bundle(store, [entry], tmp_path / "models.tar", runs=[run])


def test_what_was_bundled_is_there_on_a_machine_without_network(
    made: Path, server: Server, tmp_path: Path
) -> None:
    away = Store(tmp_path / "away", offline=True)
    asked = server.connections
    out = unbundle(away, made, runs_to=tmp_path / "runs")
    assert out.models == ("net",)
    entry = unproven(server.url + "/net", sha256_prefix=SHA256[:8])
    assert away.fetch(entry).path.read_bytes() == BODY
    assert [verdict.state for verdict in verify_store(away)] == ["whole"]
    (run,) = out.runs
    assert run == tmp_path / "runs" / "run-1"
    assert (run / "deep" / "adapter.safetensors").read_bytes() == b"the head of the run"
    assert server.connections == asked
    (registry,) = away.registries
    assert json.loads(registry.read_text())["models"]["net"]["license"] == "mit"


def test_a_bundle_replaces_no_name_that_is_known_and_its_own_names_work_from_python(
    server: Server, tmp_path: Path
) -> None:
    from zoo.store.names import default_registry
    from zoo.store.store import open_store
    from zoo.targets import fetch_model

    there = Store(tmp_path / "there")
    entries = [
        unproven(server.add(f"/{name}", BODY), name=name, sha256=SHA256) for name in ("resnet18", "ours")
    ]
    made = bundle(there, entries, tmp_path / "models.tar")
    notes: list[Event] = []
    unbundle(open_store(), made, runs_to=tmp_path, report=notes.append)
    (told,) = [note.message for note in notes if isinstance(note, Note)]
    assert told.startswith(
        "resnet18 of the bundle is left out: it differs from resnet18 here (weights.sha256_prefix, weights."
    )
    assert default_registry()["resnet18"].weights.sha256 != SHA256
    assert fetch_model("ours").path.read_bytes() == BODY


def test_a_later_bundle_does_not_change_what_an_earlier_one_brought(server: Server, tmp_path: Path) -> None:
    from zoo.store.store import open_store
    from zoo.targets import fetch_model

    notes: list[Event] = []
    for number in range(6):  # whatever order their files are read in
        body = BODY[number:]
        entry = unproven(server.add(f"/{number}", body), sha256=hashlib.sha256(body).hexdigest())
        made = bundle(Store(tmp_path / "there"), [entry], tmp_path / f"{number}.tar")
        unbundle(open_store(), made, runs_to=tmp_path, report=notes.append)
        assert fetch_model("net").path.read_bytes() == BODY
    told = [note for note in notes if isinstance(note, Note)]
    assert len(told) == 5
    (registry,) = open_store().registries
    assert all(str(registry) in (note.hint or "") for note in told)


def test_a_later_bundle_does_not_change_what_is_said_of_the_same_weights(
    server: Server, home: Path, tmp_path: Path
) -> None:
    """Its licence above all, whatever order the files are read in."""
    from zoo.store.names import default_registry

    entry = unproven(server.add("/net", BODY), sha256=SHA256)
    notes: list[Event] = []
    for number, said in enumerate(["mit", "gpl-3.0", "apache-2.0", "unknown"]):
        there = Store(tmp_path / f"there-{number}")
        made = bundle(there, [replace(entry, license=said)], tmp_path / f"{number}.tar")
        unbundle(Store(home), made, runs_to=tmp_path, report=notes.append)
        assert default_registry().find("net").license == "mit"
        unbundle(Store(home), made, runs_to=tmp_path)  # again, which changes nothing
        assert default_registry().find("net").license == "mit"
    told = [note.message for note in notes if isinstance(note, Note)]
    assert told == ["net of the bundle is left out: it differs from net here (license)"] * 3


@pytest.mark.parametrize(
    "facts",
    [{"sha256": "../../evil", "stamp": None}, {"name": "net\x1b]0;owned\x07"}, {"name": "../net"}],
    ids=["no sha256", "escape sequences", "a path"],
)
def test_a_record_that_is_none_is_refused_before_anything_is_unpacked(
    made: Path, tmp_path: Path, facts: dict[str, object]
) -> None:
    def lie(manifest: dict[str, object]) -> None:
        (record,) = manifest["records"].values()  # type: ignore[attr-defined]
        record |= facts

    rewrite(made, lie)
    away = Store(tmp_path / "away")
    with pytest.raises(IntegrityError, match="does not match its files"):
        unbundle(away, made, runs_to=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert not away.home.exists()


def test_a_bundle_does_not_change_a_name_of_the_index(server: Server, home: Path, tmp_path: Path) -> None:
    """Neither when it comes, nor one that came before this was looked at."""
    from zoo.store.names import default_registry

    name = "timm/resnet18.a1_in1k"
    entry = unproven(server.add("/net", BODY), name=name, sha256=SHA256)
    made = bundle(Store(tmp_path / "there"), [entry], tmp_path / "models.tar")
    notes: list[Event] = []
    unbundle(Store(home), made, runs_to=tmp_path, report=notes.append)
    assert [f"{name} of the bundle is left out" in n.message for n in notes if isinstance(n, Note)] == [True]
    (home / "registries").mkdir(exist_ok=True)
    write_registry(home / "registries" / "old.yaml", entry)
    assert default_registry().find(name).license == "apache-2.0"


def test_no_bundle_puts_another_file_in_the_place_of_a_published_one(
    server: Server, home: Path, tmp_path: Path
) -> None:
    """Neither beside what is here, nor into an empty store with a record that claims both."""
    entry = unproven(server.add("/net", BODY), sha256=SHA256)
    there = Store(tmp_path / "there")
    local = there.fetch(entry)

    def forge(path: Path) -> None:
        path.write_bytes(b"forged")

    there.derive(local, "safetensors", forge)
    made = bundle(there, [entry], tmp_path / "forged.tar")
    here = Store(home, offline=True)
    here_before = Store(home).fetch(entry)
    unbundle(here, made, runs_to=tmp_path)
    assert here.derivations(here_before) == {}
    assert sorted(path.name for path in (home / "blobs").iterdir()) == [SHA256]

    def claim_both(manifest: dict[str, object]) -> None:
        (record,) = manifest["records"].values()  # type: ignore[attr-defined]
        record |= {"stamp": [1, 1, 1]}
        manifest["files"][f"blobs/{SHA256}"] = SHA256  # type: ignore[index]

    rewrite(made, claim_both, member(f"blobs/{SHA256}", BODY))
    with pytest.raises(IntegrityError, match="does not match its files"):
        unbundle(Store(tmp_path / "empty"), made, runs_to=tmp_path)


def test_two_runs_of_one_name_are_refused_and_one_run_twice_is_one(store: Store, tmp_path: Path) -> None:
    runs = [tmp_path / folder / name for folder, name in (("a", "run"), ("b", "Run"))]
    for run in runs:
        run.mkdir(parents=True)
        (run / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="two runs have the name Run"):
        bundle(store, [], tmp_path / "two.tar", runs=runs)
    assert not (tmp_path / "two.tar").exists()
    bundle(store, [], tmp_path / "one.tar", runs=[runs[0], runs[0]])
    assert [m.name for m in read_members(tmp_path / "one.tar")][3:] == ["runs/run/run.json"]


@pytest.mark.parametrize("name", ["my: run", "con", "a."])
def test_a_run_that_other_systems_cannot_store_is_refused_when_it_is_packed(
    store: Store, tmp_path: Path, name: str
) -> None:
    run = tmp_path / name
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot go into a bundle"):
        bundle(store, [], tmp_path / "x.tar", runs=[run])


def test_a_file_that_is_also_a_folder_and_a_later_schema_are_refused(made: Path, tmp_path: Path) -> None:
    def lie(manifest: dict[str, object]) -> None:
        manifest["files"]["runs/run-1/deep"] = SHA256  # type: ignore[index]

    def come_from_the_future(manifest: dict[str, object]) -> None:
        manifest["schema"] = 9

    away = Store(tmp_path / "away")
    rewrite(made, come_from_the_future)
    with pytest.raises(UsageError, match="schema 9"):
        unbundle(away, made, runs_to=tmp_path / "runs")
    rewrite(made, lambda manifest: manifest.update(schema=1))
    rewrite(made, lie, member("runs/run-1/deep", BODY))
    with pytest.raises(UnsafeFile):
        unbundle(away, made, runs_to=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert not away.home.exists()


def test_a_registry_that_cannot_be_read_ends_unbundling_before_anything_is_unpacked(
    made: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("models: [")
    away = Store(tmp_path / "away")
    with pytest.raises(UsageError, match="broken"):
        unbundle(away, made, runs_to=tmp_path / "runs", registries=[broken])
    assert not (tmp_path / "runs").exists()
    assert not away.home.exists()


def test_the_licences_of_a_bundle_are_those_that_the_registry_states_now(
    server: Server, store: Store, tmp_path: Path
) -> None:
    entry = unproven(server.add("/net", BODY), sha256=SHA256)
    store.fetch(entry)
    twin = replace(entry, name="twin", license="gpl-3.0")
    made = bundle(store, [replace(entry, license="cc-by-nc-4.0"), twin], tmp_path / "models.tar")
    with tarfile.open(made) as archive:
        said = archive.extractfile("LICENSES").read().decode()  # type: ignore[union-attr]
    assert said == "net: cc-by-nc-4.0\ntwin: gpl-3.0\n"


def test_a_name_of_a_registry_that_is_given_is_not_replaced_either(
    server: Server, home: Path, tmp_path: Path
) -> None:
    theirs = unproven(server.add("/theirs", BODY), sha256=SHA256)
    ours = write_registry(tmp_path / "r.yaml", unproven(server.url + "/ours", sha256="ab" * 32))
    made = bundle(Store(tmp_path / "there"), [theirs], tmp_path / "models.tar")
    notes: list[Event] = []
    unbundle(Store(home), made, runs_to=tmp_path, registries=(ours,), report=notes.append)
    assert [n.message.split(" (")[0] for n in notes if isinstance(n, Note)] == [
        "net of the bundle is left out: it differs from net here"
    ]
    assert Store(home).registries == ()


def test_a_bundle_is_a_plain_tar_file_that_other_tools_check(made: Path, tmp_path: Path) -> None:
    with tarfile.open(made, "r:") as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4 on
        archive.extractall(tmp_path / "out", **safely)
    for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == sha256
    assert (tmp_path / "out" / "LICENSES").read_text() == "net: mit\nruns/run-1: unknown\n"


def test_a_derived_file_travels_instead_of_its_source(server: Server, store: Store, tmp_path: Path) -> None:
    entry = entry_for(server.add("/net", BODY))
    local = store.fetch(entry)
    store.derive(local, "safetensors", lambda path: path.write_bytes(b"derived") and None, keep_source=False)
    away, told = Store(tmp_path / "away", offline=True), list[Event]()
    archive = bundle(store, [entry], tmp_path / "models.tar")
    unbundle(away, archive, runs_to=tmp_path, report=told.append)
    found = away.fetch(entry)
    assert (found.sha256, found.path.read_bytes()) == (SHA256, b"derived")
    assert any(isinstance(event, Note) and "converted before bundling" in event.message for event in told)


def test_bundling_twice_or_over_something_is_refused(made: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        bundle(store, [], made)
    away = Store(tmp_path / "away", offline=True)
    unbundle(away, made, runs_to=tmp_path / "runs")
    with pytest.raises(RunExists):
        unbundle(away, made, runs_to=tmp_path / "runs")
    assert unbundle(away, made, runs_to=tmp_path / "others").models == ("net",)


def test_a_damaged_model_is_not_bundled(server: Server, store: Store, tmp_path: Path) -> None:
    entry = unproven(server.add("/net", BODY), bytes=len(BODY))
    path = store.fetch(entry).path
    before = path.stat()
    path.write_bytes(BODY[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(IntegrityError, match="is damaged"):
        bundle(store, [entry], tmp_path / "models.tar")
    assert not (tmp_path / "models.tar").exists()
    path.write_bytes(BODY)


@pytest.mark.fault("S3")
@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("runs/../../evil")],
        [member("/etc/evil")],
        [member("C:\\evil")],
        [member("runs/a\\..\\b")],
        [member("runs/con")],
        [member("runs/a.")],
        [member("runs/x\x01y")],
        [member("runs//x")],
        [member("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        [member("link", b"", type=tarfile.SYMTYPE, linkname="/tmp"), member("link/evil")],
        [member("a"), member("hard", b"", type=tarfile.LNKTYPE, linkname="a")],
        [member("device", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
        [member("block", b"", type=tarfile.BLKTYPE)],
        [member("pipe", b"", type=tarfile.FIFOTYPE)],
        [member("sparse", type=tarfile.GNUTYPE_SPARSE)],
        [member("contiguous", type=tarfile.CONTTYPE)],
        [member("runs/a/Run.json"), member("runs/a/run.json")],
        [member("runs/a/\u00e9"), member("runs/a/e\u0301")],
        [member("a"), member("a")],
        [member("a" * 90 + "/" + "b" * 99)],
    ],
    ids=lambda members: "",
)
def test_a_tar_file_with_anything_odd_in_it_is_refused_before_anything_is_written(
    made: Path, store: Store, tmp_path: Path, members: list[Add]
) -> None:
    evil = write_tar(tmp_path / "evil.tar", *members)
    with tarfile.open(made) as good, tarfile.open(evil, "a", format=tarfile.USTAR_FORMAT) as archive:
        for info in good.getmembers():
            archive.addfile(info, good.extractfile(info))
    before = everything_in(tmp_path)
    with pytest.raises(UnsafeFile) as raised:
        unbundle(store, evil, runs_to=tmp_path / "runs")
    assert raised.value.exit_code == 3
    assert everything_in(tmp_path) == before


@pytest.mark.fault("S3")
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_extension_headers_are_refused(store: Store, tmp_path: Path, format: int) -> None:  # noqa: A002
    path = write_tar(tmp_path / "x.tar", member("runs/" + "long/" * 60 + "name"), format=format)
    with pytest.raises((UnsafeFile, IntegrityError)):
        read_members(path)


@pytest.mark.fault("S3")
def test_a_million_members_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.store.bundles.tar_file.MOST_MEMBERS", 1000)
    path = write_tar(tmp_path / "x.tar", *(member(f"runs/a/{n}", b"") for n in range(1001)))
    with pytest.raises(UnsafeFile, match="more than 1,000 members"):
        read_members(path)


@pytest.mark.fault("S3")
def test_a_member_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", member("a", bytes(2000)))
    data = bytearray(path.read_bytes())
    info = tarfile.TarInfo("a")
    info.size = 8**11 - 1
    data[:512] = info.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="is truncated"):
        read_members(path)


@pytest.mark.fault("S3")
def test_a_compressed_archive_is_refused(made: Path, store: Store, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(IntegrityError, match="is not a tar file"):
        unbundle(store, path, runs_to=tmp_path / "runs")


@pytest.mark.fault("S3")
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_cut_bundle_is_refused(made: Path, tmp_path: Path, keep: float) -> None:
    data = made.read_bytes()
    made.write_bytes(data[: int(len(data) * keep)])
    away = Store(tmp_path / "away")
    with pytest.raises(IntegrityError):
        unbundle(away, made, runs_to=tmp_path / "runs")
    assert not away.home.exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.fault("S3")
@pytest.mark.parametrize("where", ["blob", "run"])
def test_a_flipped_byte_in_a_bundle_is_noticed(made: Path, tmp_path: Path, where: str) -> None:
    data = made.read_bytes()
    needle = BODY[:100] if where == "blob" else b"the head of the run"
    made.write_bytes(data.replace(needle, bytes([needle[0] ^ 1]) + needle[1:]))
    away = Store(tmp_path / "away")
    with pytest.raises(HashMismatch):
        unbundle(away, made, runs_to=tmp_path / "runs")
    assert list((tmp_path / "runs").glob("*")) == []
    assert [path.name for path in (tmp_path / "away" / "blobs").glob("*")] == (
        [SHA256] if where == "run" else []
    )
    assert away.find(unproven("x")) is None


def rewrite(path: Path, change: Callable[[dict[str, object]], None], *more: Add) -> None:
    """The same bundle with another list of contents."""
    with tarfile.open(path) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive.getmembers()]  # type: ignore[union-attr]
    manifest = json.loads(members[0][1])
    change(manifest)
    path.unlink()
    write_tar(
        path,
        member(members[0][0], json.dumps(manifest).encode()),
        *(member(n, b) for n, b in members[1:]),
        *more,
    )


def lie_about_name(manifest: dict[str, object]) -> None:
    manifest["files"] = {"registries/evil.yaml": "0" * 64}


def lie_about_files(manifest: dict[str, object]) -> None:
    manifest["files"] = {}


def lie_about_key(manifest: dict[str, object]) -> None:
    (record,) = manifest["records"].values()  # type: ignore[attr-defined]
    manifest["records"] = {"../../evil": record}


def lie_about_hash(manifest: dict[str, object]) -> None:
    (record,) = manifest["records"].values()  # type: ignore[attr-defined]
    record["sha256"] = "../" * 10


def lie_about_entry(manifest: dict[str, object]) -> None:
    manifest["entries"]["net"]["architecture"] = "../evil"  # type: ignore[index]


@pytest.mark.fault("S3")
@pytest.mark.parametrize(
    "lie", [lie_about_name, lie_about_files, lie_about_key, lie_about_hash, lie_about_entry]
)
def test_a_list_of_contents_that_lies_is_refused_before_anything_is_written(
    made: Path, tmp_path: Path, lie: Callable[[dict[str, object]], None]
) -> None:
    rewrite(made, lie)
    away = Store(tmp_path / "away")
    before = everything_in(tmp_path)
    with pytest.raises(ZooError) as raised:
        unbundle(away, made, runs_to=tmp_path / "runs")
    assert raised.value.exit_code == 3
    assert everything_in(tmp_path) == before


def test_a_bundle_does_not_replace_what_a_source_gave_here(
    made: Path, server: Server, tmp_path: Path
) -> None:
    here = Store(tmp_path / "here")
    server.files["/net"] = BODY[::-1]
    entry = unproven(server.url + "/net", bytes=len(BODY))
    kept = here.fetch(entry)
    with pytest.raises(HashMismatch, match="has recorded another file from the same source"):
        unbundle(here, made, runs_to=tmp_path / "runs")
    assert here.find(entry) == kept


def test_a_proven_entry_of_a_bundle_is_held_against_the_registry(
    made: Path, server: Server, tmp_path: Path
) -> None:
    away = Store(tmp_path / "away", offline=True)
    unbundle(away, made, runs_to=tmp_path / "runs")
    assert away.find(entry_for(server.url + "/net", sha256=SHA256)) is not None
    assert away.find(entry_for(server.url + "/net", sha256="0" * 64)) is None
