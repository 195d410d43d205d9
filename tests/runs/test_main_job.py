"""The main job on real input: train, save, load, predict, evaluate, embed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.kits import Kit, on_real_slowly, on_tiny

from zoo.data.listing import list_images
from zoo.data.scanning import scan_dataset
from zoo.errors import (
    DatasetError,
    HashMismatch,
    IntegrityError,
    InvalidRecipe,
    RunExists,
    StorageError,
    UsageError,
)
from zoo.events import EpochEnd, Event, Note
from zoo.runs.classifier import load_classifier
from zoo.runs.modalities.image_items import ImageItems
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.runs.using.prediction import predict_items
from zoo.store.store import Store
from zoo.targets import find_target


def test_the_head_alone_learns_two_classes_and_nothing_frozen_moves(kit: Kit, trained: RunResult) -> None:
    assert trained.val_accuracy >= 0.95
    assert trained.frozen_tensors == kit.frozen_tensors
    assert trained.frozen_changed == 0
    assert trained.classes == kit.classes
    assert trained.trained_parameters == kit.width * 2 + 2


def test_every_epoch_is_reported_and_kept(trained: RunResult, told: list[Event]) -> None:
    epochs = [event for event in told if isinstance(event, EpochEnd)]
    lines = [json.loads(line) for line in (Path(trained.run) / "history.jsonl").read_text().splitlines()]
    assert len(epochs) == len(lines) == trained.epochs
    best = lines[trained.best_epoch - 1]
    assert best["val_loss"] == pytest.approx(trained.val_loss)
    assert best["val_loss"] == min(line["val_loss"] for line in lines)


def test_the_run_folder_is_plain_and_small_and_says_everything(kit: Kit, trained: RunResult) -> None:
    folder = Path(trained.run)
    assert {path.name for path in folder.iterdir()} == {
        "run.json",
        "split.jsonl",
        "adapter.safetensors",
        "history.jsonl",
    }
    assert (folder / "adapter.safetensors").stat().st_size < 50_000
    record = json.loads((folder / "run.json").read_text())
    assert record["schema"] == 3
    assert record["result"]["metrics"] == {"accuracy": trained.val_accuracy}
    assert "val_accuracy" not in record["result"]
    assert record["weights_sha256"] == kit.registry.find(kit.net).weights.sha256
    assert record["model"]["input"]["mean"] == [0.5, 0.5, 0.5]
    assert record["recipe"]["optimizer"] == "adam"
    assert record["recipe"]["lr"] is not None
    assert record["data"]["split"]["hash"] == scan_dataset(kit.images).split.hash
    assert (
        record["adapter_sha256"] == hashlib.sha256((folder / "adapter.safetensors").read_bytes()).hexdigest()
    )


def test_a_loaded_run_predicts_what_it_was_measured_at(
    kit: Kit, trained: RunResult, shared_store: Store
) -> None:
    run = load_run(trained.run, store=shared_store)
    found = run.evaluate(kit.images, device="cpu")
    assert found.accuracy == pytest.approx(trained.val_accuracy)
    assert found.items == kit.val_images
    assert found.accuracy_low < found.accuracy < found.accuracy_high
    assert sum(map(sum, found.confusion)) == kit.val_images
    second = kit.classes[1]
    predicted = run.predict(kit.val(second), device="cpu")
    assert sum(p.label == second for p in predicted) == found.confusion[1][1]
    assert all(p.top[0].probability >= p.top[1].probability for p in predicted)


def test_the_plain_model_names_six_photographs(kit: Kit, shared_store: Store) -> None:
    target = find_target(kit.net, registry=kit.registry, store=shared_store)
    classifier = load_classifier(target, store=shared_store)
    source = ImageItems(list_images([kit.photos]), classifier.input)
    found = {p.path.name: p.label for p in predict_items(classifier, source)}
    assert found == kit.labels


def test_embeddings_are_what_the_head_sees(kit: Kit, trained: RunResult, shared_store: Store) -> None:
    run = load_run(trained.run, store=shared_store)
    files = sorted(kit.photos.iterdir())
    found = run.embed(files)
    assert found.features.shape == (6, kit.width)
    head = run.classifier.network.get_submodule(kit.head)
    with torch.inference_mode():
        probabilities = torch.softmax(head(torch.from_numpy(found.features)), 1)
    expected = {p.path: p.probability for p in run.predict(files)}
    np.testing.assert_allclose(probabilities.amax(1), [expected[path] for path in found.paths], atol=1e-3)


def test_the_same_seed_gives_the_same_bytes(finetune: Callable[..., RunResult], tmp_path: Path) -> None:
    for name in ("a", "b"):
        finetune(out=tmp_path / name, epochs=3, patience=0)
    a, b = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b
    finetune(out=tmp_path / "c", epochs=3, patience=0, seed=1)
    assert (tmp_path / "c" / "adapter.safetensors").read_bytes() != a


@on_real_slowly
def test_deeper_training_repeats_bit_for_bit_with_any_number_of_workers(
    finetune: Callable[..., RunResult], few: Path, tmp_path: Path
) -> None:
    for workers in (1, 3):
        finetune(
            folder=few, out=tmp_path / f"{workers}", workers=workers, unfreeze=1, epochs=2, tune_epochs=2,
            augment="strong", batch_size=8, patience=0, tune_patience=0,
        )  # fmt: skip
    a, b = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("1", "3"))
    assert a == b


@on_real_slowly
def test_deeper_stages_are_tuned_after_the_head_and_the_rest_stays(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store, few: Path
) -> None:
    result = finetune(folder=few, unfreeze=2, epochs=3, tune_epochs=1, tune_lr=1e-3, monitor="accuracy")
    assert result.frozen_changed == 0
    assert result.trained_parameters > 100_000
    run = load_run(result.run, store=shared_store)
    state = load_file(Path(result.run) / "adapter.safetensors")
    assert any(name.startswith(kit.last_stage) for name in state)
    assert not any(name.startswith(kit.first_stage) for name in state)
    assert run.evaluate(few, device="cpu").accuracy == pytest.approx(result.val_accuracy)


@pytest.mark.parametrize(("precision", "told"), [("auto", False), ("bf16", True)])
def test_features_are_in_bf16_where_the_recipe_says_so_and_only_there(
    finetune: Callable[..., RunResult], few: Path, precision: str, told: bool
) -> None:
    notes: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.message)

    assert finetune(folder=few, epochs=2, precision=precision, report=listen).frozen_changed == 0
    assert any("features in bf16" in note for note in notes) == told


@on_tiny
def test_a_run_goes_on_from_a_run(trained: RunResult, finetune: Callable[..., RunResult]) -> None:
    further = finetune(trained.run, epochs=5)
    assert further.val_loss <= trained.val_loss * 1.05
    assert further.epochs == 5


@on_tiny
def test_an_existing_folder_is_refused_with_the_next_free_name(
    finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(RunExists) as refused:
        finetune()
    assert "run-2" in str(refused.value.hint)
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


@on_tiny
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="cannot be written"):
        finetune(folder=tmp_path / "no such folder", out=tmp_path / "file" / "below" / "run")
    with pytest.raises(DatasetError):
        finetune(folder=tmp_path / "no such folder", out=tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@on_tiny
def test_everything_wrong_with_a_recipe_is_said_at_once_before_anything_is_read(
    finetune: Callable[..., RunResult], tmp_path: Path
) -> None:
    with pytest.raises(InvalidRecipe) as refused:
        finetune(folder=tmp_path / "no such folder", optimizer="adan", dropout=1.5, epochs=-1)
    assert len(refused.value.problems) == 3


def test_a_bad_folder_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "photos" / "ants").mkdir(parents=True)
    code = (
        "import sys, zoo\n"
        "from zoo.errors import DatasetError\n"
        f"try: zoo.finetune_model('resnet18', {str(tmp_path / 'photos')!r}, out='run')\n"
        "except DatasetError: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr
    assert not (tmp_path / "run").exists()


@on_tiny
def test_a_damaged_run_is_not_loaded(trained: RunResult, shared_store: Store, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained.run, copy)
    content = bytearray((copy / "adapter.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "adapter.safetensors").write_bytes(content)
    with pytest.raises(HashMismatch, match=r"expected .* got"):
        load_run(copy, store=shared_store).predict([])
    (copy / "run.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"run\.json is damaged"):
        load_run(copy, store=shared_store)
    (copy / "run.json").write_text('{"schema": 99}')
    with pytest.raises(IntegrityError, match="later zoo"):
        load_run(copy, store=shared_store)


@on_tiny
def test_unreadable_files_are_named_and_the_rest_is_predicted(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"<html>not here</html>")
    run = load_run(trained.run, store=shared_store)
    found = run.predict([tmp_path / "broken.jpg", kit.photos / "four.png"])
    assert [(p.path.name, p.label is None) for p in found] == [("broken.jpg", True), ("four.png", False)]
    assert "web page" in str(found[0].error)
    with pytest.raises(DatasetError, match=r"broken\.jpg"):
        run.predict([tmp_path / "broken.jpg"], on_bad="stop")


@on_tiny
def test_word_vectors_are_no_model_for_photographs(kit: Kit, finetune: Callable[..., RunResult]) -> None:
    with pytest.raises(DatasetError, match="holds no text") as refused:
        finetune(kit.words)
    assert "zoo list --task image-classification" in str(refused.value.hint)


@on_tiny
def test_embeddings_are_written_for_numpy_and_for_tables(
    kit: Kit, trained: RunResult, shared_store: Store, tmp_path: Path
) -> None:
    import polars

    from zoo.runs.using.embedding import write_embeddings

    found = load_run(trained.run, store=shared_store).embed([kit.photos])
    facts = load_run(trained.run, store=shared_store).classifier.licenses
    assert facts == {
        "model": kit.net,
        "model_license": "apache-2.0",
        "data_license": "unknown",
    }
    write_embeddings(found, tmp_path / "f.npz", facts)
    write_embeddings(found, tmp_path / "f.parquet", facts)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["features"], found.features)
        assert arrays["paths"].tolist() == [str(path) for path in found.paths]
        assert {name: str(arrays[name]) for name in facts} == facts
    assert polars.read_parquet_metadata(tmp_path / "f.parquet").items() >= facts.items()
    frame = polars.read_parquet(tmp_path / "f.parquet")
    np.testing.assert_array_equal(np.stack(frame["features"].to_list()), found.features)
    with pytest.raises(UsageError, match=r"\.npz or \.parquet|no such format"):
        write_embeddings(found, tmp_path / "f.xlsx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "f.parquet"]
