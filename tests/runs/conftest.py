"""One real fine-tuning run that the tests of this room share: real weights, real photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.catalogue.registry import Registry, load_registry
from zoo.events import Event
from zoo.runs.record import RunResult
from zoo.store.store import Store

MODEL = "mobilenet_v2_demo"


@pytest.fixture(scope="session")
def registry(data: Path) -> Registry:
    return load_registry([data / "registry.yaml"])


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that the whole session shares, so that weights are converted and features computed once."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def told() -> list[Event]:
    """What the shared run reported."""
    return []


@pytest.fixture(scope="session")
def trained(
    data: Path, registry: Registry, store: Store, told: list[Event], tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    """The main job: a head on the real MobileNetV2, trained on ants and bees, everything else by default.

    On the CPU wherever the tests run: convolutions of a GPU round to TF32, and a photograph may change sides.
    """
    from zoo.runs.making.finetuning import finetune_model

    out = tmp_path_factory.mktemp("runs") / "run"
    return finetune_model(
        MODEL, data / "hymenoptera", out=out, registry=registry, store=store, report=told.append, device="cpu"
    )


@pytest.fixture
def few(data: Path, tmp_path: Path) -> Path:
    """The folder of 16 photographs to train on and 12 to validate with."""
    folder = tmp_path / "few"
    for part, count in (("train", 8), ("val", 6)):
        for name in ("ants", "bees"):
            (folder / part / name).mkdir(parents=True)
            for photo in sorted((data / "hymenoptera" / part / name).glob("*.jpg"))[:count]:
                (folder / part / name / photo.name).symlink_to(photo)
    return folder


@pytest.fixture
def finetune(data: Path, registry: Registry, store: Store, tmp_path: Path) -> Callable[..., RunResult]:
    """`finetune(epochs=3)`: a run of the same kind in a folder of this test."""
    from zoo.runs.making.finetuning import finetune_model

    def call(name: str | Path = MODEL, folder: Path | None = None, **options: object) -> RunResult:
        settings = {"out": tmp_path / "run", "registry": registry, "store": store, "device": "cpu", **options}
        return finetune_model(name, folder or data / "hymenoptera", **settings)

    return call
