"""`calibration.json`: what a run learned, after its training, about how far to believe its answers."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from zoo.errors import HashMismatch, IntegrityError
from zoo.runs.record import RunRecord
from zoo.store.disk.blobs import flush
from zoo.store.disk.space import disk_errors
from zoo.targets import CALIBRATION

SCHEMA = 1
_AGAIN = "Calibrate again: zoo calibrate RUN DATA. Or delete the file: the run is then as it was trained."


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What labelled items that neither training nor the choice of the epoch saw say of a run's answers.

    adapter_sha256: of the run that was asked. data: the name of their folder or table; items: how many;
    contents: a digest of each. temperature: what outputs are divided by before they become probabilities; 1
    where none is to be believed, and problem says why. scores: of runs with classes, how little the true
    class conformed, sorted; errors: of numbers by name, how far answers were from the truth, sorted: what
    sets and intervals are made of.
    """

    schema: int = SCHEMA
    created: str
    adapter_sha256: str
    data: str
    items: int
    contents: tuple[str, ...]
    temperature: float = 1.0
    problem: str | None = None
    scores: tuple[float, ...] = ()
    errors: Mapping[str, tuple[float, ...]] = {}


class _File(msgspec.Struct, frozen=True):
    """sha256: of the calibration as JSON. A hand that changes a score makes every set wrong."""

    sha256: str
    calibration: msgspec.Raw


def write_calibration(calibration: Calibration, folder: Path) -> None:
    """Write it into a run folder; an earlier one is replaced, at once or not at all."""
    content = msgspec.json.encode(calibration)
    file = msgspec.json.encode(_File(hashlib.sha256(content).hexdigest(), msgspec.Raw(content)))
    draft = folder / f".{CALIBRATION}.{secrets.token_hex(4)}"
    try:
        with disk_errors(folder, CALIBRATION):
            draft.write_bytes(file)
            flush(draft)
            draft.replace(folder / CALIBRATION)
            flush(folder)
    finally:
        draft.unlink(missing_ok=True)


def read_calibration(folder: Path, record: RunRecord) -> Calibration | None:
    """The calibration of a run; None where there is none.

    Raises IntegrityError for a damaged file, one that was changed, one of another run and one of a later zoo.
    """
    path = folder / CALIBRATION
    if not os.path.lexists(path):
        return None
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        digest = hashlib.sha256(file.calibration).hexdigest()
        if digest != file.sha256:
            raise HashMismatch(str(path), expected=file.sha256, got=digest, hint=_AGAIN)
        schema = msgspec.json.decode(file.calibration).get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise IntegrityError(
                f"{path}: written by a later zoo (schema {schema}, this one reads {SCHEMA})",
                hint="Upgrade: pip install -U transfer-zoo",
            )
        found = msgspec.json.decode(file.calibration, type=Calibration)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}", hint=_AGAIN) from error
    if found.adapter_sha256 != record.adapter_sha256:
        raise IntegrityError(f"{path} is of another run", hint=_AGAIN)
    return found
