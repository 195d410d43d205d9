"""The JSON Schema of registry files, for editors: made of the types of entries and of the rules' patterns.

It covers single fields. Rules across fields (a hash for every URL, as many means as channels, names that
Windows can store) are checked by `zoo registry lint`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zoo.catalogue import entry
from zoo.catalogue.entry import ENTRY_TYPES, ModelEntry
from zoo.catalogue.licenses import KNOWN
from zoo.catalogue.rules import (
    LICENSE,
    LONGEST_NAME,
    MD5,
    NAME,
    NAMESPACES,
    PREFIX,
    SHA256,
)
from zoo.catalogue.schemes import SCHEMES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ADDED = ("name", "registry")  # fields of an entry that are not in a file: the name is the key
AT_LEAST_1 = {"minimum": 1}
PERCENT = {"minimum": 0, "maximum": 100}
URL = {"type": "string", "minLength": 1, "examples": [scheme.example for scheme in SCHEMES.values()]}


def registry_schema() -> dict[str, Any]:
    """The schema as plain values."""
    kinds = dict.fromkeys(ENTRY_TYPES.values())
    _, types = msgspec.json.schema_components(
        list(kinds), schema_hook=lambda _: {"type": "string"}, ref_template="#/$defs/{name}"
    )
    for name, kind in types.items():
        _tidy(name, kind, _describe_fields(getattr(entry, name)))
    return {
        "$schema": DIALECT,
        "title": "A registry of transfer-zoo",
        "type": "object",
        "properties": {
            "models": {
                "type": "object",
                "description": "Every model by its name.",
                "propertyNames": {**_exactly(NAME), "maxLength": LONGEST_NAME},
                "additionalProperties": _by_task(list(kinds)),
            }
        },
        "required": ["models"],
        "additionalProperties": False,
        "$defs": types,
    }


def _exactly(pattern: re.Pattern[str]) -> dict[str, Any]:
    """A pattern that must match the whole text."""
    return {"pattern": f"^(?:{pattern.pattern})$"}


def _tidy(name: str, kind: dict[str, Any], texts: dict[str, str]) -> None:
    """Reduce a type's schema to the fields of a file, with their rules."""
    kind["description"] = kind["description"].partition("\n")[0]
    kind["required"] = [field for field in kind["required"] if field not in ADDED]
    for field in ADDED:
        kind["properties"].pop(field, None)
    for field, value in kind["properties"].items():
        options = [one for one in value.pop("anyOf", ()) if one != {"type": "null"}]
        if options:  # null only means that the field is absent
            value |= options[0] if len(options) == 1 else {"anyOf": options}
        if value.get("default", 0) is None:
            del value["default"]
        rule = RULES.get(f"{name}.{field}", {})
        described = {"description": texts[field]} if field in texts else {}
        kind["properties"][field] = (rule if "anyOf" in rule else value | rule) | described


def _describe_fields(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The descriptions of a type's fields in its docstrings, which have the form `field, field: what.`

    >>> _describe_fields(entry.TextInput)["dimension"]
    'of one vector.'
    """
    texts: dict[str, str] = {}
    for base in kind.__mro__[:2]:
        paragraphs = " ".join((base.__doc__ or "").split())
        pieces = re.split(r"(?:^|(?<=[.:] ))([a-z0-9_]+(?:, [a-z0-9_]+)*): ", paragraphs)
        for names, what in zip(pieces[1::2], pieces[2::2], strict=True):
            texts |= {name: what.strip() for name in names.split(", ") if name in kind.__struct_fields__}
    return texts


def _by_task(kinds: list[type[ModelEntry]]) -> dict[str, Any]:
    """The schema that picks the type of an entry by its task, so that an editor reports the right fields."""
    tasks = {kind.__name__: [task for task, k in ENTRY_TYPES.items() if k is kind] for kind in kinds}
    return {
        "type": "object",
        "required": ["task"],
        "properties": {"task": {"enum": list(ENTRY_TYPES)}},
        "allOf": [
            {
                "if": {"properties": {"task": {"enum": names}}, "required": ["task"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
            for kind, names in tasks.items()
        ],
    }


# "type.field" -> the constraint of the rules, which extends that of its type
RULES: dict[str, dict[str, Any]] = {
    "Weights.url": {"anyOf": [URL, {"type": "array", "items": URL, "minItems": 1}]},
    "Weights.sha256": _exactly(SHA256),
    "Weights.sha256_prefix": _exactly(PREFIX),
    "Weights.md5": _exactly(MD5),
    "Weights.bytes": AT_LEAST_1,
    "Weights.about_bytes": AT_LEAST_1,
    "ImageInput.size": AT_LEAST_1,
    "ImageInput.channels": AT_LEAST_1,
    "ImageInput.std": {"items": {"type": "number", "exclusiveMinimum": 0}},
    "TextInput.dimension": AT_LEAST_1,
    "Score.top1": PERCENT,
    "Score.top5": PERCENT,
    "Speed.images_per_second": {"exclusiveMinimum": 0},
    "ImageModel.features": AT_LEAST_1,
    "ImageModel.classes": {
        "anyOf": [
            {"type": "string", "minLength": 1, "examples": ["imagenet-1k"]},
            {"type": "integer", "minimum": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        ]
    },
    "WordModel.words": AT_LEAST_1,
    **{
        f"{kind}.{field}": rule
        for kind in ("ImageModel", "WordModel")
        for field, rule in {
            "license": _exactly(LICENSE) | {"examples": list(KNOWN)},
            "parameters": AT_LEAST_1,
        }.items()
    },
    "ImageModel.architecture": {
        "pattern": r"^(?!words/)[^/]+/.",
        "examples": ["torchvision/resnet18", "timm/resnet50.a1_in1k"],
    },
    "WordModel.architecture": {"enum": [f"words/{name}" for name in NAMESPACES["words"] or ()]},
}
