"""The verb `embed`: feature vectors of files or texts, in one process, in several, or by workers of Daft."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.launching import launch_several, refuse_several, together
from zoo.cli.options import Choice, ModelName, Place, refuse_options, typed_options
from zoo.cli.using import (
    backend_option,
    compute_options,
    gather,
    open_source,
    processes_option,
    refuse_pipes,
    text_options,
)
from zoo.data.names import natural_key, one_line
from zoo.errors import Interrupted, Offline, UsageError
from zoo.features.engine import PRECISIONS, Engine
from zoo.targets import RunFolder
from zoo.training.ranks import is_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zoo.runs.using.embedding import Embeddings
    from zoo.targets import Model

POOLINGS = ("mean", "tfidf", "sif")  # of zoo.words.texts.pooling, whose import costs 0.2 s
ENGINES = ("daft",)
_OF_ENGINE = ("workers", "gpus")
_WITH_FEATURES = ("out", "device", "precision", "on_bad")
_WITH_ENGINE = ("engine", *_OF_ENGINE, "out", "device", "precision", "batch_size")


@command(
    "zoo embed mobilenet_v2 photos/ -o features.npz\n"
    "zoo embed glove-wiki-gigaword-100 texts.txt --pooling sif -o vectors.parquet\n"
    "zoo embed mobilenet_v2 s3://bucket/photos/ --out features/ --engine daft --workers 8"
)
@click.argument("model", metavar="RUN|MODEL", type=ModelName())
@click.argument("files", nargs=-1, type=Place())
@click.option(
    "--out",
    "-o",
    required=True,
    type=Place(),
    help="features.npz or features.parquet; with --engine a new folder, or s3://BUCKET/FOLDER.",
)
@click.option(
    "--pooling",
    type=Choice("pooling", lambda: POOLINGS),
    help="How word vectors become one of a text.  [default: mean]",
)
@click.option(
    "--unknown",
    metavar="POLICY",
    help="What to do with unknown words, fold+hyphen+ngrams.  [default: apostrophe, then n-grams of a "
    "fastText .bin]",
)
@click.option("--member", metavar="FILE", help="Which file of a .zip of word vectors.")
@text_options
@compute_options
@backend_option
@click.option(
    "--precision",
    type=Choice("precision", lambda: PRECISIONS),
    default="fp32",
    show_default=True,
    help="Number format of a network for images: bf16 is used where it agrees with fp32.",
)
@processes_option
@click.option(
    "--engine",
    type=Choice("engine", lambda: ENGINES),
    help="Let workers of Daft compute the photographs of a folder, or of s3://BUCKET/FOLDER.  "
    "[needs: pip install 'transfer-zoo[daft]']",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="With --engine: workers, of all machines.  [default: one per GPU, or per CPU, of this machine]",
)
@click.option(
    "--gpus",
    type=click.FloatRange(0),
    metavar="N",
    help="With --engine: GPUs, or the part of one, that a worker has.  [default: 1 where there is one]",
)
def embed(
    context: Context,
    model: str,
    files: tuple[Path | str, ...],
    out: Path | str,
    engine: str | None,
    workers: int | None,
    gpus: float | None,
    **options: Any,
) -> None:
    """Write feature vectors of files or texts.

    Of a network or a run: what its classifier sees. Of word vectors: the mean of each text's words.
    """
    if engine is not None:
        _embed_by_workers(context, model, files, out, workers, gpus, options)
        return
    strange = [option for option in typed_options() if option.name in _OF_ENGINE]
    refuse_options(strange, "not go without --engine daft")
    places = [_local(place, model, files, out) for place in (*files, out)]
    _embed_here(context, model, tuple(places[:-1]), places[-1], **options)


def _local(place: Path | str, model: str, files: tuple[Path | str, ...], out: Path | str) -> Path:
    """A path. Raises UsageError for an address, with the command that reads it."""
    from zoo.data.listing import is_of_web

    if isinstance(place, Path):
        return place
    if is_of_web(place):
        raise UsageError(
            f"{one_line(place)} is an address, not a file", hint="Download it, and name the file."
        )
    words = [model, *map(str, files[:1] or ["PHOTOGRAPHS/"]), "--out"]
    folder = str(out) if isinstance(out, str) else str(out.with_suffix("")) + "/"
    again = f"zoo embed {' '.join(map(quote, [*words, folder]))} --engine daft"
    raise UsageError(
        f"{one_line(place)} is an address, and without --engine files of this machine are read and written",
        hint=f"With workers of Daft: {again}",
    )


def _embed_by_workers(
    context: Context,
    model: str,
    files: tuple[Path | str, ...],
    out: Path | str,
    workers: int | None,
    gpus: float | None,
    options: dict[str, Any],
) -> None:
    """The features of the photographs of a folder or of storage, as Parquet files."""
    from zoo.data.kinds import IMAGES
    from zoo.data.listing import address_of
    from zoo.runs.daft.engine import AT_ONCE, drop_sockets, embed_photographs, import_daft, plan_workers
    from zoo.runs.daft.photographs import check_free, list_photographs
    from zoo.runs.daft.places import check_places
    from zoo.runs.modalities.table import modality_of_target
    from zoo.runs.workers import Featurizer
    from zoo.store.disk.homes import online_again
    from zoo.targets import KINDS, kind_of

    strange = [option for option in typed_options() if option.name not in _WITH_ENGINE]
    refuse_options(strange, "not go with --engine daft")
    refuse_several("embed --engine daft")
    if len(files) != 1:
        raise UsageError(
            f"--engine daft takes one folder, or one address of storage, not {len(files)}",
            hint=f"Name what holds all: zoo embed {quote(model)} PHOTOGRAPHS/ --out features/ --engine daft",
        )
    data = files[0]
    target = context.find_target("embed", model, others=files)
    if kind_of(target) not in ("run", "images") or modality_of_target(target).kind is not IMAGES:
        what = "is a run on texts" if isinstance(target, RunFolder) else KINDS[kind_of(target)].what
        raise UsageError(
            f"--engine daft computes features of photographs, and {model} {what}",
            hint=f"Leave it out: zoo embed {quote(model)} TEXTS --out vectors.parquet",
        )
    check_places(data, out)
    import_daft()
    if context.store.offline and (place := address_of(data) or address_of(out)) is not None:
        raise Offline(
            f"offline mode is on, and {one_line(place)} is on the network",
            hint=f"Try again online: {online_again()}.",
        )
    batch_size = options["batch_size"] if _was_typed("batch_size") else None
    try:
        check_free(out)
        photographs = list_photographs(data, context.report)
        plan = plan_workers(options["device"], workers, gpus)
        featurizer = Featurizer(
            model,
            registry=context.registry,
            store=context.store if context.offline else None,
            device=options["device"],
            precision=options["precision"],
            batch_size=batch_size,
            threads=plan.threads,
        )
        found = embed_photographs(
            featurizer, photographs, out, plan, at_once=batch_size or AT_ONCE, report=context.report
        )
    except (KeyboardInterrupt, Interrupted) as stopped:
        drop_sockets()
        raise _stopped(out, stopped) from None
    facts: dict[str, Any] = {"out": str(out), "files": found.rows - found.failed, "failed": found.failed}
    facts |= {"features": found.width, **found.licenses, "backend": "torch", "precision": found.precision}
    _say(context, facts, "file", found.classes)


def _stopped(out: Path | str, stopped: BaseException) -> Interrupted:
    """What Ctrl-C and SIGTERM leave."""
    by, code = (stopped.message, stopped.exit_code) if isinstance(stopped, Interrupted) else ("stopped", 130)
    if isinstance(out, Path):
        return Interrupted(
            f"{by}: nothing was written", hint="The same command begins again.", exit_code=code
        )
    return Interrupted(
        f"{by}: whatever is below {one_line(out)} now is a part",
        hint="Remove it, and the same command begins again.",
        exit_code=code,
    )


def _was_typed(name: str) -> bool:
    return any(option.name == name for option in typed_options())


def _embed_here(
    context: Context,
    model: str,
    files: tuple[Path, ...],
    out: Path,
    *,
    pooling: str | None,
    unknown: str | None,
    member: str | None,
    **options: Any,
) -> None:
    """The vectors of files or texts, as one file."""
    from zoo.catalogue.classifiers import check_classifier
    from zoo.data.kinds import IMAGES
    from zoo.runs.modalities.table import modality_of_target
    from zoo.runs.using.embedding import WRITERS, table_among, write_embeddings
    from zoo.runs.using.prediction_files import check_out
    from zoo.targets import KINDS, HubModel, RegistryModel, describe_target, kind_of

    check_out(out, WRITERS)
    target = context.find_target("embed", model, member=member, others=files)
    kind = kind_of(target)
    pictures = kind in ("run", "images") and modality_of_target(target).kind is IMAGES
    table = table_among(files) if pictures else None
    if table is not None:
        _check_beside_features(table, out)
    Engine(options["backend"]).check(options["device"], options["precision"])
    if (pooling or unknown) and kind in ("run", "images"):
        raise UsageError(
            f"--pooling and --unknown need word vectors, and {model} {KINDS[kind].what}",
            hint="Leave them out. Word vectors: zoo list --task word-vectors",
        )
    if (options["processes"] or 1) > 1 and kind not in ("run", "images"):
        raise UsageError(
            "--processes need a network or a run: vectors of words are looked up", hint="Leave it out."
        )
    refuse_pipes(options["processes"], files)
    launch_several(options["processes"])
    items = [] if table is not None else gather(context, target, files, options)
    if isinstance(target, HubModel | RegistryModel):
        check_classifier(describe_target(target, context.store, report=context.report))
    if table is not None:
        found, licenses = _of_table(context, target, model, table, options)
    elif isinstance(target, RunFolder) or kind == "images":
        found, licenses = _of_items(context, target, items, files[0] if len(files) == 1 else None, options)
    else:
        found, licenses = _of_words(context, target, items, member, pooling or "mean", unknown)
    if not is_first():
        return
    write_embeddings(found, out, licenses)
    count, width = found.shape
    lost = None if found.known is None else int((found.known == 0).sum())
    facts: dict[str, Any] = {"out": str(out), "files": count, "features": width, **licenses}
    facts |= {} if lost is None else {"without_known_words": lost}
    if lost is None:
        facts |= {"backend": found.way.backend, "precision": found.way.precision, "cosine": found.cosine}
    _say(context, facts, "file" if lost is None else "text", found.labels or ())


def _check_beside_features(table: Path, out: Path) -> None:
    """Raise UsageError for options that would be passed over, since nothing is computed, and for a file that
    would be one of the tables at the next run."""
    strange = [option for option in typed_options() if option.name not in _WITH_FEATURES]
    refuse_options(strange, f"not go with {one_line(table)}, which has features already")
    if table.is_dir() and out.suffix.lower() == ".parquet" and out.resolve().parent == table.resolve():
        raise UsageError(
            f"{one_line(out)} would be one of the tables of {one_line(table)}, and its items there twice",
            hint="Name a file outside of that folder.",
        )


def _of_table(
    context: Context, target: RunFolder | Model, model: str, table: Path, options: dict[str, Any]
) -> tuple[Embeddings, Mapping[str, str]]:
    """The features that Parquet files have, and the licences beside them."""
    from zoo.runs.classifier import load_classifier
    from zoo.runs.using.embedding import embed_from_features

    classifier = load_classifier(
        target, store=context.store, registry=context.registry, report=context.report
    )
    found = embed_from_features(
        classifier,
        table,
        model,
        store=context.store,
        device=options["device"],
        precision=options["precision"],
        spill=True,
        on_bad=options["on_bad"],
        report=context.report,
    )
    return found, classifier.licenses


def _of_items(
    context: Context,
    target: RunFolder | Model,
    items: list[Any],
    data: Path | None,
    options: dict[str, Any],
) -> tuple[Embeddings, Mapping[str, str]]:
    """The same of items that a network sees, by as many processes as there are."""
    from zoo.runs.using.embedding import embed_for_training

    with together(options["device"], context.report) as (processes, device):
        classifier, source = open_source(context, target, items, options, processes)
        found = embed_for_training(
            classifier,
            source,
            data,
            store=context.store,
            device=device,
            backend=options["backend"],
            precision=options["precision"],
            report=context.report,
        )
    return found, classifier.licenses


def _of_words(
    context: Context,
    target: RunFolder | Model,
    texts: list[Any],
    member: str | None,
    pooling: str,
    policy: str | None,
) -> tuple[Embeddings, Mapping[str, str]]:
    """The same of texts, whose words have vectors."""
    from zoo.runs.classifier import model_licenses
    from zoo.runs.using.embedding import embed_by_vectors
    from zoo.targets import fetch_target
    from zoo.words.loading import load_words

    assert not isinstance(target, RunFolder)
    local = fetch_target(target, context.store, report=context.report)
    vectors = load_words(local, context.store, member=member, report=context.report)
    found = embed_by_vectors(vectors, texts, pooling=pooling, policy=policy, report=context.report)
    return found, model_licenses(local.entry)


def _say(context: Context, facts: dict[str, Any], noun: str, labels: Iterable[str | None]) -> None:
    """What was written where. facts: out, files and features among them."""
    named = sorted({label for label in labels if label is not None}, key=natural_key)
    facts |= {"classes": named} if named else {}
    count = facts["files"]
    more = f", {len(named):,} classes" if named else ""
    more += ", by ONNX Runtime" if facts.get("backend") == "onnx" else ""
    more += f", in {facts['precision']}" if facts.get("precision", "fp32") != "fp32" else ""
    line = f"{facts['out']}: {count:,} {noun}{'s' * (count != 1)}, {facts['features']:,} features each{more}"
    context.sink.done(facts, lambda: line)


COMMANDS = {"embed": embed}
