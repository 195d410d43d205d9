"""The source of a file to register: its pinned URL, the facts that it states, and the fetch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalogue.entry import Weights, draft_entry
from zoo.catalogue.file_names import fault_of_path
from zoo.catalogue.schemes import HubFile, parse_hub_url, scheme_of
from zoo.errors import NetworkError, Offline, StorageError, UsageError
from zoo.events import Note, Report
from zoo.store.disk.homes import expand, online_again
from zoo.store.local import LocalModel
from zoo.store.sources.hub_model import (
    WEIGHTS,
    decode_config,
    license_of,
    read_config,
    repository_facts,
    timm_facts,
)
from zoo.store.trust.hashing import hash_file

if TYPE_CHECKING:
    from zoo.store.store import Store


@dataclass(frozen=True)
class Place:
    """A file that an entry can name, before it is fetched.

    weights: its pinned URL, and what its source states about the bytes. file: its name there. path: its path,
    if it is a file on this machine. facts: fields of an entry, as its source states them.
    """

    weights: Weights
    file: str
    path: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def find_place(source: str, registry: Path, store: Store, report: Report) -> Place:
    """The file of a path, of `hf://OWNER/REPO[@REVISION][/FILE]`, or of any other URL.

    registry: the file that gets the entry; paths are written relative to it. Without FILE, the weights file
    of the repository is used. The only request here is to the Hub, for the commit. Raises StorageError,
    UsageError, Offline, DownloadFailed.
    """
    kind = scheme_of(source)
    if kind == "hf":
        return _find_on_hub(source, store, report)
    if kind == "file":
        return _find_here(_local_path(source), registry, report)
    file = source.partition("?")[0].rstrip("/").rpartition("/")[2]
    return Place(Weights(url=source), file)


def bring(
    place: Place, name: str, licence: str, store: Store, report: Report
) -> tuple[Weights, LocalModel | Path]:
    """The weights with size and sha256, and the file: fetched into the store unless it is on this machine.

    licence: of the new entry; licence policies are checked before a download.
    """
    draft = draft_entry(name, place.weights, licence)
    if place.path is not None:
        store.check_license(draft)
        digests = hash_file(place.path)
        return Weights(url=place.weights.url, sha256=digests.sha256, bytes=digests.bytes), place.path
    try:
        local = store.fetch(draft, report=report)
    except NetworkError as error:  # zoo fetch cannot name it: there is no entry yet
        error.hint = "Run the same command again: it continues where this one stopped."
        raise
    size = store.record_of(local).bytes
    return Weights(url=place.weights.url, sha256=local.sha256, bytes=size), local


def _local_path(source: str) -> Path:
    """The path of an argument, which may be a file:// URL."""
    from urllib.request import url2pathname

    return Path(url2pathname(source[7:])) if source.startswith("file://") else expand(source)


def _find_here(path: Path, registry: Path, report: Report) -> Place:
    """A file on this machine, with the timm config next to it, if there is one."""
    if not path.is_file():
        there = "not a regular file" if path.exists() else "missing"
        raise StorageError(f"{path} is {there}", hint="Give a file, hf://OWNER/REPO/FILE or https://…")
    folder = Path(os.path.abspath(registry)).parent  # noqa: PTH100, links are not resolved
    absolute = Path(os.path.abspath(path))  # noqa: PTH100
    url = absolute.as_uri()
    if absolute.is_relative_to(folder) and fault_of_path(absolute.relative_to(folder).as_posix()) is None:
        url = absolute.relative_to(folder).as_posix()
    config = path.with_name("config.json")
    facts: dict[str, Any] = {}
    if config.is_file():
        try:
            facts = timm_facts(decode_config(config.read_bytes(), str(config)), str(config))
        except UsageError as error:
            report(Note(f"{error.message}: it is ignored"))
    return Place(Weights(url=url), path.name, path, facts)


def _find_on_hub(source: str, store: Store, report: Report) -> Place:
    """A file of a repository at its commit, with the licence of its card and timm's config."""
    if store.offline:
        raise Offline(
            f"cannot ask for {source}: offline mode is on", hint=f"Try again online: {online_again()}."
        )
    named = parse_hub_url(source)
    info = repository_facts(named, source, settings=store.settings, report=report)
    files = {file.rfilename: file for file in info.siblings or ()}
    file = named.file or next((name for name in WEIGHTS if name in files), None)
    if file is None or file not in files:
        missing = named.file or " or ".join(WEIGHTS)
        raise UsageError(
            f"{source}: the repository has no {missing}", hint=f"It has: {', '.join(sorted(files)[:12])}"
        )
    facts: dict[str, Any] = {"source": f"https://huggingface.co/{named.repo}"}
    if "config.json" in files:
        try:
            config = read_config(HubFile(named.repo, info.sha, None), info, source, store.settings, report)
            facts |= timm_facts(config, source, tags=info.tags or ())
        except UsageError as error:
            report(Note(f"{error.message}: its config.json is ignored"))
    facts["license"] = license_of(info, facts.get("license"))
    lfs = files[file].lfs
    weights = Weights(
        url=f"hf://{named.repo}@{info.sha}/{file}",
        bytes=files[file].size,
        sha256=None if lfs is None else lfs.sha256,
    )
    return Place(weights, file.rpartition("/")[2], facts=facts)
