"""From a file to an entry of a registry file: facts are read from the file, missing ones are requested.

The sources of facts, the strongest first: the bytes (hash, size); the user's options; the file itself (the
format of word vectors, the metadata of safetensors); the Hub or timm's config; the model that it is `like`. A
licence is never guessed. Before anything is written, the network is built and the weights are loaded into it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.backbones.formats import read_metadata
from zoo.catalogue.entry import ImageModel, ModelEntry, Weights, WordModel
from zoo.catalogue.extending import check_target, extension, read_target
from zoo.catalogue.index import load_index
from zoo.catalogue.licenses import UNKNOWN
from zoo.catalogue.linting import REMARKS, remark_on_override, shipped_names
from zoo.catalogue.plugins import ARCHITECTURES, plugin_names
from zoo.catalogue.problems import Finding, dotted
from zoo.catalogue.rules import NAMESPACES
from zoo.catalogue.validation import check_entry, entry_to_mapping
from zoo.errors import UsageError
from zoo.events import Note, Report, silent
from zoo.file_formats import MAYBE_VECTORS, detect_format, refuse_foreign
from zoo.registering.sources import Place, bring, find_place
from zoo.store.disk.blobs import write_whole
from zoo.store.disk.locks import hold
from zoo.store.disk.records import source_key
from zoo.store.disk.space import disk_errors
from zoo.store.local import LocalModel
from zoo.store.store import Store
from zoo.words.compiling.archives import SeveralFiles, open_source
from zoo.words.compiling.formats import SAMPLE_BYTES, Shape, sniff_format

WORDS = "word-vectors"
ALIKE = ("family", "task", "architecture", "input", "classes", "features", "arguments")
NOTES = ("architecture", "license", "family", "description", "source")
HASH_IN_NAME = re.compile(r"-[0-9a-f]{8,64}$")  # as torchvision names its files
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._+@-]+")
ASK = {
    "task": "--task image-classification, image-features or word-vectors",
    "architecture": "--architecture torchvision/NAME or timm/NAME",
    "family": "--family NAME",
    "input": "--set input.size=224 and so on for resize, mean, std",
    "classes": "--set classes=imagenet-1k, a number, or [LABEL, …]",
}


@dataclass(frozen=True)
class Added:
    """A new entry of a registry file. text: the text that was added to the file."""

    entry: ModelEntry
    text: str


def add_model(
    source: str,
    registry: Path,
    *,
    store: Store,
    name: str | None = None,
    like: ModelEntry | None = None,
    facts: Mapping[str, Any] | None = None,
    write: bool = True,
    report: Report = silent,
) -> Added:
    """Register a file: a path, `hf://OWNER/REPO[@REVISION]/FILE`, or any URL that an entry can have.

    name: of the entry; by default derived from the file's. like: a model whose architecture, preprocessing
    and classes are used where nothing else states them. facts: nested fields that the user states; they
    override everything but hash and size. write: False only returns the text. The registry file is created if
    it does not exist; its old content is kept byte for byte.

    Raises UsageError with everything that is missing and the options for it, InvalidRegistry, WeightsMismatch
    if the weights do not match the architecture, UnsafeFile, and what a fetch raises.
    """
    place = find_place(source, registry, store, report)
    name = _name_for(place) if name is None else name
    check_target(registry, read_target(registry), name)  # before a download
    stated = merge({"license": UNKNOWN}, place.facts, facts or {})
    weights, file = bring(place, name, str(stated["license"]), store, report)
    seen = _look_into(file, place.file, report)
    if like is not None and isinstance(like, WordModel) != (seen.get("task") == WORDS):
        raise UsageError(f"{source} does not match --like {like.name}, which is a model for {like.task}")
    facts_of_all = merge(
        {"license": UNKNOWN, "weights": {"url": weights.url}},
        {} if like is None else {k: v for k, v in entry_to_mapping(like).items() if k in ALIKE},
        place.facts,
        seen,
        facts or {},
        {"weights": {"sha256": weights.sha256, "bytes": weights.bytes}},
    )
    entry = _complete(name, facts_of_all, source)
    if isinstance(entry, ImageModel):
        entry = _prove_fit(entry, file, store, report)
    added = _extend_file(registry, entry, store, report) if write else _extension_of(registry, entry)
    for finding in _second_looks(entry, registry):
        report(Note(f"{name}: {finding.what}", finding.hint))
    return Added(entry, added)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Nested facts merged; later layers override earlier ones.

    >>> merge({"input": {"size": 224, "resize": 256}}, {"input": {"size": 288}})
    {'input': {'size': 288, 'resize': 256}}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def _extension_of(registry: Path, entry: ModelEntry) -> str:
    """The text that would be added to a registry file."""
    return extension(registry, read_target(registry), entry)


def _extend_file(registry: Path, entry: ModelEntry, store: Store, report: Report) -> str:
    """Add an entry to a registry file, one process at a time; returns the text that was added."""
    lock = store.home / "locks" / f"{source_key(Weights(url=registry.resolve().as_uri()))}.lock"
    with disk_errors(store.home, f"lock {registry}"), hold(lock, str(registry), report=report):
        added = _extension_of(registry, entry)
        with disk_errors(registry.parent, f"write {registry}"):
            _put_at_end(registry.resolve(), added)
    return added


def _put_at_end(path: Path, added: str) -> None:
    """Append text to a file atomically; its permissions stay."""
    old = path.read_bytes() if path.exists() else b""
    mode = path.stat().st_mode if path.exists() else None
    write_whole(path, old + added.encode())
    if mode is not None:
        path.chmod(mode)


def _name_for(place: Place) -> str:
    """A name derived from that of the file, or of the Hub's repository if the file has a generic one."""
    stem = re.sub(r"\.(?:gz|zip)$", "", place.file)
    stem = HASH_IN_NAME.sub("", re.sub(r"\.(?:safetensors|pth|pt|bin|txt|vec|tar)$", "", stem))
    repository = re.match(r"hf://[^/]+/([^/@]+)", place.weights.urls[0])
    if repository is not None and stem in ("model", "pytorch_model", "open_clip_model"):
        stem = repository[1]
    return NOT_IN_NAMES.sub("-", stem).strip("-.") or "model"


def _look_into(file: LocalModel | Path, name: str, report: Report) -> dict[str, Any]:
    """The facts in a file: the format of word vectors, the metadata of safetensors."""
    path = file if isinstance(file, Path) else file.path
    kind = detect_format(path)
    if kind == "safetensors":
        return _read_notes(path, name)
    if kind in ("zip", "pickle", "tar"):
        return {}
    if kind not in MAYBE_VECTORS:
        refuse_foreign(kind, name, "weights of PyTorch or word vectors")
    try:
        with open_source(path, None, name) as stream:
            sample = stream.read(SAMPLE_BYTES)
            shape = sniff_format(sample, stream.name)
    except SeveralFiles as error:  # an entry cannot name one of them
        error.hint = "Unpack the file that you want, and register it."
        raise
    lowercase = None if shape.is_binary else _is_lowercase(sample, shape)
    if lowercase:
        note = f"{name}: no upper-case letter in the sampled words, so texts are converted to lower case"
        report(Note(note, "If that is wrong: --set input.lowercase=false"))
    return {
        "task": WORDS,
        "architecture": f"words/{shape.format}",
        "family": shape.format.partition("-")[0],
        "input": {"dimension": shape.dimension} | ({"lowercase": True} if lowercase else {}),
        **({} if shape.words is None else {"words": shape.words}),
    }


def _read_notes(path: Path, name: str) -> dict[str, Any]:
    """The facts in the metadata of a safetensors file, also under the names of the ModelSpec standard."""
    notes = {key.removeprefix("modelspec."): text for key, text in read_metadata(path, name).items()}
    facts = {key: notes[key] for key in NOTES if notes.get(key)}
    namespace, slash, _ = str(facts.get("architecture", "")).partition("/")
    if not slash or namespace not in (*NAMESPACES, *plugin_names(ARCHITECTURES)):
        facts.pop("architecture", None)  # a name of another library
    return facts


def _is_lowercase(sample: bytes, shape: Shape) -> bool:
    """Whether the words at the beginning of a text file have no upper-case letters."""
    lines = sample[shape.header_bytes :].splitlines()[:-1]
    words = [line.split(b" ", 1)[0].decode("utf-8", "replace") for line in lines]
    return any(word.isalpha() for word in words) and all(word == word.lower() for word in words)


def _complete(name: str, facts: dict[str, Any], source: str) -> ModelEntry:
    """The entry from the facts. Raises UsageError with everything that is missing or wrong, at once."""
    if "task" not in facts and facts.get("classes") is not None:
        facts["task"] = "image-classification"
    if "family" not in facts and isinstance(facts.get("architecture"), str):
        facts["family"] = _family_of(facts["architecture"])
    task = facts.get("task")
    needed = ["task", "architecture", "family", "input"]
    needed += ["classes"] if task in (None, "image-classification") else []
    missing = [field for field in needed if field not in facts]
    if missing:
        asked = "\n".join(f"  {field}: {ASK[field]}" for field in missing)
        raise UsageError(
            f"{source} lacks facts for the entry {name}: {', '.join(missing)}",
            hint=f"--like MODEL takes them from another model, or state them:\n{asked}",
        )
    entry, findings = check_entry(name, facts)
    if entry is None or findings:
        lines = [f"{dotted(finding.path) or 'the name'}: {finding.what}" for finding in findings]
        raise UsageError(
            f"{source} cannot become the entry {name}: {'; '.join(lines)}",
            hint=findings[0].hint or "Correct it: --set FIELD=VALUE",
        )
    return entry


def _family_of(architecture: str) -> str:
    """The family of an architecture: from the index, else the beginning of its name.

    >>> _family_of("torchvision/resnet18"), _family_of("lab/conv_tiny")
    ('resnet', 'conv')
    """
    known = load_index().find(architecture)
    return known.family if known is not None else architecture.partition("/")[2].partition("_")[0].lower()


def _prove_fit(entry: ImageModel, file: LocalModel | Path, store: Store, report: Report) -> ImageModel:
    """The entry with its number of parameters, after the weights were loaded into its network.

    A pickle is read by an unpickler that runs no code.
    """
    from msgspec.structs import replace

    from zoo.backbones.checkpoints import load_weights, read_state_dict
    from zoo.backbones.loading import fit_weights

    if isinstance(file, Path):
        tensors = read_state_dict(file, what=entry.name, member=entry.weights.member, report=report)
    else:
        weights = replace(file.entry.weights, member=entry.weights.member)
        local = LocalModel(replace(file.entry, weights=weights), file.path, file.sha256)
        tensors = load_weights(local, store, report=report)
    network = fit_weights(entry, tensors, report=report)
    count = sum(parameter.numel() for parameter in network.parameters())
    return entry if entry.parameters is not None else replace(entry, parameters=count)


def _second_looks(entry: ModelEntry, registry: Path) -> list[Finding]:
    """Remarks about the new entry for a reviewer."""
    findings = [finding for remark in REMARKS for finding in remark(entry)]
    shipped = shipped_names(registry) if registry.exists() else {}
    if entry.name in shipped:
        findings.append(remark_on_override(entry, *shipped[entry.name]))
    return findings
