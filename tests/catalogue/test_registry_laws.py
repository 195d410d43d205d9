"""Every entry of registry.yaml says what the installed libraries say: a wrong mean is a red test.

The libraries are read here in another way than tools/generate_registry.py reads them: preprocessing off the
transforms that they build, the width of the features off a forward pass (without memory, on the meta device).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from zoo.catalogue.entry import ImageModel, ModelEntry, WordModel
from zoo.catalogue.registry import (
    COMPILED,
    compile_registry,
    load_registry,
    read_registry_file,
    shipped_registry,
)

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
CURATED = load_registry().curated()
VISION = [e for e in CURATED if isinstance(e, ImageModel) and not e.weights.urls[0].startswith("package:")]
TORCHVISION = [e for e in VISION if e.architecture.startswith("torchvision/")]
TIMM = [e for e in VISION if e.architecture.startswith("timm/")]
WORDS = [e for e in CURATED if isinstance(e, WordModel)]


def every(entries: list[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on each entry."""
    return pytest.mark.parametrize("entry", entries, ids=lambda e: e.name)


def in_library(entry: ModelEntry) -> str:
    """The name after the library's."""
    return entry.architecture.partition("/")[2]


def weights_of(entry: ImageModel) -> Any:
    """torchvision's own record of an entry's weights, found by the URL."""
    from torchvision.models import get_model_weights

    return next(w for w in get_model_weights(in_library(entry)) if w.url == entry.weights.url)


def config_of(entry: ImageModel) -> Any:
    """timm's own record of an entry's weights, without the Hub."""
    import timm

    cfg = timm.get_pretrained_cfg(in_library(entry), allow_unregistered=False)
    assert cfg is not None
    return cfg


@cache
def read_results(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Rows of a file of timm's results by model and size."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    size = "img_size" if "img_size" in rows[0] else "infer_img_size"
    return {(row["model"], row[size]): row for row in rows}


def test_there_are_enough_models_of_every_family() -> None:
    families = {family: sum(e.family == family for e in CURATED) for family in {e.family for e in CURATED}}
    assert len(CURATED) >= 90
    assert families["resnet"] >= 30
    assert families["inception"] >= 8
    assert families["mobilenet"] >= 20
    assert families["vgg"] >= 8
    assert {"word2vec", "glove", "fasttext"} <= set(families)


@every(VISION)
def test_every_fact_is_filled_in(entry: ImageModel) -> None:
    for fact in ("license", "parameters", "features", "bytes", "paper", "source", "classes"):
        assert getattr(entry, fact), fact
    if not str(entry.weights.url).startswith("hf://"):  # there the Hub states the hash
        assert entry.weights.sha256 or entry.weights.sha256_prefix


@every(TORCHVISION)
def test_torchvision_s_preprocessing_is_that_of_its_transforms(entry: ImageModel) -> None:
    preset = weights_of(entry).transforms()
    asked = entry.input
    assert [asked.size] == preset.crop_size
    assert [asked.resize] == preset.resize_size
    assert list(asked.mean) == preset.mean
    assert list(asked.std) == preset.std
    assert asked.interpolation == preset.interpolation.value
    assert (asked.crop, asked.channels) == ("center", 3)


@every(TORCHVISION)
def test_torchvision_s_file_classes_and_score_are_what_it_publishes(entry: ImageModel) -> None:
    weights = weights_of(entry)
    assert entry.weights.sha256_prefix == Path(weights.url).stem.rpartition("-")[2]
    assert entry.weights.about_bytes == pytest.approx(weights.meta["_file_size"] * 2**20, abs=6000)
    assert entry.weights.bytes is None, "a rounded size must never be checked"
    assert entry.classes == "imagenet-1k"
    assert len(weights.meta["categories"]) == 1000
    assert entry.parameters == weights.meta["num_params"]
    assert entry.top1 == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert entry.metrics["imagenet-1k"].top5 == weights.meta["_metrics"]["ImageNet-1K"]["acc@5"]


@every(TORCHVISION)
def test_a_licence_of_torchvision_s_is_stated_for_this_very_file_or_unknown(entry: ImageModel) -> None:
    import timm

    stated = {cfg.url: cfg.license for cfg in map(timm.get_pretrained_cfg, timm.list_pretrained()) if cfg.url}
    assert "license" not in weights_of(entry).meta
    assert entry.license == (stated.get(entry.weights.url) or "unknown")


@every(TORCHVISION)
def test_torchvision_s_own_weights_path_passes_the_same_arguments(
    entry: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `weights=` sets on its own must stand in `arguments`, or inputs shift silently."""
    import torch
    from torchvision.models import get_model

    weights = weights_of(entry)
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **_: {})
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda self, state, strict=True: None)
    with torch.device("meta"):
        theirs = get_model(in_library(entry), weights=weights)
    assert getattr(theirs, "transform_input", False) == entry.arguments.get("transform_input", False)


@every(TIMM)
def test_timm_s_preprocessing_is_that_of_its_transforms(entry: ImageModel) -> None:
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config(pretrained_cfg=config_of(entry).to_dict())
    resize, crop, _, normalize = create_transform(**config).transforms
    asked = entry.input
    assert config["input_size"] == (asked.channels, asked.size, asked.size)
    assert crop.size == (asked.size, asked.size)
    assert resize.size == asked.resize
    assert resize.interpolation.value == asked.interpolation
    assert asked.mean == pytest.approx(normalize.mean.tolist(), abs=1e-7)
    assert asked.std == pytest.approx(normalize.std.tolist(), abs=1e-7)
    assert (asked.crop, config["crop_mode"]) == ("center", "center")


@every(TIMM)
def test_timm_s_file_classes_and_licence_are_what_it_publishes(entry: ImageModel) -> None:
    cfg = config_of(entry)
    assert entry.weights.url == f"hf://{cfg.hf_hub_id}/model.safetensors"
    assert cfg.hf_hub_filename is None
    assert entry.license == (cfg.license or "unknown")
    assert (entry.classes, cfg.num_classes) == ("imagenet-1k", 1000)


@every(TIMM)
def test_timm_s_score_and_speed_are_what_it_publishes(entry: ImageModel, data: Path) -> None:
    score = entry.metrics["imagenet-1k"]
    row = read_results(data / "timm-results-imagenet.csv")[in_library(entry), str(score.size)]
    assert (score.top1, score.top5) == (float(row["top1"]), float(row["top5"]))
    assert score.size == entry.input.size
    if entry.speed is not None:
        architecture = in_library(entry).partition(".")[0]
        speeds = read_results(data / "timm-benchmark-cpu-i7_12700h.csv")
        row = speeds[architecture, str(entry.input.size)]
        assert entry.speed.images_per_second == float(row["infer_samples_per_sec"])


@every(VISION)
def test_parameters_and_features_are_those_of_the_network(entry: ImageModel) -> None:
    import torch
    from torch import nn

    seen: list[int] = []

    def remember(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if output.shape[1] == 1000:
            seen.append(inputs[0].shape[1])

    with torch.device("meta"), torch.no_grad():
        network = network_of(entry)
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.register_forward_hook(remember)
        network.eval()(torch.empty(2, 3, entry.input.size, entry.input.size))
    assert seen[-1] == entry.features
    kept = [
        p.numel()
        for name, p in network.named_parameters()
        if "googlenet" not in entry.name or "aux" not in name
    ]
    assert sum(kept) == entry.parameters


def network_of(entry: ImageModel) -> Any:
    """The library's own network, with random weights."""
    import timm
    from torchvision.models import get_model

    if entry in TIMM:
        return timm.create_model(in_library(entry), pretrained=False)
    arguments = {"init_weights": False} if entry.family == "inception" else {}
    return get_model(in_library(entry), weights=None, **arguments)


@every([entry for entry in WORDS if entry.architecture != "words/model2vec"])
def test_word_vectors_are_what_gensim_data_publishes(entry: WordModel, data: Path) -> None:
    facts = json.loads((data / "gensim-data.json").read_text("utf-8"))[entry.name]
    assert entry.weights.url == f"gensim://{entry.name}"
    assert entry.weights.md5 == facts["checksum"]
    assert entry.weights.bytes == facts["file_size"]
    assert entry.words == facts["num_records"]
    assert entry.input.dimension == facts["parameters"]["dimension"]
    assert entry.corpus == facts["base_dataset"]
    assert entry.input.lowercase == ("uncased" in facts["base_dataset"] or entry.family == "conceptnet")
    assert (entry.license == "unknown") == (facts["license"] == "not found")


def test_all_word_vectors_of_gensim_data_are_there(data: Path) -> None:
    published = json.loads((data / "gensim-data.json").read_text("utf-8"))
    assert {e.name for e in WORDS} >= {name for name in published if not name.startswith("__")}


def test_the_compiled_copy_is_of_this_registry() -> None:
    again = "run tools/generate_registry.py"
    assert COMPILED.read_bytes() == compile_registry(shipped_registry()), again
    assert dict(load_registry()) == read_registry_file(shipped_registry())


def test_a_changed_registry_is_read_itself_and_not_its_compiled_copy(tmp_path: Path) -> None:
    from zoo.catalogue.registry import read_shipped

    path = tmp_path / "registry.yaml"
    path.write_text(
        shipped_registry().read_text("utf-8").replace("  resnet18:", "  resnet_eighteen:"), "utf-8"
    )
    entries = read_shipped(path)
    assert "resnet_eighteen" in entries
    assert "resnet18" not in entries
    assert entries["resnet_eighteen"].registry == path


@pytest.mark.slow
def test_the_registry_is_what_its_generator_writes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    generator = __import__("generate_registry")
    assert shipped_registry().read_text("utf-8") == generator.generate(data), "run tools/generate_registry.py"
