"""The verb `check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.command import Context, command
from zoo.cli.options import (
    ModelName,
    class_level_option,
    column_options,
    complete_from,
    device_option,
    group_by_option,
)
from zoo.cli.sink import Fit, table
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.choosing.checking.checker import DataCheck

_MOST_SUSPECTS = 10
_FINDINGS = {"title": "FOUND", "count": "TIMES", "example": "FOR INSTANCE"}
_SUSPECTS = {"item": "LOOK AT FIRST", "label": "CLASS", "why": "WHY"}


def _check_names(_: click.Context) -> list[str]:
    from zoo.choosing.checking.table import CHECKS

    return sorted({check.name for checks in CHECKS.values() for check in checks})


@command(
    "zoo check photos/\n"
    "zoo check photos/ --model mobilenet_v2 --page check.html\n"
    "zoo check photos/ --write cleaned.csv"
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=ModelName(),
    metavar="MODEL",
    help="Whose features show wrong labels.  [default: one that is here]",
)
@click.option(
    "--skip",
    "skipped",
    multiple=True,
    metavar="CHECK",
    shell_complete=complete_from(_check_names),
    help="Leave out a check; repeatable.",
)
@click.option(
    "--write",
    "manifest",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write a table without what is wrong.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write the findings with their pictures.",
)
@group_by_option
@column_options()
@class_level_option
@device_option
def check(
    context: Context,
    data: Path,
    model: str | None,
    skipped: tuple[str, ...],
    manifest: Path | None,
    page: Path | None,
    group_by: str | None,
    path_column: str | None,
    text_column: str | None,
    label_column: str | None,
    split_column: str | None,
    class_level: int | None,
    device: str,
) -> None:
    """Find what is wrong with labelled images or texts.

    DATA is what `zoo finetune` takes. Damaged files, copies in two parts or with two labels, placeholders,
    odd sizes, uneven classes; with a model, labels that are likely wrong and items unlike all others. Nothing
    is changed, moved or deleted.
    """
    from zoo.choosing.checking.checker import check as check_data
    from zoo.choosing.checking.manifest import write_manifest
    from zoo.choosing.checking.page import write_page

    if model is not None:
        context.find_model("check", model)
    for out in (manifest, page):
        _refuse_existing(out)
    found = check_data(
        data,
        model=model,
        skip=skipped,
        group_by=group_by,
        registry=context.registry,
        store=context.store,
        path_column=path_column,
        text_column=text_column,
        label_column=label_column,
        split_column=split_column,
        class_level=class_level,
        device=device,
        report=context.report,
    )
    written = None if manifest is None else write_manifest(found.evidence, found.culprits, manifest)
    if page is not None:
        write_page(found, page)
    facts = found.facts() | (
        {} if manifest is None else {"written": {"file": str(manifest), "items": written}}
    )

    def human() -> str:
        parts = list(_parts(found))
        if manifest is not None:
            left_out = len(found.dataset.items) - (written or 0)
            parts.append(
                f"{manifest}: {written:,} items, {left_out:,} left out\n"
                f"Next: zoo finetune MODEL {manifest} --out run"
            )
        if page is not None:
            parts.append(f"{page}: the findings with their pictures")
        return "\n\n".join(parts)

    context.sink.answer(facts, human)


def _refuse_existing(out: Path | None) -> None:
    """Raise UsageError for a file that is there, before anything is looked at."""
    if out is not None and out.exists():
        raise UsageError(f"{out} is there already", hint="Name another file: nothing is overwritten.")


def _parts(found: DataCheck) -> Iterator[str]:
    """What the data are, a line per kind of finding, the items to look at first."""
    name, dataset = found.evidence.name, found.dataset
    looked = "" if found.model is None else f", looked at with {found.model}"
    items = dataset.kind.count(len(dataset.items))
    yield f"{items} of {len(dataset.classes):,} classes{looked}, {found.seconds:.1f} s"
    rows = []
    for check in found.checks:
        findings = found.findings[check.name]
        first = findings[0]
        example = " ".join([*(name(item) for item in first.items[:1]), first.detail])
        rows.append({"title": check.title, "count": len(findings), "example": example})
    if rows:
        yield table(rows, _FINDINGS, {"example": Fit.TEXT})
    quiet = [check for check, findings in found.findings.items() if not findings]
    yield "\n".join(
        [
            *([f"Nothing found: {', '.join(quiet)}."] if quiet else []),
            *(f"Not checked, {check}: {why}." for check, why in found.unmade.items()),
        ]
    )
    if found.suspects:
        yield table(
            [
                {
                    "item": name(suspect.item),
                    "label": found.evidence.label(suspect.item),
                    "why": "; ".join(detail for _, detail in suspect.reasons),
                }
                for suspect in found.suspects[:_MOST_SUSPECTS]
            ],
            _SUSPECTS,
            {"item": Fit.PATH, "why": Fit.TEXT},
        )


COMMANDS = {"check": check}
