"""What a frozen network says of every item is a step of its own: training and `embed` share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.errors import UsageError
from zoo.events import Event
from zoo.runs.record import RunResult
from zoo.store.store import Store

Call = Callable[..., RunResult]


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """Eight dark and eight light pictures, a folder each."""
    from PIL import Image

    for label, low in (("dark", 20), ("light", 180)):
        (tmp_path / "shades" / label).mkdir(parents=True)
        for shade in range(8):
            Image.new("L", (28, 28), low + 6 * shade).save(tmp_path / "shades" / label / f"{shade}.png")
    return tmp_path / "shades"


def test_the_features_of_a_model_and_of_a_head_on_it_are_the_same(
    shades: Path, store: Store, tmp_path: Path
) -> None:
    zoo.finetune_model("digits", shades, out=tmp_path / "run", store=store, epochs=1)
    files = sorted(shades.rglob("*.png"))
    of_model = zoo.embed("digits", files, store=store)
    of_run = zoo.embed(tmp_path / "run", files, store=store)
    assert of_model.paths == of_run.paths == tuple(files)
    assert np.array_equal(of_model.features, of_run.features)
    assert np.array_equal(zoo.load_run(tmp_path / "run", store=store).embed(files).features, of_run.features)


def test_training_takes_its_features_from_what_embed_has_computed(
    shades: Path, store: Store, tmp_path: Path
) -> None:
    zoo.embed("digits", [shades], store=store)
    events: list[Event] = []
    zoo.finetune_model("digits", shades, out=tmp_path / "run", store=store, epochs=1, report=events.append)
    steps = [e for e in events if getattr(e, "task", "") == "features"]
    assert steps[0].done == 16, "all of them were there before the first batch"


def test_one_file_that_cannot_be_read_is_left_out_and_no_dataset_is_touched(
    shades: Path, store: Store
) -> None:
    (shades / "dark" / "0.png").write_bytes(b"no picture")
    found = zoo.embed("digits", [shades], store=store)
    assert len(found.paths) == len(found.features) == 15
    assert (shades / "dark" / "0.png").exists()


def test_texts_are_embedded_by_their_words(tmp_path: Path, store: Store) -> None:
    vectors = tmp_path / "words.txt"
    vectors.write_text("ant 1 0 0\nbee 0 1 0\nwasp 0 0 1\n")
    found = zoo.embed(vectors, ["ant bee", "wasp", "nothing"], store=store)
    assert np.allclose(found.features, [[0.5, 0.5, 0], [0, 0, 1], [0, 0, 0]])
    assert found.known is not None
    assert found.known.tolist() == [2, 1, 0]


def test_what_cannot_be_embedded_is_refused_by_name(store: Store, shades: Path) -> None:
    with pytest.raises(UsageError, match="Put it in a list"):
        zoo.embed("digits", str(shades), store=store)
    with pytest.raises(UsageError, match="folder of images"):
        zoo.embed(shades, [shades], store=store)
    assert not torch.is_inference_mode_enabled()
