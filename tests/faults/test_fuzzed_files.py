"""Rows S1, S3, S6 and S7 by chance: whatever bytes a file holds, the answer is one of our errors, soon."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import JSON_FILES, REGISTRIES, SAFETENSORS, TARS, VECTORS, examples, tar_of

from zoo.backbones.checkpoints import read_state_dict
from zoo.catalogue.registry import read_registry_file
from zoo.errors import IntegrityError, InvalidRegistry, UsageError, ZooError
from zoo.store.bundles.tar_file import read_members
from zoo.store.disk.records import Record, _read_record
from zoo.store.trust.lock_file import read_lock_file
from zoo.words.compiling.compiler import compile_vectors
from zoo.words.vectors.word_vectors import open_vectors


@pytest.mark.fault("S6")
@examples(150)
@given(content=SAFETENSORS)
def test_any_safetensors_header_gives_tensors_or_one_of_our_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    try:
        found = read_state_dict(tmp_path / "x")
    except IntegrityError:
        return
    assert found


@pytest.mark.fault("S3")
@examples(150)
@given(content=TARS)
def test_any_tar_file_gives_safe_members_or_one_of_our_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    try:
        members = read_members(path)
    except IntegrityError:
        return
    for member in members:
        assert not Path(member.name).is_absolute()
        assert ".." not in Path(member.name).parts
        assert member.begin + member.bytes <= path.stat().st_size


@pytest.mark.fault("S3")
@examples(150)
@given(name=st.text(max_size=90).filter(lambda name: "\0" not in name and name.strip()))
def test_no_name_of_a_member_leaves_the_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.tar"
    try:
        path.write_bytes(tar_of([(name, b"x")]))
    except (ValueError, UnicodeError):
        return  # not even tarfile writes it
    try:
        (member,) = read_members(path)
    except IntegrityError:
        return
    inside = tmp_path / "inside"
    assert (inside / member.name).resolve().is_relative_to(inside.resolve())


@examples(150)
@given(content=JSON_FILES)
def test_any_lock_file_and_any_record_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with suppress(ZooError):
        assert isinstance(read_lock_file(path), dict)
    assert isinstance(_read_record(path), Record | None)


@pytest.mark.fault("S1")
@examples(150)
@given(content=REGISTRIES)
def test_any_registry_file_is_read_or_refused_with_its_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    try:
        entries = read_registry_file(path)
    except InvalidRegistry as refusal:
        assert refusal.message.startswith(f"{path}:")  # noqa: PT017, both ends are fine
    else:
        assert all(entry.name == name for name, entry in entries.items())


@pytest.mark.fault("S7")
@examples(150)
@given(content=VECTORS)
def test_any_word_vector_file_gives_finite_vectors_or_our_error(tmp_path: Path, content: bytes) -> None:
    source, compiled = tmp_path / "vectors", tmp_path / "compiled"
    source.write_bytes(content)
    compiled.unlink(missing_ok=True)
    try:
        compile_vectors(source, compiled)
    except (IntegrityError, UsageError):
        assert not compiled.exists()
        return
    vectors = open_vectors(compiled)
    assert len(vectors) > 0
    assert np.isfinite(vectors.vectors).all()
    assert [vectors.key_to_index[word] for word in vectors.index_to_key] == list(range(len(vectors)))
