"""The verbs about registry files, below `zoo registry`: lint, add, diff, schema."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, Group, command
from zoo.cli.listing import TASKS
from zoo.cli.options import Choice, ModelName
from zoo.cli.sink import many, paint
from zoo.errors import Offline, UsageError

if TYPE_CHECKING:
    from zoo.catalogue.differences import Change
    from zoo.catalogue.entry import ModelEntry
    from zoo.catalogue.linting import Lint
    from zoo.catalogue.problems import Problem

FILE = click.Path(path_type=Path)


@click.group(cls=Group, epilog="Start with: zoo registry lint FILE")
def registry() -> None:
    """Check, extend and compare registry files: what `--registry` and `$ZOO_REGISTRY` name."""


@command("zoo registry lint registry.yaml --online", short_help="Report what is wrong with registry files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=FILE)
@click.option("--online", is_flag=True, help="Ask every URL for its file, too: one byte of it.")
def lint(context: Context, files: tuple[Path, ...], online: bool) -> int:
    """Report everything that is wrong with registry files, and remark on what is worth a second look.

    Files that they name on this machine are hashed. Ends with 2 where there is a problem, else with 0.
    """
    from zoo.catalogue.linting import lint_files
    from zoo.store.upkeep.source_checks import check_places

    if online and context.store.offline:
        raise Offline("--online asks the network, and offline mode is on", hint="Leave one of them out.")
    check = partial(check_places, settings=context.store.settings, online=online)
    found = lint_files(files, check=check)
    rows = [row for one in found for row in _lint_rows(one)]
    facts = {
        "files": [{"file": str(one.path), "models": one.models} for one in found],
        "problems": [row for row in rows if row["kind"] == "problem"],
        "remarks": [row for row in rows if row["kind"] == "remark"],
    }

    def human() -> str:
        lines = [_row_text(row) for row in rows]
        for one in found:
            numbers = {"model": one.models, "problem": len(one.problems), "remark": len(one.remarks)}
            lines.append(f"{one.path}: {', '.join(many(n, what) for what, n in numbers.items())}")
        return "\n".join(lines)

    context.sink.answer(facts, human)
    return 2 if facts["problems"] else 0


def _lint_rows(found: Lint) -> list[dict[str, Any]]:
    """What was found in one file, line by line."""

    def row(kind: str, problem: Problem) -> dict[str, Any]:
        return {"file": str(found.path), **problem._asdict(), "kind": kind}

    rows = [row("problem", p) for p in found.problems] + [row("remark", p) for p in found.remarks]
    return sorted(rows, key=lambda row: row["line"])


def _row_text(row: dict[str, Any]) -> str:
    """FILE:LINE: FIELD: what, as editors jump to it."""
    place = f"{row['file']}:{row['line']}"
    remark = "remark" if row["kind"] == "remark" else ""
    hint = f" ({row['hint']})" if row["hint"] else ""
    return ": ".join(part for part in (place, remark, row["field"], row["what"]) if part) + hint


@command(
    "zoo registry add our-net.safetensors --to registry.yaml --like resnet18 --set 'classes=[ants, bees]'",
    short_help="Register a file: hash, size, commit, what it says of itself.",
)
@click.argument("source", metavar="PATH|hf://OWNER/REPO[@REV]/FILE|URL")
@click.option("--to", "target", required=True, metavar="FILE", type=FILE, help="The registry file to extend.")
@click.option("--name", help="Name of the entry.  [default: made of the file's]")
@click.option(
    "--like", type=ModelName(), help="Take architecture, preprocessing and classes from this model."
)
@click.option("--architecture", metavar="NAMESPACE/NAME", help="torchvision/NAME, timm/NAME, words/FORMAT.")
@click.option("--license", metavar="NAME", help="SPDX name.  [default: what the Hub says, else unknown]")
@click.option("--family", metavar="NAME", help="[default: that of the architecture]")
@click.option("--task", type=Choice("task", lambda: TASKS), help="What the model is for.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Any other field, as in YAML.")
@click.option("--dry-run", is_flag=True, help="Only print what would be added.")
def add(
    context: Context,
    source: str,
    target: Path,
    name: str | None,
    like: str | None,
    settings: tuple[str, ...],
    dry_run: bool,
    **options: str | None,
) -> None:
    """Register a file: its size and sha256, the commit on the Hub, and what it says about itself.

    Word vectors are recognised by their bytes. What nobody states is asked for; --set writes any field, as
    in --set input.size=288 --set 'input.mean=[0.5, 0.5, 0.5]'. The weights are put into their network before
    the entry is written at the end of FILE; what is in FILE stays as it is.
    """
    from zoo.catalogue.registry import entry_to_mapping
    from zoo.registering.adding import add_model, merge

    facts = merge({k: v for k, v in options.items() if v is not None}, *map(_read_setting, settings))
    added = add_model(
        source,
        target,
        store=context.store,
        name=name,
        like=None if like is None else _find_like(context, like),
        facts=facts,
        write=not dry_run,
        report=context.report,
    )
    document = {"file": str(target), "written": not dry_run, "entry": entry_to_mapping(added.entry)}
    (context.sink.answer if dry_run else context.sink.done)(document, added.text.rstrip)


def _find_like(context: Context, name: str) -> ModelEntry:
    """The entry of the model that --like names."""
    from zoo.targets import describe_target

    target = context.find_model("registry add --like", name)
    return describe_target(target, context.store, report=context.report)


def _read_setting(text: str) -> dict[str, Any]:
    """What --set states, nested.

    >>> _read_setting("input.size=288")
    {'input': {'size': 288}}
    """
    from zoo.catalogue.yaml_file import NotPlain, parse_yaml

    field, equals, value = text.partition("=")
    example = "Like this: --set input.size=288 --set 'classes=[ants, bees]'"
    if not equals or not all(field.split(".")):
        raise UsageError(f"{text!r} sets no field", hint=example)
    try:
        document, problems = parse_yaml(f"value: {value}")
    except NotPlain as error:
        raise UsageError(f"--set {field}: {error.problem.what}", hint=example) from error
    if problems or set(document) != {"value"}:
        what = problems[0].what if problems else "more than one value"
        raise UsageError(f"--set {field}: {what}", hint=problems[0].hint if problems else example)
    found: Any = document["value"]
    for part in reversed(field.split(".")):
        found = {part: found}
    return dict(found)


@command(
    "zoo registry diff registry.yaml proposed.yaml",
    short_help="Show what changed between two registry files.",
)
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
def diff(context: Context, before: Path, after: Path) -> None:
    """Show which entries were added, removed and changed, field by field.

    Where a hash changed, the same name means other bytes: that field comes first, with an exclamation mark.
    """
    from zoo.catalogue.differences import compare_registries
    from zoo.catalogue.registry_file import read_as_written

    found = compare_registries(read_as_written(before), read_as_written(after))
    changed = [
        {
            "name": name,
            "other_bytes": any(change.is_about_bytes for change in changes),
            "fields": [change._asdict() for change in changes],
        }
        for name, changes in found.changed.items()
    ]

    def human() -> str:
        lines = [f"+ {name}" for name in found.added] + [f"- {name}" for name in found.removed]
        for name, changes in found.changed.items():
            lines.append(f"~ {name}")
            lines += [_change_text(change) for change in changes]
        return "\n".join(lines) or "No entry differs."

    context.sink.answer({"added": found.added, "removed": found.removed, "changed": changed}, human)


def _change_text(change: Change) -> str:
    """One changed field on one line."""
    mark = paint("!", "red", sys.stdout) if change.is_about_bytes else " "
    warning = "  OTHER BYTES" if change.is_about_bytes else ""
    return f"{mark}   {change.field}: {shown(change.before)} → {shown(change.after)}{warning}"


def shown(value: Any) -> str:
    """A value as a reviewer reads it."""
    if value is None:
        return "(nothing)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@command("zoo registry schema > registry.schema.json", short_help="Print the JSON Schema of registry files.")
def schema(context: Context) -> None:
    """Print the JSON Schema of registry files, for editors.

    An editor with a YAML language server completes and checks a file whose first line is:
    # yaml-language-server: $schema=registry.schema.json
    """
    from zoo.catalogue.schema import registry_schema

    found = registry_schema()
    context.sink.answer(found, lambda: json.dumps(found, indent=2, ensure_ascii=False))


for one in (lint, add, diff, schema):
    registry.add_command(one)

COMMANDS = {"registry": registry}
