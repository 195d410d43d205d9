"""The review of a registry file: what is wrong, and what is allowed but worth a second look."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from zoo.catalogue.differences import compare_entries
from zoo.catalogue.entry import ModelEntry
from zoo.catalogue.index import load_index
from zoo.catalogue.licenses import KNOWN, UNKNOWN, unlisted_names
from zoo.catalogue.problems import Finding, Problem
from zoo.catalogue.registry import read_shipped, shipped_registry
from zoo.catalogue.registry_file import at_home, examine_file, locate
from zoo.catalogue.schemes import scheme_of
from zoo.errors import close_names, join_names

COMMIT = re.compile(r"hf://[^/]+/[^/@]+@[0-9a-f]{40}/")

# Called with all entries of a file, URLs made absolute: yields (name, finding) for everything that is wrong.
Check: TypeAlias = Callable[[Sequence[ModelEntry]], Iterable[tuple[str, Finding]]]


class Lint(NamedTuple):
    """The findings about one file, each list in the order of its lines.

    problems: errors, which make the file unusable. remarks: worth a second look; the file can be used.
    """

    path: Path
    models: int
    problems: list[Problem]
    remarks: list[Problem]


def lint_files(paths: Iterable[Path], *, check: Check | None = None) -> list[Lint]:
    """Review files in the order in which they are read: a later name replaces an earlier one.

    check: further checks of the entries, such as whether their URLs answer.
    Raises InvalidRegistry for a path that is not a file.
    """
    before: dict[str, tuple[ModelEntry, str]] = {}
    found = []
    for path in paths:
        lint, entries = _lint_file(path, before, check)
        found.append(lint)
        before |= {name: (entry, str(path)) for name, entry in entries.items()}
    return found


def shipped_names(path: Path) -> dict[str, tuple[ModelEntry, str]]:
    """The models that need no registry file; empty for the shipped registry itself."""
    shipped = shipped_registry()
    if path.samefile(shipped):
        return {}
    behind = {entry.name: (entry, "the index") for entry in load_index().entries}
    return behind | {name: (entry, "the shipped registry") for name, entry in read_shipped(shipped).items()}


def remark_on_override(entry: ModelEntry, other: ModelEntry, where: str) -> Finding:
    """The remark that a name is taken, with the fields in which this entry differs."""
    fields = [change.field for change in compare_entries(other, entry)]
    more = f" and {len(fields) - 3} more facts" if len(fields) > 3 else ""
    differences = f"differs in {', '.join(fields[:3])}{more}" if fields else "is equal to it"
    return Finding((), f"replaces the {entry.name} of {where} and {differences}")


def _lint_file(
    path: Path, before: Mapping[str, tuple[ModelEntry, str]], check: Check | None
) -> tuple[Lint, dict[str, ModelEntry]]:
    """Review one file. before: the entries of earlier files by name, with the file of each."""
    document, entries, problems = examine_file(path)
    replaced = {**shipped_names(path), **before}
    remarks = []
    for name, entry in entries.items():
        findings = [finding for remark in REMARKS for finding in remark(entry)]
        if name in replaced:
            findings.append(remark_on_override(entry, *replaced[name]))
        remarks += [locate(document, name, finding) for finding in findings]
    if check is not None:
        homely = [at_home(entry, path) for entry in entries.values()]
        problems += [locate(document, name, finding) for name, finding in check(homely)]
    lint = Lint(
        path, len(entries), sorted(problems, key=lambda p: p.line), sorted(remarks, key=lambda p: p.line)
    )
    return lint, entries


def _remark_on_proof(entry: ModelEntry) -> Iterator[Finding]:
    """Bytes that cannot be compared with a full sha256 before the first fetch."""
    weights = entry.weights
    if weights.sha256 is not None:
        return
    proofs = {
        f"{len(weights.sha256_prefix or '')} digits of its sha256": weights.sha256_prefix,
        "its md5": weights.md5,
        "the hash that its source states at the first fetch": "",
    }
    known = next(what for what, proof in proofs.items() if proof is not None)
    yield Finding(
        ("weights",), f"no sha256: it is proven by {known}", f"zoo lock {entry.name} prints the whole one."
    )


def _remark_on_pin(entry: ModelEntry) -> Iterator[Finding]:
    """A branch of the Hub, whose files may change."""
    for url in entry.weights.urls:
        if scheme_of(url) == "hf" and not COMMIT.match(url):
            hint = "Name the commit: hf://OWNER/REPO@COMMIT/FILE"
            yield Finding(("weights", "url"), f"{url} names no commit: its file may change", hint)


def _remark_on_license(entry: ModelEntry) -> Iterator[Finding]:
    """A licence that is not stated, or that no policy can name."""
    if entry.license.lower() == UNKNOWN:
        yield Finding(("license",), "unknown: a licence policy refuses this model unless it lists unknown")
    for name in unlisted_names(entry.license):
        close = close_names(name, KNOWN)
        hint = f"Did you mean {join_names(close)}?" if close else "One of your own begins with LicenseRef-"
        yield Finding(("license",), f"{name!r} is not an SPDX name: no licence policy can allow it", hint)


REMARKS: tuple[Callable[[ModelEntry], Iterator[Finding]], ...] = (
    _remark_on_proof,
    _remark_on_pin,
    _remark_on_license,
)
