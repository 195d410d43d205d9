"""path, cache, prune, lock, bundle, unbundle as they are typed."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.commands import Call, running, start_zoo, wait_until, write_registry
from support.loopback import BODY, Server, entry_for, serve, slowly

from zoo.store.bundles.packing import bundle
from zoo.store.bundles.unpacking import unbundle
from zoo.store.store import Store


def test_path_prints_the_file_alone(ask: Call) -> None:
    printed = ask("path", "tiny_net").out.strip()
    assert Path(printed).stat().st_size == 757_042


def test_cache_counts_and_prune_takes_only_what_is_old(ask: Call) -> None:
    ask("fetch", "tiny_net")
    assert ask("cache", "--json").json["bytes"] >= 757_042
    assert ask("prune").out.strip() == "Nothing to prune."
    assert [row["why"] for row in ask("prune", "--older-than", "0", "--dry-run", "--json").json] == ["unused"]
    assert ask("cache", "--json").json["models"]
    ask("prune", "--older-than", "0")
    assert ask("cache", "--json").json["models"] == []


def test_features_exports_and_hashes_are_counted_and_go_when_they_are_old(ask: Call, home: Path) -> None:
    old = {
        home / "features" / ("a" * 64) / "b.safetensors": 3_000,
        home / "onnx" / ("c" * 64) / "d.onnx": 5_000,
        home / "hashes" / ("d" * 64) / "e.hashes": 7_000,
    }
    strange = [home / "features" / "mine" / "a.safetensors", home / "onnx" / ("c" * 64) / "thesis.doc"]
    new = home / "features" / ("e" * 64) / "f.safetensors"
    for path, size in {**old, new: 2_000, **dict.fromkeys(strange, 0)}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    for path in (*old, strange[0]):
        for one in (path, path.parent):
            os.utime(one, (time.time() - 90_000, time.time() - 90_000))
    facts = ask("cache", "--json").json
    assert [facts[f"{what}_bytes"] for what in ("feature", "export", "hash")] == [5_000, 5_000, 7_000]
    assert "5 kB of features, 5 kB of exports, 7 kB of hashes" in ask("cache").out
    assert ask("prune").out.strip() == "Nothing to prune."
    rows = ask("prune", "--older-than", 1, "--json").json
    assert sorted((row["why"], row["bytes"]) for row in rows) == [
        ("computed", size) for size in (3_000, 5_000, 7_000)
    ]
    assert not any(path.exists() for path in old)
    assert all(path.is_file() for path in strange)
    assert new.is_file()


def test_features_beyond_their_limit_go_those_unused_for_longest_first(
    ask: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [home / "features" / (letter * 64) / "f.rows" for letter in "abc"]
    for days, path in enumerate(tables):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(2_000))
        for one in (path, path.parent):
            os.utime(one, (time.time() - 90_000 * days,) * 2)
    monkeypatch.setenv("ZOO_FEATURES_SIZE", "5kB")
    dry = ask("prune", "--dry-run", "--json").json
    assert [(row["why"], row["bytes"]) for row in dry] == [("computed", 2_000)]
    assert all(path.is_file() for path in tables)
    monkeypatch.setenv("ZOO_FEATURES_SIZE", "2kB")
    ask("prune")
    assert [path.is_file() for path in tables] == [True, False, False]
    monkeypatch.setenv("ZOO_FEATURES_SIZE", "much")
    refused = ask("prune")
    assert refused.code == 2
    assert "ZOO_FEATURES_SIZE: 'much' is not a size" in refused.err
    assert tables[0].is_file()


def test_a_lock_file_admits_what_it_pins_and_nothing_else(ask: Call, tmp_path: Path) -> None:
    lock = tmp_path / "zoo.lock"
    lock.write_text(ask("lock", "tiny_net").out)
    assert ask("fetch", "tiny_net", "--locked", lock).code == 0
    assert ask("fetch", "tiny_words", "--locked", lock).code == 2
    lock.write_text(lock.read_text().replace("884cb73b", "00000000"))
    refused = ask("fetch", "tiny_net", "--locked", lock)
    assert refused.code in (2, 3)
    assert "884cb73b" in refused.err


def test_a_bundle_travels_to_a_machine_without_network(
    ask: Call, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ": 1 model, 0 runs, 768 kB" in ask("bundle", "tiny_net", "-o", tmp_path / "m.tar").out
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    assert call("unbundle", tmp_path / "m.tar", "--offline", "--json").json["models"] == ["tiny_net"]
    assert call("path", "tiny_net", "--offline").code == 0


def test_a_lock_file_alone_brings_all_that_it_pins_on_a_machine_where_the_registry_lies_elsewhere(
    ask: Call, call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "zoo.lock"
    lock.write_text(ask("lock", "tiny_net", "tiny_words").out)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "registry.yaml").write_text((tiny / "registry.yaml").read_text())
    for folder in ("weights", "words"):
        (tmp_path / "moved" / folder).symlink_to(tiny / folder)
    moved = ("--registry", tmp_path / "moved" / "registry.yaml")
    rows = call("fetch", "--locked", lock, "--json", *moved).json
    assert [row["name"] for row in rows] == ["tiny_net", "tiny_words"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no lock file"),
        ("folder", "Is a directory"),
        ("[1, 2]", "Expected `object`, got `array`"),
        ('{"models": {}}', "no model is named"),
    ],
)
def test_a_lock_file_that_is_none_says_how_to_make_one(
    ask: Call, tmp_path: Path, content: str | None, says: str
) -> None:
    lock = tmp_path / "zoo.lock"
    if content == "folder":
        lock.mkdir()
    elif content is not None:
        lock.write_text(content)
    said = ask("fetch", "--locked", lock)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert "zoo lock NAME" in said.err or "--locked" in said.err


@pytest.fixture
def lab(ask: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one model that everybody reads, before the user's own."""
    folder = tmp_path / "lab"
    monkeypatch.setenv("ZOO_HOME", str(folder))
    ask("fetch", "tiny_net")
    monkeypatch.setenv("ZOO_HOME", f"{folder}:{home}")
    return folder


def test_a_shared_folder_is_shown_checked_and_never_written(ask: Call, lab: Path, home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in lab.rglob("*")}
    fetched = ask("fetch", "tiny_net", "tiny_words", "--json").json
    assert [Path(row["path"]).parents[1] for row in fetched] == [lab, home]
    shown = ask("cache", "--json").json
    assert (shown["home"], shown["shared"]) == (str(home), [str(lab)])
    assert {row["name"]: row["home"] for row in shown["models"]} == {
        "tiny_net": str(lab),
        "tiny_words": str(home),
    }
    assert f"{lab}: shared, only read" in ask("cache").out
    assert [row["state"] for row in ask("verify", "--json").json] == ["whole"] * 3  # words are compiled too
    assert "nothing freed; stays, being shared" in ask("rm", "tiny_net").out
    assert [row["name"] for row in ask("prune", "--older-than", "0", "--json").json] == ["tiny_words"]
    assert ask("lock", "tiny_net").code == 0
    assert {path: path.stat().st_mtime_ns for path in lab.rglob("*")} == before


@pytest.mark.fault("K1")
def test_a_damaged_file_of_a_shared_folder_is_told_passed_over_and_left_alone(
    ask: Call, lab: Path, home: Path
) -> None:
    (blob,) = (lab / "blobs").iterdir()
    blob.write_bytes(b"x" * 1000)
    said = ask("verify", "tiny_net", "--fix")
    assert said.code == 3
    assert "it is in a shared folder, which zoo never changes" in said.out
    assert blob.read_bytes() == b"x" * 1000
    assert Path(ask("path", "tiny_net").out.strip()).parents[1] == home


@pytest.mark.fault("K1")
@pytest.mark.parametrize("damage", [b"", b"short", "flip"])
def test_verify_lists_what_is_damaged_and_fix_fetches_it_again(ask: Call, damage: bytes | str) -> None:
    path = Path(ask("path", "tiny_words").out.strip())
    whole = path.read_bytes()
    path.write_bytes(damage if isinstance(damage, bytes) else bytes([whole[0] ^ 1]) + whole[1:])
    said = ask("verify")
    assert said.code == 3
    assert [line.split()[:2] for line in said.out.splitlines()[:2]] == [
        ["NAME", "STATE"],
        ["tiny_words", "damaged"],
    ]
    assert f"tiny_words: expected {path.name}, got " in said.out
    assert said.out.endswith("zoo verify --fix fetches it again.\n")
    mended = ask("verify", "--fix")
    assert mended.code == 0
    assert "fixed" in mended.out
    assert path.read_bytes() == whole


def test_verify_reads_features_and_fix_takes_out_what_is_damaged(
    ask: Call, home: Path, tiny: Path, tmp_path: Path
) -> None:
    assert ask("embed", "tiny_net", tiny / "images" / "val", "-o", tmp_path / "f.npz").code == 0
    [row] = [row for row in ask("verify", "--json").json if row["kind"] == "features"]
    assert row["state"] == "whole"
    assert row["detail"].endswith(" features in 1 file")
    [file] = (home / "features").rglob("*.rows")
    content = bytearray(file.read_bytes())
    content[70] ^= 1
    file.write_bytes(content)
    said = ask("verify")
    assert said.code == 3
    assert "1 of " in said.out
    assert said.out.endswith("zoo verify --fix takes damaged features out.\n")
    assert ask("verify", "--fix").code == 0
    assert ask("verify").code == 0


def test_verify_says_which_file_of_a_model_a_row_is_about_and_lists_it_once(ask: Call) -> None:
    ask("fetch", "tiny_words")
    rows = ask("verify", "tiny_words", "tiny_words", "--json").json
    assert len({row["kind"] for row in rows}) == len(rows) == 2
    assert "KIND" in ask("verify").out


def test_rm_says_what_it_frees_and_why_the_rest_stays(call: Call, server: Server, tmp_path: Path) -> None:
    first, second = (entry_for(server.add(f"/{name}", BODY), name=name) for name in ("first", "second"))
    registry = ("--registry", write_registry(tmp_path / "r.yaml", first, second))
    path = Path(call("path", "first", *registry).out.strip())
    call("fetch", "second", *registry)
    assert call("rm", "first", *registry).out == (
        "first: nothing freed; 300 kB stay, for another model needs them\n"
    )
    (tmp_path / "copy").hardlink_to(path)
    assert call("rm", "second", *registry).out == (
        "second: nothing freed; 300 kB stay on the disk, for a link leads to them\n"
    )
    assert not path.exists()
    assert call("rm", "second", *registry).out == "second: was not in the store\n"


def test_ctrl_c_while_one_model_is_mended_leaves_the_others_as_they_are(
    server: Server, home: Path, tmp_path: Path, call: Call
) -> None:
    entries = []
    for name in "ab":
        body = BODY + name.encode()
        url = server.add(f"/{name}", body, serve, slowly(30.0))
        entries.append(entry_for(url, name=name, sha256=hashlib.sha256(body).hexdigest()))
    registry = write_registry(tmp_path / "r.yaml", *entries)
    for row in call("fetch", "a", "b", "--json", "--registry", registry).json:
        Path(row["path"]).write_bytes(b"damaged")
    asked = len(server.log)
    with running(start_zoo("verify", "a", "b", "--fix", "--registry", registry)) as process:
        wait_until(lambda: len(server.log) > asked, 30)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)
    assert process.returncode == 130
    assert [request.path for request in server.log[asked:]] == ["/a"]
    assert [path.read_bytes() for path in (home / "blobs").iterdir() if len(path.name) == 64] == [b"damaged"]


def test_fix_deletes_a_damaged_file_that_no_model_needs(ask: Call, home: Path) -> None:
    ask("fetch", "tiny_words")
    orphan = home / "blobs" / ("ab" * 32)
    orphan.write_bytes(b"junk")
    assert ask("verify").code == 3
    assert {row["state"] for row in ask("verify", "--fix", "--json").json} == {"whole", "deleted"}
    assert not orphan.exists()
    assert ask("verify").code == 0


def test_cache_tells_what_lies_around_the_store(
    ask: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GENSIM_DATA_DIR", str(tmp_path / "gensim"))
    for path, size in (
        (tmp_path / "torch/hub/checkpoints/net.pth", 3_000_000),
        (tmp_path / "torch/hub/checkpoints/other.pth", 1_000_000),
        (tmp_path / "hub/models--a--b/blobs/1234", 2_000_000),
        (home / "blobs" / ("ab" * 32), 1_000),
        (home / "blobs" / "key.0.free.partial", 2_000),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    ask("fetch", "tiny_words")
    lines = ask("cache").out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "DAYS", "IDLE"]
    name, size, unit, days = lines[1].split()
    assert (name, days) == ("tiny_words", "0")  # and compiled
    assert lines[3].startswith(f"{home}: {size} {unit} of models; ")
    assert lines[3].endswith(" free")
    assert lines[4:] == [
        "1 partial download, 2 kB",
        "1 file that no model needs, 1 kB: zoo prune deletes what is left over",
        "torch.hub keeps 2 files, 4 MB, which zoo never deletes",
        "huggingface_hub keeps 1 file, 2 MB, which zoo never deletes",
    ]


def test_a_bundle_for_a_folder_that_is_not_there_says_so(ask: Call, tmp_path: Path) -> None:
    said = ask("bundle", "tiny_words", "-o", tmp_path / "no" / "m.tar")
    assert said.code == 7
    assert f"{tmp_path / 'no'} is not a folder that you can write to" in said.err
    assert "Choose another path" in said.err


def test_packed_word_vectors_of_gensim_go_through_the_same_verbs(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in gensim's own cache, proven by the md5 that gensim-data publishes."""
    packed = gzip.compress((tiny / "words" / "words.txt").read_bytes())
    monkeypatch.setenv("GENSIM_DATA_DIR", str(tmp_path / "gensim"))
    (tmp_path / "gensim" / "glove-mini").mkdir(parents=True)
    (tmp_path / "gensim" / "glove-mini" / "glove-mini.gz").write_bytes(packed)
    md5 = hashlib.md5(packed).hexdigest()
    (tmp_path / "registry.yaml").write_text(
        "models:\n  glove-mini:\n    family: glove\n    task: word-vectors\n"
        "    architecture: words/glove-text\n"
        f"    weights: {{url: 'gensim://glove-mini', md5: '{md5}', bytes: {len(packed)}}}\n"
        "    input: {dimension: 20}\n    license: pddl\n"
    )
    registry = ("--registry", tmp_path / "registry.yaml")
    (planned,) = call("fetch", "glove-mini", "--dry-run", "--json", *registry).json
    assert (planned["action"], planned["bytes"]) == ("adopt", len(packed))
    said = call("fetch", "glove-mini", "--offline", *registry)
    assert said.code == 0
    assert "taken from the cache of gensim, hash verified" in said.err
    lock = tmp_path / "zoo.lock"
    lock.write_text(call("lock", "glove-mini", *registry).out)
    assert hashlib.sha256(packed).hexdigest() in lock.read_text()
    assert "year" in call("similar", "glove-mini", "the", *registry).out
    assert [row["state"] for row in call("verify", "glove-mini", "--json", *registry).json] == [
        "whole",
        "whole",
    ]
    assert call("bundle", "glove-mini", "-o", tmp_path / "words.tar", *registry).code == 0
    assert call("rm", "glove-mini", *registry).code == 0
    assert call("fetch", "--locked", lock, *registry).code == 0, "again from gensim's cache"
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "away"))
    monkeypatch.setenv("GENSIM_DATA_DIR", str(tmp_path / "nothing"))
    assert call("unbundle", tmp_path / "words.tar", "--offline").code == 0
    assert "year" in call("similar", "glove-mini", "the", "--offline").out


def test_what_a_bundle_brought_and_nobody_can_read_ends_only_what_asks_for_it(
    call: Call, server: Server, home: Path, tmp_path: Path
) -> None:
    """As when the package of an architecture was uninstalled, or the file was damaged."""
    entries = [
        entry_for(server.add(f"/{n}", BODY), name=n, sha256=hashlib.sha256(BODY).hexdigest())
        for n in ("good", "bad")
    ]
    made = bundle(Store(tmp_path / "there"), entries, tmp_path / "models.tar")
    unbundle(Store(home), made, runs_to=tmp_path)
    (registry,) = Store(home).registries
    document = json.loads(registry.read_text())
    document["models"]["bad"]["architecture"] = "lab/tinynet"
    registry.write_text(json.dumps(document))
    (registry.parent / "junk.yaml").write_text("models: [")
    assert "good" in call("list").out
    assert call("fetch", "good").code == 0
    said = call("fetch", "bad")
    assert (said.code, said.err.startswith(f"error: {registry}:1: models.bad.architecture: ")) == (2, True)
    problems = call("doctor", "--json").json["problems"]
    assert [problem.partition(":")[0] for problem in problems] == [
        str(registry),
        str(registry.parent / "junk.yaml"),
    ]
    assert unbundle(Store(home), made, runs_to=tmp_path).models == ("good", "bad")


def test_a_model_of_a_registry_that_is_not_given_now_is_verified_and_removed_by_its_name(
    call: Call, server: Server, tmp_path: Path
) -> None:
    entry = entry_for(server.add("/net", BODY), name="mine")
    assert call("fetch", "mine", "--registry", write_registry(tmp_path / "r.yaml", entry)).code == 0
    assert [row["state"] for row in call("verify", "mine", "--json").json] == ["whole"]
    assert "300 kB freed" in call("rm", "mine").out
    said = call("rm", "mine")
    assert (said.code, "no model 'mine'" in said.err) == (2, True)


def test_prune_counts_shared_bytes_once_and_only_where_nobody_needs_them(
    call: Call, server: Server, tmp_path: Path
) -> None:
    entries = [entry_for(server.add(f"/{name}", BODY), name=name) for name in ("one", "two", "three")]
    registry = ("--registry", write_registry(tmp_path / "r.yaml", *entries))
    assert call("fetch", "one", "two", "three", *registry).code == 0
    all_of_them = ("prune", "--older-than", "0", "--dry-run")
    assert call(*all_of_them).out.endswith("\n300 kB would go\n")
    assert sorted(row["bytes"] for row in call(*all_of_them, "--json").json) == [0, 0, len(BODY)]


def test_the_doctor_finds_a_home_that_is_a_file(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "file"))
    said = call("doctor", "--json")
    assert said.code == 1
    assert "is a file, not a folder" in said.json["problems"][0]


def test_a_path_is_no_name_for_a_lock_file(
    ask: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder has another file of that name; one that is named as it is stored is found again."""
    (tmp_path / "words.txt").write_text("the 1 2\nof 3 4\n")
    said = ask("lock", tmp_path / "words.txt")
    assert (said.code, said.out) == (2, "")
    assert f"zoo registry add {tmp_path / 'words.txt'} --to registry.yaml" in said.err
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo.lock").write_text(ask("lock", "words.txt").out)
    assert ask("fetch", "--locked", "zoo.lock").code == 0
