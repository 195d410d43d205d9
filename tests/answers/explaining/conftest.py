"""Runs on the tiny set that the tests of this room share: photographs, texts; and one on real photographs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.kits import Kit, real_kit, tiny_kit

from zoo.answers.run import Run, load_run
from zoo.store.store import Store


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def kit(tiny: Path) -> Kit:
    return tiny_kit(tiny)


def train(name: str, folder: Path, kit: Kit, store: Store, out: Path, **options: object) -> Run:
    from zoo.runs.making.finetuning import finetune_model

    settings = {"epochs": 20, "registry": kit.registry, "store": store, "device": "cpu", **options}
    finetune_model(name, folder, out=out, **settings)  # type: ignore[arg-type]
    return load_run(out, store=store)


@pytest.fixture(scope="session")
def digits(kit: Kit, shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on fives and eights of 32 pixels."""
    return train(kit.net, kit.images, kit, shared_store, tmp_path_factory.mktemp("digits") / "run")


@pytest.fixture(scope="session")
def reviews(kit: Kit, shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on reviews: the mean of the words, a linear head."""
    return train(kit.words, kit.texts, kit, shared_store, tmp_path_factory.mktemp("reviews") / "run")


@pytest.fixture(scope="session")
def insects(data: Path, shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on 40 real photographs of ants and bees."""
    kit, folder = real_kit(data), tmp_path_factory.mktemp("insects")
    for part, count in (("train", 15), ("val", 5)):
        for name in kit.classes:
            (folder / "photos" / part / name).mkdir(parents=True)
            for photo in sorted((kit.images / part / name).glob("*.jpg"))[:count]:
                (folder / "photos" / part / name / photo.name).symlink_to(photo)
    return train(kit.net, folder / "photos", kit, shared_store, folder / "run")
