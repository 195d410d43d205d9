"""The verbs that show models: list, show. Neither imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.options import Choice, ModelName, complete_from, entries_to_complete
from zoo.cli.sink import Fit, table
from zoo.errors import join_names
from zoo.events import Note
from zoo.store.disk.space import size_text
from zoo.store.sources.file import size_of_entry

if TYPE_CHECKING:
    from zoo.catalogue.entry import ModelEntry
    from zoo.runs.calibration import Calibration
    from zoo.runs.record import RunRecord
    from zoo.store.local import LocalModel

TASKS = ("image-classification", "image-features", "word-vectors")
LIST_COLUMNS = {
    "name": "NAME",
    "family": "FAMILY",
    "task": "TASK",
    "size": "SIZE",
    "top1": "TOP-1 %",
    "license": "LICENCE",
    "allowed": "ALLOWED",
    "downloaded": "HERE",
}
LIST_FIT = {
    "task": Fit.DROP,
    "family": Fit.DROP,
    "downloaded": Fit.DROP,
    "name": Fit.PATH,
    "license": Fit.DROP,
}


def _sort_names() -> list[str]:
    """The orders that `zoo list --sort` knows."""
    from zoo.catalogue.search import SORTS

    return list(SORTS)


def summary(entry: ModelEntry, *, allowed: bool, downloaded: bool) -> dict[str, Any]:
    """One row of `zoo list`: the names that `--json` promises."""
    return {
        "name": entry.name,
        "family": entry.family,
        "task": entry.task,
        "license": entry.license,
        "parameters": entry.parameters,
        "bytes": size_of_entry(entry),
        "allowed": allowed,
        "downloaded": downloaded,
        "top1": getattr(entry, "top1", None),
    }


@command("zoo list 'resnet*' --max-size 100MB --sort top1", name="list")
@click.argument("pattern", required=False)
@click.option(
    "--family",
    help="Only this family: resnet, inception, mobilenet, vgg, glove, …",
    shell_complete=complete_from(lambda ctx: sorted({entry.family for entry in entries_to_complete(ctx)})),
)
@click.option("--task", type=Choice("task", lambda: TASKS), help="Only models for this task.")
@click.option("--max-size", metavar="SIZE", help="Only downloads up to this size: 50MB, 1GB.")
@click.option("--license", "licenses", multiple=True, metavar="NAME,…", help="Only under these licences.")
@click.option("--downloaded", is_flag=True, help="Only those that are in the store already.")
@click.option("--sort", type=Choice("order", _sort_names), default="name", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Also every pretrained tag of timm and torchvision.")
def list_models(
    context: Context,
    pattern: str | None,
    family: str | None,
    task: str | None,
    max_size: str | None,
    licenses: tuple[str, ...],
    downloaded: bool,
    sort: str,
    everything: bool,
) -> None:
    """List the models there are.

    PATTERN is a part of a name, or a glob such as 'resnet*'.
    """
    from zoo.catalogue.search import parse_size, select

    entries = select(
        context.registry.everything() if everything else context.registry.curated(),
        pattern=pattern,
        family=family,
        task=task,
        max_bytes=None if max_size is None else parse_size(max_size),
        license=[name.strip() for text in licenses for name in text.split(",")] or None,
        sort=sort,
    )
    policies = context.store.policies
    rows = [
        summary(
            entry,
            allowed=all(policy.allows(entry.license) for policy in policies),
            downloaded=context.store.find(entry) is not None,
        )
        for entry in entries
    ]
    if downloaded:
        rows = [row for row in rows if row["downloaded"]]

    def human() -> str:
        shown = [{**row, "size": size_text(row["bytes"])} for row in rows]
        columns = {key: head for key, head in LIST_COLUMNS.items() if policies or key != "allowed"}
        return table(shown, columns, LIST_FIT) if rows else ""

    if not rows:
        close = context.registry.close_to(pattern) if pattern else []
        meant = f"Did you mean {join_names(close)}? " if close else ""
        context.report(Note("no model fits", hint=f"{meant}Fewer conditions, or: zoo list --all"))
    context.sink.answer(rows, human)


@command("zoo show mobilenet_v2\nzoo show run")
@click.argument("name", metavar="MODEL|RUN", type=ModelName())
def show(context: Context, name: str) -> None:
    """Show every fact about one model or run; of word vectors also what compiling them found wrong."""
    from zoo.catalogue.classifiers import fault_of_classifier
    from zoo.catalogue.registry import entry_to_mapping
    from zoo.targets import RunFolder, describe_target

    target = context.find_target("show", name)
    if isinstance(target, RunFolder):
        facts = _run_facts(target.path)
        context.sink.answer(facts, lambda: "\n".join(_fact_lines(facts)))
        return
    entry = describe_target(target, context.store, report=context.report)
    local = context.store.find(entry)
    facts = entry_to_mapping(entry)
    for policy in context.store.policies:
        facts[f"allowed by {policy.source}"] = policy.allows(entry.license)
    if entry.bytes is None:
        facts["bytes"] = size_of_entry(entry)
    facts |= {"downloaded": local is not None, "path": None if local is None else str(local.path)}
    if fault := fault_of_classifier(entry):
        facts["fine-tuning"] = f"not possible: {fault}"
    if local is not None and entry.task == "word-vectors":
        facts["compiled"] = _compiled_facts(context, local)
    context.sink.answer(facts, lambda: "\n".join(_fact_lines(facts)))


def _run_facts(folder: Path) -> dict[str, Any]:
    """What a run was made of: model, data, their licences, and what came out."""
    from zoo.runs.calibration import read_calibration
    from zoo.runs.record import read_record
    from zoo.training.recipe import to_json

    record = read_record(folder)
    recipe = to_json(record.recipe, record.kind)
    return {
        "run": str(folder),
        "created": record.created,
        "model": record.model["name"],
        "model license": record.model["license"],
        "weights sha256": record.weights_sha256,
        "data": record.data["root"],
        "items": _item_counts(record),
        "data license": record.data_license or "unknown",
        "classes": list(record.classes),
        "recipe": {knob: value for knob, value in recipe.items() if value is not None},
        "result": record.result.facts(),
        "calibration": _calibration_facts(read_calibration(folder, record)),
        "versions": dict(record.versions),
    }


def _calibration_facts(calibration: Calibration | None) -> dict[str, Any] | None:
    """What a run was calibrated on, and the temperature; None of one that was not."""
    if calibration is None:
        return None
    return {
        "data": calibration.data,
        "items": calibration.items,
        "temperature": calibration.temperature,
        "created": calibration.created,
    }


def _item_counts(record: RunRecord) -> dict[str, Any]:
    """How many items each part has, of each class where that was kept."""
    counts = record.data.get("counts", {})
    return {
        part: dict(zip(record.classes, counts[part], strict=True)) if part in counts else total
        for part, total in record.data["items"].items()
        if total
    }


def _compiled_facts(context: Context, local: LocalModel) -> dict[str, Any]:
    """What each compiled form of word vectors is, and what was wrong with the file that it is of."""
    from zoo.words.loading import compiled_forms
    from zoo.words.vectors.word_vectors import open_vectors

    facts = {}
    for form, path in compiled_forms(local, context.store).items():
        vectors = open_vectors(path)
        limit = f"first {form.limit}" if form.limit else ""
        facts[" ".join(filter(None, [*form[:3], limit]))] = {
            "path": str(path),
            "words": len(vectors),
            "dimension": vectors.vector_size,
            "format": vectors.metadata["source_format"],
            "lowercase": vectors.lowercase,
            "unknown_words": None if vectors.subwords is None else f"vectors from {vectors.subwords}",
            "max_error": float(vectors.metadata["max_error"]),
            "faults": {fault.kind: str(fault) for fault in vectors.faults},
        }
    return facts


def _fact_lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Nested facts as indented `key: value` lines."""
    lines = []
    facts = {key: value for key, value in facts.items() if value not in ({}, None)}
    width = max(map(len, facts), default=0) + 1
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_fact_lines(value, indent + "  ")]
            continue
        if key in ("bytes", "about_bytes"):
            value = f"{value:,} ({size_text(value)})"
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        lines.append(f"{indent}{(key + ':').ljust(width)} {value}")
    return lines


COMMANDS = {"list": list_models, "show": show}
