"""Images of a batch mixed with each other: what torchvision does, drawn as everything else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from zoo.catalogue.entry import ImageInput
from zoo.data.dataset import Item
from zoo.data.kinds import IMAGES
from zoo.data.scanning import scan_dataset
from zoo.events import EpochEnd, Event
from zoo.runs.demo import write_digits
from zoo.runs.making.finetuning import finetune_model
from zoo.store.store import Store
from zoo.training.batches import FeatureBatches, ImageBatches, Share, parts_of
from zoo.training.machine import Machine
from zoo.training.mixing import Mixing
from zoo.training.phase_state import begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.single_label import balanced_weights
from zoo.training.strategies import phases
from zoo.training.tasks import TASKS

SMALL = ImageInput(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BOTH = Mixing(0.4, 1.0, 3)


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES_OF_8 = torch.randn(8, 3, 16, 16, generator=chance(0))
CLASSES = torch.arange(8) % 3


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_mixed_is_what_torchvision_mixes_with_the_same_chance(name: str, seed: int) -> None:
    mixing = Mixing(**{"mixup": 0.0, "cutmix": 0.0, name: 0.7}, classes=3)
    peer = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[name](alpha=0.7, num_classes=3)
    torch.manual_seed(seed)
    images, targets = peer(IMAGES_OF_8, CLASSES)
    before = torch.get_rng_state()
    found = mixing.mix(IMAGES_OF_8, CLASSES, chance(seed))
    assert torch.equal(found[0], images)
    assert torch.equal(found[1], targets)
    assert torch.equal(torch.get_rng_state(), before)  # dropout goes on as if nothing had been drawn


def test_targets_are_the_shares_of_what_is_in_an_image() -> None:
    images = CLASSES.float()[:, None, None, None].expand(8, 1, 20, 20)
    for seed in range(30):
        for mixing in (Mixing(0.5, 0.0, 3), Mixing(0.0, 0.5, 3)):
            mixed, targets = mixing.mix(images, CLASSES, chance(seed))
            assert targets.sum(1).tolist() == pytest.approx([1.0] * 8)
            means = (targets * torch.arange(3.0)).sum(1)
            assert mixed.mean((1, 2, 3)).tolist() == pytest.approx(means.tolist(), abs=1e-5)


def test_of_both_each_batch_gets_one_and_both_occur() -> None:
    kinds = set()
    for seed in range(20):
        mixed, _ = BOTH.mix(IMAGES_OF_8, CLASSES, chance(seed))
        rolled = IMAGES_OF_8.roll(1, 0)
        kinds.add(bool(((mixed == IMAGES_OF_8) | (mixed == rolled)).all()))
    assert kinds == {True, False}


@pytest.mark.parametrize("kind", ["several labels", "numbers"])
def test_rows_of_targets_are_mixed_as_they_are(kind: str) -> None:
    rows = (CLASSES[:, None] == torch.arange(2)).float() if kind == "several labels" else torch.randn(8, 2)
    mixed, targets = Mixing(1.0, 0.0, None).mix(IMAGES_OF_8, rows, chance(3))
    share = (mixed - IMAGES_OF_8.roll(1, 0)).flatten(1)[:, 0] / (
        IMAGES_OF_8 - IMAGES_OF_8.roll(1, 0)
    ).flatten(1)[:, 0]
    assert torch.allclose(targets, share[:, None] * rows + (1 - share[:, None]) * rows.roll(1, 0), atol=1e-5)
    assert 0.01 < share[0] < 0.99


@pytest.fixture
def items(data: Path) -> list[Item]:
    paths = sorted((data / "hymenoptera" / "train" / "ants").glob("*.jpg"))[:9]
    return [Item(path, number % 3) for number, path in enumerate(paths)]


def source(items: list[Item], **more: Any) -> ImageBatches:
    return ImageBatches(
        items, SMALL, 4, **{"seed": 0, "mixing": BOTH, "augmentation": "randaugment", "erase": 0.5} | more
    )


def seen(batches: ImageBatches, number: int) -> tuple[Tensor, Tensor]:
    found = list(batches.epoch(number))
    return torch.cat([torch.as_tensor(b.inputs) for b in found]), torch.cat([b.targets for b in found])


def test_an_epoch_is_mixed_alike_again_whatever_the_threads_and_an_evaluation_is_not(
    items: list[Item],
) -> None:
    first, again = seen(source(items), 1), seen(source(items, workers=3), 1)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[1], seen(source(items), 2)[1])
    assert not torch.equal(first[0], seen(source(items, seed=1), 1)[0])
    plain = seen(source(items), 0)
    assert plain[1].tolist() == [item.label for item in items]
    assert torch.equal(plain[0], seen(ImageBatches(items, SMALL, 4), 0)[0])


def test_processes_mix_their_shares_in_the_same_way_and_an_empty_share_has_rows_too(
    items: list[Item],
) -> None:
    shares = [
        list(source(items, share=Share(rank, 3), mixing=Mixing(0.4, 0.0, 3)).epoch(1)) for rank in range(3)
    ]
    for step in zip(*shares, strict=True):
        assert [batch.targets.shape for batch in step] == [(batch.count, 3) for batch in step]
        # one share of the mixture for the whole step
        values = {round(float(value), 5) for batch in step for row in batch.targets for value in row} - {
            0.0,
            1.0,
        }
        assert len(values) <= 2
    [empty] = [list(source(items[:2], share=Share(2, 3)).epoch(1))]
    assert [(batch.count, tuple(batch.targets.shape)) for batch in empty] == [(0, (0, 3))]


def test_a_mixed_batch_in_parts_counts_by_the_weights_of_its_shares() -> None:
    recipe = resolve(Recipe(unfreeze="all", epochs=0, mixup=0.4, balance=True, label_smoothing=0.1), IMAGES)
    [phase] = phases(recipe)
    labels = torch.tensor([0] * 9 + [1] * 2 + [2])
    inputs = torch.randn(12, 5, generator=chance(1))
    weights, batches = balanced_weights(labels, 3), FeatureBatches(inputs, labels, 12)
    state = begin_phase(
        nn.Linear(5, 3),
        batches,
        batches,
        recipe=recipe,
        phase=phase,
        machine=Machine(torch.device("cpu")),
        class_weights=weights,
    )
    [batch] = batches.epoch(0)
    _, targets = Mixing(1.0, 0.0, 3).mix(inputs[:, :, None, None], labels, chance(2))
    mixed = replace(batch, targets=targets)
    assert state.weigh(batch) == pytest.approx(float(weights[labels].sum()))
    whole = state.objective(inputs[:, :3], targets)
    parts = [
        state.objective(torch.as_tensor(part.inputs)[:, :3], part.targets) * state.weigh(part)
        for part in parts_of(mixed, 5)
    ]
    assert float(sum(parts)) / state.weigh(mixed) == pytest.approx(float(whole), rel=1e-5)


def test_a_rectangle_of_another_image_adds_nothing_to_a_number() -> None:
    recipe = resolve(Recipe(unfreeze=1, mixup=0.2, cutmix=1.0, monitor="mae"), IMAGES)
    assert list(TASKS["regression"].problems(recipe)) == ["cutmix needs classes, and regression has none"]
    recipe = resolve(Recipe(unfreeze=1, mixup=0.2, cutmix=1.0), IMAGES)
    assert list(TASKS["multi-label"].problems(recipe)) == []


def test_a_run_says_that_its_training_loss_is_of_mixed_images(store: Store, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    events: list[Event] = []
    result = finetune_model(
        "digits",
        tmp_path / "digits",
        out=tmp_path / "run",
        store=store,
        report=events.append,
        epochs=1,
        unfreeze=1,
        tune_epochs=1,
        mixup=0.4,
        cutmix=1.0,
        balance=True,
        label_smoothing=0.1,
        device="cpu",
    )
    head, tune = (event for event in events if isinstance(event, EpochEnd))
    assert (head.mixed, tune.mixed) == (False, True)
    assert tune.metrics.keys() == {"accuracy"}  # of the validation images, which are not mixed
    assert result.frozen_changed == 0
    assert len(scan_dataset(tmp_path / "digits").classes) == len(result.classes)
