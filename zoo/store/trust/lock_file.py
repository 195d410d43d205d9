"""The lock file: one exact file per name, so that CI, a cluster and next year's run get the same weights.

{"schema": 1, "models": {"resnet18": {"url": …, "revision": …, "sha256": …, "bytes": …, "license": …}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from zoo.catalogue.entry import ModelEntry
from zoo.errors import HashMismatch, InvalidRegistry, SizeMismatch, UnknownName, UsageError
from zoo.store.local import LocalModel
from zoo.store.trust.expected import proof_of

LARGEST = 16 << 20
SCHEMA = 1


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The exact file of one name. url: as in the registry. revision: the commit on the Hub, else None."""

    url: str
    sha256: str
    bytes: int
    license: str
    revision: str | None = None


class _LockFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every pinned name."""

    models: dict[str, Pin]
    schema: int = SCHEMA


def write_lock_file(pins: Mapping[str, Pin]) -> str:
    """The text of a lock file, sorted, so that a diff shows the changed pins."""
    models = dict(sorted(pins.items()))
    return msgspec.json.format(msgspec.json.encode(_LockFile(models=models)), indent=2).decode() + "\n"


def read_lock_file(path: Path) -> dict[str, Pin]:
    """The pins of a lock file. Raises InvalidRegistry if it is malformed, UsageError if it does not exist."""
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidRegistry(f"{path}: not a lock file: it has more than {LARGEST:,} bytes")
        found = msgspec.json.decode(path.read_bytes(), type=_LockFile)
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f": {error.strerror}"
        raise UsageError(
            f"no lock file {path}{reason}", hint="Make one: zoo lock NAME… > zoo.lock"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRegistry(f"{path}: {error}", hint="Make it again: zoo lock NAME… > zoo.lock") from error
    if found.schema != SCHEMA:
        raise UsageError(
            f"{path} has schema {found.schema}, which a later version of zoo wrote",
            hint="Upgrade this one: pip install --upgrade transfer-zoo",
        )
    for name, pin in found.models.items():
        if len(pin.sha256) != 64 or not set(pin.sha256) <= set("0123456789abcdef") or pin.bytes < 0:
            raise InvalidRegistry(f"{path}: models.{name}: {pin.sha256!r} is not a sha256")
    return found.models


def find_pin(entry: ModelEntry, pins: Mapping[str, Pin]) -> Pin:
    """The pin of an entry. Raises UnknownName if there is none, another error if the registry differs."""
    if entry.name not in pins:
        raise UnknownName("pinned model", entry.name, pins, see="zoo lock")
    pin = pins[entry.name]
    stated = proof_of(entry.weights)
    if stated.sha256 not in (None, pin.sha256) or not pin.sha256.startswith(stated.sha256_prefix or ""):
        raise HashMismatch(
            f"{entry.name}: the lock file and the registry name different files",
            expected=pin.sha256,
            got=str(stated.sha256 or stated.sha256_prefix),
            hint=f"zoo lock {entry.name} prints a new pin.",
        )
    if stated.bytes not in (None, pin.bytes):
        raise SizeMismatch(
            f"{entry.name} in the lock file",
            expected=stated.bytes or 0,
            got=pin.bytes,
            hint=f"zoo lock {entry.name} prints a new pin.",
        )
    # A file relative to the registry has another path on every machine; its hash identifies it.
    moved = pin.url != entry.weights.urls[0] and not (_is_file(pin.url) and _is_file(entry.weights.urls[0]))
    if moved or pin.license != entry.license:
        changed = "url" if moved else "license"
        was, now = (pin.url, entry.weights.urls[0]) if changed == "url" else (pin.license, entry.license)
        raise UsageError(
            f"{entry.name}: the {changed} is {now} in the registry and {was} in the lock file",
            hint=f"zoo lock {entry.name} prints a new pin.",
        )
    return pin


def check_pin(local: LocalModel, pin: Pin | None) -> None:
    """Raise HashMismatch if a stored model is not the file that the lock file names."""
    if pin is not None and local.sha256 != pin.sha256:
        raise HashMismatch(
            f"{local.entry.name}: the store holds another file than the lock file names",
            expected=pin.sha256,
            got=local.sha256,
            hint=f"zoo rm {local.entry.name}, then fetch it again.",
        )


def _is_file(url: str) -> bool:
    return url.startswith("file:")
