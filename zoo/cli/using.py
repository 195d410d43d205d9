"""The verbs that use a run or a model: predict, evaluate, embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from zoo.cli.command import Context, command
from zoo.cli.options import Choice, ModelName
from zoo.cli.sink import Fit, table
from zoo.data.listing import refuse_missing
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.data.pixels.batches import OnBad
    from zoo.data.texts import Text

FILES = click.Path(path_type=Path)
STDIN = Path("-")
FIT = {"next": Fit.TEXT, "text": Fit.TEXT, "path": Fit.PATH}
POOLINGS = ("mean", "tfidf", "sif")  # of zoo.words.texts.pooling, whose import costs 0.2 s


def compute_options(function: Any) -> Any:
    """Where and how to compute."""
    on_bad = Choice("choice", lambda: ("skip", "stop"))
    options: dict[str, dict[str, Any]] = {
        "--device": {"default": "auto", "metavar": "auto|cpu|cuda|cuda:N|mps", "help": "Where to compute."},
        "--batch-size": {"type": click.IntRange(1), "default": 32, "help": "Files per step."},
        "--on-bad": {"type": on_bad, "default": "skip", "help": "What to do with unreadable files."},
    }
    for name, settings in options.items():
        function = click.option(name, show_default=True, **settings)(function)
    return function


def text_options(function: Any) -> Any:
    """Which texts there are in files."""
    for option in (
        click.option("--text-column", help="Column of a table that holds the texts."),
        click.option(
            "--whole-files/--lines",
            default=None,
            help="A file is one text, or has one per line.  [default: as the run was trained]",
        ),
        click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text itself; repeatable."),
    ):
        function = option(function)
    return function


@command(
    "zoo predict run photo.jpg more-photos/\n"
    "zoo predict mobilenet_v2 photo.jpg --top 5\n"
    "zoo predict run-reviews new-reviews.txt --text 'a gripping film'"
)
@click.argument("model", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, type=FILES)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes per item.")
@text_options
@compute_options
def predict(
    context: Context, model: str, files: tuple[Path, ...], top: int, on_bad: str, **options: Any
) -> None:
    """Label files or texts with a run or a model.

    A folder stands for the images in it. A plain model of `zoo list` predicts the classes it was trained on.
    A run on texts takes files with a text per line, tables, and - for standard input.
    """
    target = context.find_target("predict", model, others=files)
    refuse_missing([path for path in files if path != STDIN])
    texts, wishes = take_text_options(options)
    refuse_nothing(files, texts)
    from zoo.runs.classifier import load_classifier
    from zoo.runs.using.prediction import predict_files, predict_texts

    classifier = load_classifier(target, store=context.store, report=context.report)
    if classifier.reader is None:
        refuse_texts(classifier.name, texts, wishes)
        images = predict_files(
            classifier, files, top=top, on_bad=cast("OnBad", on_bad), report=context.report, **options
        )
        rows = [{**asdict(p), "path": str(p.path)} for p in images]
    else:
        items = gather_texts(context, files, texts, wishes, layout=classifier.layout)
        labelled = predict_texts(classifier, items, top=top, report=context.report, **options)
        rows = [{**asdict(p), "path": str(p.path)} for p in labelled]
    context.sink.answer(rows, lambda: table([shown(row) for row in rows], columns_of(rows), FIT))


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A prediction as a line of the table; one that means nothing says so."""
    line = {
        "path": row["path"],
        "label": row["label"],
        "probability": f"{row['probability']:.3f}",
        "next": ", ".join(f"{guess['label']} {guess['probability']:.3f}" for guess in row["top"][1:]),
    }
    if "text" in row:
        known = f"{row['known']}/{row['words']}" if row["known"] else "none: means nothing"
        line |= {"known": known, "text": " ".join(row["text"].split())}
    return line


def columns_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The columns of a table of predictions: a text stands last, where a terminal cuts it."""
    columns = {"path": "FILE", "label": "LABEL", "probability": "PROBABILITY"}
    return columns | (
        {"known": "KNOWN", "text": "TEXT"} if rows and "text" in rows[0] else {"next": "NEXT BEST"}
    )


def take_text_options(options: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The texts that were typed, and the options of `list_texts`, taken out of all options."""
    texts = options.pop("texts")
    return texts, {name: options.pop(name) for name in ("whole_files", "text_column")}


def refuse_nothing(files: Sequence[Path], texts: Sequence[str]) -> None:
    """Raise UsageError where there is nothing to look at."""
    if not files and not texts:
        raise UsageError("no files and no texts", hint="Name files or folders, or give a text: --text '…'")


def refuse_texts(name: str, texts: Sequence[str], wishes: dict[str, Any]) -> None:
    """Raise UsageError for texts given to a model of images."""
    if texts or any(value is not None for value in wishes.values()):
        raise UsageError(f"{name} takes images", hint="Name image files or folders instead of texts.")


def gather_texts(
    context: Context,
    files: Sequence[Path],
    texts: Sequence[str],
    wishes: dict[str, Any],
    *,
    layout: str | None = None,
) -> list[Text]:
    """The texts that were typed, those of standard input for -, and those in files."""
    from zoo.data.names import safe_text
    from zoo.data.texts import Text, list_texts

    whole = wishes["whole_files"]
    whole = layout == "files" if whole is None else whole
    typed = [Text(Path(f"text:{number}"), safe_text(text)) for number, text in enumerate(texts, 1)]
    if not files:
        return typed
    found, notes = list_texts(files, whole_files=whole, text_column=wishes["text_column"])
    for note in notes:
        context.report(note)
    return typed + found


@command("zoo evaluate run photos/")
@click.argument("run", metavar="RUN|MODEL", type=ModelName())
@click.argument("data", type=FILES)
@click.option("--path-column", help="Column of a table that names the files.")
@click.option("--text-column", help="Column of a table that holds the texts.")
@click.option("--label-column", help="Column of a table that names the classes.")
@compute_options
def evaluate(context: Context, run: str, data: Path, **options: Any) -> None:
    """Measure a run on labelled data.

    Of a folder with train/, val/ and test/ the test part is taken, else val. Classes are matched by name.
    For a run on texts DATA is what `zoo finetune` takes.
    """
    target = context.find_target("evaluate", run, others=[data])
    refuse_missing([data])
    from zoo.runs.classifier import load_classifier
    from zoo.runs.using.evaluation import evaluate_classifier

    classifier = load_classifier(target, store=context.store, report=context.report)
    found = evaluate_classifier(classifier, data, report=context.report, **options)

    def human() -> str:
        top5 = "" if found.top5 is None else f", top-5 {found.top5:.4f}"
        skipped = f", {found.skipped} skipped" if found.skipped else ""
        present = [
            i for i, row in enumerate(found.confusion) if sum(row) or any(r[i] for r in found.confusion)
        ]
        scores = [
            {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in asdict(found.per_class[i]).items()}
            for i in present
        ]
        counts = [
            {"true": found.classes[i], **{str(j): found.confusion[i][j] for j in present}} for i in present
        ]
        parts = [
            f"accuracy {found.accuracy:.4f} "
            f"(95 % interval {found.accuracy_low:.4f} to {found.accuracy_high:.4f}){top5}, "
            f"{found.items} items{skipped}",
            table(
                scores,
                {
                    "label": "CLASS",
                    "precision": "PRECISION",
                    "recall": "RECALL",
                    "f1": "F1",
                    "support": "ITEMS",
                },
            ),
            table(counts, {"true": "TRUE \\ PREDICTED", **{str(j): found.classes[j] for j in present}}),
        ]
        return "\n\n".join(parts[: 3 if len(present) <= 20 else 2])

    context.sink.answer(asdict(found), human)


@command(
    "zoo embed mobilenet_v2 photos/ -o features.npz\n"
    "zoo embed glove-wiki-gigaword-100 texts.txt --pooling sif -o vectors.parquet"
)
@click.argument("model", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, type=FILES)
@click.option("--out", "-o", required=True, type=FILES, help="features.npz or features.parquet")
@click.option(
    "--pooling",
    type=Choice("pooling", lambda: POOLINGS),
    help="How word vectors become one of a text.  [default: mean]",
)
@click.option(
    "--unknown", metavar="POLICY", help="What to do with unknown words, fold+hyphen+ngrams.  [default: skip]"
)
@click.option("--member", metavar="FILE", help="Which file of a .zip of word vectors.")
@text_options
@compute_options
def embed(
    context: Context,
    model: str,
    files: tuple[Path, ...],
    out: Path,
    pooling: str | None,
    unknown: str | None,
    member: str | None,
    on_bad: str,
    **options: Any,
) -> None:
    """Write feature vectors of files or texts.

    Of a network or a run: what its classifier sees. Of word vectors: the mean of each text's words.
    """
    from zoo.runs.using.embedding import (
        check_suffix,
        embed_by_vectors,
        embed_files,
        embed_texts,
        write_embeddings,
    )

    check_suffix(out)
    target = context.find_target("embed", model, member=member, others=files)
    refuse_missing([path for path in files if path != STDIN])
    texts, wishes = take_text_options(options)
    refuse_nothing(files, texts)
    from zoo.runs.classifier import load_classifier, model_licenses
    from zoo.targets import KINDS, RunFolder, fetch_target, kind_of

    if not isinstance(target, RunFolder) and kind_of(target) != "images":
        from zoo.words.loading import load_words

        local = fetch_target(target, context.store, report=context.report)
        vectors = load_words(local, context.store, member=member, report=context.report)
        licenses = model_licenses(local.entry)
        items = gather_texts(context, files, texts, wishes)
        found = embed_by_vectors(
            vectors, items, pooling=pooling or "mean", policy=unknown or "skip", report=context.report
        )
    else:
        if pooling or unknown:
            raise UsageError(
                f"--pooling and --unknown need word vectors, and {model} {KINDS[kind_of(target)].what}",
                hint="Leave them out. Word vectors: zoo list --task word-vectors",
            )
        classifier = load_classifier(target, store=context.store, report=context.report)
        licenses = classifier.licenses
        if classifier.reader is None:
            refuse_texts(classifier.name, texts, wishes)
            settings = {"store": context.store, "on_bad": cast("OnBad", on_bad), **options}
            found = embed_files(classifier, files, report=context.report, **settings)
        else:
            items = gather_texts(context, files, texts, wishes, layout=classifier.layout)
            found = embed_texts(classifier, items, report=context.report, **options)
    write_embeddings(found, out, licenses)
    count, width = found.features.shape
    lost = None if found.known is None else int((found.known == 0).sum())
    facts = {"out": str(out), "files": count, "features": width, **licenses}
    facts |= {} if lost is None else {"without_known_words": lost}
    noun = ("file" if lost is None else "text") + "s" * (count != 1)
    context.sink.done(facts, lambda: f"{out}: {count:,} {noun}, {width:,} features each")


COMMANDS = {"predict": predict, "evaluate": evaluate, "embed": embed}
