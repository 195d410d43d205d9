"""An entry of the registry becomes open vectors: fetched, compiled once, found again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from zoo.catalogue.registry import read_registry_file
from zoo.errors import IntegrityError, UnknownName, UnsafeFile, UsageError
from zoo.events import Event, Note, Progress
from zoo.store.store import Store
from zoo.words.layout import check_layout
from zoo.words.loading import load_words
from zoo.words.vectors import WordVectors


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


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
    load_words(replace(local, entry=wrong), store, report=told.append)
    assert any(isinstance(e, Note) and "50 dimensions, its entry says 300" in e.message for e in told)


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
    with pytest.raises(UsageError, match="is no word vectors"):
        load_words(local, store)
