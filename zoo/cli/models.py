"""The verbs about models: list, show, fetch, rm, verify. None of them imports torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Choice, Context, ModelName, command, license_option
from zoo.cli.sink import Mode, megabytes, table
from zoo.cli.words import word_options
from zoo.errors import Interrupted, LicenseRefused, NetworkError, UsageError, ZooError, join_names
from zoo.events import Note

if TYPE_CHECKING:
    from zoo.catalogue.entry import ModelEntry
    from zoo.store.local import LocalModel
    from zoo.store.parallel import Fetched

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
PLAN_COLUMNS = {"name": "NAME", "action": "ACTION", "size": "SIZE", "url": "FROM"}
BAD = ("damaged", "missing")  # what verify ends with exit code 3 for
VERIFY_COLUMNS = {"name": "NAME", "state": "STATE", "path": "FILE"}


def sort_names() -> list[str]:
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
        "bytes": entry.bytes,
        "allowed": allowed,
        "downloaded": downloaded,
        "top1": getattr(entry, "top1", None),
    }


@command("zoo list 'resnet*' --max-size 100MB --sort top1", name="list")
@click.argument("pattern", required=False)
@click.option("--family", help="Only this family: resnet, inception, mobilenet, vgg, glove, …")
@click.option("--task", type=Choice("task", lambda: TASKS), help="Only models for this task.")
@click.option("--max-size", metavar="SIZE", help="Only downloads up to this size: 50MB, 1GB.")
@click.option("--license", "licenses", multiple=True, metavar="NAME,…", help="Only under these licences.")
@click.option("--downloaded", is_flag=True, help="Only those that are in the store already.")
@click.option("--sort", type=Choice("order", sort_names), default="name", show_default=True)
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
        shown = [{**row, "size": megabytes(row["bytes"])} for row in rows]
        columns = {key: head for key, head in LIST_COLUMNS.items() if policies or key != "allowed"}
        return table(shown, columns) if rows else ""

    if not rows:
        close = context.registry.close_to(pattern) if pattern else []
        meant = f"Did you mean {join_names(close)}? " if close else ""
        context.report(Note("no model fits", hint=f"{meant}Fewer conditions, or: zoo list --all"))
    context.sink.answer(rows, human)


@command("zoo show resnet50\nzoo show run")
@click.argument("name", metavar="MODEL|RUN", type=ModelName())
def show(context: Context, name: str) -> None:
    """Show every fact about one model or run; of word vectors also what compiling them found wrong."""
    from zoo.catalogue.registry import entry_to_mapping

    if (Path(name) / "run.json").is_file():
        facts = run_facts(Path(name))
        context.sink.answer(facts, lambda: "\n".join(fact_lines(facts)))
        return
    entry = find_entry(context, name)
    local = context.store.find(entry)
    facts = entry_to_mapping(entry)
    for policy in context.store.policies:
        facts[f"allowed by {policy.source}"] = policy.allows(entry.license)
    facts |= {"downloaded": local is not None, "path": None if local is None else str(local.path)}
    if local is not None and entry.task == "word-vectors":
        facts["compiled"] = compiled_facts(context, local)
    context.sink.answer(facts, lambda: "\n".join(fact_lines(facts)))


def run_facts(folder: Path) -> dict[str, Any]:
    """What a run was made of: model, data, their licences, and what came out."""
    from msgspec import to_builtins

    from zoo.runs.record import read_record

    record = read_record(folder)
    return {
        "run": str(folder),
        "created": record.created,
        "model": record.model["name"],
        "model license": record.model["license"],
        "weights sha256": record.weights_sha256,
        "data": record.data["root"],
        "data license": record.data_license or "unknown",
        "classes": list(record.classes),
        "result": to_builtins(record.result),
        "versions": dict(record.versions),
    }


def compiled_facts(context: Context, local: LocalModel) -> dict[str, Any]:
    """What each compiled form of word vectors is, and what was wrong with the file that it is of."""
    from zoo.words.loading import compiled_forms
    from zoo.words.vectors import open_vectors

    facts = {}
    for form, path in compiled_forms(local, context.store).items():
        vectors = open_vectors(path)
        facts[" ".join(filter(None, form))] = {
            "path": str(path),
            "words": len(vectors),
            "dimension": vectors.vector_size,
            "format": vectors.metadata["source_format"],
            "lowercase": vectors.lowercase,
            "max_error": float(vectors.metadata["max_error"]),
            "faults": {fault.kind: str(fault) for fault in vectors.faults},
        }
    return facts


def fact_lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Nested facts as indented `key: value` lines."""
    lines = []
    width = max(len(key) for key in facts) + 1
    for key, value in facts.items():
        if value in ({}, None):
            continue
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *fact_lines(value, indent + "  ")]
            continue
        if key in ("bytes", "about_bytes"):
            value = f"{value:,} ({megabytes(value)})"
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        lines.append(f"{indent}{(key + ':').ljust(width)} {value}")
    return lines


@command("zoo fetch resnet18 mobilenet_v3_large --jobs 2")
@click.argument("names", nargs=-1, type=ModelName())
@click.option("--jobs", "-j", type=click.IntRange(1), default=4, show_default=True, help="Models at a time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched.")
@click.option(
    "--locked",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take only what this lock file pins; without NAMES all of it.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Wait at most so long for another process that fetches the same.  [default: 3600]",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Also a host on a private network; repeatable.  [env: ZOO_ALLOW_HOST]",
)
@license_option
@word_options
def fetch(
    context: Context,
    names: tuple[str, ...],
    jobs: int,
    dry_run: bool,
    locked: Path | None,
    timeout: float | None,
    hosts: tuple[str, ...],
    **words: Any,
) -> None:
    """Download models and verify every byte. Word vectors are compiled, so that they open at once later.

    What is in the store already is not downloaded again; what was cut off goes on where it stopped. A model
    that fails does not stop the others.
    """
    from zoo.store.parallel import Fetched, Planned, fetch_models, plan_fetch, some_failed
    from zoo.store.pins import read_lock_file

    if hosts:  # the variable: whatever opens an address in this process reads it
        os.environ["ZOO_ALLOW_HOST"] = ",".join([os.environ.get("ZOO_ALLOW_HOST", ""), *hosts])
    if timeout is not None:
        context.store.settings = replace(context.store.settings, lock_patience=timeout)
    pins = None if locked is None else read_lock_file(locked)
    names = names or tuple(pins or ())
    if not names:
        raise UsageError("no model is named", hint="zoo list shows what there is; or: --locked zoo.lock")
    entries, results = [], []
    for name in dict.fromkeys(names):  # all of them first: a typo in the last one costs no download
        try:
            if pins is None and (file := own_file(context, name, words["member"])) is not None:
                context.store.check_license(file.entry)
                results.append(Fetched(name, file))  # it is compiled where it lies, not copied
                continue
            entries.append(find_entry(context, name))
        except (NetworkError, LicenseRefused) as error:  # the Hub was asked what hf://… is
            results.append(Fetched(name, None, error))
    if any(words.values()) and not results and not any(e.task == "word-vectors" for e in entries):
        raise UsageError("--precision, --strict and --member are for word vectors", hint="Leave them out.")
    if dry_run:
        for entry in entries:
            context.store.check_license(entry)
        own = [Planned(r.name, "keep", r.model.entry.weights.urls[0], 0) for r in results if r.model]
        plan = [vars(row) for row in (*own, *plan_fetch(context.store, entries, pins=pins))]
        context.sink.answer(plan, lambda: plan_text(plan, context.store.home))
    else:
        results += fetch_models(context.store, entries, jobs=jobs, pins=pins, report=context.report)
        results = [compile_words(context, result, words) for result in results]
        models = [result.model for result in results if result.model is not None]
        rows = [{"name": m.entry.name, "path": str(m.path), "sha256": m.sha256} for m in models]
        if rows or context.sink.mode is Mode.JSON:
            lines = [f"{row['name']}  {row['path']}  sha256 {row['sha256'][:16]}…" for row in rows]
            context.sink.answer(rows, lambda: "\n".join(lines))
    failures = {result.name: result.error for result in results if result.error is not None}
    if failures:
        raise some_failed(failures, of=len(set(names)))


def compile_words(context: Context, fetched: Fetched, options: dict[str, Any]) -> Fetched:
    """What was fetched, its word vectors compiled; the error in its place where that failed."""
    if fetched.model is None or fetched.model.entry.task != "word-vectors":
        return fetched
    from zoo.store.parallel import Fetched
    from zoo.words.files import find_file, is_hub_file
    from zoo.words.loading import load_words

    try:
        model: LocalModel | None = fetched.model
        if is_hub_file(fetched.name):  # what it is, its bytes say, now that they are here
            model = find_file(fetched.name, context.store, member=options["member"])
        assert model is not None
        load_words(model, context.store, report=context.report, **options)
    except Interrupted:
        raise
    except ZooError as error:
        return Fetched(fetched.name, None, error)
    return fetched


def plan_text(plan: list[dict[str, Any]], home: Path) -> str:
    """What --dry-run prints: a line per model, how much would come, and how much room there is."""
    from zoo.store.disk import free_bytes

    rows = [{**row, "size": megabytes(row["bytes"] or None)} for row in plan]
    size = megabytes(sum(row["bytes"] or 0 for row in plan))
    unknown = " and files of unknown size" if None in (row["bytes"] for row in plan) else ""
    free = megabytes(free_bytes(home))
    return f"{table(rows, PLAN_COLUMNS)}\n\n{size}{unknown} to fetch; {free} free in {home}"


@command("zoo rm resnet18")
@click.argument("names", nargs=-1, required=True, type=ModelName())
def rm(context: Context, names: tuple[str, ...]) -> None:
    """Delete models from the store. Other models that share the bytes keep them."""
    entries = [find_entry(context, name) for name in names]
    rows = []
    for entry in entries:
        freed = context.store.remove(entry)
        shared = context.store.find(entry)
        stays = None if shared is None else str(shared.path)
        rows.append({"name": entry.name, "freed": freed, "shared": stays})
    context.sink.answer(rows, lambda: "\n".join(map(rm_line, rows)))


def rm_line(row: dict[str, Any]) -> str:
    """What became of one name."""
    gone = f"{megabytes(row['freed'])} freed" if row["freed"] else "was not in the store"
    if row["shared"] is None:
        return f"{row['name']}: {gone}"
    return f"{row['name']}: {gone if row['freed'] else 'nothing freed'}; stays, being shared: {row['shared']}"


@command("zoo verify --fix")
@click.argument("names", nargs=-1, type=ModelName())
@click.option("--fix", is_flag=True, help="Delete what is damaged and fetch it again.")
def verify(context: Context, names: tuple[str, ...], fix: bool) -> int:
    """Hash what the store holds again.

    Without NAMES everything is checked. Exit code 3 when something is damaged and was not mended.
    """
    entries = [find_entry(context, name) for name in names] or None
    verdicts = context.store.verify(entries, fix=fix, report=context.report)
    rows = [
        {
            "name": v.name,
            "state": v.state,
            "detail": v.detail,
            "path": None if v.path is None else str(v.path),
        }
        for v in verdicts
    ]
    bad = [row for row in rows if row["state"] in BAD]

    def human() -> str:
        faults = "".join(f"\n\n{row['name'] or row['path']}: {row['detail']}" for row in bad)
        mend = "" if fix or not bad else "\n\nzoo verify --fix fetches it again."
        return table(rows, VERIFY_COLUMNS) + faults + mend if rows else "The store is empty."

    context.sink.answer(rows, human)
    return 3 if bad else 0


def find_entry(context: Context, name: str) -> ModelEntry:
    """The entry of a name, of a file of word vectors, or of `hf://owner/repo[/FILE]`; brings no file.

    Raises UnknownModel.
    """
    from zoo.store.obtaining import find_model
    from zoo.words.files import entry_of, find_file, is_hub_file

    if is_hub_file(name) and context.store.find(entry_of(name, name)) is None:
        return entry_of(name, name)  # what it is, only its bytes say
    local = find_file(name, context.store, registered=context.registry, report=context.report)
    if local is not None:
        return local.entry
    return find_model(name, registry=context.registry, store=context.store)


def own_file(context: Context, name: str, member: str | None = None) -> LocalModel | None:
    """A file of word vectors on this machine, as a model; None for any other name. member: of a .zip."""
    from zoo.words.files import find_file, is_hub_file

    if is_hub_file(name):
        return None
    return find_file(name, context.store, registered=context.registry, member=member, report=context.report)


COMMANDS = {"list": list_models, "show": show, "fetch": fetch, "rm": rm, "verify": verify}
