"""Which models take part, in which order, and why the others do not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.catalogue.classifiers import check_classifier
from zoo.catalogue.entry import ImageModel, ModelEntry
from zoo.catalogue.registry import Registry
from zoo.catalogue.search import select
from zoo.data.kinds import Kind
from zoo.errors import UsageError, ZooError
from zoo.events import Report, silent
from zoo.runs.modalities.table import MODALITIES, modality_of_target
from zoo.store.sources.file import size_of_entry
from zoo.store.store import Store
from zoo.targets import Model, RegistryModel, accept, describe_target, find_target

NOT_HERE = "it is not downloaded (--fetch)"


@dataclass(frozen=True)
class Wishes:
    """Which models are wanted. models: these and no others. families, max_bytes, licenses: of those that the
    registry lists; empty and None want any. fetch: those too that would have to be downloaded."""

    models: tuple[str | Path, ...] = ()
    families: tuple[str, ...] = ()
    max_bytes: int | None = None
    licenses: tuple[str, ...] = ()
    fetch: bool = False


@dataclass(frozen=True)
class Candidate:
    """A model that takes part."""

    target: Model
    entry: ModelEntry

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.target.name


@dataclass(frozen=True)
class Field:
    """candidates: in the order in which they are tried. passed_over: name -> why it is not among them."""

    candidates: tuple[Candidate, ...]
    passed_over: dict[str, str]


def find_candidates(
    kind: Kind, wishes: Wishes, *, registry: Registry, store: Store, report: Report = silent
) -> Field:
    """The models for such items that are wanted.

    Raises UsageError if a named one cannot be used for them, or if there is none at all; UnknownName for a
    family or a licence that does not exist.
    """
    if wishes.models:
        named = (_find_named(name, kind, registry, store, report) for name in wishes.models)
        return Field(tuple({candidate.name: candidate for candidate in named}.values()), {})
    fitting = [row.entry for row in MODALITIES if row.kind is kind]
    entries = [entry for entry in registry.curated() if isinstance(entry, tuple(fitting))]
    wanted = [*_select(entries, wishes)]
    passed_over: dict[str, str] = {}
    here = []
    for entry in wanted:
        if (why := _why_not(entry, wishes, store)) is None:
            here.append(entry)
        else:
            passed_over[entry.name] = why
    if not here:
        raise _no_candidates(kind, wanted, passed_over)
    return Field(tuple(Candidate(RegistryModel(e.name, e), e) for e in in_order(here)), passed_over)


def in_order(entries: Iterable[ModelEntry]) -> list[ModelEntry]:
    """The models that nothing smaller is published to be as good as, from the smallest on; then the others,
    the best first. So a short time is spent on those that are worth it.

    Of word vectors no accuracy is published: from the smallest on.
    """
    by_size = sorted(entries, key=lambda entry: (size_of_entry(entry) or 0, entry.name))
    front: list[ModelEntry] = []
    best = -1.0
    for entry in by_size:
        if _published(entry) > best:
            front.append(entry)
            best = _published(entry)
    others = sorted((e for e in by_size if e not in front), key=_published, reverse=True)
    return [*front, *others]


def _published(entry: ModelEntry) -> float:
    """Published accuracy on ImageNet, in percent; 0 where there is none."""
    return (entry.top1 or 0.0) if isinstance(entry, ImageModel) else 0.0


def _find_named(name: str | Path, kind: Kind, registry: Registry, store: Store, report: Report) -> Candidate:
    target = accept(find_target(name, registry=registry, store=store), "zoo pick")
    assert isinstance(target, Model)
    if (other := modality_of_target(target).kind) is not kind:
        raise UsageError(
            f"{name} takes {other.noun}s, and the data are {kind.noun}s",
            hint=f"Models for them: zoo list --task {kind.task}",
        )
    entry = describe_target(target, store, report=report)
    check_classifier(entry)
    store.check_license(entry)
    return Candidate(target, entry)


def _select(entries: Sequence[ModelEntry], wishes: Wishes) -> list[ModelEntry]:
    families: Collection[str | None] = wishes.families or (None,)
    found = [
        select(entries, family=family, max_bytes=wishes.max_bytes, license=wishes.licenses)
        for family in families
    ]
    return [*{entry.name: entry for entries in found for entry in entries}.values()]


def _why_not(entry: ModelEntry, wishes: Wishes, store: Store) -> str | None:
    """Why a model that is wanted cannot take part."""
    try:
        check_classifier(entry)
        store.check_license(entry)
    except ZooError as error:
        return error.message
    on_this_machine = entry.weights.urls[0].startswith(("file://", "package://"))
    if not (wishes.fetch or on_this_machine) and store.find(entry) is None:
        return NOT_HERE
    return None


def _no_candidates(kind: Kind, wanted: Sequence[ModelEntry], passed_over: dict[str, str]) -> UsageError:
    """The error for a choice among nothing: what there would be, and how to get it."""
    if not wanted:
        return UsageError(
            f"no model for {kind.noun}s fits --families, --max-size and --license",
            hint=f"See: zoo list --task {kind.task}",
        )
    first = in_order(wanted)[0].name
    if NOT_HERE in passed_over.values():
        return UsageError(
            f"none of the {len(wanted):,} models for {kind.noun}s that fit is downloaded",
            hint=f"Download as many as the time allows: --fetch. Or one: zoo fetch {first}",
        )
    return UsageError(f"no model for {kind.noun}s can be used: {next(iter(passed_over.values()))}")
