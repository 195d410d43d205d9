"""`zoo check`: is the data good? Findings by check, and the items to look at first."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalogue.entry import ImageModel
from zoo.choosing.checking.evidence import Evidence
from zoo.choosing.checking.finding import Check, Finding
from zoo.choosing.checking.gathering import gather_evidence
from zoo.choosing.checking.table import CHECKS
from zoo.choosing.data_kind import scan_any
from zoo.data.dataset import Dataset, Item
from zoo.data.names import one_line
from zoo.errors import UnknownName, UsageError
from zoo.events import Report
from zoo.features.suspects import FEWEST
from zoo.progress import usual_report
from zoo.runs.modalities.table import modality_of_target
from zoo.store.names import default_registry, default_store
from zoo.targets import Model, RegistryModel, accept, find_target

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


@dataclass(frozen=True)
class Suspect:
    """An item that is to be looked at. reasons: by the name of the check, the gravest first."""

    item: Item
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DataCheck:
    """What was found about labelled data.

    findings: by the name of the check; every check that was made has an entry. unmade: why the others were
    not made, by their names. suspects: the items to look at, the gravest first. culprits: those that a
    clean data set lacks.
    """

    evidence: Evidence
    findings: dict[str, tuple[Finding, ...]]
    unmade: dict[str, str]
    model: str | None
    seconds: float

    @property
    def dataset(self) -> Dataset:
        """The data."""
        return self.evidence.dataset

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that found something, the gravest first."""
        return tuple(check for check in CHECKS[self.dataset.kind] if self.findings.get(check.name))

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """Items that a check points at, in the order of the checks; of one check, the surest first."""
        reasons: dict[Item, list[tuple[str, str]]] = {}
        for check in self.checks:
            for finding in self.findings[check.name]:
                for item in finding.culprits or finding.items:
                    subject = "" if item is finding.items[0] else f"{self.evidence.name(finding.items[0])} "
                    reasons.setdefault(item, []).append((check.name, subject + finding.detail))
        return tuple(Suspect(item, tuple(found)) for item, found in reasons.items())

    @property
    def culprits(self) -> frozenset[Item]:
        """Items that a clean data set lacks: unreadable, flat, likely wrong labels, all but one of copies."""
        return frozenset(
            item for findings in self.findings.values() for finding in findings for item in finding.culprits
        )

    def facts(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        name, dataset = self.evidence.name, self.dataset
        return {
            "data": str(dataset.root),
            "kind": f"{dataset.kind.noun}s",
            "items": len(dataset.items),
            "classes": list(dataset.classes),
            "model": self.model,
            "findings": [
                {
                    "check": check.name,
                    "level": check.level,
                    "detail": finding.detail,
                    "items": [name(item) for item in finding.items],
                    "culprits": [name(item) for item in finding.culprits],
                }
                for check in self.checks
                for finding in self.findings[check.name]
            ],
            "suspects": [
                {
                    "item": name(suspect.item),
                    "label": dataset.classes[suspect.item.label],
                    "part": self.evidence.part(suspect.item),
                    "reasons": [{"check": check, "detail": detail} for check, detail in suspect.reasons],
                }
                for suspect in self.suspects
            ],
            "nothing_found": [n for n, found in self.findings.items() if not found],
            "not_checked": self.unmade,
            "seconds": self.seconds,
        }


def check(
    data: str | Path,
    *,
    model: str | Path | None = None,
    skip: Collection[str] = (),
    group_by: str | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    device: str = "auto",
    report: Report | None = None,
) -> DataCheck:
    """Look for what is wrong with labelled images or texts. Nothing is changed, moved or deleted.

    Args:
        data: A folder or a table, as `zoo.finetune_model` takes it.
        model: A model for images, or word vectors, whose features show wrong labels and unusual items. None:
            of images the best one in the store, if there is one; texts are judged by their own words.
        skip: Names of checks that are not made.
        group_by: A column of a table, or a regular expression that is matched with the items' paths below the
            root of the data: items with equal cells, or equal matches (of its first group, if it has one),
            belong together, and lie in one part: one patient, one video.
        registry: The registry to find the model in; None for the default one.
        store: The store to keep files and features in; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item.
        class_level: Which level of folders is the classes.
        device: Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.

    Returns:
        The findings, the suspects, the culprits.

    Raises:
        DatasetError: The data cannot be read as labelled items.
        UsageError: The model cannot be used for this, there is no such check, or `group_by` is neither a
            column nor a regular expression that fits an item.
        NetworkError: The model cannot be fetched.
    """
    began = time.perf_counter()
    store, report = store or default_store(), report or usual_report()
    dataset = scan_any(
        Path(data),
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        group_by=group_by,
    )
    for note in dataset.notes:
        if dataset.split.origin != "made" or "kept for validation" not in note.message:
            report(note)
    checks = _chosen(CHECKS[dataset.kind], skip)
    target = (
        _model_to_look_with(model, dataset, registry, store) if any(c.needs_model for c in checks) else None
    )
    evidence = gather_evidence(dataset, target, store=store, device=device, report=report)
    unmade = {each.name: why for each in checks if (why := _why_not(each, evidence)) is not None}
    findings = {each.name: tuple(each.find(evidence)) for each in checks if each.name not in unmade}
    name = None if target is None else target.name
    return DataCheck(evidence, findings, unmade, name, time.perf_counter() - began)


def _why_not(check: Check, evidence: Evidence) -> str | None:
    """Why a check cannot be made; None where it can."""
    if check.needs_model and evidence.features is None:
        noun = evidence.dataset.kind.noun
        return f"it needs a model for {noun}s: --model NAME, of those that zoo list shows"
    if check.name != "wrong-label" or evidence.labels.trusted:
        return None
    if (agreement := evidence.labels.agreement) is None:
        return f"fewer than two classes have {FEWEST} items"
    return (
        f"a model that has not seen an item agrees with {agreement:.0%} of the labels only: its doubts would "
        "mean nothing; a better one, or word vectors: --model NAME"
    )


def _chosen(checks: tuple[Check, ...], skip: Collection[str]) -> tuple[Check, ...]:
    names = {check.name for of_kind in CHECKS.values() for check in of_kind}
    for name in skip:
        if name not in names:
            raise UnknownName("check", name, sorted(names))
    return tuple(check for check in checks if check.name not in skip)


_LARGEST = 150_000_000  # bytes of a model that is taken unasked: labels are judged as well by a fast one


def _model_to_look_with(
    name: str | Path | None, dataset: Dataset, registry: Registry | None, store: Store
) -> Model | None:
    """The model that was named; else, for images, the one in the store with the best published accuracy."""
    if name is not None:
        target = accept(find_target(name, registry=registry, store=store), "zoo check")
        assert isinstance(target, Model)
        if modality_of_target(target).kind is not dataset.kind:
            raise UsageError(
                f"{name} takes {modality_of_target(target).kind.noun}s, and {one_line(dataset.root)} holds "
                f"{dataset.kind.noun}s",
                hint=f"Models for them: zoo list --task {dataset.kind.task}",
            )
        return target
    if not dataset.kind.in_files:
        return None
    registry = default_registry(store) if registry is None else registry
    here = [
        (entry.top1 or 0.0, entry.name, entry)
        for entry in registry.curated()
        if isinstance(entry, ImageModel)
        and (local := store.find(entry)) is not None
        and local.path.stat().st_size <= _LARGEST
    ]
    best = max(here, key=lambda row: row[:2])[2] if here else None
    return None if best is None else RegistryModel(best.name, best)
