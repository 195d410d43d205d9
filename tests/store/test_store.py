"""A store of local files: what is fetched, found, verified, derived and removed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.loopback import Server, answer
from support.loopback import unproven as entry_for

from zoo.errors import (
    AddressRefused,
    HashMismatch,
    Offline,
    SizeMismatch,
    SourceMissing,
    StorageError,
    UsageError,
)
from zoo.events import Event, Note, Progress, silent
from zoo.store.disk.blobs import stamp_of
from zoo.store.fetching import Fetch
from zoo.store.fetching_many import plan_fetch
from zoo.store.local import LocalModel
from zoo.store.store import Store
from zoo.store.upkeep.pruning import plan_prune
from zoo.store.upkeep.verification import verify_store

BYTES = b"weights of a network " * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "published.bin"
    path.write_bytes(BYTES)
    return path


def files_of(store: Store) -> list[str]:
    return sorted(p.name for p in store.blobs.folder.iterdir()) if store.blobs.folder.is_dir() else []


def test_a_fetched_file_is_called_by_the_hash_of_its_bytes(store: Store, source: Path) -> None:
    local = store.fetch(entry_for(source.as_uri(), sha256=SHA256, bytes=len(BYTES)))
    assert (local.path.name, local.sha256) == (SHA256, SHA256)
    assert local.path.read_bytes() == BYTES
    assert files_of(store) == [SHA256]


def test_find_is_none_before_and_the_model_after_a_fetch(store: Store, source: Path) -> None:
    entry = entry_for(source.as_uri())
    assert store.find(entry) is None
    assert not store.home.exists()
    fetched = store.fetch(entry)
    assert store.find(entry) == fetched == store.fetch(entry)


def test_a_wrong_file_leaves_nothing_and_both_hashes_are_told(store: Store, source: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(HashMismatch, match=f"expected {wrong}, got {SHA256}"):
        store.fetch(entry_for(source.as_uri(), sha256=wrong))
    assert files_of(store) == []


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"sha256_prefix": "00000000"}, HashMismatch),
        ({"md5": "0" * 32}, HashMismatch),
        ({"bytes": 3}, SizeMismatch),
    ],
)
def test_every_published_fact_is_held_against_the_bytes(
    store: Store, source: Path, facts: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.fetch(entry_for(source.as_uri(), **facts))
    assert files_of(store) == []


def test_right_prefix_md5_and_size_are_accepted(store: Store, source: Path) -> None:
    md5 = hashlib.md5(BYTES).hexdigest()
    facts = {"sha256_prefix": SHA256[:8].upper(), "md5": md5, "bytes": len(BYTES)}
    assert store.fetch(entry_for(source.as_uri(), **facts)).sha256 == SHA256


def test_what_was_first_fetched_is_what_later_fetches_must_match(store: Store, source: Path) -> None:
    entry = entry_for(source.as_uri(), bytes=len(BYTES))
    store.fetch(entry).path.unlink()
    source.write_bytes(BYTES.replace(b"a", b"b"))
    with pytest.raises(HashMismatch, match=SHA256) as raised:
        store.fetch(entry)
    assert "what was first fetched" in str(raised.value)
    store.remove(entry)
    assert store.fetch(entry).path.read_bytes() == source.read_bytes()


def test_a_hash_stated_by_another_registry_overrides_what_was_first_fetched(
    store: Store, source: Path
) -> None:
    first = entry_for(source.as_uri())
    store.fetch(first)
    source.write_bytes(b"new")
    corrected = entry_for(source.as_uri(), sha256=hashlib.sha256(b"new").hexdigest())
    assert store.fetch(corrected).path.read_bytes() == b"new"
    assert store.find(first) is not None


def test_two_names_of_the_same_bytes_share_one_file(store: Store, source: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.write_bytes(BYTES)
    first, second = entry_for(source.as_uri()), entry_for(twin.as_uri())
    assert store.fetch(first).path == store.fetch(second).path
    assert store.remove(first) == 0, "the other still needs it"
    assert store.find(second) is not None
    assert store.remove(second) == len(BYTES)
    assert files_of(store) == []


def test_an_empty_folder_in_the_place_of_a_file_is_taken_away(store: Store, source: Path) -> None:
    """A container leaves one where a file that it should mount was not there."""
    entry = entry_for(source.as_uri(), sha256=SHA256)
    store.blobs.path(SHA256).mkdir(parents=True)
    path = store.fetch(entry).path
    path.unlink()
    path.mkdir()
    assert store.find(entry) is None
    assert [verdict.state for verdict in verify_store(store)] == ["damaged"]
    assert [verdict.state for verdict in verify_store(store, fix=True)] == ["fixed"]
    path.unlink()
    path.mkdir()
    assert store.remove(entry) == 0
    assert files_of(store) == []


def test_a_folder_with_files_in_the_place_of_a_file_is_named_and_left(
    store: Store, server: Server, source: Path
) -> None:
    entry = entry_for(server.add("/net", BYTES), sha256=SHA256)
    theirs = store.blobs.path(SHA256) / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("x")
    with pytest.raises(StorageError, match="is a folder, where a file belongs") as raised:
        store.fetch(entry)
    assert str(raised.value.hint).startswith("Move it away: mv ")
    assert server.connections == 0, "nothing is downloaded that would have no place"
    local = entry_for(source.as_uri())
    with pytest.raises(StorageError, match="is a folder, where a file belongs"):
        store.fetch(local)
    (verdict,) = verify_store(store, fix=True)
    assert (verdict.state, "where a file belongs" in str(verdict.detail)) == ("damaged", True)
    assert theirs.read_text() == "x"
    pruned = plan_prune(store, now=time.time() + 1e6).execute()
    assert [item.why for item in pruned.items] == ["partial"], "the folder is nobody's leftover"


@pytest.mark.parametrize("link", ["hard", "symbolic"])
def test_what_stays_under_another_name_is_not_freed(
    store: Store, source: Path, tmp_path: Path, link: str
) -> None:
    entry = entry_for(source.as_uri())
    path = store.fetch(entry).path
    if link == "hard":
        (tmp_path / "copy").hardlink_to(path)
    else:
        path.rename(tmp_path / "copy")
        path.symlink_to(tmp_path / "copy")
    (item,) = plan_prune(store, older_than=0, now=time.time() + 1e6).items
    assert item.bytes == 0
    assert store.remove(entry) == 0
    assert (tmp_path / "copy").read_bytes() == BYTES
    assert store.find(entry) is None


def test_known_bytes_are_not_copied_again_under_another_name(store: Store, source: Path) -> None:
    store.fetch(entry_for(source.as_uri()))
    elsewhere = entry_for((source.parent / "gone").as_uri(), sha256=SHA256)
    assert store.fetch(elsewhere).sha256 == SHA256


@pytest.mark.fault("K1")
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(bytes([BYTES[0] ^ 1]) + BYTES[1:]),
    ],
    ids=["truncated", "emptied", "a byte flipped"],
)
def test_a_damaged_file_is_not_found_is_listed_and_is_healed(
    store: Store, source: Path, damage: Callable[[Path], None]
) -> None:
    entry = entry_for(source.as_uri())
    path = store.fetch(entry).path
    damage(path)
    assert store.find(entry) is None
    assert [v.state for v in verify_store(store)] == ["damaged"]
    assert [v.state for v in verify_store(store, [entry], fix=True)] == ["fixed"]
    assert path.read_bytes() == BYTES
    damage(path)
    told: list[Event] = []
    assert store.fetch(entry, report=told.append).path.read_bytes() == BYTES
    assert any(isinstance(e, Note) and "damaged" in e.message for e in told)


def test_a_damaged_derived_file_is_deleted_by_fix_and_made_again_when_it_is_needed(
    store: Store, source: Path
) -> None:
    local = store.fetch(entry_for(source.as_uri()))

    def write(path: Path) -> None:
        path.write_bytes(b"derived")

    store.derive(local, "kind", write).write_bytes(b"x")
    assert {v.state for v in verify_store(store)} == {"whole", "damaged"}
    assert {v.state for v in verify_store(store, fix=True)} == {"whole", "deleted"}
    assert [v.state for v in verify_store(store)] == ["whole"]
    assert store.derive(local, "kind", write).read_bytes() == b"derived"


def test_a_damaged_source_is_fetched_again_also_where_what_was_made_of_it_is_whole(
    store: Store, source: Path
) -> None:
    local = store.fetch(entry_for(source.as_uri()))

    def write(path: Path) -> None:
        path.write_bytes(b"derived")

    made = store.derive(local, "kind", write)
    local.path.write_bytes(b"damaged")
    assert {(v.kind, v.state) for v in verify_store(store, fix=True)} == {
        ("published", "fixed"),
        ("kind", "whole"),
    }
    assert {v.state for v in verify_store(store)} == {"whole"}
    assert local.path.read_bytes() == BYTES
    assert store.derived(local, "kind") == made


def test_a_damaged_converted_file_whose_source_was_not_kept_is_mended_by_its_source(
    store: Store, source: Path
) -> None:
    """As for a .pth file that was converted to safetensors: the source comes again, the conversion later."""
    entry = entry_for(source.as_uri())
    local = store.fetch(entry)

    def write(path: Path) -> None:
        path.write_bytes(b"derived")

    converted = store.derive(local, "kind", write, keep_source=False)
    assert not local.path.exists()
    converted.write_bytes(b"damaged")
    assert [(v.kind, v.state) for v in verify_store(store, fix=True)] == [("kind", "deleted")]
    assert [(v.kind, v.state) for v in verify_store(store)] == [("published", "whole")]
    assert store.find(entry) is not None
    assert store.find(entry).path.read_bytes() == BYTES  # type: ignore[union-attr]


def test_fix_deletes_nothing_offline_that_it_could_not_fetch_again(tmp_path: Path, server: Server) -> None:
    url = server.add("/net", BYTES)
    path = Store(tmp_path).fetch(entry_for(url, sha256=SHA256)).path
    path.write_bytes(b"damaged")
    (verdict,) = verify_store(Store(tmp_path, offline=True), fix=True)
    assert (verdict.state, path.read_bytes()) == ("damaged", b"damaged")
    assert "offline mode is on" in (verdict.detail or "")
    assert [v.state for v in verify_store(Store(tmp_path), fix=True)] == ["fixed"]


def test_fix_deletes_nothing_that_a_policy_would_not_let_it_fetch_again(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.fetch(entry_for(source.as_uri())).path
    path.write_bytes(b"damaged")
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "apache-2.0")
    (verdict,) = verify_store(store, fix=True)
    assert verdict.state == "damaged"
    assert "ZOO_LICENSE_POLICY" in (verdict.detail or "")
    assert path.read_bytes() == b"damaged"


def test_a_touched_but_right_file_is_found_by_hashing_it(store: Store, source: Path) -> None:
    entry = entry_for(source.as_uri())
    os.utime(store.fetch(entry).path, (0, 0))
    assert store.find(entry) is not None


def test_a_store_that_was_copied_is_hashed_once_and_not_at_every_use(store: Store, source: Path) -> None:
    entry = entry_for(source.as_uri())
    local = store.fetch(entry)

    def write(path: Path) -> None:
        path.write_bytes(b"derived")

    made = store.derive(local, "kind", write)
    for path in (local.path, made):
        os.utime(path, (0, 0))
    store.fetch(entry)
    record = store.record_of(local)
    assert record.stamp == stamp_of(local.path)
    assert record.derived["kind"].stamp == stamp_of(made)
    made.write_bytes(b"damaged")
    store.fetch(entry)
    assert store.derived(local, "kind") is None
    assert store.record_of(local).derived["kind"].stamp != stamp_of(made)


def test_verify_without_a_source_says_why_it_could_not_fix(store: Store, source: Path) -> None:
    path = store.fetch(entry_for(source.as_uri())).path
    path.unlink()
    source.unlink()
    (verdict,) = verify_store(store, fix=True)
    assert verdict.state == "missing"
    assert "is missing" in (verdict.detail or "")


def test_verify_of_a_model_that_was_never_fetched_says_absent(store: Store, source: Path) -> None:
    assert [v.state for v in verify_store(store, [entry_for(source.as_uri())])] == ["absent"]


def test_a_derived_file_is_made_once_and_outlives_its_source(store: Store, source: Path) -> None:
    local = store.fetch(entry_for(source.as_uri()))
    calls: list[Path] = []

    def write(path: Path) -> None:
        calls.append(path)
        path.write_bytes(local.path.read_bytes().upper())

    made = store.derive(local, "upper", write)
    assert made == store.derive(local, "upper", write) == store.derived(local, "upper")
    assert len(calls) == 1
    assert made.read_bytes() == BYTES.upper()
    assert store.find(local.entry) == local, "the published file is the first choice"

    other = store.derive(
        local, "lower", lambda path: path.write_bytes(BYTES.lower()) and None, keep_source=False
    )
    assert not local.path.exists() or other == local.path
    found = store.find(local.entry)
    assert found == LocalModel(local.entry, made, SHA256), "the model keeps its identity"
    assert store.remove(local.entry) > 0
    assert files_of(store) == []


def test_a_derivation_that_fails_leaves_nothing(store: Store, source: Path) -> None:
    local = store.fetch(entry_for(source.as_uri()))

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("conversion failed")

    with pytest.raises(RuntimeError):
        store.derive(local, "upper", write)
    assert files_of(store) == [SHA256]
    assert store.derived(local, "upper") is None


def test_a_damaged_derived_file_is_made_again(store: Store, source: Path) -> None:
    local = store.fetch(entry_for(source.as_uri()))
    made = store.derive(local, "x", lambda path: path.write_bytes(b"derived") and None)
    made.write_bytes(b"dErived")
    assert store.derived(local, "x") is None
    again = store.derive(local, "x", lambda path: path.write_bytes(b"derived") and None)
    assert again.read_bytes() == b"derived"


def test_what_was_derived_from_other_bytes_of_the_same_source_is_made_again(
    store: Store, source: Path
) -> None:
    before = store.fetch(entry_for(source.as_uri()))
    store.derive(before, "x", lambda path: path.write_bytes(b"of the old bytes") and None)
    after = LocalModel(before.entry, source, "f" * 64)
    assert store.derived(after, "x") is None
    made = store.derive(after, "x", lambda path: path.write_bytes(b"of the new bytes") and None)
    assert made.read_bytes() == b"of the new bytes"
    assert store.derivations(after) == {"x": made}


def test_a_damaged_derived_file_without_its_source_is_healed_by_a_fetch(store: Store, source: Path) -> None:
    entry = entry_for(source.as_uri())
    local = store.fetch(entry)
    made = store.derive(local, "x", lambda path: path.write_bytes(b"derived") and None, keep_source=False)
    made.write_bytes(b"dErived")
    assert store.find(entry) is None
    healed = store.fetch(entry)
    assert healed == local
    assert store.derived(healed, "x") is None
    again = store.derive(healed, "x", lambda path: path.write_bytes(b"derived") and None)
    assert again.read_bytes() == b"derived"


def test_a_file_changed_with_its_old_times_put_back_does_not_pass_the_proof(
    store: Store, source: Path
) -> None:
    local = store.fetch(entry_for(source.as_uri()))
    before = local.path.stat()
    local.path.write_bytes(BYTES[::-1])
    os.utime(local.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.find(local.entry) is not None, "a stamp alone cannot tell"
    with pytest.raises(HashMismatch, match="changed after it was fetched"):
        store.prove(local)


def test_a_shared_store_is_read_first_and_never_written(source: Path, tmp_path: Path) -> None:
    lab, own = tmp_path / "lab", tmp_path / "own"
    entry = entry_for(source.as_uri())
    kept = Store(lab).fetch(entry)
    before = sorted(lab.rglob("*"))
    store = Store(own, shared=(lab,))
    source.unlink()
    local = store.fetch(entry)
    assert local == kept
    made = store.derive(local, "x", lambda path: path.write_bytes(b"derived") and None)
    assert made.is_relative_to(own)
    assert store.derived(local, "x") == made
    assert sorted(lab.rglob("*")) == before


def test_bytes_that_a_shared_store_has_under_another_name_are_copied_and_not_downloaded(
    source: Path, tmp_path: Path
) -> None:
    lab, own = Store(tmp_path / "lab"), Store(tmp_path / "own", offline=True, shared=(tmp_path / "lab",))
    kept = lab.fetch(entry_for(source.as_uri()))
    twin = entry_for("https://models.example/twin", sha256=kept.sha256, name="twin")
    (planned,) = plan_fetch(own, [twin])
    assert (planned.action, planned.bytes) == ("copy", len(BYTES))
    local = own.fetch(twin)
    assert local.path == own.home / "blobs" / kept.sha256
    assert own.record_of(local).url == "https://models.example/twin"
    own.remove(twin)
    kept.path.write_bytes(BYTES[::-1])
    with pytest.raises(Offline, match="offline mode is on"):
        own.fetch(twin)
    assert list(own.blobs) == []


def test_a_fetch_tries_the_places_of_its_plan_in_their_order(
    store: Store, server: Server, source: Path, tmp_path: Path
) -> None:
    gone, there = (tmp_path / "gone").as_uri(), source.as_uri()
    url = server.add("/net", BYTES, answer(404))
    entry = entry_for(gone, url, there, sha256=SHA256, bytes=len(BYTES))
    plan = Fetch(store, entry, None, silent, settings=store.settings, offline=False).plan()
    assert [(step.action, step.url, type(step.error)) for step in plan.steps] == [
        ("copy", gone, SourceMissing),
        ("download", url, type(None)),
        ("copy", there, type(None)),
    ]
    assert store.plan(entry) == plan.steps[1], "the first that can be used"
    assert server.connections == 0
    told: list[Event] = []
    local = store.fetch(entry, report=told.append)
    warnings = [event.message for event in told if isinstance(event, Note)]
    assert [part in text for part, text in zip(("gone", "404"), warnings, strict=True)] == [True, True]
    assert store.record_of(local).url == there


def test_a_plan_does_not_keep_damaged_bytes(store: Store, source: Path) -> None:
    kept = store.fetch(entry_for(source.as_uri()))
    twin = entry_for("https://models.example/twin", sha256=kept.sha256, name="twin")
    assert (store.plan(twin).action, store.plan(twin).bytes) == ("keep", 0)
    kept.path.write_bytes(BYTES[::-1])
    assert store.plan(twin).action == "download"
    store.offline = True
    with pytest.raises(Offline, match=r"cannot download https://.*: offline mode is on \(the stored file is"):
        store.plan(twin)


def test_progress_ends_with_everything_done(store: Store, source: Path) -> None:
    told: list[Event] = []
    store.fetch(entry_for(source.as_uri()), report=told.append)
    assert told[-1] == Progress("fetch net", len(BYTES), len(BYTES), "bytes")


def test_a_file_of_an_installed_package_is_fetched_without_importing_it(store: Store) -> None:
    assert store.fetch(entry_for("package://zoo/py.typed")).path.read_bytes() == b""


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("package://no_such_package_here/x", UsageError),
        ("package://zoo/no-such-file", StorageError),
        ("package://zoo/../pyproject.toml", UsageError),
        ("package://zoo.store/x", UsageError),
        ("file:///no/such/file", StorageError),
        ("file:///dev/zero", StorageError),
    ],
)
def test_a_source_that_is_not_there_says_so(store: Store, url: str, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        store.fetch(entry_for(url))
    assert "net: " in str(raised.value)


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    "url", ["ftp://example.com/x", "file://server/share/x", "weights/x.pth", "javascript:1"]
)
def test_an_address_of_another_kind_is_refused(store: Store, url: str) -> None:
    with pytest.raises(AddressRefused):
        store.fetch(entry_for(url))


@pytest.mark.fault("D14")
def test_a_registry_that_was_itself_fetched_may_not_name_local_files(store: Store, source: Path) -> None:
    import msgspec

    entry = msgspec.structs.replace(entry_for(source.as_uri()), registry=store.home / "registries" / "x.yaml")
    with pytest.raises(AddressRefused, match="local file"):
        store.fetch(entry)
