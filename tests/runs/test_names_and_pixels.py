"""Preprocessing for loops of one's own, ImageNet's ids, and values that print short."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.commands import Call
from support.kits import Kit, on_tiny

import zoo
from zoo.backbones.labels import known_name, read_label_set, synset_ids
from zoo.errors import DatasetError, UnreadableFile, UsageError
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store


def test_preprocessing_gives_the_numbers_that_predict_computes(
    kit: Kit, trained: RunResult, shared_store: Store
) -> None:
    paths = sorted(kit.photos.iterdir())[:4]
    prepare = pickle.loads(pickle.dumps(zoo.preprocessing(kit.net, registry=kit.registry)))
    classifier = load_run(trained.run, store=shared_store).classifier
    from zoo.runs.modalities import image_items

    (_, images), *_ = image_items.read(paths, classifier).batches()
    for path, expected in zip(paths, images, strict=True):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        pixels = np.asarray(picture)
        for form in (path, str(path), path.read_bytes(), picture, pixels):
            assert torch.equal(prepare(form), expected)
        assert torch.equal(prepare(torch.from_numpy(pixels.copy()).permute(2, 0, 1)), expected)
    assert zoo.preprocessing(trained.run).input == prepare.input


@on_tiny
def test_preprocessing_refuses_what_is_not_an_image(kit: Kit, tmp_path: Path) -> None:
    prepare = zoo.preprocessing(kit.net, registry=kit.registry)
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(UnreadableFile):
        prepare(tmp_path / "x.png")
    with pytest.raises(UsageError, match="uint8"):
        prepare(np.zeros((4, 4, 3)))
    with pytest.raises(UsageError, match="word vectors"):
        zoo.preprocessing(kit.words, registry=kit.registry)


@pytest.mark.parametrize("name", ["n02124075", "Egyptian cat", "egyptian_cat", "EGYPTIAN  CAT"])
def test_a_class_of_imagenet_is_known_by_its_id_and_its_names(name: str) -> None:
    assert known_name("imagenet-1k", name) == "Egyptian cat"


def test_names_of_several_classes_are_refused_and_unknown_ones_kept() -> None:
    for name in ("crane", "maillot"):
        with pytest.raises(DatasetError, match=rf"'{name}' may be .* \(n\d+\) and .* \(n\d+\)"):
            known_name("imagenet-1k", name)
    assert known_name("imagenet-1k", "my dog") == "my dog"
    assert known_name("imagenet-1k", "Cardigan") != known_name("imagenet-1k", "cardigan")
    for own in read_label_set("imagenet-1k"):  # what predict prints, evaluate takes
        if own not in ("crane", "maillot"):
            assert known_name("imagenet-1k", own) == own
    assert len(set(synset_ids("imagenet-1k"))) == 1000


def test_a_plain_model_is_measured_on_folders_named_by_ids_and_names(
    data: Path, call: Call, tmp_path: Path
) -> None:
    for folder, photo in {"n02124075": "cat_720p.jpg", "Hotdog": "hot_dog.jpg"}.items():
        (tmp_path / "photos" / folder).mkdir(parents=True)
        shutil.copy(data / "photos" / photo, tmp_path / "photos" / folder)
    registry = ("--registry", data / "registry.yaml")
    found = call("evaluate", "mobilenet_v2_demo", tmp_path / "photos", "--json", *registry).json
    assert (found["items"], found["accuracy"]) == (2, 1.0)
    (row,) = call("predict", "mobilenet_v2_demo", data / "photos" / "cat_720p.jpg", "--json", *registry).json
    assert row["top"][0]["id"] == "n02124075"


def test_runs_and_evaluations_print_on_one_line(kit: Kit, trained: RunResult, shared_store: Store) -> None:
    run = load_run(trained.run, store=shared_store)
    assert repr(run).startswith(f"Run('{trained.run}': {kit.net}, 2 classes (")
    found = run.evaluate(kit.images, device="cpu")
    assert len(repr(run)) < 300
    assert len(repr(found)) < 100
    assert "accuracy" in repr(found)
    assert len(io.StringIO(repr(run)).readlines()) == 1
