"""pick and tune on a GPU: skipped, with the reason, where there is none.

ZOO_TEST_DEVICE=cpu tries the tests themselves on a machine without one, as tools/on_gpu.sh is tested.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.kits import Kit, real_kit

from zoo.choosing.picking.picker import pick
from zoo.choosing.tuning.tuner import tune
from zoo.runs.making.finetuning import finetune_model
from zoo.store.store import Store

DEVICE = os.environ.get("ZOO_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"
    ),
]


@pytest.fixture
def kit(data: Path) -> Kit:
    """The real data."""
    return real_kit(data)


def test_the_best_recipe_gives_its_score_again_on_a_gpu(kit: Kit, store: Store, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    found = tune(
        kit.net, kit.images, out=tmp_path / "tuning", trials=6, epochs=10,
        registry=kit.registry, store=store, device=DEVICE,
    )  # fmt: skip
    run = finetune_model(
        kit.net, kit.images, out=tmp_path / "run", registry=kit.registry, store=store, recipe=found.recipe
    )
    assert run.metrics == found.best.metrics
    assert run.val_loss == pytest.approx(found.best.loss, rel=1e-5)


def test_models_are_ranked_on_a_gpu(kit: Kit, store: Store) -> None:
    choice = pick(kit.images, registry=kit.registry, store=store, device=DEVICE, minutes=2)
    assert choice.best.name == kit.net
    assert choice.best.accuracy > 0.93
    assert choice.best.milliseconds
