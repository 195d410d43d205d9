"""What a name means: a run, word vectors, a model, a checkpoint, a bundle. Decided here and nowhere else.

Every verb, `load_model`, `load_run` and `finetune_model` call `find_target` and match on what it returns;
`accept` refuses, in the same words everywhere, what a verb cannot use. The first row that fits decides:

    Path, ./x, /x, ~/x, file://x    only what is on the disk at that place
    a folder with run.json          RunFolder, also for a file in it
    a name of a registry file       RegistryModel, whatever files there are
    hf://OWNER/REPO/FILE            HubFile; hf://OWNER/REPO is a HubModel
    a folder of model2vec           VectorFile, of its weights
    a file                          VectorFile, Checkpoint or Bundle, by its bytes
    timm/TAG, torchvision/ARCH.W    RegistryModel, from the index
    what only the store remembers   Unlisted

Nothing is fetched, hashed or written here, and no network is asked: `describe_target` and `fetch_target` do.
"""

from __future__ import annotations

import mimetypes
import re
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from zoo.catalogue.entry import ModelEntry, WordModel
from zoo.errors import IntegrityError, NotAModel, UnknownModel, UnsafeFile, UsageError, close_names
from zoo.events import Report, silent
from zoo.store.disk.homes import expand, path_of_address
from zoo.store.local import LocalModel
from zoo.store.names import default_registry, default_store
from zoo.words.own_files import (
    SUFFIXES,
    describe_file,
    entry_of,
    is_described,
    is_hub_file,
    own_name,
    recall_entry,
    safe_name,
    static_weights,
)

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store

RUN_FILES = RECORD, ADAPTER, HISTORY, WORDS, CUTTER, SPLIT, CALIBRATION = (
    "run.json",
    "adapter.safetensors",
    "history.jsonl",
    "words.txt",
    "tokenizer.json",
    "split.jsonl",
    "calibration.json",
)
PARTIAL, PLAN = ".partial", "plan.json"  # of a run that is not finished: RUN.partial/plan.json
FILES = {"image": "an image", "text": "a file of texts", "application/json": "a JSON file"}
FOLDERS = {"image": "a folder of images", "text": "a folder of texts"}
MOST_LOOKED_AT = 200  # names in a folder that is not a run, to say what it holds


class RunFolder(msgspec.Struct, frozen=True):
    """A folder that fine-tuning wrote."""

    name: str
    path: Path


class VectorFile(msgspec.Struct, frozen=True):
    """A file of word vectors on this machine. member: which file of a .zip."""

    name: str
    path: Path
    member: str | None = None


class HubFile(msgspec.Struct, frozen=True):
    """A file of word vectors on the Hub: hf://OWNER/REPO/FILE."""

    name: str
    member: str | None = None


class HubModel(msgspec.Struct, frozen=True):
    """A repository of an image model on the Hub: hf://OWNER/REPO[@REVISION]."""

    name: str


class RegistryModel(msgspec.Struct, frozen=True):
    """A model that a registry file or the index lists."""

    name: str
    entry: ModelEntry


class Unlisted(msgspec.Struct, frozen=True):
    """What the store remembers of a model that no registry lists now, or of a file that is gone."""

    name: str
    entry: ModelEntry


class Checkpoint(msgspec.Struct, frozen=True):
    """A file of weights without an entry that says which network they are of."""

    name: str
    path: Path


class Bundle(msgspec.Struct, frozen=True):
    """A tar file that `zoo bundle` wrote."""

    name: str
    path: Path


Model = VectorFile | HubFile | HubModel | RegistryModel | Unlisted
Target = RunFolder | Model | Checkpoint | Bundle


def find_target(
    name: str | Path,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    member: str | None = None,
) -> Target:
    """What a name, path or address means; the table above is the order.

    Raises NotAModel for a file or folder of something else; UnknownModel, with the close names; UsageError
    for an https:// address, for a path where nothing is, and for a run that is not finished; UnsafeFile and
    IntegrityError for a file that could run code or is damaged.
    """
    text = str(name)
    if not text.strip():
        raise UsageError("the name of a model is empty", hint="See: zoo list")
    path = path_of_address(text) if text.startswith("file://") else expand(text)
    explicit = isinstance(name, Path) or text.startswith((".", "/", "~", "file://"))
    if (path / RECORD).is_file():
        return RunFolder(text, path)
    store = store or default_store()
    registry = default_registry(store) if registry is None else registry
    if not explicit and text in registry:
        return RegistryModel(text, registry[text])
    if is_hub_file(text):
        return HubFile(text, member)
    if text.startswith("hf://"):
        return HubModel(text)
    if re.match(r"https?://", text):
        raise UsageError(
            f"{text}: an address alone cannot prove what comes from it",
            hint=f"Register it, with its sha256: zoo registry add {shlex.quote(text)} --to registry.yaml",
        )
    if (weights := static_weights(path)) is not None:
        return VectorFile(text, weights, member)
    if path.is_file():
        return _find_by_bytes(text, path, member, store)
    if not explicit:
        try:
            return RegistryModel(text, registry.find(text))
        except UnknownModel as error:
            unknown = error
    if (entry := recall_entry(text, store) or (None if explicit else store.recall(text))) is not None:
        return Unlisted(text, entry)
    if (unfinished := _find_unfinished(path)) is not None:
        raise UsageError(
            f"{text} is a run that is not finished",
            hint=f"Go on with it: zoo finetune --resume {shlex.quote(str(unfinished))}",
        )
    if path.is_dir():
        raise _not_a_run(text, path)
    if explicit or text.endswith(SUFFIXES):
        what = "not a regular file" if path.exists() else "no such file or folder"
        raise UsageError(f"{text}: {what}", hint=_closest(path) or "Models: zoo list")
    nearby = [folder.name for folder in list_runs(Path()) if close_names(text, [folder.name])]
    known = UnknownModel(text, close=[*nearby, *unknown.close][:3])
    known.message += ", and no run folder or file of that name"
    raise known


def accept(target: Target, verb: str) -> Target:
    """The target, if the verb can use it.

    Raises UsageError: what the name is, what the verb takes instead, and what to do with each.
    """
    kind, need = kind_of(target), NEEDS[verb]
    if kind in need.kinds:
        return target
    use = KINDS[kind].use.format(name=shlex.quote(target.name), stem=_stem(target))
    raise UsageError(
        f"{target.name} {KINDS[kind].what}, and {verb} takes {need.wants}",
        hint="\n".join(line for line in (use, need.find) if line),
    )


def kind_of(target: Target) -> KindName:
    """The row of KINDS that a target belongs to."""
    match target:
        case RunFolder():
            return "run"
        case VectorFile():
            return "vector file"
        case HubFile() | RegistryModel(entry=WordModel()):
            return "words"
        case HubModel() | RegistryModel():
            return "images"
        case Unlisted():
            return "unlisted"
        case Checkpoint():
            return "checkpoint"
        case Bundle():
            return "bundle"


KindName = Literal["run", "images", "words", "vector file", "unlisted", "checkpoint", "bundle"]


class Kind(NamedTuple):
    """How a kind of target is named, and what can be done with one."""

    what: str
    use: str


KINDS: dict[KindName, Kind] = {
    "run": Kind("is a run", "Use it: zoo predict {name} FILES…\nIts facts: zoo show {name}"),
    "images": Kind(
        "is a model for images",
        "Use it: zoo predict {name} photo.jpg\nTrain it: zoo finetune {name} DATA --out run",
    ),
    "words": Kind(
        "holds word vectors",
        "Explore them: zoo similar {name} WORD…\nTrain on labelled texts: zoo finetune {name} DATA --out run",
    ),
    "vector file": Kind(
        "is a file of word vectors",
        "Explore it: zoo similar {name} WORD…\nTrain on labelled texts: zoo finetune {name} DATA --out run\n"
        "Give it a name of its own: zoo registry add {name} --to registry.yaml",
    ),
    "unlisted": Kind(
        "is in the store, but no registry lists it now",
        "Name the file that does: --registry FILE\nDelete it: zoo rm {name}",
    ),
    "checkpoint": Kind(
        "is a file of weights, which does not say of which network",
        "Register it: zoo registry add {name} --to registry.yaml --name {stem} --like MODEL\n"
        "and then use it by that name: --registry registry.yaml",
    ),
    "bundle": Kind("is a bundle of models and runs", "Unpack it: zoo unbundle {name}"),
}


class Need(NamedTuple):
    """Which kinds of target a verb takes, in words too, and where those are found."""

    kinds: tuple[KindName, ...]
    wants: str
    find: str = ""


_USES_WORDS = Need(("words", "vector file"), "word vectors", "Word vectors: zoo list --task word-vectors")
_CLASSIFIES = Need(
    ("run", "images"),
    "a run or a model for images",
    "Models for images: zoo list --task image-classification",
)
_MODEL = Need(("images", "words", "vector file"), "a model", "Models: zoo list")
_MODEL_OR_RUN = Need((*_MODEL.kinds, "run"), "a model or a run", "Models: zoo list")
_STORED = Need((*_MODEL.kinds, "unlisted"), "a model of the store", "What is in it: zoo cache")
NEEDS: dict[str, Need] = {
    "zoo show": _MODEL_OR_RUN,
    "zoo fetch": _MODEL,
    "zoo rm": _STORED,
    "zoo verify": _STORED,
    "zoo path": _MODEL,
    "zoo lock": _MODEL,
    "zoo bundle": _MODEL_OR_RUN,
    "zoo finetune": _MODEL_OR_RUN,
    "zoo predict": _CLASSIFIES,
    "zoo evaluate": _CLASSIFIES,
    "zoo calibrate": Need(("run",), "a run", "A run is the folder that zoo finetune wrote."),
    "zoo explain": _CLASSIFIES,
    "zoo embed": _MODEL_OR_RUN,
    "zoo compare": Need(("run",), "runs", "A run is the folder that zoo finetune wrote."),
    "zoo report": Need(("run",), "a run", "A run is the folder that zoo finetune wrote."),
    "zoo similar": _USES_WORDS,
    "zoo analogy": _USES_WORDS,
    "zoo odd": _USES_WORDS,
    "zoo coverage": _USES_WORDS,
    "zoo registry add --like": _MODEL,
    "zoo check": _MODEL,
    "zoo pick": _MODEL,
    "zoo tune": _MODEL,
    "zoo lr-find": _MODEL_OR_RUN,
    "zoo.embed": _MODEL_OR_RUN,
    "zoo.preprocessing": _CLASSIFIES,
    "zoo.Featurizer": _CLASSIFIES,
    "zoo.Predictor": _CLASSIFIES,
    "zoo.fetch_model": _MODEL,
    "zoo.load_model": _MODEL,
    "zoo.load_run": Need(("run",), "a run", "A run is the folder that zoo finetune wrote."),
}


def describe_target(target: Model, store: Store, *, report: Report = silent) -> ModelEntry:
    """The entry of a model. No file is fetched; of a repository of the Hub its facts are asked, once.

    Of a file on this machine that was not seen before, every byte is read, for its hash.
    """
    match target:
        case RegistryModel(entry=entry) | Unlisted(entry=entry):
            return entry
        case HubModel(name=name):
            from zoo.store.sources.hub_model import entry_from_hub

            return entry_from_hub(name, store, settings=store.settings, offline=store.offline)
        case HubFile(name=name):
            unseen = entry_of(name, name)
            if store.find(unseen) is None:  # what it is, only its bytes say
                return unseen
            return fetch_target(target, store, report=report).entry
        case VectorFile():
            return fetch_target(target, store, report=report).entry


def fetch_target(target: Model, store: Store, *, report: Report = silent) -> LocalModel:
    """The file of a model, every byte verified. A file of this machine is used where it lies, never copied.

    Raises what `Store.fetch` raises.
    """
    match target:
        case VectorFile(path=path, member=member):
            path = path.absolute()
            return describe_file(own_name(path), path.as_uri(), path, store, member)
        case HubFile(name=name, member=member):
            local = store.fetch(entry_of(name, name), report=report)
            return describe_file(name, name, local.path, store, member, local.sha256)
        case _:
            return store.fetch(describe_target(target, store, report=report), report=report)


def fetch_model(
    name: str,
    *,
    registry: Registry | None = None,
    store: Store | None = None,
    report: Report = silent,
) -> LocalModel:
    """The model's file, downloaded if it is not in the store yet, every byte verified.

    Raises UnknownModel, NetworkError, IntegrityError or StorageError; a wrong file never gets a name.
    """
    store = store or default_store()
    return fetch_target(find_model_target(name, "zoo.fetch_model", registry, store), store, report=report)


def find_model_target(
    name: str | Path,
    verb: str,
    registry: Registry | None = None,
    store: Store | None = None,
    member: str | None = None,
) -> Model:
    """What a name means, to a verb that takes models only. Raises what `find_target` and `accept` raise."""
    target = accept(find_target(name, registry=registry, store=store, member=member), verb)
    assert isinstance(target, Model)
    return target


def list_runs(folder: Path) -> list[Path]:
    """The run folders directly in a folder, by name; none where it cannot be read."""
    try:
        return sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    except OSError:
        return []


def _find_by_bytes(name: str, path: Path, member: str | None, store: Store) -> Target:
    """What a file on this machine is. Raises NotAModel for photographs, tables and texts."""
    if path.name in RUN_FILES and (path.parent / RECORD).is_file():
        return RunFolder(str(path.parent), path.parent)
    if is_described(path, store, member):
        return VectorFile(name, path, member)
    from zoo.store.bundles.packing import MANIFEST

    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(f"{MANIFEST}\0".encode()):
        return Bundle(name, path)
    if _is_checkpoint(path, start):
        return Checkpoint(name, path)
    from zoo.words.compiling.archives import open_source  # numpy, which a name has no need of
    from zoo.words.compiling.formats import SAMPLE_BYTES, WordCounts, sniff_format

    try:
        with open_source(path, member) as stream:
            sniff_format(stream.read(SAMPLE_BYTES), stream.name)
    except UnsafeFile:
        raise
    except WordCounts as error:
        raise UsageError(error.message, hint=error.hint) from error
    except IntegrityError as error:
        if (kind := _kind_of_data(path.name)) is None:
            raise
        raise NotAModel(name, FILES[kind]) from error
    return VectorFile(name, path, member)


def _is_checkpoint(path: Path, start: bytes) -> bool:
    """Whether a file holds tensors as PyTorch or safetensors write them; `start`: its first bytes."""
    if start.startswith(b"PK\x03\x04"):
        import zipfile

        try:
            with zipfile.ZipFile(path) as archive:
                return any(member.endswith("/data.pkl") for member in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return False  # as an archive of vectors it is called damaged
    if start.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."):  # torch.save before its version 1.6
        return True
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or length > path.stat().st_size - 8:
        return False
    from zoo.words.vectors.layout import HEADER_BYTES, is_compiled

    with path.open("rb") as file:
        return not is_compiled(file.read(HEADER_BYTES))


def _find_unfinished(path: Path) -> Path | None:
    """The folder that an unfinished run will have, given that or RUN.partial; None where there is none."""
    if not path.name:  # the folder that one is in
        return None
    out = path.with_name(path.name.removesuffix(PARTIAL)) if path.name.endswith(PARTIAL) else path
    partial = out.with_name(out.name + PARTIAL)
    return out if out.name and (partial / PLAN).is_file() else None


def _not_a_run(name: str, path: Path) -> UsageError | IntegrityError:
    """The error for a folder without run.json."""
    if (path / ADAPTER).is_file():
        return IntegrityError(
            f"{name} holds {ADAPTER} but not {RECORD}: the run is not whole",
            hint="Restore it from a copy, or train again.",
        )
    try:
        found = map(_kind_of_data, islice(_names_below(path), MOST_LOOKED_AT))
        kind = next((kind for kind in found if kind in FOLDERS), None)
    except OSError as error:
        return NotAModel(name, f"a folder that cannot be read ({error.strerror})")
    return NotAModel(name, f"a folder without {RECORD}" if kind is None else FOLDERS[kind])


def _names_below(folder: Path) -> Iterator[str]:
    """The names of files in a folder and below; folders come as they are met."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _names_below(path)
        else:
            yield path.name


def _kind_of_data(name: str) -> str | None:
    """What a file holds, by its suffix: a key of FILES, or None."""
    known = mimetypes.guess_type(name)[0] or ""
    return next((kind for kind in FILES if known in (kind, f"{kind}/{known.partition('/')[2]}")), None)


def _closest(path: Path) -> str | None:
    """A hint with the names beside a path that was mistyped."""
    try:
        close = close_names(path.name, [p.name for p in islice(path.parent.iterdir(), MOST_LOOKED_AT)])
    except OSError:
        return None
    return f"Did you mean {path.parent / close[0]}?" if close else None


def _stem(target: Target) -> str:
    """A file's name as that of a model."""
    return safe_name(Path(target.name).stem)
