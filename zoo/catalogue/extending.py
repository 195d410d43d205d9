"""One more entry for a registry file: text that is added at its end; the rest is not touched."""

from __future__ import annotations

from pathlib import Path

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.registry_file import Examined, examine_text, invalid
from zoo.catalogue.yaml_file import NotPlain, Section, read_text
from zoo.catalogue.yaml_text import entry_text
from zoo.errors import UsageError

HEADING = "models:\n"


def read_target(path: Path) -> str:
    """The text of the file to extend; empty if it does not exist yet. Raises InvalidRegistry."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file", hint="Name the registry file: --to FILE")
    try:
        return read_text(path) if path.exists() else ""
    except NotPlain as error:
        raise invalid(path, [error.problem]) from error


def check_target(path: Path, text: str, name: str) -> Examined:
    """The file as it is. Raises unless an entry of this name can be added to it."""
    found = Examined(Section(1), {}, []) if _is_bare(text) else examine_text(text)
    if found.problems:
        raise invalid(path, found.problems)
    if name in found.entries:
        raise UsageError(
            f"{path} has an entry {name!r} already", hint="Take another --name, or change that entry by hand."
        )
    return found


def extension(path: Path, text: str, entry: ModelEntry) -> str:
    """The text to append to the file, so that it has this entry too.

    The longer text is read again to prove that every other entry is unchanged. Raises InvalidRegistry if the
    file is not a registry, UsageError if the name is taken or the file cannot be extended at its end.
    """
    before = check_target(path, text, entry.name)
    line_end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text or text.endswith("\n") else line_end
    heading = "" if _contents(text) - {"---"} else HEADING
    added = heading + entry_text(entry, margin=_margin_of(text, before))
    added = gap + added.replace("\n", line_end)
    after = examine_text(text + added)
    if after.problems or after.entries != {**before.entries, entry.name: entry}:
        raise UsageError(
            f"{path} cannot be extended at its end: its models are not a block of indented lines",
            hint=f"Write this into it by hand:\n{entry_text(entry)}",
        )
    return added


def _is_bare(text: str) -> bool:
    """Whether a file has only comments, and perhaps the heading, but no entry yet."""
    return _contents(text) <= {"---", HEADING.strip()}


def _contents(text: str) -> set[str]:
    """The lines of a text without comments."""
    return {line.split("#")[0].strip() for line in text.splitlines()} - {""}


def _margin_of(text: str, found: Examined) -> str:
    """The indentation of the names of the existing entries."""
    models = found.document.get("models")
    if not isinstance(models, Section) or not models.lines:
        return "  "
    first = text.splitlines()[next(iter(models.lines.values())) - 1]
    return first[: len(first) - len(first.lstrip())]
