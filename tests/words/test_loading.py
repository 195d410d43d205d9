"""An entry of the registry becomes open vectors: fetched, compiled once, found again."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from zoo import load_model
from zoo.catalogue.entry import TextInput, Weights, WordModel
from zoo.catalogue.registry import read_registry_file
from zoo.errors import IntegrityError, UnknownName, UnsafeFile, UsageError
from zoo.events import Event, Note, Progress
from zoo.store.local import LocalModel
from zoo.store.store import Store
from zoo.words.loading import compiled_forms, load_words
from zoo.words.vectors.layout import check_layout
from zoo.words.vectors.word_vectors import WordVectors


def words_entry(path: Path, dimension: int) -> WordModel:
    """An entry of a file of word vectors."""
    return WordModel(
        name=path.stem,
        family="own",
        task="word-vectors",
        architecture="words/glove-text",
        weights=Weights(url=path.as_uri()),
        license="unknown",
        input=TextInput(dimension=dimension),
    )


def test_a_registry_entry_is_compiled_at_its_first_use_and_only_opened_after(
    data: Path, store: Store, vectors: WordVectors
) -> None:
    entry = read_registry_file(data / "registry.yaml")["glove_demo"]
    local = store.fetch(entry)
    told: list[Event] = []
    first = load_words(local, store, report=told.append)
    assert any(isinstance(event, Progress) and event.task.startswith("compile glove.6B") for event in told)
    assert sum(isinstance(event, Note) for event in told) == 2
    told.clear()
    again = load_words(local, store, report=told.append)
    assert told == []
    assert first.path == again.path is not None
    assert np.array_equal(again.vectors, vectors.vectors)
    assert again.metadata["source_sha256"] == local.sha256
    assert again.source == "glove.6B.50d.head.txt"
    check_layout(again.path)


def test_each_precision_is_a_file_of_its_own(data: Path, store: Store) -> None:
    local = store.fetch(read_registry_file(data / "registry.yaml")["glove_demo"])
    assert load_words(local, store).vectors.dtype == np.float32
    assert load_words(local, store, precision="float16").vectors.dtype == np.float16
    with pytest.raises(UnknownName):
        load_words(local, store, precision="int4")


def test_without_a_precision_what_is_compiled_already_is_taken_and_float32_first(
    data: Path, store: Store
) -> None:
    local = store.fetch(read_registry_file(data / "registry.yaml")["glove_demo"])
    load_words(local, store, precision="float16")
    assert load_words(local, store).vectors.dtype == np.float16
    load_words(local, store, precision="float32")
    assert load_words(local, store).vectors.dtype == np.float32
    assert [form.precision for form in compiled_forms(local, store)] == ["float32", "float16"]


def test_a_member_that_was_named_once_is_remembered_until_there_are_two(store: Store, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as archive:
        archive.writestr("glove.2d.txt", "the 1 2\nof 2 1\n")
        archive.writestr("glove.3d.txt", "the 1 2 3\nof 3 2 1\n")
    local = LocalModel(words_entry(tmp_path / "glove.zip", dimension=3), tmp_path / "glove.zip", "0" * 64)
    with pytest.raises(UsageError, match="holds several files") as several:
        load_words(local, store)
    assert several.value.hint == "Say which one with --member: glove.2d.txt, glove.3d.txt"
    assert load_words(local, store, member="glove.3d.txt").vector_size == 3
    assert load_words(local, store)["of"].tolist() == [3, 2, 1]
    load_words(local, store, member="glove.2d.txt")
    with pytest.raises(UsageError, match="holds several files"):
        load_words(local, store)


def test_another_precision_of_vectors_whose_source_is_gone_says_how_to_get_it(
    data: Path, store: Store
) -> None:
    entry = read_registry_file(data / "registry.yaml")["glove_demo"]
    load_words(store.fetch(entry), store, keep_source=False)
    with pytest.raises(UsageError, match="only its compiled vectors are here") as gone:
        load_words(store.fetch(entry), store, precision="float16")
    assert gone.value.hint == "zoo rm glove_demo, then fetch it again."


def test_the_source_may_go_once_the_compiled_file_is_safe(data: Path, store: Store) -> None:
    entry = read_registry_file(data / "registry.yaml")["glove_demo"]
    local = store.fetch(entry)
    load_words(local, store, keep_source=False)
    found = store.find(entry)
    assert found is not None
    assert found.sha256 == local.sha256
    assert load_words(found, store).similarity("king", "queen") > 0.7


def test_strict_refuses_a_file_with_faults_also_when_it_is_compiled_already(data: Path, store: Store) -> None:
    local = store.fetch(read_registry_file(data / "registry.yaml")["glove_demo"])
    with pytest.raises(IntegrityError, match="not valid UTF-8"):
        load_words(local, store, strict=True)
    load_words(local, store)
    with pytest.raises(IntegrityError, match="not valid UTF-8"):
        load_words(local, store, strict=True)


def test_a_wrong_dimension_in_the_entry_is_told(data: Path, store: Store) -> None:
    entry = read_registry_file(data / "registry.yaml")["glove_demo"]
    local = store.fetch(entry)
    wrong = msgspec.structs.replace(entry, input=msgspec.structs.replace(entry.input, dimension=300))  # type: ignore[attr-defined]
    told: list[Event] = []
    load_words(msgspec.structs.replace(local, entry=wrong), store, report=told.append)
    assert any(isinstance(e, Note) and "50 dimensions, its entry states 300" in e.message for e in told)


@pytest.mark.fault("S5")
def test_a_registry_entry_with_a_pickle_is_refused_by_its_published_name(
    store: Store, tmp_path: Path
) -> None:
    content = b"the 1 2\n"
    (tmp_path / "vectors.kv").write_bytes(content)
    (tmp_path / "registry.yaml").write_text(
        "models:\n  saved:\n    family: glove\n    task: word-vectors\n    architecture: words/keyedvectors\n"
        f"    weights: {{url: vectors.kv, sha256: {hashlib.sha256(content).hexdigest()}}}\n"
        "    input: {dimension: 2}\n    license: unknown\n"
    )
    local = store.fetch(read_registry_file(tmp_path / "registry.yaml")["saved"])
    with pytest.raises(UnsafeFile, match=r"vectors\.kv has the name of a gensim save"):
        load_words(local, store)


def test_an_entry_of_images_is_a_mistake(data: Path, store: Store) -> None:
    local = store.fetch(read_registry_file(data / "registry.yaml")["mobilenet_v2_demo"])
    with pytest.raises(UsageError, match="is not word vectors"):
        load_words(local, store)


def test_what_an_earlier_version_compiled_is_compiled_again(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = store.fetch(read_registry_file(data / "registry.yaml")["glove_demo"])
    with monkeypatch.context() as earlier:
        earlier.setattr("zoo.words.loading.KIND", "words")
        earlier.setattr("zoo.words.vectors.layout.VERSION", "1")
        old = load_words(local, store).path
    assert compiled_forms(local, store) == {}
    told: list[Event] = []
    new = load_words(local, store, report=told.append)
    assert any(isinstance(event, Progress) and event.task.startswith("compile") for event in told)
    assert new.path != old
    assert new.metadata["version"] == "2"


def test_what_an_earlier_version_compiled_is_refused_where_its_source_is_gone(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = store.fetch(read_registry_file(data / "registry.yaml")["glove_demo"])
    with monkeypatch.context() as earlier:
        earlier.setattr("zoo.words.loading.KIND", "words")
        earlier.setattr("zoo.words.vectors.layout.VERSION", "1")
        load_words(local, store, keep_source=False)
    with pytest.raises(UsageError, match="by an earlier version") as refused:
        load_words(store.fetch(local.entry), store)
    assert "zoo rm" in str(refused.value.hint)


@pytest.mark.parametrize("name", ["own.txt", "own.vec", "own.bin", "own.txt.gz"])
def test_a_limit_takes_the_first_words_as_gensim_does(name: str, store: Store, tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    rows = [f"word{number} {number} {-number}.5" for number in range(5000)]
    whole = KeyedVectors(2)
    whole.add_vectors([row.split()[0] for row in rows], [[*map(float, row.split()[1:])] for row in rows])
    whole.save_word2vec_format(tmp_path / name, binary=name == "own.bin")
    expected = KeyedVectors.load_word2vec_format(tmp_path / name, binary=name == "own.bin", limit=7)
    told: list[Event] = []
    vectors = load_model(str(tmp_path / name), store=store, limit=7, strict=True, report=told.append)
    assert list(vectors.index_to_key) == expected.index_to_key
    assert vectors.vectors.tolist() == expected.vectors.tolist()
    assert len(load_model(str(tmp_path / name), store=store)) == 5000, (
        "a limit holds for the call that names it"
    )
    assert len(load_model(str(tmp_path / name), store=store, limit=4500)) == 4500
    assert load_model(str(tmp_path / name), store=store, limit=7).path == vectors.path
    assert len(load_model(str(tmp_path / name), store=store, limit=9999)) == 5000


def test_a_limit_reads_no_further_than_its_last_word(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("".join(f"word{n} {n}.5 1\n" for n in range(300_000)) + "the last line is broken\n")
    assert load_model(str(path), store=store, limit=1000, strict=True).faults == ()


def test_a_limit_below_one_is_a_wrong_value(store: Store, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("the 1 2\nof 3 4\n")
    with pytest.raises(ValueError, match="a limit of -1 words"):
        load_model(str(tmp_path / "own.txt"), store=store, limit=-1)
