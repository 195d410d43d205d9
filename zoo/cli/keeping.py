"""The verbs about the store: path, cache, prune, rm, verify. None of them imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.options import ModelName
from zoo.cli.sink import Fit, many, table
from zoo.errors import Offline
from zoo.store.disk.blobs import is_linked
from zoo.store.disk.space import size_text

if TYPE_CHECKING:
    from zoo.catalogue.entry import ModelEntry
    from zoo.store.upkeep.inventory import CacheReport

DAY = 86_400  # seconds
CACHE_COLUMNS = {"name": "NAME", "size": "SIZE", "days": "DAYS IDLE"}
FEATURES = "features"
BAD = ("damaged", "missing")  # what verify ends with exit code 3 for
VERIFY_COLUMNS = {"name": "NAME", "state": "STATE", "kind": "KIND", "path": "FILE"}
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
        "export_bytes": found.export_bytes,
        "hash_bytes": found.hash_bytes,
        "foreign": [{"library": f.library, "path": str(f.path), "bytes": f.bytes} for f in found.foreign],
    }
    context.sink.answer(facts, lambda: "\n".join(_cache_lines(found)))


def _cache_lines(found: CacheReport) -> Iterator[str]:
    """Models, then folders, then what other libraries keep."""
    if found.models:
        rows = [
            {"name": m.name, "size": size_text(m.bytes), "days": round(m.idle / DAY, 1), "home": str(m.home)}
            for m in found.models
        ]
        yield table(rows, CACHE_COLUMNS | ({"home": "FOLDER"} if found.shared else {})) + "\n"
    computed = {"features": found.feature_bytes, "exports": found.export_bytes, "hashes": found.hash_bytes}
    more = "".join(f", {size_text(size)} of {what}" for what, size in computed.items() if size)
    yield f"{found.home}: {size_text(found.bytes)} of models{more}; {size_text(found.free)} free"
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
    "--older-than",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Also models, features, exports and hashes not used for so long.",
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


@command("zoo rm mobilenet_v2")
@click.argument("names", nargs=-1, required=True, type=ModelName())
def rm(context: Context, names: tuple[str, ...]) -> None:
    """Delete models from the store. Other models that share the bytes keep them."""
    from zoo.targets import describe_target

    context.store.offline = True  # nobody is asked about what is to go
    entries: dict[str, ModelEntry | None] = {}
    for name, target in {name: context.find_model("rm", name) for name in names}.items():
        try:
            entries[name] = describe_target(target, context.store, report=context.report)
        except Offline:  # of a repository that was never fetched there is nothing to delete
            entries[name] = None
    rows = []
    for name, entry in entries.items():
        row: dict[str, Any] = {"name": name, "freed": 0, "shared": None, "needed": 0, "linked": 0}
        if entry is not None:
            files = {path: path.stat().st_size for path in context.store.own_files(entry)}
            linked = {path for path in files if is_linked(path)}
            row |= {"name": entry.name, "freed": context.store.remove(entry, report=context.report)}
            shared = context.store.find(entry)
            row["shared"] = None if shared is None else str(shared.path)
            row["needed"] = sum(size for path, size in files.items() if path.exists())
            row["linked"] = sum(files[path] for path in linked if not path.exists())
        rows.append(row)
    context.sink.done(rows, lambda: "\n".join(map(_rm_line, rows)))


def _rm_line(row: dict[str, Any]) -> str:
    """What became of one name."""
    needed, linked = row["needed"], row["linked"]
    stays = [f"stays, being shared: {row['shared']}"] if row["shared"] is not None else []
    stays += [f"{size_text(needed)} stay, for another model needs them"] if needed else []
    stays += [f"{size_text(linked)} stay on the disk, for a link leads to them"] if linked else []
    gone = f"{size_text(row['freed'])} freed" if row["freed"] else "nothing freed"
    if not row["freed"] and not stays:
        gone = "was not in the store"
    return "; ".join([f"{row['name']}: {gone}", *stays])


@command("zoo verify --fix")
@click.argument("names", nargs=-1, type=ModelName())
@click.option("--fix", is_flag=True, help="Delete what is damaged and fetch it again.")
def verify(context: Context, names: tuple[str, ...], fix: bool) -> int:
    """Hash what the store holds again.

    Without NAMES everything is checked, features of images as well. Exit code 3 when something is damaged and
    was not mended.
    """
    from zoo.store.upkeep.verification import verify_store
    from zoo.targets import describe_target

    targets = [context.find_model("verify", name) for name in names]
    entries = [describe_target(target, context.store, report=context.report) for target in targets] or None
    verdicts = verify_store(context.store, entries, fix=fix, report=context.report)
    rows = [
        {
            "name": v.name,
            "state": v.state,
            "kind": v.kind,
            "detail": v.detail,
            "path": None if v.path is None else str(v.path),
        }
        for v in verdicts
    ]
    rows += [] if entries else list(_feature_rows(context, fix=fix))
    bad = [row for row in rows if row["state"] in BAD]

    def human() -> str:
        faults = "".join(f"\n\n{row['name'] or row['path']}: {row['detail']}" for row in bad)
        mend = (
            "" if fix or not bad else f"\n\nzoo verify --fix {_mending({str(row['kind']) for row in bad})}."
        )
        return (
            table(rows, VERIFY_COLUMNS, {"path": Fit.PATH}) + faults + mend if rows else "The store is empty."
        )

    context.sink.answer(rows, human)
    return 3 if bad else 0


def _mending(kinds: set[str]) -> str:
    """What --fix does about damaged files of some kinds."""
    fetches = [] if kinds == {FEATURES} else ["fetches it again"]
    return " and ".join([*fetches, *(["takes damaged features out"] if FEATURES in kinds else [])])


def _feature_rows(context: Context, *, fix: bool) -> Iterator[dict[str, Any]]:
    """A row for each damaged file of features, and one for those that are whole."""
    from zoo.features.verification import verify_features

    whole, count = 0, 0
    for verdict in verify_features(context.store.home, fix=fix, report=context.report):
        whole, count = whole + verdict.rows, count + 1
        if verdict.state != "whole":
            found = {"name": None, "state": verdict.state, "kind": FEATURES, "detail": verdict.detail}
            yield found | {"path": str(verdict.path)}
    if whole:
        detail = f"{whole:,} features in {many(count, 'file')}"
        folder = str(context.store.home / "features")
        yield {"name": None, "state": "whole", "kind": FEATURES, "detail": detail, "path": folder}


COMMANDS = {"path": path, "cache": cache, "prune": prune, "rm": rm, "verify": verify}
