"""All models by name: the shipped registry.yaml, the user's own files over it, and the index behind both."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from zoo.catalogue.entry import (
    ENTRY_TYPES,
    ImageInput,
    ModelEntry,
    Score,
    Speed,
    TextInput,
    Weights,
    WordModel,
)
from zoo.catalogue.rules import Finding, find_faults, kind_of
from zoo.catalogue.yaml_file import (
    NotPlain,
    Problem,
    Section,
    Step,
    dotted,
    line_of,
    parse_yaml,
    quote,
    read_text,
)
from zoo.errors import InvalidRegistry, UnknownModel, close_names, join_names

MOST_PROBLEMS = 20  # shown at once


class Registry(Mapping[str, ModelEntry]):
    """The curated models by name, in the order of their files."""

    def __init__(self, entries: Mapping[str, ModelEntry]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> ModelEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str) -> ModelEntry:
        """The entry of that name. Raises UnknownModel, which names the close ones."""
        if name in self._entries:
            return self._entries[name]
        raise UnknownModel(name, self._entries)

    def curated(self) -> list[ModelEntry]:
        """The models of the registry files."""
        return list(self._entries.values())


def load_registry(extra: Sequence[Path] = ()) -> Registry:
    """Every registry file as one: the shipped one, those of $ZOO_REGISTRY, then `extra`.

    A name in a later file replaces that of an earlier one: a published hash that is wrong can be put right.
    Raises InvalidRegistry.
    """
    named = os.environ.get("ZOO_REGISTRY", "")
    paths = [shipped_registry(), *(Path(p).expanduser() for p in named.split(os.pathsep) if p), *extra]
    entries: dict[str, ModelEntry] = {}
    for path in paths:
        entries.update(read_registry_file(path))
    return Registry(entries)


def shipped_registry() -> Path:
    """The registry.yaml that came with this package: inside it in a wheel, one folder up in a checkout."""
    package = Path(__file__).parents[1]
    beside = package / "registry.yaml"
    return beside if beside.exists() else package.parent / "registry.yaml"


def read_registry_file(path: Path) -> dict[str, ModelEntry]:
    """The entries of one registry file, by name.

    Relative URLs become absolute file:// ones, so that an entry means the same wherever it is used.
    Raises InvalidRegistry with every problem that was found, each as FILE:LINE: FIELD: what.
    """
    if not path.is_file():
        found = "is no file" if path.exists() else "does not exist"
        raise InvalidRegistry(f"{path}: the registry {found}", hint="See: --registry FILE, $ZOO_REGISTRY")
    try:
        document, problems = parse_yaml(read_text(path))
    except NotPlain as error:
        raise invalid(path, [error.problem]) from error
    except OSError as error:
        raise InvalidRegistry(f"{path}: the registry cannot be read: {error.strerror}") from error
    models, more = models_of(document)
    problems += more
    entries: dict[str, ModelEntry] = {}
    for name, mapping in models.items():
        entry, findings = check_entry(name, mapping)
        problems += [locate(document, name, finding) for finding in findings]
        if entry is not None:
            entries[name] = at_home(entry, path)
    if problems:
        raise invalid(path, problems)
    return entries


def models_of(document: Section) -> tuple[Section, list[Problem]]:
    """The section that holds the entries, and what else should not be at the top of the file."""
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


def entry_from(name: str, mapping: Mapping[str, Any]) -> ModelEntry:
    """The entry that a plain mapping describes, as a registry file or `entry_to_mapping` has it.

    Raises InvalidRegistry with everything that is wrong with it.
    """
    entry, findings = check_entry(name, mapping)
    if entry is None or findings:
        lines = [f"{dotted(('models', name, *finding.path))}: {finding.what}" for finding in findings]
        raise InvalidRegistry("\n".join(lines), hint=findings[0].hint)
    return entry


def entry_to_mapping(entry: ModelEntry) -> dict[str, Any]:
    """An entry as plain JSON values, without what is at its default and without the file it came from.

    `entry_from(entry.name, entry_to_mapping(entry))` is the entry again.
    """
    mapping: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(entry, registry=None))
    return mapping


def check_entry(name: str, mapping: object) -> tuple[ModelEntry | None, list[Finding]]:
    """An entry, as far as the mapping is one, and everything that is wrong with it."""
    if not isinstance(mapping, Mapping):
        return None, [Finding((), "expected a mapping of fields")]
    findings = []
    if mapping.get("name", name) != name:
        findings.append(Finding(("name",), f"{mapping['name']!r} differs from the entry's own name"))
    if "registry" in mapping:
        findings.append(Finding(("registry",), "is not a field of a file", "Remove it."))
    task = mapping.get("task")
    if not isinstance(task, str) or task not in ENTRY_TYPES:
        what = "is missing" if task is None else f"no task {task!r}"
        return None, [*findings, Finding(("task",), what, suggest(str(task), ENTRY_TYPES))]
    fields = {key: value for key, value in mapping.items() if key != "registry"} | {"name": name}
    kind = ENTRY_TYPES[task]
    try:
        entry = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        return None, [*findings, explain(str(error), fields, kind)]
    return entry, findings + find_faults(entry)


STRUCTS: dict[str, type[msgspec.Struct]] = {"weights": Weights, "speed": Speed, "metrics": Score}
PLAIN_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
AT = re.compile(r"(?P<what>.*?)(?: - at `(?P<where>(?:key in )?\$.*)`)?", re.DOTALL)


def explain(message: str, fields: Mapping[str, Any], kind: type[ModelEntry]) -> Finding:
    """What msgspec says about a mapping, in the words of the file that the user wrote."""
    said = AT.fullmatch(message)
    assert said is not None
    what, where = said["what"], said["where"] or "$"
    path, value = walk(fields, where)
    quoted = re.findall(r"`([^`]*)`", what)
    if "unknown field" in what:
        return Finding((*path, quoted[0]), "no such field", suggest(quoted[0], struct_at(path, kind)))
    if "missing required field" in what:
        return Finding((*path, quoted[0]), "is missing")
    if what.startswith("Invalid enum value"):
        field = next(
            (f for f in msgspec.structs.fields(struct_type(path[:-1], kind)) if f.name == path[-1]), None
        )
        return Finding(
            path, f"no {path[-1]} {value!r}", suggest(str(value), get_args(field.type) if field else ())
        )
    if what.startswith("Expected") and len(quoted) == 2:
        wanted = [name for name in quoted[0].split(" | ") if name != "null"]
        expected = " or ".join(PLAIN_WORDS.get(name, name) for name in wanted)
        got = PLAIN_WORDS.get(quoted[1], quoted[1])
        shown = f", {value!r}" if isinstance(value, str | int | float) else ""
        needs_quotes = "str" in wanted and isinstance(value, int | float)
        word = str(value).lower() if isinstance(value, bool) else str(value)
        return Finding(path, f"expected {expected}, got {got}{shown}", quote(word) if needs_quotes else None)
    return Finding(path, what)


def walk(fields: Mapping[str, Any], where: str) -> tuple[tuple[Step, ...], Any]:
    """The steps of msgspec's path (`$.input.mean[1]`) and the value there.

    msgspec writes `[...]` for any key of a mapping: the way ends before it.
    """
    value: Any = fields
    steps: list[Step] = []
    for name, index in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", where.removeprefix("key in ")):
        if index == "...":
            break
        step: Step = name or int(index)
        steps.append(step)
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            value = None
    return tuple(steps), value


def struct_type(path: Sequence[Step], kind: type[ModelEntry]) -> type[msgspec.Struct]:
    """The type that holds the fields at a path of an entry."""
    if not path:
        return kind
    if path[0] == "input":
        return TextInput if issubclass(kind, WordModel) else ImageInput
    return STRUCTS.get(str(path[0]), kind)


def struct_at(path: Sequence[Step], kind: type[ModelEntry]) -> tuple[str, ...]:
    """The fields that may be written at a path of an entry."""
    return tuple(f for f in struct_type(path, kind).__struct_fields__ if f not in ("name", "registry"))


def suggest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The hint after an unknown word."""
    close = close_names(name, known)
    return f"Did you mean {join_names(close)}?" if close else f"There are: {', '.join(known)}."


def locate(document: Section, name: str, finding: Finding) -> Problem:
    """A finding with its line and its whole field."""
    path = ("models", name, *finding.path)
    return Problem(line_of(document, path), dotted(path), finding.what, finding.hint)


def at_home(entry: ModelEntry, path: Path) -> ModelEntry:
    """The entry with the file it came from, and its relative URLs made absolute."""
    weights = entry.weights
    if any(is_relative(url) for url in weights.urls):
        folder = path.absolute().parent
        urls = tuple((folder / url).as_uri() if is_relative(url) else url for url in weights.urls)
        weights = msgspec.structs.replace(weights, url=urls[0] if isinstance(weights.url, str) else urls)
    return msgspec.structs.replace(entry, weights=weights, registry=path.absolute())


def is_relative(url: str) -> bool:
    """Whether a URL is a path relative to the registry file."""
    return kind_of(url) == "file" and not url.lower().startswith("file:")


def invalid(path: Path, problems: Sequence[Problem]) -> InvalidRegistry:
    """The error that lists problems as FILE:LINE: FIELD: what, in the order of the lines."""
    ordered = sorted(problems, key=lambda p: p.line)
    if len(ordered) == 1:
        return InvalidRegistry(sentence(path, ordered[0]), hint=ordered[0].hint)
    lines = [
        sentence(path, problem) + (f" ({problem.hint})" if problem.hint else "")
        for problem in ordered[:MOST_PROBLEMS]
    ]
    left = len(ordered) - MOST_PROBLEMS
    return InvalidRegistry("\n".join(lines), hint=f"… and {left} more." if left > 0 else None)


def sentence(path: Path, problem: Problem) -> str:
    """One problem on one line."""
    return ": ".join(part for part in (f"{path}:{problem.line}", problem.field, problem.what) if part)
