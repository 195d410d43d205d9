"""The entry of a timm model's repository on the Hugging Face Hub, from the facts that the Hub reports.

Nothing of the repository is executed: `config.json` is read as data, `model.safetensors` is a weights file.
The entry has the commit, the size and the sha256, so that it always means the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from zoo.catalogue.entry import ImageModel
from zoo.catalogue.schemes import HubFile, parse_hub_url
from zoo.catalogue.validation import entry_from
from zoo.errors import DownloadFailed, InvalidRegistry, Offline, UsageError
from zoo.events import Report, silent
from zoo.store.contents import Contents
from zoo.store.disk.homes import online_again
from zoo.store.disk.hub_records import keep_hub_entry, read_hub_entry
from zoo.store.disk.space import disk_errors
from zoo.store.network.answers import is_page
from zoo.store.network.pace import Pace
from zoo.store.network.tries import Passing, check_status
from zoo.store.settings import Settings
from zoo.store.sources.hf import ask_hub, endpoint, hub_token

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
LARGEST_CONFIG = 4 << 20
ELSEWHERE = (
    "zoo list --all shows timm's own models, which need no hf://. Word vectors: hf://OWNER/REPO/FILE.txt"
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """timm's `pretrained_cfg`, with timm's own defaults."""

    num_classes: int | None = None
    input_size: tuple[int, int, int] = (3, 224, 224)
    crop_pct: Annotated[float, msgspec.Meta(gt=0, le=2)] = 0.875
    crop_mode: str = "center"
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    license: str | None = None
    labels: list[str] | None = None
    label_names: list[str] | None = None
    label_descriptions: dict[str, str] | None = None


class Config(Facts, frozen=True, kw_only=True):
    """timm's `config.json`. Its top level overrides pretrained_cfg, which old files lack."""

    architecture: str
    num_features: int | None = None
    pretrained_cfg: Facts | None = None
    model_args: dict[str, bool | int | float | str | list[int]] = msgspec.field(default_factory=dict)


class _Kind(msgspec.Struct, frozen=True):
    """The fields that identify the library of a config."""

    architecture: str | None = None
    model_type: str | None = None


def entry_from_hub(repo_url: str, contents: Contents, *, settings: Settings, offline: bool) -> ImageModel:
    """The entry of `hf://OWNER/REPO[@REVISION]`, with that name.

    The Hub is asked once: the entry is kept in the store (until `zoo rm`), so that the name means the same
    weights tomorrow, and offline. Raises UsageError if the repository is not an image model of timm, Offline,
    DownloadFailed.
    """
    named = parse_hub_url(repo_url)
    if named.file is not None:
        raise UsageError(
            f"{repo_url} names a file; a model is a whole repository", hint=f"Leave out /{named.file}."
        )
    for blobs, _ in contents.places:
        known = read_hub_entry(blobs.folder.parent, repo_url)
        if known is not None:
            return known
    if offline:
        raise Offline(
            f"{repo_url} was never fetched into {contents.home}, and offline mode is on",
            hint=f"Online, zoo fetch {repo_url} downloads it ({online_again()}).",
        )
    info = repository_facts(named, repo_url, settings=settings)
    config = read_config(named, info, repo_url, settings)
    entry = _describe(repo_url, named, info, config)
    with disk_errors(contents.home, f"fetch {repo_url}"):
        keep_hub_entry(contents.home, entry)
    return entry


def repository_facts(
    named: HubFile, repo_url: str, *, settings: Settings, report: Report = silent
) -> ModelInfo:
    """The Hub's facts about the repository: commit, files with size and sha256, licence, tags.

    Raises as `ask_hub` does.
    """
    from huggingface_hub import HfApi

    def describe() -> ModelInfo:
        hub = HfApi(endpoint=endpoint(), token=hub_token() or False)
        timeout = settings.read_timeout
        return hub.model_info(named.repo, revision=named.revision, files_metadata=True, timeout=timeout)

    return ask_hub(describe, repo_url, repo_url, settings=settings, report=report)


def read_config(
    named: HubFile, info: ModelInfo, repo_url: str, settings: Settings, report: Report = silent
) -> Config:
    """The repository's config.json. Raises UsageError if there is none, or if it is not a timm model's;
    DownloadFailed if it does not come, or not whole.
    """
    files = {file.rfilename: file for file in info.siblings or ()}
    if "config.json" not in files:
        raise UsageError(f"{repo_url} has no config.json: it is not an image model of timm", hint=ELSEWHERE)
    size = files["config.json"].size
    body = ask_hub(
        lambda: _config_bytes(named, info.sha, size, repo_url, settings),
        repo_url,
        repo_url,
        settings=settings,
        report=report,
    )
    return decode_config(body, repo_url, library=info.library_name)


def _config_bytes(
    named: HubFile, commit: str | None, size: int | None, repo_url: str, settings: Settings
) -> bytes:
    """The bytes of config.json, in one try. size: as the Hub states it. Raises Passing if it is truncated."""
    from huggingface_hub import hf_hub_url

    from zoo.store.network.connection import open_url

    where = f"{repo_url}: config.json"
    url = hf_hub_url(named.repo, "config.json", revision=commit, endpoint=endpoint())
    body = b""
    with open_url(url, headers={}, token=hub_token(), settings=settings) as answer:
        check_status(answer.status, answer.headers, where=where, what=repo_url, settings=settings)
        pace = Pace(settings)
        while block := answer.read(1 << 16):
            body += block
            if len(body) > LARGEST_CONFIG:
                raise UsageError(f"{where} is larger than {LARGEST_CONFIG:,} bytes")
            pace.check(len(block))
        length = answer.length if size is None else size
    if is_page(body):
        raise DownloadFailed(
            f"{where}: a web page was sent instead",
            hint="Does the network require a sign-in? Open any page in a browser, then try again.",
        )
    if length is not None and len(body) < length:
        raise Passing(
            f"config.json was cut after {len(body):,} of {length:,} bytes",
            hint="Try again later, or set HF_ENDPOINT to a mirror.",
        )
    return body


def decode_config(body: bytes, where: str, *, library: str | None = None) -> Config:
    """timm's config. Raises UsageError, which names what the repository is instead."""
    try:
        kind = msgspec.json.decode(body, type=_Kind)
        if kind.architecture is not None:
            return msgspec.json.decode(body, type=Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where} has an invalid config: {error}", hint=ELSEWHERE) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{where}: config.json is not valid JSON: {error}", hint=ELSEWHERE) from error
    what = f"for {library or 'something else'}"
    what = what if kind.model_type is None else f"a {kind.model_type} model of transformers"
    raise UsageError(f"{where} is {what}, not an image model of timm", hint=ELSEWHERE)


def timm_facts(config: Config, where: str, *, tags: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of an entry that timm's config has. tags: of its repository on the Hub."""
    facts = config.pretrained_cfg or config
    count = facts.num_classes if config.num_classes is None else config.num_classes
    channels, height, width = facts.input_size
    if height != width:
        raise UsageError(f"{where} takes images of {height} x {width}; only square ones are supported")
    return _known(
        family=config.architecture.partition("_")[0],
        task="image-classification" if count else "image-features",
        architecture=f"timm/{config.architecture}",
        license=facts.license,
        input={
            "size": height,
            "resize": math.floor(height / facts.crop_pct),  # as timm's create_transform does
            "mean": facts.mean,
            "std": facts.std,
            "interpolation": facts.interpolation,
            "crop": facts.crop_mode,
            "channels": channels,
        },
        classes=_labels_of(config, facts, count, tags) if count else None,
        features=config.num_features,
        arguments=config.model_args,
    )


def license_of(info: ModelInfo, configured: str | None) -> str:
    """The licence in the model card or the config; else `unknown`, never a guess."""
    tag = next((tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")), None)
    card = getattr(info.card_data, "license", None) if info.card_data is not None else None
    return str(card or tag or configured or "unknown")


def _describe(repo_url: str, named: HubFile, info: ModelInfo, config: Config) -> ImageModel:
    """The entry from the Hub's facts and timm's config. Pure."""
    files = {file.rfilename: file for file in info.siblings or ()}
    weights = next((name for name in WEIGHTS if name in files), None)
    if weights is None:
        raise UsageError(f"{repo_url} has none of {', '.join(WEIGHTS)}", hint=ELSEWHERE)
    lfs = files[weights].lfs
    mapping = timm_facts(config, repo_url, tags=info.tags or ())
    mapping |= {
        "weights": _known(
            url=f"hf://{named.repo}@{info.sha}/{weights}",
            bytes=files[weights].size,
            sha256=None if lfs is None else lfs.sha256,
        ),
        "license": license_of(info, mapping.get("license")),
        "parameters": _parameters_of(info),
        "source": f"https://huggingface.co/{named.repo}",
    }
    try:
        entry = entry_from(repo_url, _known(**mapping))
    except InvalidRegistry as error:
        raise UsageError(f"{repo_url} has an invalid config: {error.message}", hint=ELSEWHERE) from error
    assert isinstance(entry, ImageModel)
    return entry


def _known(**facts: Any) -> dict[str, Any]:
    """The facts that are not None."""
    return {name: value for name, value in facts.items() if value is not None}


def _labels_of(config: Config, facts: Facts, count: int, tags: Sequence[str]) -> str | int | list[str]:
    """The classes' names: from the config, of ImageNet if the repository has its tag, else their number."""
    names = config.label_names or facts.label_names or facts.labels
    if names is None or len(names) != count:
        return "imagenet-1k" if count == 1000 and "dataset:imagenet-1k" in tags else count
    described = config.label_descriptions or facts.label_descriptions or {}
    long = [described.get(name, name) for name in names]
    return long if len(set(long)) == count else names


def _parameters_of(info: ModelInfo) -> int | None:
    """The number of parameters, as the Hub reads it from safetensors files; None if unknown."""
    total = getattr(info.safetensors, "total", None) if info.safetensors is not None else None
    return int(total) if total else None
