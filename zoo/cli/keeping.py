"""The verbs about the store itself: path, cache, prune, lock, bundle, unbundle."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.command import Context, ModelName, command
from zoo.cli.sink import many, table
from zoo.errors import UsageError
from zoo.store.disk.space import size_text

if TYPE_CHECKING:
    from zoo.store.upkeep.inventory import CacheReport

DAY = 86_400  # seconds
CACHE_COLUMNS = {"name": "NAME", "size": "SIZE", "days": "DAYS IDLE"}
PRUNE_COLUMNS = {"name": "NAME", "why": "WHY", "size": "SIZE", "days": "DAYS IDLE"}


@command("zoo path mobilenet_v2")
@click.argument("name", type=ModelName())
def path(context: Context, name: str) -> None:
    """Print where a model's file is, fetched if it is not here: for scripts."""
    from zoo.targets import fetch_target

    local = fetch_target(context.find_model("path", name), context.store, report=context.report)
    context.sink.answer({"name": name, "path": str(local.path)}, lambda: str(local.path))


@command("zoo cache")
def cache(context: Context) -> None:
    """Show what the store holds, and what lies in other libraries' caches (never touched)."""
    from zoo.store.upkeep.inventory import report_cache

    found = report_cache(context.store)
    facts = {
        "home": str(found.home),
        "shared": [str(folder) for folder in found.shared],
        "models": [
            {"name": m.name, "bytes": m.bytes, "idle_days": round(m.idle / DAY, 1), "home": str(m.home)}
            for m in found.models
        ],
        "bytes": found.bytes,
        "free_bytes": found.free,
        "orphan_bytes": found.orphan_bytes,
        "partial_bytes": found.partial_bytes,
        "feature_bytes": found.feature_bytes,
        "foreign": [{"library": f.library, "path": str(f.path), "bytes": f.bytes} for f in found.foreign],
    }
    context.sink.answer(facts, lambda: "\n".join(cache_lines(found)))


def cache_lines(found: CacheReport) -> Iterator[str]:
    """Models, then folders, then what other libraries keep."""
    if found.models:
        rows = [
            {"name": m.name, "size": size_text(m.bytes), "days": round(m.idle / DAY, 1), "home": str(m.home)}
            for m in found.models
        ]
        yield table(rows, CACHE_COLUMNS | ({"home": "FOLDER"} if found.shared else {})) + "\n"
    features = f" and {size_text(found.feature_bytes)} of features" if found.feature_bytes else ""
    yield f"{found.home}: {size_text(found.bytes)} of models{features}; {size_text(found.free)} free"
    for folder in found.shared:
        yield f"{folder}: shared, only read"
    if found.partials:
        yield f"{many(len(found.partials), 'partial download')}, {size_text(found.partial_bytes)}"
    if found.orphans:
        left = f"{many(len(found.orphans), 'file')} that no model needs, {size_text(found.orphan_bytes)}"
        yield f"{left}: zoo prune deletes what is left over"
    for library, files in groupby(found.foreign, key=lambda file: file.library):
        sizes = [file.bytes for file in files]
        yield f"{library} keeps {many(len(sizes), 'file')}, {size_text(sum(sizes))}, which zoo never deletes"


@command("zoo prune --older-than 90 --dry-run")
@click.option(
    "--older-than", type=click.FloatRange(0), metavar="DAYS", help="Also models not used for so long."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def prune(context: Context, older_than: float | None, dry_run: bool) -> None:
    """Delete what no model needs: orphans, old partial downloads, and unused models if asked to."""
    from zoo.store.upkeep.pruning import plan_prune

    plan = plan_prune(context.store, older_than=None if older_than is None else older_than * DAY)
    pruned = plan if dry_run else plan.execute()
    rows = [
        {
            "name": p.name,
            "why": p.why,
            "bytes": p.bytes,
            "size": size_text(p.bytes),
            "days": round(p.idle / DAY, 1),
        }
        for p in pruned.items
    ]
    verb = "would go" if dry_run else "gone"

    def human() -> str:
        if not rows:
            return "Nothing to prune."
        return f"{table(rows, PRUNE_COLUMNS)}\n\n{size_text(pruned.bytes)} {verb}"

    (context.sink.answer if dry_run else context.sink.done)(rows, human)


@command("zoo lock mobilenet_v2 glove-wiki-gigaword-50 > zoo.lock")
@click.argument("names", nargs=-1, required=True, type=ModelName())
def lock(context: Context, names: tuple[str, ...]) -> None:
    """Print a lock file: what each name means, down to the sha256, for: zoo fetch --locked zoo.lock"""
    import json

    from zoo.store.trust.lock_file import write_lock_file
    from zoo.targets import VectorFile, describe_target
    from zoo.words.own_files import safe_name

    targets = [context.find_model("lock", name) for name in names]
    for target in targets:  # another folder has another file of that name
        if isinstance(target, VectorFile) and target.name != safe_name(target.path.name):
            add = f"zoo registry add {shlex.quote(target.name)} --to registry.yaml"
            raise UsageError(
                f"{target.name}: a lock file names models, not paths",
                hint=f"Give it an entry of its own: {add}",
            )
    entries = [describe_target(target, context.store, report=context.report) for target in targets]
    text = write_lock_file({e.name: context.store.pin(e, report=context.report) for e in entries})
    context.sink.answer(json.loads(text), lambda: text.rstrip("\n"))


@command("zoo bundle mobilenet_v2 run -o models.tar")
@click.argument("names", nargs=-1, required=True, metavar="NAME|RUN…", type=ModelName())
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The tar file to write.")
def bundle(context: Context, names: tuple[str, ...], out: Path) -> None:
    """Pack models and runs into one file for a machine without network."""
    from zoo.runs.record import read_record
    from zoo.store.bundles.packing import bundle as write_bundle
    from zoo.targets import RunFolder, describe_target

    targets = [context.find_target("bundle", name) for name in dict.fromkeys(names)]
    runs = list(dict.fromkeys(target.path for target in targets if isinstance(target, RunFolder)))
    records = [read_record(run) for run in runs]  # on texts, or from scratch, a run has all that it needs
    trained = [record for record in records if record.weights_sha256 is not None]
    for record in trained:
        context.store.check_license(record.entry)
    wanted = [record.entry for record in trained if record.text is None]
    wanted += [
        describe_target(target, context.store, report=context.report)
        for target in targets
        if not isinstance(target, RunFolder)
    ]
    entries = list({entry.name: entry for entry in wanted}.values())
    write_bundle(context.store, entries, out, runs=runs, report=context.report)
    facts = {"out": str(out), "models": [entry.name for entry in entries], "runs": [str(run) for run in runs]}
    size = size_text(out.stat().st_size)
    packed = f"{many(len(entries), 'model')}, {many(len(runs), 'run')}"
    context.sink.done(facts, lambda: f"{out}: {packed}, {size}")


@command("zoo unbundle models.tar --runs-to runs")
@click.argument("archive", type=click.Path(path_type=Path))
@click.option(
    "--runs-to", type=click.Path(path_type=Path), default=Path(), help="Folder for its runs.  [default: .]"
)
def unbundle(context: Context, archive: Path, runs_to: Path) -> None:
    """Take the models and runs of a bundle; refused as a whole if anything in it is odd."""
    from zoo.store.bundles.unpacking import unbundle as read_bundle

    found = read_bundle(
        context.store, archive, runs_to=runs_to, registries=context.registries, report=context.report
    )
    facts = {"models": list(found.models), "runs": [str(run) for run in found.runs]}
    context.sink.done(facts, lambda: "\n".join([*found.models, *map(str, found.runs)]))


COMMANDS = {
    "path": path,
    "cache": cache,
    "prune": prune,
    "lock": lock,
    "bundle": bundle,
    "unbundle": unbundle,
}
