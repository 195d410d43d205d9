"""The notes in the header of a file of weights, and the error for one that is damaged. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from zoo.errors import IntegrityError


def read_metadata(path: Path, what: str) -> dict[str, str]:
    """The notes in the header of a safetensors file: text by name, whatever its author put there."""
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, ValueError, OSError) as error:
        raise damage(what, f"not a valid safetensors file: {first_line(error)}") from error


def damage(what: str, fault: str) -> IntegrityError:
    """The error for a file that cannot be read. what: whose file it is."""
    return IntegrityError(
        f"{what}: {fault}", hint="If its hash is the published one, it was published so: use another file."
    )


def first_line(error: Exception) -> str:
    """What a library's error says, in one line."""
    return (str(error).strip().splitlines() or [""])[0][:200]
