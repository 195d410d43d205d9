"""One registry file: its entries, or every problem that it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.problems import Finding, Problem, dotted
from zoo.catalogue.schemes import scheme_of
from zoo.catalogue.validation import check_entry
from zoo.catalogue.yaml_file import NotPlain, Section, line_of, parse_yaml, read_text
from zoo.errors import InvalidRegistry

MOST_PROBLEMS = 20  # shown at once


def read_entries(path: Path) -> dict[str, ModelEntry]:
    """The entries of one registry file, by name.

    Relative URLs become absolute file:// ones, so that an entry means the same everywhere.
    Raises InvalidRegistry with every problem that was found, each as FILE:LINE: FIELD: what.
    """
    return {name: at_home(entry, path) for name, entry in read_as_written(path).items()}


def read_as_written(path: Path) -> dict[str, ModelEntry]:
    """The entries of one registry file, relative URLs left as they are. Raises InvalidRegistry."""
    found = examine_file(path)
    if found.problems:
        raise invalid(path, found.problems)
    return found.entries


def read_what_can_be(path: Path) -> tuple[dict[str, ModelEntry], dict[str, InvalidRegistry]]:
    """The entries of a registry file, and why others cannot be read: by name, or by path for the file."""
    try:
        document, problems = parse_yaml(read_text(path))
    except NotPlain as error:
        return {}, {str(path): invalid(path, [error.problem])}
    except OSError as error:
        return {}, {str(path): InvalidRegistry(f"{path}: the registry cannot be read: {error.strerror}")}
    models, more = _models_of(document)
    unread = {str(path): invalid(path, [*problems, *more])} if problems or more else {}
    entries: dict[str, ModelEntry] = {}
    for name, mapping in models.items():
        entry, findings = check_entry(name, mapping)
        if entry is None or findings:
            unread[name] = invalid(path, [locate(document, name, finding) for finding in findings])
        else:
            entries[name] = at_home(entry, path)
    return entries, unread


class Examined(NamedTuple):
    """A registry file as it is written. entries: the readable ones. problems: empty for a valid file."""

    document: Section
    entries: dict[str, ModelEntry]
    problems: list[Problem]


def examine_file(path: Path) -> Examined:
    """The contents of a registry file, and everything that is wrong. Raises InvalidRegistry."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            found = "is not a file" if path.exists() else "does not exist"
            raise InvalidRegistry(f"{path}: the registry {found}", hint="See: --registry FILE, $ZOO_REGISTRY")
        return examine_text(read_text(path))
    except NotPlain as error:
        return Examined(Section(1), {}, [error.problem])
    except OSError as error:
        raise InvalidRegistry(f"{path}: the registry cannot be read: {error.strerror}") from error


def examine_text(text: str) -> Examined:
    """The contents of a registry's text, and everything that is wrong with it."""
    try:
        document, problems = parse_yaml(text)
    except NotPlain as error:
        return Examined(Section(1), {}, [error.problem])
    models, more = _models_of(document)
    problems += more
    entries: dict[str, ModelEntry] = {}
    for name, mapping in models.items():
        entry, findings = check_entry(name, mapping)
        problems += [locate(document, name, finding) for finding in findings]
        if entry is not None:
            entries[name] = entry
    return Examined(document, entries, problems)


def locate(document: Section, name: str, finding: Finding) -> Problem:
    """A finding with its line and its full field name."""
    path = ("models", name, *finding.path)
    return Problem(line_of(document, path), dotted(path), finding.what, finding.hint)


def at_home(entry: ModelEntry, path: Path) -> ModelEntry:
    """The entry with the file it came from, and its relative URLs made absolute."""
    weights = entry.weights
    if any(_is_relative(url) for url in weights.urls):
        folder = path.absolute().parent
        urls = tuple((folder / url).as_uri() if _is_relative(url) else url for url in weights.urls)
        weights = msgspec.structs.replace(weights, url=urls[0] if isinstance(weights.url, str) else urls)
    return msgspec.structs.replace(entry, weights=weights, registry=path.absolute())


def invalid(path: Path, problems: Sequence[Problem]) -> InvalidRegistry:
    """The error that lists problems as FILE:LINE: FIELD: what, in the order of the lines."""
    ordered = sorted(problems, key=lambda p: p.line)
    if len(ordered) == 1:
        return InvalidRegistry(_sentence(path, ordered[0]), hint=ordered[0].hint)
    lines = [
        _sentence(path, problem) + (f" ({problem.hint})" if problem.hint else "")
        for problem in ordered[:MOST_PROBLEMS]
    ]
    left = len(ordered) - MOST_PROBLEMS
    return InvalidRegistry("\n".join(lines), hint=f"… and {left} more." if left > 0 else None)


def _models_of(document: Section) -> tuple[Section, list[Problem]]:
    """The section with the entries, and problems with other sections of the file."""
    problems = [
        Problem(document.lines[key], key, "no such section", "A registry has one: models.")
        for key in document
        if key != "models"
    ]
    models = document.get("models")
    if not isinstance(models, Section):
        line = document.lines.get("models", 1)
        problems.append(Problem(line, "models", "expected a mapping of names to models"))
        models = Section(line)
    return models, problems


def _is_relative(url: str) -> bool:
    """Whether a URL is a path relative to the registry file."""
    return scheme_of(url) == "file" and not url.lower().startswith("file:")


def _sentence(path: Path, problem: Problem) -> str:
    """One problem on one line."""
    return ": ".join(part for part in (f"{path}:{problem.line}", problem.field, problem.what) if part)
