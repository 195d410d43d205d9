"""Rows S1, S3, S6 and S7 by chance: whatever bytes a file holds, the answer is one of our errors, soon."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.backbones.checkpoints import read_state_dict
from zoo.catalogue.registry import read_registry_file
from zoo.errors import IntegrityError, InvalidRegistry, UsageError, ZooError
from zoo.store.bundles.tar_file import read_members
from zoo.store.disk.records import _read_record
from zoo.store.trust.lock_file import read_lock_file
from zoo.words.compiling.compiler import compile_vectors
from zoo.words.vectors.word_vectors import open_vectors

quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
OFFSETS = st.lists(st.integers(-1, 2**64), max_size=3)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "F8_E4M3", "F99", ""]),
        "shape": st.lists(st.integers(-1, 2**62), max_size=4),
        "data_offsets": OFFSETS,
    },
)


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


GOOD_TAR = tar_of([("runs/a/run.json", b"{}"), ("blobs/" + "0" * 64, b"x" * 600)])


@pytest.mark.fault("S6")
@quick
@given(
    header=st.dictionaries(st.text(max_size=8), TENSOR | JSON, max_size=4),
    body=st.binary(max_size=64),
    shift=st.integers(-9, 9),
)
def test_any_safetensors_header_gives_tensors_or_one_of_our_errors(
    tmp_path: Path, header: dict[str, object], body: bytes, shift: int
) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", max(len(text) + shift, 0)) + text + body)
    try:
        found = read_state_dict(tmp_path / "x")
    except IntegrityError:
        return
    assert found


@pytest.mark.fault("S3")
@quick
@given(
    changes=st.lists(st.tuples(st.integers(0, len(GOOD_TAR) - 1), st.integers(0, 255)), max_size=6),
    keep=st.integers(0, len(GOOD_TAR)),
)
def test_any_tar_file_gives_safe_members_or_one_of_our_errors(
    tmp_path: Path, changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(GOOD_TAR)
    for where, value in changes:
        data[where] = value
    path = tmp_path / "x.tar"
    path.write_bytes(data[:keep])
    try:
        members = read_members(path)
    except IntegrityError:
        return
    for member in members:
        assert not Path(member.name).is_absolute()
        assert ".." not in Path(member.name).parts
        assert member.begin + member.bytes <= path.stat().st_size


@pytest.mark.fault("S3")
@quick
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


@quick
@given(content=st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_lock_file_and_any_record_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises((InvalidRegistry, ZooError)):
        read_lock_file(path)
    assert _read_record(path) is None


CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=4)), max_size=5)


def change(content: bytes, changes: list[tuple[int, bytes]], keep: float) -> bytes:
    """The content with some places overwritten, cut after a share of it."""
    data = bytearray(content)
    for where, new in changes:
        data[where % len(data) : where % len(data) + len(new)] = new
    return bytes(data[: int(len(data) * keep)])


REGISTRY = b"""models:
  net:
    family: resnet
    task: image-features
    architecture: torchvision/resnet18
    weights: {url: net.pth, sha256: adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645}
    input: {size: 224, resize: 256, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    license: mit
"""
YAML = st.text("[]{}:-,&*!|>%@'\"# \n\tabc019.~\\", max_size=60).map(str.encode)


@pytest.mark.fault("S1")
@quick
@given(content=st.builds(change, st.just(REGISTRY), CHANGES, st.floats(0, 1)) | YAML | st.binary(max_size=60))
def test_any_registry_file_is_read_or_refused_with_its_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    try:
        entries = read_registry_file(path)
    except InvalidRegistry as refusal:
        assert refusal.message.startswith(f"{path}:")  # noqa: PT017, both ends are fine
    else:
        assert all(entry.name == name for name, entry in entries.items())


TEXT = b"4 3\nthe 0.1 0.2 0.3\nof -1 2e-3 4\nthe 1 2 3\nqueen 5 6 7\n"
BINARY = b"2 3\n" + b"".join(word + struct.pack("<3f", 1.0, 2.0, 3.0) for word in (b"the ", b"of "))
PLAIN = st.builds(change, st.sampled_from([TEXT, TEXT[4:], BINARY]), CHANGES, st.floats(0, 1))
PACKED = st.builds(change, PLAIN.map(gzip.compress), CHANGES, st.floats(0, 1))


@pytest.mark.fault("S7")
@quick
@given(content=PLAIN | PACKED | PLAIN.map(gzip.compress) | st.binary(max_size=80))
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
