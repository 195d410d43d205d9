"""The verbs that take models and runs to other machines: lock, bundle, unbundle."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from zoo.cli.command import Context, command
from zoo.cli.options import ModelName
from zoo.cli.sink import many
from zoo.errors import UsageError
from zoo.store.disk.space import size_text


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


COMMANDS = {"lock": lock, "bundle": bundle, "unbundle": unbundle}
