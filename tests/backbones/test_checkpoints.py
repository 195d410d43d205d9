"""Weights files become named tensors: read without running code, converted once, mapped afterwards."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import decimal
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from support.loopback import unproven
from torch import nn

from zoo.backbones.checkpoints import (
    find_odd_numbers,
    load_weights,
    read_state_dict,
    write_state_dict,
)
from zoo.errors import HashMismatch, IntegrityError, UnsafeFile, UsageError
from zoo.events import Event, Note
from zoo.file_formats import detect_format
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
    write_state_dict(tensors, tmp_path / "out", "net")
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


def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Every kind, by its bytes: tests/test_file_formats.py."""
    (tmp_path / "x").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(
        IntegrityError, match=r"(?s)x is a pointer of Git LFS, not weights of PyTorch.*git lfs pull"
    ) as raised:
        read_state_dict(tmp_path / "x")
    assert raised.value.exit_code == 3
    (tmp_path / "x").write_bytes(b"hello" + bytes(600))
    with pytest.raises(IntegrityError, match="neither safetensors nor a checkpoint"):
        read_state_dict(tmp_path / "x")


# --- what training scripts keep beside the weights

BESIDE = {
    "a number of numpy": np.float64(0.9),
    "an array of numpy": np.arange(6.0).reshape(2, 3),
    "a text of numpy": np.str_("best"),
    "a state of numpy's generator": np.random.RandomState(0).get_state(),
    "a generator of numpy": np.random.default_rng(0),
    "a version": torch.__version__,
    "a path": Path("/data/x"),
    "a date": datetime.datetime(2020, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "a duration": datetime.timedelta(seconds=3),
    "a defaultdict": collections.defaultdict(list, {"lr": [0.1, 0.2]}),
    "a deque": collections.deque([1, 2], maxlen=5),
    "options": argparse.Namespace(lr=0.1, out=Path("run")),
    "a namespace": types.SimpleNamespace(a=1),
    "a decimal": decimal.Decimal("0.1"),
    "a frozenset": frozenset([1, 2]),
    "a type": float,
    "a dtype": torch.float32,
    "a set": {1, 2},
    "bytes": b"abc",
}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE)
def test_values_that_cannot_do_harm_are_read_beside_the_weights(
    tmp_path: Path, value: object, new: bool
) -> None:
    state = network().state_dict()
    content = {"best": value, "nested": {"more": [value]}, "state_dict": state}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=new)
    assert_equal(read_state_dict(tmp_path / "net.pth"), dict(state))


@pytest.mark.parametrize("kind", [collections.defaultdict, collections.OrderedDict, dict])
def test_weights_in_any_kind_of_dictionary_are_read(tmp_path: Path, kind: type) -> None:
    state = network().state_dict()
    inner, outer = kind(), kind()
    inner.update(state)
    outer["state_dict"] = inner
    torch.save(outer, tmp_path / "net.pth")
    assert_equal(read_state_dict(tmp_path / "net.pth"), dict(state))


def test_settings_of_libraries_that_are_not_installed_are_read_and_nothing_is_imported(
    tmp_path: Path,
) -> None:
    """As pickle writes an omegaconf.DictConfig and an easydict.EasyDict: the classes need not be there."""
    sys.modules["omegaconf"] = types.ModuleType("omegaconf")
    library = types.ModuleType("omegaconf.dictconfig")
    easydict = types.ModuleType("easydict")

    class DictConfig:
        def __init__(self) -> None:
            self.content = {"lr": 0.1}

    class EasyDict(dict):  # type: ignore[type-arg]
        pass

    for module, made in ((library, DictConfig), (easydict, EasyDict)):
        made.__module__, made.__qualname__ = module.__name__, made.__name__
        setattr(module, made.__name__, made)
        sys.modules[module.__name__] = module
    state = network().state_dict()
    settings = EasyDict(lr=0.1)
    settings.extra = 3  # type: ignore[attr-defined]
    torch.save({"cfg": DictConfig(), "easy": settings, "model": state}, tmp_path / "net.pth")
    for name in ("omegaconf.dictconfig", "omegaconf", "easydict"):
        del sys.modules[name]
    assert_equal(read_state_dict(tmp_path / "net.pth"), dict(state))
    assert not {"omegaconf", "omegaconf.dictconfig", "easydict"} & set(sys.modules)


@pytest.mark.fault("S4")
@pytest.mark.parametrize(
    ("code", "name"),
    [
        (b"cbuiltins\neval\nX\x05\x00\x00\x00print\x85R.", "eval"),
        (b"cbuiltins\ngetattr\ncbuiltins\nlist\nX\x06\x00\x00\x00append\x86R.", "getattr"),
        (b"cnumpy.testing._private.utils\nrunstring\n)R.", "runstring"),
        (b"cpathlib\nos.system\n)R.", r"os\.system"),
        (b"cbuiltins\nlist\n)R(X\x01\x00\x00\x00adctypes\nCDLL\nu.", "CDLL"),
    ],
    ids=["eval", "getattr", "numpy", "dotted", "below a stand-in"],
)
def test_stand_ins_open_no_way_to_call_anything(tmp_path: Path, code: bytes, name: str) -> None:
    from support.pickles import write_raw

    write_raw(tmp_path / "net.pth", b"\x80\x02" + code)
    with pytest.raises((UnsafeFile, IntegrityError)) as raised:
        read_state_dict(tmp_path / "net.pth")
    assert raised.value.exit_code == 3


# --- which weights


def averaged(**parts: object) -> dict[str, object]:
    """A checkpoint with weights of ones, and more."""
    return {"state_dict": {"a": torch.ones(2), "b": torch.ones(3)}, **parts}


HALF = {"a": torch.full((2,), 0.5), "b": torch.full((3,), 0.5)}


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"ema_state_dict": HALF}, "ema_state_dict"),
        ({"state_dict_ema": HALF}, "state_dict_ema"),
        ({"model_ema": HALF}, "model_ema"),
        ({"ema": {"decay": 0.999, "updates": 7, "module": HALF}}, "ema.module"),
        ({"swa_model": {f"module.{k}": t for k, t in HALF.items()}}, "swa_model"),
        ({"averaged_model": {"state_dict": HALF}}, "averaged_model.state_dict"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_running_average_is_taken_and_reported_and_the_plain_weights_can_be_chosen(
    tmp_path: Path, parts: dict[str, object], place: str
) -> None:
    torch.save(averaged(**parts), tmp_path / "net.pth")
    notes: list[Note] = []
    assert_equal(read_state_dict(tmp_path / "net.pth", report=notes.append), HALF)  # type: ignore[arg-type]
    messages = [note.message for note in notes]
    assert f"net.pth: the weights are taken from {place!r}, a running average, of the checkpoint" in messages
    assert "net.pth: the checkpoint also holds 'state_dict' (2 tensors)" in messages
    (hint,) = [note.hint for note in notes if note.hint]
    assert "weights: {member: state_dict}" in hint
    plain = read_state_dict(tmp_path / "net.pth", member="state_dict")
    assert_equal(plain, {"a": torch.ones(2), "b": torch.ones(3)})
    assert_equal(read_state_dict(tmp_path / "net.pth", member=place), HALF)


def test_an_average_that_lacks_tensors_is_reported_and_not_taken(tmp_path: Path) -> None:
    """Averages of the trained parameters alone have no batch norm statistics."""
    torch.save(averaged(ema={"a": torch.zeros(2)}), tmp_path / "net.pth")
    notes: list[Note] = []
    found = read_state_dict(tmp_path / "net.pth", report=notes.append)  # type: ignore[arg-type]
    assert_equal(found, {"a": torch.ones(2), "b": torch.ones(3)})
    assert any("also holds 'ema' (1 tensors)" in note.message for note in notes)


def test_averages_without_names_are_reported(tmp_path: Path) -> None:
    torch.save(averaged(ema={"shadow_params": [torch.ones(2)], "decay": 0.9}), tmp_path / "net.pth")
    notes: list[Note] = []
    read_state_dict(tmp_path / "net.pth", report=notes.append)  # type: ignore[arg-type]
    warning = next(note for note in notes if note.level == "warning")
    assert warning.message == "net.pth: averages without names cannot be used: ema.shadow_params"


def test_a_member_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    torch.save(averaged(ema=HALF), tmp_path / "net.pth")
    with pytest.raises(UsageError, match=r"no weights called 'teacher'") as raised:
        read_state_dict(tmp_path / "net.pth", member="teacher")
    assert raised.value.hint == "It holds: state_dict, ema"
    save_file({"teacher.a": torch.ones(2), "student.a": torch.zeros(2)}, tmp_path / "net.safetensors")
    found = read_state_dict(tmp_path / "net.safetensors", member="teacher")
    assert_equal(found, {"a": torch.ones(2)})


def test_both_weights_of_one_checkpoint_are_models_of_their_own(store: Store, tmp_path: Path) -> None:
    torch.save(averaged(ema=HALF), tmp_path / "net.pth")
    averages = unproven((tmp_path / "net.pth").as_uri())
    plain = replace(averages, name="plain", weights=replace(averages.weights, member="state_dict"))
    for _ in range(2):
        assert_equal(load_weights(store.fetch(averages), store), HALF)
        assert_equal(load_weights(store.fetch(plain), store), {"a": torch.ones(2), "b": torch.ones(3)})


# --- what no network takes


@pytest.mark.fault("S6")
@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_other_pickle_protocols_are_named_with_a_conversion_that_works(
    tmp_path: Path, protocol: int, new: bool
) -> None:
    state = network().state_dict()
    path = tmp_path / "net.pth"
    torch.save({"model": state}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    with pytest.raises(IntegrityError, match=f"saved with pickle protocol {protocol}") as raised:
        read_state_dict(path)
    assert not isinstance(raised.value, UnsafeFile)
    check_conversion(str(raised.value.hint), tmp_path, state)


def test_pickle_protocol_3_is_read(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"model": state}, tmp_path / "net.pth", pickle_protocol=3)
    assert_equal(read_state_dict(tmp_path / "net.pth"), dict(state))


def check_conversion(hint: str, folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Type the lines of a hint, as it says."""
    lines = [line.removeprefix("  ") for line in hint.splitlines() if line.startswith("  ")]
    with contextlib.chdir(folder):
        exec("\n".join(lines), {})
    assert_equal(read_state_dict(folder / "converted.pth"), dict(state))


class Unknown:
    """A class that no other machine has."""


@pytest.mark.fault("S4")
@pytest.mark.parametrize("what", ["module", "dictionary", "module in a dictionary"])
def test_the_conversion_that_a_refusal_shows_works_when_it_is_typed(tmp_path: Path, what: str) -> None:
    net = network()
    content = {
        "module": net,
        "dictionary": {"config": Unknown(), "model_state_dict": net.state_dict(), "epoch": 3},
        "module in a dictionary": {"epoch": 3, "ema": net},
    }[what]
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UnsafeFile, match="opening it would run") as raised:
        read_state_dict(tmp_path / "net.pth")
    check_conversion(str(raised.value.hint), tmp_path, net.state_dict())


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
    environment, allowed = dict(os.environ), set(torch.serialization.get_safe_globals())
    read_state_dict(tmp_path / "net.pth")
    assert dict(os.environ) == environment
    assert set(torch.serialization.get_safe_globals()) == allowed


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    ("form", "what"),
    [
        (lambda t: t.to_sparse(), "sparse"),
        (lambda t: t.to_sparse_csr(), "sparse"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "quantized"),
        (lambda t: t.to("meta"), "without its numbers"),
        (lambda t: t.to(torch.complex32), "of the type complex32"),
        (lambda t: t.to(torch.complex128), "of the type complex128"),
        (lambda t: torch.nested.nested_tensor([t[0], t[1, :1]]), "nested"),
        (lambda t: torch.nested.nested_tensor([t[0], t[1, :1]], layout=torch.jagged), "nested"),
        (lambda t: t.to(torch.uint8).view(torch.float4_e2m1fn_x2), "of the type float4_e2m1fn_x2"),
    ],
    ids=["coo", "csr", "quantized", "meta", "complex32", "complex128", "nested", "jagged", "float4"],
)
@pytest.mark.filterwarnings(
    "ignore:Sparse CSR", "ignore:.*nested", "ignore:ComplexHalf", "ignore:torch.quantize"
)
def test_tensors_that_are_not_plain_arrays_are_refused_by_name(
    tmp_path: Path, form: Callable[[torch.Tensor], torch.Tensor], what: str
) -> None:
    torch.save({"a": torch.ones(3), "b": form(torch.eye(3))}, tmp_path / "x")
    with pytest.raises(IntegrityError, match=f"x: b is {what}"):
        read_state_dict(tmp_path / "x")


def test_a_changed_file_is_refused_before_it_is_unpickled(store: Store, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    local = store.fetch(unproven((tmp_path / "net.pth").as_uri()))
    local.path.write_bytes(local.path.read_bytes()[::-1])
    with pytest.raises((HashMismatch, IntegrityError)):
        load_weights(local, store)
