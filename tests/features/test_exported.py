"""ONNX Runtime computes what torch does, or torch does: where it is missing, fails, or does not agree."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from zoo.catalogue.entry import ImageInput
from zoo.errors import UnknownName, UsageError
from zoo.events import Event, Note, Report, silent
from zoo.features import engine as engines
from zoo.features import exported, extraction
from zoo.features.engine import Engine
from zoo.features.exported import ExportedNetwork, choose_engine
from zoo.features.extraction import FeatureTable, extract_features
from zoo.features.network import FrozenNetwork, freeze_classifier

CPU = torch.device("cpu")


class Small(nn.Module):
    """A convolution with batch norm, and four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))
        return found


@pytest.fixture
def images() -> Tensor:
    return torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def frozen(images: Tensor) -> FrozenNetwork:
    torch.manual_seed(0)
    return freeze_classifier(Small().eval(), images[:4], device=CPU)


@pytest.fixture
def onnx() -> None:
    for name in engines.LIBRARIES:
        pytest.importorskip(name, reason=f"the extra [onnx] is not installed: {name}", exc_type=ImportError)


def engine(folder: Path, backend: str = "onnx", items: int = 10) -> Engine:
    return Engine(backend, folder / "onnx", items)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_it_gives_the_same_for_batches_of_any_size_and_is_exported_once(
    frozen: FrozenNetwork, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[Event] = []
    found = choose_engine(frozen, images[:4], engine(tmp_path), notes.append)
    assert isinstance(found, ExportedNetwork)
    assert [note.level for note in notes if isinstance(note, Note)] == ["detail"]
    for size in (1, 2, 7):
        assert (found(images[:size]) - frozen(images[:size])).abs().max() < 1e-5
    [file] = (tmp_path / "onnx").glob("*/*")
    assert file.suffix == ".onnx"
    monkeypatch.setattr(exported, "_export", lambda *_: pytest.fail("exported again"))
    assert isinstance(choose_engine(frozen, images[:1], engine(tmp_path, "auto")), ExportedNetwork)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_other_weights_are_another_export(frozen: FrozenNetwork, images: Tensor, tmp_path: Path) -> None:
    choose_engine(frozen, images[:4], engine(tmp_path))
    with torch.inference_mode():
        frozen.network.get_parameter("fc.bias").add_(1.0)
    found = choose_engine(frozen, images[:4], engine(tmp_path))
    assert isinstance(found, ExportedNetwork)
    assert (found(images) - frozen(images)).abs().max() < 1e-5
    assert len([*(tmp_path / "onnx").glob("*/*.onnx")]) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_a_damaged_export_is_not_opened_but_made_again(
    frozen: FrozenNetwork, images: Tensor, tmp_path: Path
) -> None:
    choose_engine(frozen, images[:4], engine(tmp_path))
    [file] = (tmp_path / "onnx").glob("*/*.onnx")
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    notes: list[Event] = []
    assert isinstance(choose_engine(frozen, images[:4], engine(tmp_path), notes.append), ExportedNetwork)
    assert any("damaged export" in str(note) for note in notes)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_torch_answers_where_the_outputs_differ(
    frozen: FrozenNetwork, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Callable[..., Tensor] = ExportedNetwork.run
    monkeypatch.setattr(ExportedNetwork, "run", lambda self, batch: right(self, batch) + 0.5)
    notes: list[Event] = []
    assert choose_engine(frozen, images[:4], engine(tmp_path), notes.append) is frozen
    [note] = notes
    assert isinstance(note, Note)
    assert note.level == "warning"
    assert "torch computes, not ONNX Runtime: the cosine" in note.message


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_torch_goes_on_where_it_fails_later(
    frozen: FrozenNetwork, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[Event] = []
    found = choose_engine(frozen, images[:4], engine(tmp_path), notes.append)
    assert isinstance(found, ExportedNetwork)

    def fail(_images: Tensor) -> Tensor:
        raise RuntimeError("Failed to allocate memory for requested buffer")

    monkeypatch.setattr(found, "run", fail)
    assert torch.equal(found(images), frozen(images))
    assert torch.equal(found(images), frozen(images))
    assert [note.level for note in notes if isinstance(note, Note)] == ["detail", "warning"]
    assert "Failed to allocate" in str(notes[1])


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_what_cannot_be_exported_is_tried_once_and_torch_answers(images: Tensor, tmp_path: Path) -> None:
    class Odd(Small):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * (2 if float(images.sum()) > 1e9 else 1)

    frozen = freeze_classifier(Odd().eval(), images[:4], device=CPU)
    notes: list[Event] = []
    for _ in range(2):
        assert choose_engine(frozen, images[:4], engine(tmp_path, "auto", 10**6), notes.append) is frozen
    [note] = notes
    assert isinstance(note, Note)
    assert note.message.startswith("torch computes, not ONNX Runtime: ")
    assert torch.equal(frozen(images), frozen(images))


def test_few_items_of_a_network_that_was_not_exported_are_answered_by_torch(
    frozen: FrozenNetwork, images: Tensor, tmp_path: Path
) -> None:
    assert choose_engine(frozen, images[:4], engine(tmp_path, "auto", 10)) is frozen
    assert choose_engine(frozen, images[:4], engine(tmp_path, "torch", 10**6)) is frozen
    assert not [*tmp_path.rglob("*.onnx")]


def test_a_backend_that_cannot_be_had_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownName, match="tensorrt"):
        Engine("tensorrt").check("cpu")
    with pytest.raises(UsageError, match="computes on the CPU"):
        Engine("onnx").check("cuda")
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UsageError, match="needs onnxruntime") as refused:
        Engine("onnx").check("auto")
    assert "transfer-zoo[onnx]" in str(refused.value.hint)
    assert not Engine("auto", tmp_path).may_use_onnx
    Engine("auto", tmp_path).check("auto")


def test_old_exports_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    files = [tmp_path / str(number) / "a.onnx" for number in range(3)]
    for age, file in enumerate(files):
        file.parent.mkdir()
        file.write_bytes(b"x" * 10)
        os.utime(file, (age, age))
    exported._prune(tmp_path, keep=files[0], most=20)
    assert [file.exists() for file in files] == [True, False, True]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """40 small pictures: two batches."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(40)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def extract(pictures: list[Path], home: Path, wish: Engine, report: Report = silent) -> FeatureTable:
    torch.manual_seed(0)
    settings = ImageInput(size=16, resize=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    return extract_features(
        Small().eval(), pictures, settings, store_home=home, engine=wish, report=report, batch_size=32
    )


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_features_are_those_of_torch_and_kept_apart_from_them(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = extract(pictures, tmp_path, engine(tmp_path, "torch"))
    found = extract(pictures, tmp_path, engine(tmp_path))
    assert (plain.way.backend, found.way.backend, found.from_cache) == ("torch", "onnx", 0)
    assert cosine_similarity(found.features, plain.features).min() >= exported.COSINE
    assert found.cosine is not None
    assert found.cosine >= exported.COSINE
    monkeypatch.setattr(extraction, "choose_engine", lambda *_, **__: pytest.fail("ONNX Runtime was loaded"))
    again = extract(pictures, tmp_path, engine(tmp_path))
    assert (again.way.backend, again.from_cache) == ("onnx", 40)
    assert torch.equal(again.features, found.features)
    assert torch.equal(extract(pictures, tmp_path, engine(tmp_path, "torch")).features, plain.features)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_added_pictures_are_computed_by_what_computed_the_others(
    pictures: list[Path], tmp_path: Path
) -> None:
    extract(pictures[:30], tmp_path, engine(tmp_path))
    more = extract(pictures, tmp_path, engine(tmp_path))
    assert (more.way.backend, more.from_cache) == ("onnx", 30)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_a_failure_halfway_leaves_no_table_of_two_backends(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = extract(pictures, tmp_path / "other", engine(tmp_path, "torch"))
    right: Callable[..., Tensor] = ExportedNetwork.run

    def fail(self: ExportedNetwork, batch: Tensor) -> Tensor:
        if len(batch) == 8:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return right(self, batch)

    monkeypatch.setattr(ExportedNetwork, "run", fail)
    notes: list[Event] = []
    found = extract(pictures, tmp_path, engine(tmp_path), notes.append)
    assert found.way.backend == "torch"
    assert torch.equal(found.features, plain.features)
    assert any("torch computes all features, and not ONNX Runtime: Failed to" in str(note) for note in notes)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_nothing_is_kept_of_features_that_do_not_agree(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Callable[..., Tensor] = ExportedNetwork.run
    monkeypatch.setattr(ExportedNetwork, "run", lambda self, batch: right(self, batch) - 0.5)
    notes: list[Event] = []
    found = extract(pictures, tmp_path, engine(tmp_path), notes.append)
    assert found.way.backend == "torch"
    assert any("torch computes, not ONNX Runtime: the cosine" in str(note) for note in notes)
    assert found.cosine is None
    assert len([*(tmp_path / "features").iterdir()]) == 1


def test_features_of_few_pictures_are_by_torch_whatever_was_exported_before(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "choose_engine", lambda *_, **__: pytest.fail("ONNX Runtime was loaded"))
    for wish in (Engine("auto", tmp_path / "onnx"), engine(tmp_path, "auto", 999)):
        assert extract(pictures, tmp_path, wish).way.backend == "torch"


def test_without_the_library_torch_computes_and_a_note_says_so(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "onnxruntime" else object())
    notes: list[Event] = []
    assert extract(pictures, tmp_path, engine(tmp_path), notes.append).way.backend == "torch"
    assert any("onnxruntime is not installed" in str(note) for note in notes)
    assert extract(pictures, tmp_path, engine(tmp_path, "auto", 10**6)).way.backend == "torch"
