"""The verb `explain`: pictures of where a network looks, and the words that decide."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.options import Choice, ModelName
from zoo.cli.rows import open_rows
from zoo.cli.sink import Fit, Mode, printable, shorten, write_out
from zoo.cli.using import FILES, compute_options, gather, text_options
from zoo.data.listing import refuse_missing
from zoo.errors import DatasetError, Interrupted, UsageError
from zoo.events import Note

if TYPE_CHECKING:
    from zoo.answers.explaining.explanations import (
        Explanation,
        ImageExplanation,
        Neighbour,
        TextExplanation,
    )

METHODS = ("grad-cam", "occlusion")  # of zoo.answers.explaining.explainer, whose import costs that of torch
COLUMNS = {
    "path": "FILE",
    "label": "LABEL",
    "score": "SCORE",
    "hot": "HOT COVERED",
    "cold": "COLD COVERED",
    "confirmed": "CONFIRMED",
    "picture": "PICTURE",
    "alike": "LOOKS LIKE",
}
FIT = {"alike": Fit.TEXT, "cold": Fit.DROP, "hot": Fit.DROP, "path": Fit.PATH, "picture": Fit.PATH}
MOST_WORDS = 12  # of each text that are shown


@command(
    "zoo explain run photo.jpg\n"
    "zoo explain run photos/val/bees --label ants --out pictures\n"
    "zoo explain run-reviews --text 'a gripping film'"
)
@click.argument("run", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, type=FILES)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME",
    help="A class, or a number, to explain; repeatable.  [default: what is predicted]",
)
@click.option(
    "--out",
    "-o",
    type=FILES,
    default=Path("explained"),
    show_default=True,
    help="Folder of the pictures.",
)
@click.option(
    "--method",
    type=Choice("method", lambda: METHODS),
    help="grad-cam is fast; occlusion covers parts of the image, or leaves out each word.  [default: "
    "grad-cam; of texts what is exact]",
)
@click.option(
    "--nearest",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Training items to show that are most alike.",
)
@click.option(
    "--data", type=FILES, help="Where the training data lie.  [default: their name, here or beside the run]"
)
@text_options
@compute_options
def explain(
    context: Context,
    run: str,
    files: tuple[Path, ...],
    labels: tuple[str, ...],
    out: Path,
    method: Any,
    nearest: int,
    data: Path | None,
    **options: Any,
) -> int:
    """See why a run answers as it does.

    Of photographs: a picture with a map of what speaks for the class, and the check: how probable the class
    still is once the hottest or the coldest fifth of the map is covered. Of texts: what each word adds. And
    the training items that the network sees as most alike. A file that cannot be read is a row with its
    error, and the exit code is then 5.
    """
    if data is not None:
        refuse_missing([data])
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and pictures go into a folder", hint="Another one: --out FOLDER")
    target = context.find_target("explain", run, others=files)
    items = gather(context, target, files, options)
    from zoo.answers.explaining.explainer import Wishes, explain_items
    from zoo.answers.explaining.neighbours import training_items
    from zoo.runs.classifier import load_classifier
    from zoo.runs.record import read_record
    from zoo.targets import RunFolder

    context.sink.details = False
    trained: Sequence[Any] = ()
    if isinstance(target, RunFolder) and nearest:
        record = read_record(target.path)
        trained = training_items(target.path, record, data, report=context.report)
    elif data is not None:
        raise UsageError("--data needs a run and --nearest above 0", hint="Leave it out.")
    classifier = load_classifier(
        target, store=context.store, registry=context.registry, report=context.report
    )
    wishes = Wishes(labels, method, trained, nearest, options["device"], options["on_bad"])
    found = explain_items(classifier, items, wishes, store=context.store, report=context.report)
    if classifier.reader is not None:
        failed = _print_texts(context, found)
    else:
        failed = _print_images(context, found, items, out, alike=bool(trained))
    _next(context, run, files, classifier.classes, labels)
    return DatasetError.exit_code if failed else 0


def _print_images(
    context: Context, found: Iterator[Explanation], places: Sequence[object], out: Path, *, alike: bool
) -> int:
    """Write every picture and print its row; returns how many images cannot be read."""
    from zoo.answers.explaining.drawing import write_picture
    from zoo.answers.explaining.explanations import ImageExplanation

    columns = {key: name for key, name in COLUMNS.items() if alike or key != "alike"}
    widths = {"path": max((len(str(getattr(place, "place", place))) for place in places), default=0)}
    rows = open_rows(context.sink, columns, FIT, widths, csv=False)
    taken: set[Path] = set()
    failed = unsure = done = 0
    try:
        for one in found:
            assert isinstance(one, ImageExplanation)
            picture = None if one.error is not None else write_picture(one, out, taken)
            facts = {**one.facts, "picture": None if picture is None else str(picture)}
            rows.add(facts, _image_row(one, picture))
            failed, done = failed + (one.error is not None), done + 1
            unsure += one.error is None and not (one.check and one.check.confirmed)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped after {done:,}; {out} has their pictures", hint="The same command begins again."
        ) from None
    finally:
        rows.close()
    if unsure:
        context.report(
            Note(
                f"{unsure:,} of {done - failed:,} maps are not confirmed: covering their hottest part costs "
                "hardly more than covering others",
                hint="Do not read them as reasons. Try: --method occlusion",
                level="warning",
            )
        )
    return failed


def _image_row(one: ImageExplanation, picture: Path | None) -> dict[str, Any]:
    """The cells of an image's row."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"path": str(one.path)}
    if one.error is not None:
        return row | {"label": f"cannot be read: {one.error}"}
    row |= {"label": one.label, "score": _figure(one.score), "picture": str(picture)}
    if one.check is None:
        row |= {"confirmed": "no map"}
    else:
        row |= {"hot": _figure(one.check.hot), "cold": _figure(one.check.cold)}
        row |= {"confirmed": "yes" if one.check.confirmed else "no"}
    return row | {
        "alike": ", ".join(f"{near.label} {near.path.name} {near.distance:.2f}" for near in one.nearest)
    }


def _print_texts(context: Context, found: Iterator[Explanation]) -> int:
    """Print every text with its words, or one JSON document; no text is unreadable."""
    from zoo.answers.explaining.explanations import TextExplanation

    if context.sink.mode is Mode.JSON:
        rows = open_rows(context.sink, {}, {}, {}, csv=False)
        try:
            for one in found:
                rows.add(one.facts, {})
        finally:
            rows.close()
        return 0
    first = True
    for one in found:
        assert isinstance(one, TextExplanation)
        context.sink.close()
        write_out(("" if first else "\n") + "\n".join(_text_lines(one)))
        first = False
    return 0


def _text_lines(one: TextExplanation) -> Iterator[str]:
    """A text in lines: its answer, its words from what speaks most for it to what speaks most against."""
    width = _width()
    fit: Callable[[str], str] = lambda line: line if width is None else shorten(line, width, Fit.TEXT)  # noqa: E731
    head = f"{one.path}: {one.label} {_figure(one.score)} ({one.method})"
    yield fit(f"{head}  {' '.join(one.text.split())}")
    weighed = sorted((w for w in one.words if w.weight is not None), key=lambda w: -(w.weight or 0.0))
    if not weighed:
        yield "  no word is known: the answer means nothing"
    kept = sorted(weighed, key=lambda w: -abs(w.weight or 0.0))[:MOST_WORDS]
    longest = max((abs(word.weight or 0.0) for word in kept), default=1.0) or 1.0
    for word in weighed:
        if word in kept:
            weight = word.weight or 0.0
            bar = ("+" if weight >= 0 else "-") * max(1, round(10 * abs(weight) / longest))
            how = "" if word.how in ("known", "new") else f"  (read by {word.how})"
            times = f" x{word.count}" if word.count > 1 else ""
            yield f"  {weight:+8.3f}  {bar:<10}  {word.word}{times}{how}"
    if len(weighed) > len(kept):
        yield f"  … and {len(weighed) - len(kept)} words that weigh less"
    for how, what in (("skipped", "not known"), ("cut", "beyond the words that are read")):
        if names := [word.word for word in one.words if word.how == how and word.weight is None]:
            yield fit(f"  {what}: {', '.join(names)}")
    for near in one.nearest:
        yield fit(f"  like {near.distance:.2f}  {_near_text(near)}")


def _near_text(near: Neighbour) -> str:
    return f"{near.label}  {near.path}  {' '.join((near.text or '').split())}"


def _next(
    context: Context, run: str, files: Sequence[Path], classes: Sequence[str], labels: Sequence[str]
) -> None:
    """What to type next, for a person."""
    if len(classes) < 2 or labels or context.sink.mode is not Mode.HUMAN:
        return
    named = shlex.join(str(file) for file in files[:1]) or "--text '…'"
    click.echo(
        printable(f"Next: zoo explain {shlex.quote(run)} {named} --label {shlex.quote(classes[0])}"), err=True
    )


def _figure(value: float | None) -> str:
    """A score with three digits behind the point, or four in all."""
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def _stdout() -> Any:
    import sys

    return sys.stdout


def _width() -> int | None:
    """The columns of the terminal; None in a pipe, where nothing is shortened."""
    import shutil

    return shutil.get_terminal_size().columns if _stdout().isatty() else None


COMMANDS = {"explain": explain}
