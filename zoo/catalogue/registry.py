"""All models by name: the user's own files first, then the shipped registry.yaml, then the index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from zoo.catalogue.entry import ImageModel, ModelEntry, WordModel
from zoo.catalogue.index import load_index
from zoo.catalogue.validation import entry_from, entry_to_mapping
from zoo.errors import InvalidRegistry, UnknownModel, UsageError, close_names

__all__ = ["Registry", "entry_from", "entry_to_mapping", "load_registry", "read_registry_file"]

COMPILED = Path(__file__).with_name("curated.json")


class Registry(Mapping[str, ModelEntry]):
    """The curated models by name, in the order of their files; `find` and `everything` know the index too.

    unread: why entries of bundles cannot be read here, by name or file; raised when such a name is requested.
    """

    def __init__(
        self, entries: Mapping[str, ModelEntry], unread: Mapping[str, InvalidRegistry] | None = None
    ) -> None:
        self._entries = dict(entries)
        self.unread = dict(unread or {})

    def __getitem__(self, name: str) -> ModelEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> ModelEntry:
        """The entry of a curated name, of `timm/TAG` or of `torchvision/ARCHITECTURE.WEIGHTS`.

        `timm/ARCHITECTURE` means timm's default tag of it, `torchvision/ARCHITECTURE` torchvision's DEFAULT
        weights. Raises UnknownModel, which names the close ones, and UsageError for a name that exists but
        that no entry can describe.
        """
        if name in self._entries:
            return self._entries[name]
        if name in self.unread:
            raise self.unread[name]
        index = load_index()
        if name in index.left_out:
            raise UsageError(f"{name}: {index.left_out[name]}", hint="See: zoo list --all")
        entry = index.find(name)
        if entry is None:
            raise UnknownModel(name, close=self.close_to(name))
        return self._entries.get(entry.name, entry)

    def close_to(self, name: str) -> list[str]:
        """Up to three names that look like `name`."""
        library, slash, _ = name.partition("/")
        names = load_index().names()
        if slash and library in ("timm", "torchvision"):
            return close_names(name, names)
        same_tail = [
            full for full in names if full.partition("/")[2].partition(".")[0] == name.partition(".")[0]
        ]
        without_library = [full for full in names if full.partition("/")[2] == name]
        return list(dict.fromkeys([*without_library, *close_names(name, self._entries), *same_tail]))[:3]

    def curated(self) -> list[ModelEntry]:
        """The models of the registry files."""
        return list(self._entries.values())

    def everything(self) -> list[ModelEntry]:
        """The curated models, then every pretrained tag of timm and every weights file of torchvision.

        An entry of a registry file replaces the index entry of the same name.
        """
        behind = [entry for entry in load_index().entries if entry.name not in self._entries]
        return [*self.curated(), *behind]


def load_registry(extra: Sequence[Path] = (), *, bundled: Sequence[Path] = ()) -> Registry:
    """Every registry file as one: those of bundles, the shipped one, those of $ZOO_REGISTRY, then `extra`.

    A name in a later file replaces that of an earlier one: so a wrong published hash can be corrected, and a
    bundle cannot change the meaning of a known name. Raises InvalidRegistry for a file of the user's own; a
    bundle's file is used as far as it can be read.
    """
    named = os.environ.get("ZOO_REGISTRY", "")
    entries = read_shipped(shipped_registry())
    unread: dict[str, InvalidRegistry] = {}
    for path in bundled:
        found, problems = _read_bundled_file(path)
        for name in [name for name in (*found, *problems) if "/" in name and load_index().find(name)]:
            found.pop(name, None)  # a name of the index needs no bundle, and keeps its meaning
            problems.pop(name, None)
        entries, unread = found | entries, unread | problems
    for path in (*(Path(p).expanduser() for p in named.split(os.pathsep) if p), *extra):
        entries.update(read_registry_file(path))
    return Registry(entries, unread)


def read_registry_file(path: Path) -> dict[str, ModelEntry]:
    """The entries of one registry file, by name.

    Relative URLs become absolute file:// ones, so that an entry means the same everywhere.
    Raises InvalidRegistry with every problem that was found, each as FILE:LINE: FIELD: what.
    """
    from zoo.catalogue.registry_file import read_entries  # PyYAML: 14 ms

    return read_entries(path)


def shipped_registry() -> Path:
    """The registry.yaml that came with this package: inside it in a wheel, one folder up in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "registry.yaml"
    return inside if inside.exists() else package.parent / "registry.yaml"


class _Compiled(msgspec.Struct, frozen=True):
    """The entries of the shipped registry as JSON, and the sha256 of the registry.yaml with them."""

    sha256: str
    images: tuple[ImageModel, ...]
    words: tuple[WordModel, ...]


def read_shipped(path: Path) -> dict[str, ModelEntry]:
    """The entries of the shipped registry, from its compiled copy if that is up to date.

    Reading YAML costs 35 ms, the copy 2 ms; `zoo list` and every completion would pay it each time.
    """
    try:
        compiled = msgspec.json.decode(COMPILED.read_bytes(), type=_Compiled)
        fresh = compiled.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        fresh = False
    if not fresh:
        return read_registry_file(path)
    home = path.absolute()
    entries: tuple[ModelEntry, ...] = (*compiled.images, *compiled.words)
    return {entry.name: msgspec.structs.replace(entry, registry=home) for entry in entries}


def compile_registry(path: Path) -> bytes:
    """The compiled copy of a registry file, for COMPILED."""
    entries = [msgspec.structs.replace(e, registry=None) for e in read_registry_file(path).values()]
    compiled = _Compiled(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        images=tuple(entry for entry in entries if isinstance(entry, ImageModel)),
        words=tuple(entry for entry in entries if isinstance(entry, WordModel)),
    )
    return msgspec.json.format(msgspec.json.encode(compiled), indent=1) + b"\n"


def _read_bundled_file(path: Path) -> tuple[dict[str, ModelEntry], dict[str, InvalidRegistry]]:
    """The entries of a bundle's registry file, and why others cannot be read."""
    from zoo.catalogue.registry_file import read_what_can_be  # PyYAML: 14 ms

    return read_what_can_be(path)
