"""Word vectors from everywhere: a file of the user's own, an archive, gensim-data, the Hub."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from pathlib import Path

import pytest
from support.loopback import Server, answer

from zoo import load_model
from zoo.catalogue.registry import Registry, load_registry
from zoo.errors import DownloadFailed, IntegrityError, NotAModel, Offline, UnsafeFile, UsageError
from zoo.events import Event, Note
from zoo.store.sources.gensim import RELEASES
from zoo.store.store import Store
from zoo.targets import RegistryModel, VectorFile, fetch_model, find_target
from zoo.words.vectors.word_vectors import WordVectors

COMMIT = "c0ffee" * 6 + "c0ff"


# --- a file given by its path


def test_a_file_given_by_its_path_is_compiled_where_it_lies(
    glove: Path, store: Store, vectors: WordVectors
) -> None:
    told: list[Event] = []
    opened = load_model(str(glove), store=store, report=told.append)
    assert opened.most_similar("king") == vectors.most_similar("king")
    assert sum(isinstance(event, Note) for event in told) == 2
    assert list(store.blobs.folder.iterdir()) == [opened.path], "no copy of the source"
    told.clear()
    assert load_model(str(glove), store=store, report=told.append).path == opened.path
    assert told == []


def test_what_a_file_is_told_by_its_bytes(glove: Path, store: Store) -> None:
    local = fetch_model(str(glove), store=store)
    assert local.path == glove.absolute()
    assert local.sha256 == hashlib.sha256(glove.read_bytes()).hexdigest() == local.entry.weights.sha256
    assert local.entry.architecture == "words/glove-text"
    assert local.entry.input.dimension == 50  # type: ignore[attr-defined]
    assert local.entry.input.lowercase  # type: ignore[attr-defined]


def test_a_file_that_was_changed_is_compiled_again(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.vec"
    path.write_text("2 2\nThe 1 2\nof 3 4\n")
    assert load_model(str(path), store=store)["of"].tolist() == [3, 4]
    path.write_text("2 3\nThe 1 2 9\nof 5 6 9\n")
    assert load_model(str(path), store=store)["of"].tolist() == [5, 6, 9]


def test_what_was_written_down_about_a_file_may_be_lost(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("the 1 2\nof 3 4\n")
    first = fetch_model(str(path), store=store)
    (kept,) = (store.home / "files").iterdir()
    kept.write_bytes(b"{damaged")
    assert fetch_model(str(path), store=store) == first


@pytest.mark.parametrize("name", ["own.txt.gz", "own.zip", "my own vectors.txt"])
def test_packed_files_and_names_with_spaces_are_opened_too(name: str, store: Store, tmp_path: Path) -> None:
    content = b"the 1 2\nof 3 4\n"
    path = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("own.txt", content)
    else:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert load_model(str(path), store=store)["of"].tolist() == [3, 4]


def test_a_member_of_an_archive_is_named_once(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("glove.2d.txt", "the 1 2\nof 2 1\n")
        archive.writestr("glove.3d.txt", "the 1 2 3\nof 3 2 1\n")
    with pytest.raises(UsageError, match="holds several files"):
        load_model(str(path), store=store)
    told: list[Event] = []
    for member in ("glove.3d.txt", None):
        assert load_model(str(path), store=store, member=member, report=told.append).vector_size == 3
    assert load_model(str(path), store=store, member="glove.2d.txt", report=told.append).vector_size == 2
    assert not any(isinstance(event, Note) for event in told), "each has the dimension of its own entry"
    with pytest.raises(UsageError, match=r"holds no 'glove\.4d\.txt'"):
        load_model(str(path), store=store, member="glove.4d.txt")


def test_a_member_of_what_is_no_archive_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("the 1 2\n")
    with pytest.raises(UsageError, match=r"own\.txt is not a \.zip"):
        load_model(str(tmp_path / "own.txt"), store=store, member="x")


def test_a_name_of_the_registry_wins_over_a_file_of_that_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("glove-wiki-gigaword-50").write_text("the 1 2\n")
    name = "glove-wiki-gigaword-50"
    assert isinstance(find_target(name, registry=load_registry(), store=store), RegistryModel)
    assert isinstance(find_target(name, registry=Registry({}), store=store), VectorFile)
    assert isinstance(find_target(f"./{name}", store=store), VectorFile)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.txt", "no such file"),
        ("./no", "no such file"),
        (".", "not a model or a run"),
        ("https://example.org/vectors.txt", "an address alone cannot prove"),
    ],
)
def test_what_is_no_file_says_so(name: str, says: str, store: Store) -> None:
    with pytest.raises(UsageError, match=says):
        find_target(name, store=store)


@pytest.mark.fault("S5")
@pytest.mark.parametrize(
    ("name", "content"), [("own.txt", b"\x80\x04\x95rest"), ("own.kv", b"the 1 2\n")], ids=["magic", "name"]
)
def test_a_pickle_is_refused_before_anything_is_written(
    name: str, content: bytes, store: Store, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsafeFile, match="save_word2vec_format"):
        load_model(str(tmp_path / name), store=store)
    assert not store.home.exists()


def test_a_photograph_is_no_file_of_vectors(data: Path, store: Store) -> None:
    with pytest.raises(NotAModel, match="an image, not a model"):
        load_model(str(data / "photos" / "cat_720p.jpg"), store=store)


def test_options_of_words_are_refused_for_networks(store: Store) -> None:
    with pytest.raises(UsageError, match="are for word vectors: resnet18 is a model for images"):
        load_model("resnet18", store=store, precision="float16")


# --- gensim-data and the Hub


def write_registry(folder: Path, weights: str, dimension: int) -> Registry:
    """The registry with one more entry, `own`."""
    file = folder / "registry.yaml"
    file.write_text(
        "models:\n  own:\n    family: own\n    task: word-vectors\n    architecture: words/glove-text\n"
        f"    weights: {weights}\n    input: {{dimension: {dimension}}}\n    license: mit\n"
    )
    return load_registry([file])


@pytest.mark.parametrize("parts", [1, 3])
def test_vectors_of_gensim_data_come_packed_and_in_parts_and_run_no_code(
    parts: int, glove: Path, server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_MIRROR", f"{RELEASES}/={server.url}/")
    lines = glove.read_bytes().splitlines(keepends=True)
    packed = gzip.compress(f"{len(lines)} 50\n".encode() + b"".join(lines))
    size = -(-len(packed) // parts)
    for number in range(parts):
        name = "small.gz" if parts == 1 else f"small.gz_{number:02d}"
        server.add(f"/small/{name}", packed[number * size : (number + 1) * size])
    url = "gensim://small" if parts == 1 else f"gensim://small?parts={parts}"
    weights = f"{{url: '{url}', md5: {hashlib.md5(packed).hexdigest()}, bytes: {len(packed)}}}"
    registry = write_registry(tmp_path, weights, dimension=50)
    vectors = load_model("own", registry=registry, store=store)
    assert vectors.most_similar("king", topn=1)[0][0] == "prince"
    assert len(server.log) == parts, "the data, and no code of it"
    offline = Store(store.home, offline=True)
    assert load_model("own", registry=registry, store=offline).path == vectors.path


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A Hub that holds owner/words/glove.txt."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    content = b"the 1 2\nof 3 4\n"
    facts = {
        "X_Repo_Commit": COMMIT,
        "X_Linked_Etag": f'"{hashlib.sha256(content).hexdigest()}"',
        "X_Linked_Size": len(content),
    }
    location = server.add("/cdn/glove.txt", content).replace("127.0.0.1", "localhost")
    for revision in ("main", COMMIT):
        path = f"/owner/words/resolve/{revision}/glove.txt"
        server.add(path, content, answer(302, Location=location, **facts))
    return server


def test_vectors_of_the_hub_are_named_with_their_file_and_need_no_registry(hub: Server, store: Store) -> None:
    assert load_model("hf://owner/words/glove.txt", store=store)["of"].tolist() == [3, 4]
    requests = len(hub.log)
    again = Store(store.home, offline=True)
    assert load_model("hf://owner/words/glove.txt", store=again)["of"].tolist() == [3, 4]
    assert len(hub.log) == requests
    local = fetch_model("hf://owner/words/glove.txt", store=again)
    assert local is not None
    assert local.entry.name == "hf://owner/words/glove.txt"
    assert local.entry.input.dimension == 2  # type: ignore[attr-defined]
    with pytest.raises(DownloadFailed, match="answers 404"):
        load_model("hf://owner/words/other.txt", store=store)
    with pytest.raises(Offline):
        load_model("hf://owner/words/other.txt", store=again)


def test_vectors_of_the_hub_may_be_an_entry_of_a_registry(hub: Server, store: Store, tmp_path: Path) -> None:
    registry = write_registry(tmp_path, "{url: 'hf://owner/words/glove.txt'}", dimension=2)
    assert load_model("own", registry=registry, store=store)["of"].tolist() == [3, 4]


def test_another_file_of_the_hub_than_it_states_is_refused(hub: Server, store: Store) -> None:
    hub.files["/cdn/glove.txt"] = b"the 1 2\nof 3 5\n"
    with pytest.raises(IntegrityError, match="wrong bytes"):
        load_model("hf://owner/words/glove.txt", store=store)
    assert list(store.blobs.folder.iterdir()) == []


def test_only_a_fetch_brings_a_file_of_the_hub(hub: Server, capsys: pytest.CaptureFixture[str]) -> None:
    from zoo.cli.main import main

    name = "hf://owner/words/glove.txt"
    for arguments in (["fetch", name, "--dry-run"], ["rm", name]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert hub.log == [], arguments
    with pytest.raises(SystemExit) as left:
        main(["fetch", name])
    assert not left.value.code
    assert "dimensions, its entry states" not in capsys.readouterr().err
    assert hub.log
    with pytest.raises(SystemExit):
        main(["show", name, "--json"])
    assert '"dimension": 2' in capsys.readouterr().out
