"""The JSON Schema says of registry files what reading them does, as far as a schema can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from zoo.catalogue.index import load_index
from zoo.catalogue.registry import entry_from, entry_to_mapping, shipped_registry
from zoo.catalogue.schema import RULES, registry_schema
from zoo.errors import InvalidRegistry

PUBLISHED = Path(__file__).parents[2] / "registry.schema.json"
SCHEMA = Draft202012Validator(registry_schema())
GOOD: dict[str, Any] = {
    "family": "mobilenet",
    "task": "image-classification",
    "architecture": "torchvision/mobilenet_v2",
    "weights": {"url": ["net.pth", "https://example.org/net.pth"], "sha256": "ab" * 32, "bytes": 7},
    "input": {"size": 224, "resize": 256, "mean": [0, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "classes": ["ants", "bees"],
    "license": "apache-2.0",
    "metrics": {"imagenet-1k": {"top1": 70.1, "source": "here"}},
    "speed": {"images_per_second": 20.5, "size": 224, "source": "here"},
    "arguments": {"transform_input": True},
}
WORDS: dict[str, Any] = {
    "family": "glove",
    "task": "word-vectors",
    "architecture": "words/glove-text",
    "weights": {"url": "words.txt", "sha256": "ab" * 32},
    "input": {"dimension": 50},
    "license": "pddl",
}


def faults(*, name: str = "net", **entry: Any) -> list[str]:
    """What the schema says against an entry, by field."""
    return [error.json_path for error in SCHEMA.iter_errors({"models": {name: entry}})]


def test_the_published_schema_is_what_the_types_make_of_it() -> None:
    assert json.loads(PUBLISHED.read_text("utf-8")) == registry_schema(), (
        "write it anew: python -m zoo registry schema > registry.schema.json"
    )
    Draft202012Validator.check_schema(registry_schema())


def test_the_shipped_registry_and_the_printed_example_keep_the_schema(data: Path) -> None:
    for path in (shipped_registry(), data / "registry.yaml"):
        assert list(SCHEMA.iter_errors(yaml.safe_load(path.read_text("utf-8")))) == [], path


def test_the_shipped_registry_names_the_schema_for_editors() -> None:
    first = shipped_registry().read_text("utf-8").partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={PUBLISHED.name}"


def test_every_twentieth_entry_of_the_index_keeps_the_schema() -> None:
    for entry in load_index().entries[::20]:
        facts = entry_to_mapping(entry)
        assert faults(**facts | {"name": facts.pop("name")}) == [], entry.name


@pytest.mark.parametrize("entry", [GOOD, WORDS], ids=["image", "words"])
def test_a_good_entry_keeps_the_schema(entry: dict[str, Any]) -> None:
    assert faults(**entry) == []
    entry_from("net", entry)


@pytest.mark.parametrize(
    ("entry", "change", "field"),
    [
        (GOOD, {"weights": {"url": "net.pth", "sha256": "AB" * 32}}, "weights.sha256"),
        (GOOD, {"weights": {"url": "net.pth", "sha256": 7}}, "weights.sha256"),
        (GOOD, {"weights": {"url": [], "sha256": "ab" * 32}}, "weights.url"),
        (GOOD, {"weights": {"url": "x", "sha256": "ab" * 32, "bytes": 0}}, "weights.bytes"),
        (GOOD, {"weights": {"url": "x", "sha256": "ab" * 32, "sha1": "a"}}, "weights"),
        (GOOD, {"task": "image-clasification"}, "task"),
        (GOOD, {"architecture": "words/glove-text"}, "architecture"),
        (GOOD, {"architecture": "resnet18"}, "architecture"),
        (GOOD, {"license": "-"}, "license"),
        (GOOD, {"classes": []}, "classes"),
        (GOOD, {"classes": ["a", "a"]}, "classes"),
        (GOOD, {"classes": 0}, "classes"),
        (GOOD, {"input": GOOD["input"] | {"std": [0, 1, 1]}}, "input.std[0]"),
        (GOOD, {"input": GOOD["input"] | {"interpolation": "cubic"}}, "input.interpolation"),
        (GOOD, {"metrics": {"imagenet-1k": {"top1": 101, "source": "x"}}}, "metrics['imagenet-1k'].top1"),
        (GOOD, {"speed": {"images_per_second": 0, "size": 1, "source": "x"}}, "speed.images_per_second"),
        (GOOD, {"parameters": 0}, "parameters"),
        (GOOD, {"licence": "mit"}, ""),
        (WORDS, {"architecture": "words/glove"}, "architecture"),
        (WORDS, {"input": {"dimension": 0}}, "input.dimension"),
        (WORDS, {"input": {"dimensions": 50}}, "input"),
        (WORDS, {"classes": 2}, ""),
    ],
)
def test_what_reading_refuses_the_schema_refuses(
    entry: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    changed = entry | change
    with pytest.raises(InvalidRegistry):
        entry_from("net", changed)
    assert f"$.models.net.{field}".removesuffix(".") in faults(**changed)


@pytest.mark.parametrize("name", ["../net", "", "a b", "n" * 129])
def test_a_name_that_is_refused_is_no_key(name: str) -> None:
    with pytest.raises(InvalidRegistry):
        entry_from(name, GOOD)
    assert faults(name=name, **GOOD)


def test_every_rule_is_about_a_field_that_there_is() -> None:
    types = registry_schema()["$defs"]
    assert [rule for rule in RULES if rule.split(".")[1] not in types[rule.split(".")[0]]["properties"]] == []
