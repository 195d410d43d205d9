"""The verb fetch: several models side by side, planned, locked; word vectors compiled."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.options import ModelName, license_option, word_options
from zoo.cli.sink import Fit, Mode, table
from zoo.errors import (
    Interrupted,
    LicenseRefused,
    NetworkError,
    SomeFailed,
    StorageError,
    UsageError,
    ZooError,
)
from zoo.store.disk.space import free_bytes, size_text

if TYPE_CHECKING:
    from zoo.catalogue.entry import ModelEntry
    from zoo.store.fetching_many import Fetched, Planned
    from zoo.store.store import Store
    from zoo.store.trust.lock_file import Pin
    from zoo.targets import Model

PLAN_COLUMNS = {"name": "NAME", "action": "ACTION", "size": "SIZE", "url": "FROM"}


@command("zoo fetch mobilenet_v2 glove-wiki-gigaword-50 --jobs 2")
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
    from zoo.store.fetching_many import Fetched, fetch_models, plan_fetch
    from zoo.store.trust.lock_file import read_lock_file
    from zoo.targets import VectorFile, fetch_target

    if hosts:  # the variable: whatever opens an address in this process reads it
        os.environ["ZOO_ALLOW_HOST"] = ",".join([os.environ.get("ZOO_ALLOW_HOST", ""), *hosts])
    if timeout is not None:
        context.store.settings = replace(context.store.settings, lock_patience=timeout)
    pins = None if locked is None else read_lock_file(locked)
    names = names or tuple(pins or ())
    if not names:
        raise UsageError("no model is named", hint="zoo list shows what there is; or: --locked zoo.lock")
    asked = tuple(dict.fromkeys(names))
    targets: dict[str, Model] = {}
    entries: dict[str, ModelEntry] = {}
    ended: dict[str, Fetched] = {}
    for name in asked:  # all of them first: a typo in the last one costs no download
        try:
            target = targets[name] = context.find_model("fetch", name, member=words["member"])
            if pins is None and isinstance(target, VectorFile):
                file = fetch_target(target, context.store, report=context.report)
                context.store.check_license(file.entry)
                ended[name] = Fetched(name, file)  # it is compiled where it lies, not copied
            else:
                pin = None if pins is None else pins.get(name)
                entries[name] = _describe_pinned(target, pin, context.store)
        except ZooError as error:
            if _stops_all(error):
                raise
            ended[name] = Fetched(name, None, error)
    about_words = bool(ended) or any(entry.task == "word-vectors" for entry in entries.values())
    if any(words.values()) and not about_words:
        raise UsageError(
            "--precision, --strict, --member, --encoding and --limit are for word vectors",
            hint="Leave them out.",
        )
    if dry_run:
        planned = dict(zip(entries, plan_fetch(context.store, [*entries.values()], pins=pins), strict=True))
        planned |= {name: _planned_of(fetched) for name, fetched in ended.items()}
        plan = [_plan_row(planned[name]) for name in asked]
        context.sink.answer(plan, lambda: _plan_text(plan, context.store.home))
        _tell_failures({name: planned[name].error for name in asked}, "would fail")
        return
    fetched = fetch_models(context.store, [*entries.values()], jobs=jobs, pins=pins, report=context.report)
    ended |= zip(entries, fetched, strict=True)
    ended = {name: _compile_words(context, targets.get(name), ended[name], words) for name in asked}
    models = [row.model for row in ended.values() if row.model is not None]
    rows = [{"name": m.entry.name, "path": str(m.path), "sha256": m.sha256} for m in models]
    if rows or context.sink.mode is Mode.JSON:
        lines = [f"{row['name']}  {row['path']}  sha256 {row['sha256'][:16]}…" for row in rows]
        context.sink.done(rows, lambda: "\n".join(lines))
    _tell_failures({name: row.error for name, row in ended.items()}, "failed")


def _describe_pinned(target: Model, pin: Pin | None, store: Store) -> ModelEntry:
    """The entry of a model; of a repository, as it was at the commit that a lock file pins."""
    from msgspec import structs

    from zoo.store.disk.hub_records import read_hub_entry
    from zoo.targets import HubModel, describe_target

    if pin is None or pin.revision is None or not isinstance(target, HubModel):
        return describe_target(target, store)
    for blobs, _ in store.places:
        kept = read_hub_entry(blobs.folder.parent, target.name)
        if kept is not None and kept.weights.urls[0] == pin.url:
            return kept
    then = HubModel(f"{target.name.partition('@')[0]}@{pin.revision}")
    return structs.replace(describe_target(then, store), name=target.name)


def _stops_all(error: ZooError) -> bool:
    """Whether an error about one name ends the whole command: a typo, or Ctrl-C; no network, no licence."""
    return isinstance(error, Interrupted) or (
        isinstance(error, UsageError) and not isinstance(error, LicenseRefused)
    )


def _tell_failures(errors: Mapping[str, ZooError | None], what: str) -> None:
    """Raise what went wrong when every model had its turn: the only one's own, or one that lists all."""
    failures = {name: error for name, error in errors.items() if error is not None}
    if len(errors) == 1:
        for error in failures.values():
            raise error
    if failures:
        again = [name for name, error in failures.items() if isinstance(error, NetworkError | StorageError)]
        raise SomeFailed(
            f"{len(failures)} of {len(errors)} models {what}",
            failures,
            hint=f"zoo fetch {shlex.join(again)} tries again." if again and what == "failed" else None,
        )


def _compile_words(
    context: Context, target: Model | None, fetched: Fetched, options: dict[str, Any]
) -> Fetched:
    """What was fetched, its word vectors compiled; the error in its place where that failed."""
    if fetched.model is None or fetched.model.entry.task != "word-vectors":
        return fetched
    from zoo.targets import HubFile, fetch_target
    from zoo.words.loading import load_words

    try:
        model = fetched.model
        if isinstance(target, HubFile):  # what it is, its bytes say, now that they are here
            model = fetch_target(target, context.store)
        load_words(model, context.store, report=context.report, **options)
    except Interrupted:
        raise
    except ZooError as error:
        return replace(fetched, model=None, error=error)
    return fetched


def _planned_of(fetched: Fetched) -> Planned:
    """A file that lies here already, or what nobody could be asked about, as --dry-run shows it."""
    from zoo.store.fetching_many import Planned

    if fetched.model is None:
        return Planned(fetched.name, fetched.name, error=fetched.error)
    return Planned(fetched.name, fetched.model.entry.weights.urls[0], "keep", 0)


def _plan_row(row: Planned) -> dict[str, Any]:
    """A row of --dry-run, as `--json` promises it."""
    action = "fail" if row.error else row.action
    return {
        "name": row.name,
        "action": action,
        "url": row.url,
        "bytes": row.bytes,
        "error": None if row.error is None else row.error.message,
    }


def _plan_text(plan: list[dict[str, Any]], home: Path) -> str:
    """What --dry-run prints: a line per model, how much would come, and how much room there is."""
    rows = [{**row, "size": size_text(row["bytes"] or None)} for row in plan]
    size = size_text(sum(row["bytes"] or 0 for row in plan))
    unsized = any(row["bytes"] is None and row["action"] != "fail" for row in plan)
    unknown = " and files of unknown size" if unsized else ""
    free = size_text(free_bytes(home))
    return (
        f"{table(rows, PLAN_COLUMNS, {'url': Fit.PATH})}\n\n{size}{unknown} to fetch; {free} free in {home}"
    )


COMMANDS = {"fetch": fetch}
