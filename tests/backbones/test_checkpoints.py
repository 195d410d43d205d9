"""Weights files become named tensors: read without running code, converted once, mapped afterwards."""

from __future__ import annotations

import argparse
import collections
import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.loopback import unproven
from torch import nn

from zoo.backbones.checkpoints import (
    find_odd_numbers,
    load_weights,
    read_state_dict,
    write_state_dict,
)
from zoo.backbones.formats import detect_format
from zoo.errors import HashMismatch, IntegrityError
from zoo.events import Event, Note
from zoo.store.store import Store
from zoo.store.upkeep.verification import verify_store


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


def test_the_real_checkpoint_is_converted_once_and_its_pickle_is_dropped(store: Store, data: Path) -> None:
    path = data / "weights" / "mobilenet_v2-adb27a5a.pth"
    sha256 = "adb27a5a4bfd70c6c156669fa2d1e36dbb27f4b7149c029ba18cd8e54d598645"
    entry = unproven(path.as_uri(), sha256=sha256)
    local = store.fetch(entry)
    expected = torch.load(path, weights_only=True)
    assert_equal(load_weights(local, store), expected)
    assert not local.path.exists()
    found = store.find(entry)
    assert found is not None
    assert found.sha256 == sha256
    assert detect_format(found.path) == "safetensors"
    assert_equal(load_weights(found, store), load_weights(local, store))
    assert len(list(store.blobs)) == 1
    assert [verdict.state for verdict in verify_store(store)] == ["whole"]


def test_mapped_tensors_can_be_written_to_without_changing_the_file(store: Store, tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "net.safetensors")
    local = store.fetch(unproven((tmp_path / "net.safetensors").as_uri()))
    before = local.path.read_bytes()
    for tensor in load_weights(local, store).values():
        tensor.zero_()
    assert local.path.read_bytes() == before
    assert store.derived(local, "safetensors") is None, "safetensors need no conversion"


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict_ema": state, "state_dict": {k: v * 0 for k, v in state.items()}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1)},
        lambda state: {**state, "epoch": 3},
    ],
    ids=[
        "bare",
        "state_dict",
        "model",
        "nested",
        "averaged",
        "module.",
        "compiled",
        "options",
        "among others",
    ],
)
def test_every_usual_wrapping_is_taken_off(tmp_path: Path, wrap: object, new: bool) -> None:
    state = network().state_dict()
    path = tmp_path / "net.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=new)  # type: ignore[operator]
    assert_equal(read_state_dict(path), dict(state))


def test_what_was_taken_off_is_told(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in network().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "net.pth")
    told: list[Event] = []
    read_state_dict(tmp_path / "net.pth", report=told.append)
    messages = [event.message for event in told if isinstance(event, Note)]
    assert any("'module.'" in message for message in messages)
    assert any("'state_dict'" in message for message in messages)


def test_shared_and_strided_tensors_survive_the_conversion(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "tied": base,
        "again": base,
        "row": base[1],
        "transposed": base.t(),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0),
    }
    write_state_dict(tensors, tmp_path / "out")
    found = load_file(tmp_path / "out")
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)


def test_weights_are_read_even_where_they_cannot_be_converted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    local = store.fetch(unproven((tmp_path / "net.pth").as_uri()))

    def full(*args: object, **kwargs: object) -> Path:
        from zoo.errors import DiskFull

        raise DiskFull("no room")

    monkeypatch.setattr(Store, "derive", full)
    assert_equal(load_weights(local, store), dict(network().state_dict()))
    assert local.path.exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"epoch": 3}, {}, torch.ones(3), collections.OrderedDict(lr=0.1), {1: torch.ones(2)}],
    ids=["list", "no tensors", "empty", "tensor", "options", "numbered"],
)
def test_a_checkpoint_without_named_tensors_says_what_it_holds(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(IntegrityError, match="no weights in it"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\x93NUMPY\x01", "numpy"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"GGUF\x03", "language model"),
        (b"hello", "neither"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, start: bytes, what: str) -> None:
    (tmp_path / "x").write_bytes(start + bytes(600))
    with pytest.raises(IntegrityError, match=what):
        read_state_dict(tmp_path / "x")


@pytest.mark.fault("S6")
def test_nan_and_infinity_are_found_in_numbers_of_every_width() -> None:
    tiny = torch.ones(3).to(torch.float8_e4m3fn)
    tiny.view(torch.uint8)[1] = 0x7F
    assert find_odd_numbers(torch.tensor([1.0, float("nan")])) == "NaN"
    assert find_odd_numbers(torch.tensor([1.0, float("-inf")], dtype=torch.bfloat16)) == "infinity"
    assert find_odd_numbers(tiny) == "NaN"
    assert find_odd_numbers(torch.tensor([1, 2])) is None
    assert find_odd_numbers(torch.empty(0)) is None
    assert find_odd_numbers(torch.tensor([3.4e38, -3.4e38])) is None


def repack(path: Path, target: Path, change: Callable[[str, bytes], tuple[bytes, int]]) -> None:
    """A checkpoint's archive with its members changed: (name, content) -> (content, compression)."""
    with ZipFile(path) as archive, ZipFile(target, "w") as packed:
        for member in archive.infolist():
            content, compression = change(member.filename, archive.read(member))
            packed.writestr(member.filename, content, compression)


@pytest.mark.fault("S6")
@pytest.mark.parametrize("which", ["", "data/", "data.pkl"], ids=["all", "numbers", "names"])
def test_a_checkpoint_whose_members_are_compressed_gives_the_same_numbers(tmp_path: Path, which: str) -> None:
    """As archivers and some mirrors repack it; torch maps the compressed bytes as if they were numbers."""
    state = {**network().state_dict(), "zeros": torch.zeros(5000)}
    torch.save(state, tmp_path / "plain.pth")
    repack(
        tmp_path / "plain.pth",
        tmp_path / "net.pth",
        lambda name, content: (content, ZIP_DEFLATED if which in name else ZIP_STORED),
    )
    assert_equal(read_state_dict(tmp_path / "net.pth"), state)


def test_a_compressed_checkpoint_is_converted_to_its_numbers(store: Store, tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(state, tmp_path / "plain.pth")
    repack(tmp_path / "plain.pth", tmp_path / "net.pth", lambda _, content: (content, ZIP_DEFLATED))
    local = store.fetch(unproven((tmp_path / "net.pth").as_uri()))
    assert_equal(load_weights(local, store), state)
    assert_equal(load_weights(local, store), state)


@pytest.mark.fault("S6")
@pytest.mark.parametrize("compression", [ZIP_STORED, ZIP_DEFLATED], ids=["stored", "deflated"])
def test_numbers_that_a_cut_member_lacks_are_never_taken_from_the_next(
    tmp_path: Path, compression: int
) -> None:
    torch.save({"a": torch.ones(1000), "b": torch.full((1000,), 2.0)}, tmp_path / "plain.pth")
    repack(
        tmp_path / "plain.pth",
        tmp_path / "net.pth",
        lambda name, content: (content[:400] if name.endswith("data/0") else content, compression),
    )
    with pytest.raises(IntegrityError, match=r"net\.pth: "):
        read_state_dict(tmp_path / "net.pth")


def test_reading_a_checkpoint_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    torch.save({"state": network().state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "net.pth")
    environment, allowed = dict(os.environ), torch.serialization.get_safe_globals()
    read_state_dict(tmp_path / "net.pth")
    assert dict(os.environ) == environment
    assert torch.serialization.get_safe_globals() == allowed


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    ("form", "says"),
    [
        (lambda t: t.to_sparse(), "sparse"),
        (lambda t: t.to_sparse_csr(), "sparse"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantized"),
        (lambda t: t.to("meta"), "without its numbers"),
    ],
    ids=["coo", "csr", "quantized", "meta"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_tensors_that_are_no_plain_arrays_are_refused_by_name(
    tmp_path: Path, form: Callable[[torch.Tensor], torch.Tensor], says: str
) -> None:
    torch.save({"a": torch.ones(3), "b": form(torch.eye(3))}, tmp_path / "x")
    with pytest.raises(IntegrityError, match=f"x: b is {says}"):
        read_state_dict(tmp_path / "x")


def test_a_changed_file_is_refused_before_it_is_unpickled(store: Store, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    local = store.fetch(unproven((tmp_path / "net.pth").as_uri()))
    local.path.write_bytes(local.path.read_bytes()[::-1])
    with pytest.raises((HashMismatch, IntegrityError)):
        load_weights(local, store)
