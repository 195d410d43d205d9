"""The verbs that use a run or a model: predict, evaluate, embed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from zoo.cli.command import Choice, Context, ModelName, command
from zoo.cli.sink import table
from zoo.data.scanning import refuse_missing

FILES = click.Path(path_type=Path)


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


@command("zoo predict run photo.jpg more-photos/\nzoo predict resnet50 photo.jpg --top 5")
@click.argument("model", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, required=True, type=FILES)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes per file.")
@compute_options
def predict(context: Context, model: str, files: tuple[Path, ...], top: int, **options: Any) -> None:
    """Label files with a run or a model.

    A folder stands for the images in it. A plain model of `zoo list` predicts the classes it was trained on.
    """
    refuse_missing(files)
    from zoo.runs.classifier import load_classifier
    from zoo.runs.prediction import predict_files

    classifier = load_classifier(model, registry=context.registry, store=context.store, report=context.report)
    predictions = predict_files(classifier, files, top=top, report=context.report, **options)
    rows = [{**asdict(p), "path": str(p.path)} for p in predictions]

    def human() -> str:
        shown = [
            {
                "path": row["path"],
                "label": row["label"],
                "probability": f"{row['probability']:.3f}",
                "next": ", ".join(f"{g['label']} {g['probability']:.3f}" for g in row["top"][1:]),
            }
            for row in rows
        ]
        return table(shown, {"path": "FILE", "label": "LABEL", "probability": "P", "next": "THEN"})

    context.sink.answer(rows, human)


@command("zoo evaluate run photos/")
@click.argument("run", metavar="RUN|MODEL", type=ModelName())
@click.argument("data", type=FILES)
@click.option("--path-column", help="Column of a table that names the files.")
@click.option("--label-column", help="Column of a table that names the classes.")
@compute_options
def evaluate(context: Context, run: str, data: Path, **options: Any) -> None:
    """Measure a run on labelled data.

    Of a folder with train/, val/ and test/ the test part is taken, else val. Classes are matched by name.
    """
    refuse_missing([data])
    from zoo.runs.classifier import load_classifier
    from zoo.runs.evaluation import evaluate_classifier

    classifier = load_classifier(run, registry=context.registry, store=context.store, report=context.report)
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


@command("zoo embed resnet50 photos/ -o features.npz")
@click.argument("model", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, required=True, type=FILES)
@click.option("--out", "-o", required=True, type=FILES, help="features.npz or features.parquet")
@compute_options
def embed(context: Context, model: str, files: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Write feature vectors of files: what the classifier of a network sees."""
    from zoo.runs.embedding import check_suffix, embed_files, write_embeddings

    check_suffix(out)
    refuse_missing(files)
    from zoo.runs.classifier import load_classifier

    classifier = load_classifier(model, registry=context.registry, store=context.store, report=context.report)
    found = embed_files(classifier, files, store=context.store, report=context.report, **options)
    write_embeddings(found, out)
    count, width = found.features.shape
    facts = {"out": str(out), "files": count, "features": width}
    context.sink.answer(facts, lambda: f"{out}: {count} files, {width} features each")


COMMANDS = {"predict": predict, "evaluate": evaluate, "embed": embed}
