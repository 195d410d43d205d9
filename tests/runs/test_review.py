"""A look at the items before they are trained on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import Call
from support.kits import Kit, on_tiny

from zoo.data.dataset import Dataset, Item, Split
from zoo.events import Note
from zoo.runs import review
from zoo.runs.review import review_items


def look(labels: list[int], features: np.ndarray) -> Note | None:
    items = tuple(Item(Path(f"/d/{n}.png"), label) for n, label in enumerate(labels))
    empty = Split("folders", (), ())
    dataset = Dataset(Path("/d"), ("cat", "dog"), items, (), (), (), empty)
    return review_items(dataset, items, torch.from_numpy(features.astype(np.float32)), "photos")


def two_classes(rng: np.random.Generator, count: int = 60) -> tuple[list[int], np.ndarray]:
    labels = [n % 2 for n in range(count)]
    features = rng.normal(size=(count, 12)) * 0.3 + np.where(np.array(labels)[:, None], 1.0, -1.0)
    return labels, features


def test_nothing_stands_out_of_two_clean_classes() -> None:
    assert look(*two_classes(np.random.default_rng(0))) is None


def test_a_wrong_label_and_a_stranger_are_named_with_the_next_command() -> None:
    labels, features = two_classes(np.random.default_rng(0))
    labels[4] = 1
    features[9] = np.random.default_rng(1).normal(size=12) * 5
    note = look(labels, features)
    assert note is not None
    assert note.message == (
        "1 image unlike all others: 9.png; 1 image with a label that may be wrong: 4.png (rather cat)"
    )
    assert note.level == "info"
    assert note.hint == "Look at them: zoo check photos"


def test_of_very_many_items_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, features = two_classes(np.random.default_rng(0), 400)
    for row in range(0, 40, 2):
        labels[row] = 1
    monkeypatch.setattr(review, "MOST", 200)
    note = look(labels, features)
    assert note is not None
    assert note.message.startswith("of 200 looked at, ")


@on_tiny
def test_finetune_names_what_it_finds(kit: Kit, ask: Call, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(kit.images, photos)
    for number, five in enumerate(sorted((photos / "train" / "five").iterdir())[:4]):
        five.rename(photos / "train" / "eight" / f"five-{number}.png")
    said = ask("finetune", kit.net, photos, "--out", tmp_path / "run", "--epochs", 1)
    assert re.search(r"with a label that may be wrong: .*train/eight/five-\d.png \(rather five\)", said.err)
    assert "Look at them: zoo check " in said.err
