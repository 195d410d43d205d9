"""Values in a notebook: tables with escaped names, a picture where there is one."""

from __future__ import annotations

from pathlib import Path

import torch

from zoo.runs.answers import Guess, Prediction
from zoo.runs.using.evaluation import measure
from zoo.store.names import default_registry
from zoo.store.store import Store
from zoo.training.single_label import SINGLE_LABEL


def test_an_answer_has_its_picture(tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "<i>bee.png"
    Image.new("RGB", (40, 30), "yellow").save(photo)
    guess = Guess("<script>bee", 0.91)
    shown = Prediction(photo, guess.label, guess.probability, (guess,), None)._repr_html_()
    assert "data:image/jpeg;base64," in shown
    assert "&lt;script&gt;bee" in shown
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "0.910" in shown


def test_an_item_that_cannot_be_read_has_its_error(tmp_path: Path) -> None:
    shown = Prediction(tmp_path / "gone.png", None, None, (), "is gone")._repr_html_()
    assert "is gone" in shown
    assert "<img" not in shown
    assert "label" not in shown


def test_an_evaluation_has_its_interval_and_classes() -> None:
    outputs = torch.eye(2).repeat(10, 1)
    shown = measure(SINGLE_LABEL, outputs, [0, 1] * 10, ("<ants>", "bees"))._repr_html_()
    assert "1.0000 (95 % interval" in shown
    assert "&lt;ants&gt;" in shown


def test_a_model_has_its_facts(store: Store) -> None:
    shown = default_registry(store).find("resnet18")._repr_html_()
    assert "<td>resnet18</td>" in shown
    assert "11,689,512" in shown
