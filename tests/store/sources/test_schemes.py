"""Mirrors, gensim-data and files in parts: where bytes are asked for, and in which order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support.loopback import (
    BODY,
    SHA256,
    Server,
    answer,
    cut,
    entry_for,
    leftovers,
    serve,
    unproven,
)

from zoo.catalogue.schemes import SCHEMES
from zoo.errors import AddressRefused, DownloadFailed, HashMismatch, Offline, UsageError
from zoo.events import Event, Note
from zoo.store import sources
from zoo.store.remote import Remote, Wanted
from zoo.store.sources.gensim import RELEASES
from zoo.store.sources.mirrors import mirror_rules
from zoo.store.sources.schemes import find_scheme
from zoo.store.store import Store


def test_the_next_place_is_asked_when_one_fails(server: Server, store: Store) -> None:
    gone = server.add("/gone", b"", answer(404))
    wrong = server.add("/wrong", BODY[::-1])
    right = server.add("/right", BODY)
    told: list[Event] = []
    assert store.fetch(entry_for(gone, wrong, right), report=told.append).sha256 == SHA256
    notes = [event.message for event in told if isinstance(event, Note)]
    assert sum("trying the next place" in note for note in notes) == 2


def test_when_every_place_fails_all_of_them_are_told(server: Server, store: Store) -> None:
    gone, broken = server.add("/gone", b"", answer(404)), server.add("/broken", b"", answer(500))
    with pytest.raises(DownloadFailed, match=r"/gone answers 404.*; then net: \S+/broken"):
        store.fetch(entry_for(gone, broken))


def test_a_mirror_goes_on_where_another_place_was_cut(server: Server, store: Store) -> None:
    first = server.add("/first", BODY, cut(0.5), answer(404))
    second = server.add("/second", BODY, serve, etag='"another"')
    assert store.fetch(entry_for(first, second)).sha256 == SHA256
    assert server.offsets("/second") == [len(BODY) // 2], "a known sha256 makes them one file"


def test_a_mirror_rule_is_asked_first_and_the_source_itself_second(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_MIRROR", f"{server.url}/source/={server.url}/mirror/")
    url = server.add("/source/net", BODY)
    server.add("/mirror/net", BODY)
    store.fetch(entry_for(url))
    assert [request.path for request in server.log] == ["/mirror/net"]
    other = server.add("/source/other", BODY[::-1])
    store.fetch(unproven(other, bytes=len(BODY)))
    assert [request.path for request in server.log[1:]] == ["/mirror/other", "/source/other"]


def test_a_mirror_that_sends_something_else_is_passed_over(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_MIRROR", f"{server.url}/source/={server.url}/mirror/")
    server.add("/mirror/net", BODY[::-1])
    assert store.fetch(entry_for(server.add("/source/net", BODY))).sha256 == SHA256


def test_a_rule_that_is_none_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MIRROR", "https://mirror.lab/")
    with pytest.raises(UsageError, match="is not a rule"):
        mirror_rules()


def test_word_vectors_of_gensim_data_come_from_its_release_files(
    server: Server, store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = json.loads((data / "gensim-data.json").read_text())
    facts = published["glove-wiki-gigaword-50"]
    assert (facts["parts"], facts["file_name"]) == (1, "glove-wiki-gigaword-50.gz")
    monkeypatch.setenv("ZOO_MIRROR", f"{RELEASES}/={server.url}/")
    server.add("/glove-wiki-gigaword-50/glove-wiki-gigaword-50.gz", BODY)
    md5 = hashlib.md5(BODY).hexdigest()
    local = store.fetch(unproven("gensim://glove-wiki-gigaword-50", md5=md5, bytes=len(BODY)))
    assert local.sha256 == SHA256
    assert len(server.log) == 1, "the data, and no code of it"


@pytest.mark.parametrize("name", ["glove-twitter-25", "word2vec-google-news-300"])
def test_the_url_of_every_data_set_is_the_published_one(data: Path, name: str) -> None:
    facts = json.loads((data / "gensim-data.json").read_text())[name]
    found = find_scheme("gensim://x").resolve(Wanted(f"gensim://{name}", unproven(f"gensim://{name}")))
    assert found == Remote((f"{RELEASES}/{name}/{facts['file_name']}",))


@pytest.mark.parametrize(
    "url", ["gensim://", "gensim://../x", "gensim://a/b/c", "gensim://a?parts=0", "gensim://a?parts=x"]
)
def test_a_name_that_is_none_of_gensim_data_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="is not a data set"):
        find_scheme("gensim://x").resolve(Wanted(url, unproven(url)))


def add_parts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MIRROR", f"{RELEASES}/={server.url}/")
    for number in range(3):
        server.add(f"/wiki/wiki.gz_{number:02d}", BODY[number * 100_000 : (number + 1) * 100_000])


def test_a_file_in_parts_is_joined(server: Server, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_parts(server, monkeypatch)
    assert store.fetch(entry_for("gensim://wiki?parts=3")).path.read_bytes() == BODY
    assert leftovers(store.home) == []


def test_parts_that_came_are_not_asked_for_again(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_parts(server, monkeypatch)
    monkeypatch.setattr("zoo.store.sources.gensim.RELEASES", server.url)
    server.plans["/wiki/wiki.gz_01"] = [cut(0.5), answer(404)]
    with pytest.raises(DownloadFailed):
        store.fetch(entry_for("gensim://wiki?parts=3"))
    server.plans["/wiki/wiki.gz_01"] = []
    assert len(leftovers(store.home)) == 2
    before = len(server.log)
    assert store.fetch(entry_for("gensim://wiki?parts=3")).path.read_bytes() == BODY
    assert [request.offset for request in server.log[before:]] == [100_000, 50_000, 0]


def test_parts_that_came_go_with_rm(server: Server, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_parts(server, monkeypatch)
    server.plans["/wiki/wiki.gz_01"] = [cut(0.5), answer(404)]
    entry = entry_for("gensim://wiki?parts=3")
    with pytest.raises(DownloadFailed):
        store.fetch(entry)
    assert store.remove(entry) == 150_000
    assert leftovers(store.home) == []


def test_parts_that_do_not_make_the_file_are_refused(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_parts(server, monkeypatch)
    monkeypatch.setattr("zoo.store.sources.gensim.RELEASES", server.url)
    server.files["/wiki/wiki.gz_02"] = BODY[:100_000]
    with pytest.raises(HashMismatch):
        store.fetch(entry_for("gensim://wiki?parts=3"))
    assert leftovers(store.home) == []


def test_every_scheme_of_the_table_has_a_module_that_resolves_it() -> None:
    assert {name for name in SCHEMES if find_scheme(f"{name}://x").local} == {"file", "package"}
    folder = Path(sources.__path__[0])
    files = {path.stem for path in folder.glob("*.py") if "\ndef resolve(" in path.read_text("utf-8")}
    assert {scheme.resolver for scheme in SCHEMES.values()} == {
        f"{sources.__name__}.{f}:resolve" for f in files
    }
    assert all(callable(find_scheme(f"{name}://x").resolve) for name in SCHEMES)


def test_every_example_of_the_table_keeps_its_own_rule() -> None:
    for scheme in SCHEMES.values():
        assert scheme.fault(scheme.example) is None


def test_a_scheme_of_another_package_comes_through_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    (tmp_path / "lab_source.py").write_text(
        "from pathlib import Path\nfrom zoo.store.remote import Scheme\n"
        "SCHEME = Scheme(lambda wanted: Path(wanted.url.removeprefix('lab://')), local=True)\n"
    )
    facts = tmp_path / "lab_source-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-source\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[zoo.sources]\nlab = lab_source:SCHEME\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "net.bin").write_bytes(BODY)
    assert store.fetch(entry_for(f"lab://{tmp_path}/net.bin")).sha256 == SHA256


def test_a_scheme_that_nobody_knows_is_refused(store: Store) -> None:
    with pytest.raises(AddressRefused, match="'s3' is not known"):
        store.fetch(entry_for("s3://bucket/net"))


def test_offline_mirrors_are_not_asked_either(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_MIRROR", f"{RELEASES}/={server.url}/")
    with pytest.raises(Offline):
        Store(home, offline=True).fetch(entry_for("gensim://wiki"))
    assert server.connections == 0
