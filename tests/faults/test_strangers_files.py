"""Rows K2, S4 and S6: files whose author wants more than to be read."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import subprocess
import tarfile
import timeit
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
import torch
from safetensors.torch import save_file
from support.loopback import unproven
from torch import nn

from zoo.backbones.checkpoints import load_weights, read_state_dict
from zoo.errors import HashMismatch, IntegrityError, UnsafeFile, ZooError
from zoo.store.store import Store
from zoo.store.upkeep.verification import verify_store


class Evil:
    """Creates a marker file when it is unpickled."""

    def __init__(self, marker: Path, how: str) -> None:
        self.marker = marker
        self.how = how

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self.how == "os.system":
            return os.system, (f"touch '{self.marker}'",)
        if self.how == "timeit":
            return timeit.timeit, (f"open({str(self.marker)!r}, 'w')",)
        if self.how == "eval":
            return eval, (f"open({str(self.marker)!r}, 'w')",)
        return subprocess.Popen, (["touch", str(self.marker)],)


HOWS = ["os.system", "timeit", "eval", "subprocess"]


def write_pickle(path: Path, content: object, form: str) -> None:
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")


@pytest.mark.fault("S4")
@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
@pytest.mark.parametrize("how", HOWS)
def test_a_checkpoint_with_code_in_it_is_refused_and_nothing_runs(
    store: Store, tmp_path: Path, how: str, form: str
) -> None:
    marker = tmp_path / "it-ran"
    write_pickle(tmp_path / "net.pth", {"a": torch.ones(2), "x": Evil(marker, how)}, form)
    local = store.fetch(unproven((tmp_path / "net.pth").as_uri()))
    with pytest.raises(UnsafeFile, match="net is refused: opening it would run") as raised:
        load_weights(local, store)
    assert raised.value.exit_code == 3
    assert "weights_only=False" in str(raised.value.hint), "how to convert it, at one's own risk"
    assert "--unsafe" not in str(raised.value)
    assert not marker.exists()
    assert store.derived(local, "safetensors") is None


@pytest.mark.fault("S4")
def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(UnsafeFile, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.fault("S4")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), program)
    with pytest.raises(UnsafeFile, match="TorchScript"):
        read_state_dict(program)


@pytest.mark.fault("S4")
def test_the_oldest_tar_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            (tmp_path / name).write_bytes(pickle.dumps(0))
            archive.add(tmp_path / name, name)
    with pytest.raises(UnsafeFile, match="tar format"):
        read_state_dict(path)


@pytest.mark.thorough
@pytest.mark.fault("S3")
def test_a_checkpoint_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(30_000_000)}, tmp_path / "plain.pth")
    packed = zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, packed as bomb:
        for member in plain.infolist():
            bomb.writestr(member.filename, plain.read(member))
    with pytest.raises(UnsafeFile, match=r"bytes turn into 120,\d+,\d+, as in a decompression bomb"):
        read_state_dict(tmp_path / "bomb.pth")


@pytest.mark.fault("S3")
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_one_number_spread_over_a_terabyte_is_refused_before_it_is_read(tmp_path: Path, form: str) -> None:
    spread = torch.ones(1).as_strided((2**38,), (0,))
    write_pickle(tmp_path / "net.pth", {"a": torch.ones(5), "b": spread}, form)
    with pytest.raises(UnsafeFile, match="bytes turn into 1,099,511,627,796"):
        read_state_dict(tmp_path / "net.pth")


def test_tied_and_expanded_tensors_of_usual_sizes_are_no_bombs(tmp_path: Path) -> None:
    tied = torch.randn(4, 5)
    torch.save({"a": tied, "b": tied.T, "c": torch.ones(1, 3).expand(1000, 3)}, tmp_path / "net.pth")
    assert {name: tuple(t.shape) for name, t in read_state_dict(tmp_path / "net.pth").items()} == {
        "a": (4, 5),
        "b": (5, 4),
        "c": (1000, 3),
    }


@pytest.mark.fault("S4")
def test_a_gensim_pickle_is_refused(tmp_path: Path) -> None:
    # what a gensim .model file looks like to an unpickler, without importing gensim
    gadget = b"\x80\x02cgensim.models.keyedvectors\nKeyedVectors\n)\x81."
    (tmp_path / "words.model").write_bytes(gadget)
    with pytest.raises(UnsafeFile, match="KeyedVectors"):
        read_state_dict(tmp_path / "words.model")


@pytest.mark.fault("S4")
def test_the_environment_cannot_switch_the_guard_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "it-ran"
    write_pickle(tmp_path / "net.pth", {"x": Evil(marker, "os.system")}, "zip")
    with pytest.raises(ZooError):
        read_state_dict(tmp_path / "net.pth")
    assert not marker.exists()


@pytest.mark.fault("K2")
def test_a_blob_replaced_by_an_evil_pickle_of_the_same_size_and_time_is_not_opened(
    store: Store, tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"
    source = tmp_path / "net.pth"
    torch.save({"a": torch.ones(500)}, source)
    local = store.fetch(unproven(source.as_uri()))
    before = local.path.stat()
    evil = pickle.dumps({"a": Evil(marker, "os.system")})
    local.path.write_bytes(evil + bytes(before.st_size - len(evil)))
    os.utime(local.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.find(local.entry) == local, "the stamp is the same: this is the trap"
    with pytest.raises(HashMismatch, match="changed after it was fetched"):
        load_weights(local, store)
    assert not marker.exists()
    source_is_there = verify_store(store, [local.entry], fix=True)
    assert [verdict.state for verdict in source_is_there] == ["fixed"]
    assert torch.equal(load_weights(store.fetch(local.entry), store)["a"], torch.ones(500))


def header_of(tensors: dict[str, object], body: bytes = b"") -> bytes:
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + body


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10",
        struct.pack("<Q", 2**62) + b"{" + bytes(100),
        struct.pack("<Q", 50) + b"{" + bytes(10),
        header_of({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12)),
        header_of({"a": tensor("F32", [3], 0, 8)}, bytes(8)),
        header_of({"a": tensor("F32", [2**40, 2**40], 0, 8)}, bytes(8)),
        header_of({"a": tensor("F99", [2], 0, 8)}, bytes(8)),
        header_of({"a": tensor("F32", [2], 0, 8)}, bytes(4)),
        header_of({"a": tensor("F32", [2], 0, 8)}, bytes(20)),
        header_of({"a": tensor("F32", [-1], 0, 8)}, bytes(8)),
        header_of({}),
        struct.pack("<Q", 20) + b"{" * 20,
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
    ids=lambda content: f"{len(content)}-{crc32(content):08x}",  # hash() differs between test workers
)
def test_a_broken_safetensors_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(IntegrityError) as raised:
        read_state_dict(tmp_path / "x")
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.fault("S6")
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_a_file_cut_or_flipped_anywhere_is_an_error_or_numbers_never_anything_else(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "x"
    tensors = {f"layer{i}.weight": torch.randn(4, 5) for i in range(5)}
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    random_moments = random.Random(7)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(random_moments.randrange(1, 4)):
            broken[random_moments.randrange(len(broken))] ^= 1 << random_moments.randrange(8)
        if random_moments.random() < 0.5:
            broken = broken[: random_moments.randrange(len(broken))]
        path.write_bytes(broken)
        try:
            found = read_state_dict(path)
        except IntegrityError:
            continue
        assert all(isinstance(value, torch.Tensor) for value in found.values())
