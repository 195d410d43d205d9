"""The main job on a kit: a model, photographs and texts, and a run of each that the tests of this room share.

Every test runs on the tiny kit, which is made anywhere in a second; many run on the real photographs, weights
and reviews besides, where those are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.kits import Kit, Train, Trained, real_kit, tiny_kit

from zoo.events import Event
from zoo.runs.record import RunResult
from zoo.store.store import Store


@pytest.fixture(params=["tiny", "real"])
def kit(request: pytest.FixtureRequest) -> Kit:
    """The tiny set, then the real one."""
    if request.param == "tiny":
        return tiny_kit(request.getfixturevalue("tiny"))
    return real_kit(request.getfixturevalue("data"))


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that the whole session shares, so that weights are converted and features computed once."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def train_once(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train_once(kit, kit.net, kit.images)`: a run with everything else by default, made once.

    On the CPU wherever the tests run: convolutions of a GPU round to TF32, and a photograph may change sides.
    """
    made: dict[tuple[str, str], Trained] = {}

    def train(kit: Kit, name: str, folder: Path, **options: Any) -> Trained:
        from zoo.runs.making.finetuning import finetune_model

        if (kit.name, name) not in made:
            out, told = tmp_path_factory.mktemp("runs") / "run", list[Event]()
            settings = {"registry": kit.registry, "store": shared_store, "device": "cpu", **options}
            result = finetune_model(name, folder, out=out, report=told.append, **settings)
            made[kit.name, name] = Trained(result, told)
        return made[kit.name, name]

    return train


@pytest.fixture
def trained(kit: Kit, train_once: Train) -> RunResult:
    """The main job: a head on the network, trained on the photographs, everything else by default."""
    return train_once(kit, kit.net, kit.images).result


@pytest.fixture
def told(kit: Kit, train_once: Train) -> list[Event]:
    """What the shared run reported."""
    return train_once(kit, kit.net, kit.images).told


@pytest.fixture
def few(kit: Kit, tmp_path: Path) -> Path:
    """The folder of 16 photographs to train on and 12 to validate with."""
    folder = tmp_path / "few"
    for part, count in (("train", 8), ("val", 6)):
        for name in kit.classes:
            (folder / part / name).mkdir(parents=True)
            for photo in sorted((kit.images / part / name).iterdir())[:count]:
                (folder / part / name / photo.name).symlink_to(photo)
    return folder


@pytest.fixture
def finetune(kit: Kit, shared_store: Store, tmp_path: Path) -> Callable[..., RunResult]:
    """`finetune(epochs=3)`: a run of the same kind in a folder of this test."""
    from zoo.runs.making.finetuning import finetune_model

    def call(name: str | Path | None = None, folder: Path | None = None, **options: Any) -> RunResult:
        settings = {"registry": kit.registry, "store": shared_store, "device": "cpu", **options}
        settings = {"out": tmp_path / "run", **settings}
        return finetune_model(name or kit.net, folder or kit.images, **settings)

    return call


@pytest.fixture(scope="module")
def settings(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the commands of a module, run as processes: one thread, one store for all."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "ZOO_HOME": str(tmp_path_factory.mktemp("home")),
        "ZOO_REGISTRY": str(tiny / "registry.yaml"),
        "ZOO_PROCESS_TIMEOUT": "60",
    }
