"""Word vectors that no registry lists: a file given by its path, or a file of the Hub, detected by its bytes.

A file of the user's own is compiled where it lies, not copied into the store. What it is (its hash, its
dimension) is written down with its stamp: a large file is read for that once, not at every use.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import msgspec

from zoo.catalogue.entry import ModelEntry, TextInput, Weights, WordModel, draft_entry
from zoo.catalogue.schemes import parse_hub_url
from zoo.errors import UsageError
from zoo.events import Report
from zoo.store.disk.blobs import Stamp, stamp_of, write_whole
from zoo.store.disk.homes import expand
from zoo.store.disk.records import companion_name, source_key
from zoo.store.disk.space import disk_errors
from zoo.store.local import LocalModel
from zoo.store.store import Store
from zoo.store.trust.hashing import hash_file
from zoo.words.compiling.model2vec_header import COMPANIONS, WEIGHTS, is_static_folder, static_dimension

OWN = "own"  # the family of what no registry lists
SUFFIXES = (".txt", ".vec", ".bin", ".gz", ".bz2", ".xz", ".zip")
UPPER_CASE = rb"^\S*[A-Z]"  # in the first word of a line
HUB_FILE = r"hf://[^/]+/[^/]+/.+"


def is_hub_file(name: str) -> bool:
    """Whether a name means one file of word vectors on the Hub: hf://OWNER/REPO/FILE."""
    return re.fullmatch(HUB_FILE, name) is not None and name.endswith(SUFFIXES)


def is_described(path: Path, store: Store, member: str | None) -> bool:
    """Whether it is written down what a file on this machine is, and the file is still the same."""
    known = _read_known(_known_path(path.absolute().as_uri(), store))
    return known is not None and known.stamp == stamp_of(path) and known.entry(member) is not None


def describe_file(
    name: str, url: str, path: Path, store: Store, member: str | None, sha256: str | None = None
) -> LocalModel:
    """A file as a local model, its entry made from its own beginning. sha256: None to hash it.

    Raises what `open_source` and `sniff_format` raise for a file of anything else.
    """
    stamp = stamp_of(path)
    assert stamp is not None
    kept = _known_path(url, store)
    known = _read_known(kept)
    if known is None or known.stamp != stamp:
        known = _Known(stamp, {})
    entry = known.entry(member)
    static = static_dimension(path) if entry is None else None
    if static is not None:
        entry = entry_of(
            name,
            url,
            format="model2vec",
            dimension=static,
            sha256=sha256 or hash_file(path).sha256,
            bytes=stamp.bytes,
        )
        known = _Known(stamp, {"": entry})
        with disk_errors(store.home, f"open {name}"):
            write_whole(kept, msgspec.json.encode(known))
    if entry is None:
        from zoo.words.compiling.archives import (
            open_source,  # numpy and archives, which a name has no need of
        )
        from zoo.words.compiling.formats import SAMPLE_BYTES, sniff_format

        with open_source(path, member, path.name if sha256 is None else name) as stream:
            sample = stream.read(SAMPLE_BYTES)
            shape = sniff_format(sample, stream.name)
        entry = entry_of(
            name,
            url,
            format=shape.format,
            dimension=shape.dimension,
            lowercase=not shape.is_binary and not re.search(UPPER_CASE, sample, re.MULTILINE),
            sha256=sha256 or hash_file(path).sha256,
            bytes=stamp.bytes,
        )
        known = _Known(stamp, known.entries | {member or "": entry})
        with disk_errors(store.home, f"open {name}"):
            write_whole(kept, msgspec.json.encode(known))
    assert entry.weights.sha256 is not None
    return LocalModel(entry, path, entry.weights.sha256)


def static_weights(path: Path) -> Path | None:
    """The weights of a static embedding model in a folder, or beside the files that belong to them."""
    folder = path.parent if path.name == WEIGHTS else path
    return folder / WEIGHTS if is_static_folder(folder) else None


def own_name(path: Path) -> str:
    """The name of a file's entry: its own, of a static embedding model that of its folder."""
    return safe_name(path.parent.name if path.name == WEIGHTS else path.name)


def fetch_companions(local: LocalModel, store: Store, report: Report) -> dict[str, Path] | None:
    """The files beside the weights of a static embedding model, fetched at the same commit; None for others.

    Raises what `Store.fetch` raises; UsageError where a folder lacks one.
    """
    entry = local.entry
    if entry.architecture != "words/model2vec":
        return None
    if entry.family == OWN and entry.weights.urls[0].startswith("file://"):
        companions = {name: local.path.with_name(name) for name in COMPANIONS}
        for path in companions.values():
            if not path.is_file():
                raise UsageError(f"{entry.name}: no file {path}", hint="It belongs beside the weights.")
        return companions
    revision = store.record_of(local).revision
    return {
        name: store.fetch(_companion_entry(entry, name, revision), report=report).path for name in COMPANIONS
    }


def _companion_entry(entry: ModelEntry, name: str, revision: str | None) -> ModelEntry:
    """The entry of a file beside the weights. revision: the commit of the Hub that those are of."""
    urls = tuple(_companion_url(url, name, revision) for url in entry.weights.urls)
    drafted = draft_entry(
        companion_name(entry.name, name), Weights(url=urls if len(urls) > 1 else urls[0]), entry.license
    )
    return msgspec.structs.replace(drafted, registry=entry.registry)


def _companion_url(url: str, name: str, revision: str | None) -> str:
    """The address of a file beside another one.

    >>> _companion_url("hf://o/r/model.safetensors", "config.json", "c0ffee")
    'hf://o/r@c0ffee/config.json'
    >>> _companion_url("m2v/model.safetensors", "config.json", None)
    'm2v/config.json'
    """
    if url.startswith("hf://"):
        named = parse_hub_url(url)
        at = revision or (None if named.revision is None else quote(named.revision, safe=""))
        folder = (named.file or "").rpartition("/")[0]
        return "/".join(filter(None, [f"hf://{named.repo}{f'@{at}' if at else ''}", folder, name]))
    head, slash, _ = url.rpartition("/")
    return f"{head}{slash}{name}"


def recall_entry(name: str, store: Store) -> WordModel | None:
    """The entry of a file on this machine as it was last looked at; None for a name that never meant one."""
    known = _read_known(_known_path(expand(name).absolute().as_uri(), store))
    return None if known is None else known.entry(None)


def entry_of(
    name: str,
    url: str,
    *,
    format: str = "glove-text",  # noqa: A002 - as everywhere in this room
    dimension: int = 1,
    lowercase: bool = False,
    sha256: str | None = None,
    bytes: int | None = None,  # noqa: A002 - as in Weights
) -> WordModel:
    """The entry of a file; the defaults are for one that was not read yet."""
    return WordModel(
        name=name,
        family=OWN,
        task="word-vectors",
        architecture=f"words/{format}",
        weights=Weights(url=url, sha256=sha256, bytes=bytes),
        license="unknown",
        input=TextInput(dimension=dimension, lowercase=lowercase),
    )


class _Known(msgspec.Struct, frozen=True):
    """What a file was when it was last looked at.

    entries: by the member of an archive, the latest last; "" is the file itself, or all that it holds.
    """

    stamp: Stamp
    entries: dict[str, WordModel]

    def entry(self, member: str | None) -> WordModel | None:
        """The entry of a member; of the last one where none is named."""
        return self.entries.get(member) if member else next(reversed(self.entries.values()), None)


def _known_path(url: str, store: Store) -> Path:
    """Where it is written down what a file was."""
    return store.home / "files" / f"{source_key(Weights(url=url))}.json"


def _read_known(path: Path) -> _Known | None:
    """What was written down about a file; None where nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Known)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def safe_name(name: str) -> str:
    """A file's name as that of a model.

    >>> safe_name("my vectors (new).txt"), safe_name(".hidden.vec")
    ('my_vectors__new_.txt', '_hidden.vec')
    """
    return re.sub(r"^[^A-Za-z0-9_]|[^A-Za-z0-9._+@-]", "_", name)[-100:]
