"""Names resolve: the curated ones, timm's tags and torchvision's weights; a miss names what was meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zoo.catalogue.entry import ImageModel
from zoo.catalogue.index import INDEX, load_index
from zoo.catalogue.registry import Registry, entry_from, entry_to_mapping, load_registry
from zoo.catalogue.rules import find_faults
from zoo.errors import UnknownModel, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def test_any_pretrained_tag_of_timm_resolves(registry: Registry) -> None:
    entry = registry.find("timm/resnet50.a1_in1k")
    assert isinstance(entry, ImageModel)
    assert entry.weights.url == "hf://timm/resnet50.a1_in1k/model.safetensors"
    assert (entry.input.size, entry.input.resize, entry.input.interpolation) == (224, 235, "bicubic")
    assert (entry.license, entry.classes, entry.features) == ("apache-2.0", "imagenet-1k", 2048)
    assert entry.top1 == 80.382


def test_any_weights_of_torchvision_resolve(registry: Registry) -> None:
    entry = registry.find("torchvision/resnet50.IMAGENET1K_V2")
    assert isinstance(entry, ImageModel)
    assert entry.weights.url == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
    assert (entry.weights.sha256_prefix, entry.input.resize, entry.top1) == ("11ad3fa6", 232, 80.858)


def test_an_architecture_alone_means_the_library_s_default_weights(registry: Registry) -> None:
    assert registry.find("timm/resnet50").name == "timm/resnet50.a1_in1k"
    assert registry.find("torchvision/resnet50").name == "torchvision/resnet50.IMAGENET1K_V2"


def test_the_curated_name_and_the_library_s_name_are_the_same_weights(registry: Registry) -> None:
    for short, full in (
        ("resnet18", "torchvision/resnet18.IMAGENET1K_V1"),
        ("resnet50_a1", "timm/resnet50.a1_in1k"),
    ):
        facts, same = entry_to_mapping(registry.find(short)), entry_to_mapping(registry.find(full))
        assert facts | {"name": full} == same


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet81", "resnet18"),
        ("ResNet50", "resnet50"),
        ("mobilenetv2", "mobilenet_v2"),
        ("glove-wiki-gigaword-150", "glove-wiki-gigaword-50"),
        ("timm/resnet50.a1_in1", "timm/resnet50.a1_in1k"),
        ("torchvision/resnet50.IMAGENET1K_V3", "torchvision/resnet50.IMAGENET1K_V2"),
        ("convnext_tiny", "timm/convnext_tiny.in12k_ft_in1k"),
        ("resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("resnet50.IMAGENET1K_V1", "torchvision/resnet50.IMAGENET1K_V1"),
    ],
)
def test_a_miss_names_what_was_meant(name: str, meant: str, registry: Registry) -> None:
    with pytest.raises(UnknownModel) as caught:
        registry.find(name)
    assert caught.value.message == f"no model {name!r}"
    assert meant in caught.value.close
    assert len(caught.value.close) <= 3
    assert caught.value.exit_code == 2


def test_a_name_like_nothing_else_gets_no_guesses(registry: Registry) -> None:
    with pytest.raises(UnknownModel) as caught:
        registry.find("qqqqqqqqqq")
    assert caught.value.close == []


def test_weights_that_no_entry_can_describe_say_why(registry: Registry) -> None:
    with pytest.raises(UsageError, match="its input is not square"):
        registry.find("timm/vit_base_patch16_sapiens2.fb")


def test_a_user_s_entry_stands_for_that_of_the_index(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "models:\n"
        "  timm/resnet50.a1_in1k:\n"
        "    family: resnet\n"
        "    task: image-features\n"
        "    architecture: timm/resnet50.a1_in1k\n"
        "    weights: {url: 'hf://me/mine/model.safetensors'}\n"
        "    input: {size: 224, resize: 224, mean: [0, 0, 0], std: [1, 1, 1]}\n"
        "    license: mit\n"
    )
    registry = load_registry([path])
    for name in ("timm/resnet50.a1_in1k", "timm/resnet50"):
        assert registry.find(name).license == "mit"
    everything = [entry for entry in registry.everything() if entry.name == "timm/resnet50.a1_in1k"]
    assert [entry.license for entry in everything] == ["mit"]


def test_everything_is_known_once(registry: Registry) -> None:
    names = [entry.name for entry in registry.everything()]
    assert len(names) == len(set(names))
    assert len(names) > 1900
    assert names[: len(registry)] == [entry.name for entry in registry.curated()] == list(registry)


def test_every_entry_of_the_index_keeps_the_rules_and_survives_plain_values() -> None:
    for entry in load_index().entries:
        assert find_faults(entry) == [], entry.name
        assert entry_from(entry.name, entry_to_mapping(entry)) == entry


def test_the_index_is_small() -> None:
    assert INDEX.stat().st_size < 1_500_000


def test_every_tag_of_the_installed_timm_is_in_the_index_with_its_own_facts() -> None:
    import timm

    index = load_index()
    if timm.__version__ != index.head.timm:
        pytest.skip(f"the index is of timm {index.head.timm}, installed is {timm.__version__}")
    known = {name.partition("/")[2] for name in (*index.names(), *index.left_out) if name.startswith("timm/")}
    assert known == set(timm.list_pretrained())
    for entry in index.entries:
        if not entry.name.startswith("timm/"):
            continue
        cfg = timm.get_pretrained_cfg(entry.name.partition("/")[2])
        assert (entry.input.channels, entry.input.size, entry.input.size) == cfg.input_size, entry.name
        assert entry.input.resize == int(cfg.input_size[1] / cfg.crop_pct), entry.name
        assert (entry.input.mean, entry.input.std) == (cfg.mean, cfg.std), entry.name
        assert (entry.input.interpolation, entry.input.crop) == (cfg.interpolation, cfg.crop_mode), entry.name
        assert entry.license == (cfg.license or "unknown"), entry.name
        place = f"hf://{cfg.hf_hub_id}/model.safetensors" if cfg.hf_hub_id else cfg.url
        assert entry.weights.urls[0] == place, entry.name


def test_every_classifier_of_the_installed_torchvision_is_in_the_index_with_its_own_facts() -> None:
    import torchvision
    from torchvision import models

    index = load_index()
    if torchvision.__version__ != index.head.torchvision:
        pytest.skip(f"the index is of torchvision {index.head.torchvision}, not {torchvision.__version__}")
    for architecture in models.list_models(module=models):
        for weights in models.get_model_weights(architecture):
            name = f"torchvision/{architecture}.{weights.name}"
            if name in index.left_out:
                continue
            entry, preset = index.find(name), weights.transforms()
            assert entry is not None, name
            assert entry.weights.url == weights.url
            assert weights.url.endswith(f"-{entry.weights.sha256_prefix}.pth"), name
            assert ([entry.input.size], [entry.input.resize]) == (preset.crop_size, preset.resize_size), name
            assert (list(entry.input.mean), list(entry.input.std)) == (preset.mean, preset.std), name
            assert entry.input.interpolation == preset.interpolation.value, name
            assert entry.parameters == weights.meta["num_params"], name


def test_entries_of_the_index_are_what_its_generator_makes_of_them(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fiftieth: all of them take four minutes (tools/generate_index.py --check)."""
    import timm

    if timm.__version__ != load_index().head.timm:
        pytest.skip("another timm is installed")
    monkeypatch.syspath_prepend(ROOT / "tools")
    facts = __import__("facts")
    published = facts.read_published(data)
    for entry in load_index().entries[::50]:
        assert facts.published_entry(entry.name, entry.name, published) == entry


def test_listing_everything_imports_neither_torch_nor_yaml() -> None:
    code = (
        "import sys\n"
        "from zoo.catalogue.registry import load_registry\n"
        "from zoo.catalogue.search import select\n"
        "assert len(select(load_registry().everything(), sort='top1')) > 1900\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "zoo" in loaded
    assert not loaded & {
        "torch",
        "torchvision",
        "timm",
        "gensim",
        "numpy",
        "yaml",
        "httpx",
        "httpx2",
        "polars",
    }
