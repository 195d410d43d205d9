"""The verbs that explore word vectors: similar, analogy, odd, coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, command
from zoo.cli.options import ModelName, word_options
from zoo.cli.sink import table
from zoo.errors import UsageError
from zoo.events import Note

if TYPE_CHECKING:
    from zoo.words.vectors.word_vectors import UnknownWord, WordVectors

UNKNOWN = {"word": "UNKNOWN WORD", "count": "TIMES"}
CUT = {"word": "WORD", "count": "TIMES", "pieces": "PIECES"}
APART = "are read by the parts that an apostrophe joins"
KNOWN = ("known", "get vectors from their character n-grams")
NEIGHBOURS = {"word": "WORD", "similarity": "COSINE"}


@command("zoo similar glove-wiki-gigaword-100 coffee tea")
@click.argument("model", type=ModelName())
@click.argument("words", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Neighbours per word.")
@click.option("--approximate", is_flag=True, help="Search an index that may miss some; says how many.")
@word_options
def similar(
    context: Context, model: str, words: tuple[str, ...], top: int, approximate: bool, **options: Any
) -> None:
    """The words nearest to each word, by the cosine of their vectors: exact, all words in one pass.

    MODEL is a name, the path of a file (GloVe, word2vec or fastText .vec or .bin; .gz and .zip too), or
    hf://OWNER/REPO/FILE.
    """
    vectors = _open_model(context, "similar", model, **options)
    known = _known_words(vectors, words)
    index = None
    if approximate:
        from zoo.words.vectors.approximate import ApproximateIndex

        index = ApproximateIndex(vectors, report=context.report)
    found = vectors.most_similar_many(known, topn=top, indexer=index)
    rows: list[dict[str, Any]] = [
        {"word": word, "similar": _neighbour_rows(pairs)} for word, pairs in zip(words, found, strict=True)
    ]
    for row in rows:
        if not row["similar"]:
            why = "its vector, or every other one, is zero or too long to be compared"
            context.report(Note(f"nothing is near {row['word']!r}: {why}", level="warning"))
    if index is not None:
        rows = [{**row, "recall": index.recall} for row in rows]

    def human() -> str:
        return "\n\n".join(f"{row['word']}\n{table(row['similar'], NEIGHBOURS)}" for row in rows)

    context.sink.answer(rows, human)


@command(
    "zoo analogy glove-wiki-gigaword-100 king - man + woman",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("model", type=ModelName())
@click.argument("words", nargs=-1, required=True, metavar="WORD [-|+ WORD]…")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Words to show.")
@word_options
def analogy(context: Context, model: str, words: tuple[str, ...], top: int, **options: Any) -> None:
    """The words nearest to a sum and difference of words: king - man + woman."""
    positive, negative = _read_sum(tuple(" ".join(words).split()))
    vectors = _open_model(context, "analogy", model, **options)
    known = _known_words(vectors, [*positive, *negative])
    pairs = vectors.most_similar(known[: len(positive)], known[len(positive) :], topn=top)
    rows = _neighbour_rows(pairs)
    context.sink.answer(rows, lambda: table(rows, NEIGHBOURS))


@command("zoo odd glove-wiki-gigaword-100 breakfast cereal dinner lunch")
@click.argument("model", type=ModelName())
@click.argument("words", nargs=-1, required=True)
@word_options
def odd(context: Context, model: str, words: tuple[str, ...], **options: Any) -> None:
    """The word that goes least with the others."""
    if len(set(words)) < 3:
        raise UsageError("the odd one out needs at least three words", hint="See: zoo odd --help")
    vectors = _open_model(context, "odd", model, **options)
    known, unknown = look_up(vectors, words)
    for error in unknown:
        context.report(Note(f"{error.message}: left out", hint=error.hint, level="warning"))
    if len(set(known)) < 3:
        raise UsageError(f"the odd one out needs at least three known words, not {len(set(known))}")
    word = vectors.doesnt_match(known)
    context.sink.answer({"odd": word, "words": list(words)}, lambda: word)


@command("zoo coverage glove-wiki-gigaword-100 reviews/")
@click.argument("model", type=ModelName())
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(0), default=20, show_default=True, help="Unknown words to show.")
@click.option("--text-column", help="Column of a table that holds the texts.")
@word_options
def coverage(
    context: Context, model: str, data: tuple[Path, ...], top: int, text_column: str | None, **options: Any
) -> None:
    """How much of your texts word vectors know, and which words they lack.

    DATA is files with a text per line, folders of them, or tables with a column of texts.
    """
    from zoo.data.texts import list_texts
    from zoo.words.texts.pooling import coverage as measure
    from zoo.words.texts.tokens import blankless_note

    texts, notes = list_texts(data, text_column=text_column)
    for note in notes:
        context.report(note)
    vectors = _open_model(context, "coverage", model, **options)
    found = measure(vectors, [text.text for text in texts], most=top)
    if found.script is not None:
        context.report(blankless_note(found.script, vectors.subwords is not None))
    places = [str(texts[number].place) for number in found.without_known]
    unknown: list[dict[str, Any]] = [{"word": word, "count": count} for word, count in found.unknown]
    if vectors.pieces is not None:
        unknown = [{**row, "pieces": cut} for row, cut in zip(unknown, found.cut, strict=True)]
    facts = {
        "texts": found.texts,
        "words": found.tokens,
        "known": found.known,
        "share": found.share,
        "different_words": found.kinds,
        "different_known": found.known_kinds,
        "unknown": unknown,
        "without_known_words": places,
        "from_ngrams": found.from_ngrams,
        "from_parts": found.from_parts,
        "script_without_blanks": found.script,
    }

    def human() -> str:
        kinds = found.known_kinds / max(1, found.kinds)
        known, parts = ("are one piece", "are cut into several pieces") if vectors.pieces else KNOWN
        lines = [
            f"{found.share:.1%} of {found.tokens:,} words {known}; "
            f"{found.known_kinds:,} of {found.kinds:,} different ones ({kinds:.1%})"
        ]
        if found.from_parts:
            lines.append(f"{found.from_parts:,} of the other {found.tokens - found.known:,} {APART}")
        if found.from_ngrams:
            lines.append(f"{found.from_ngrams:,} of the other {found.tokens - found.known:,} {parts}")
        if places:
            more = ", …" if len(places) > 3 else ""
            lines.append(
                f"{len(places):,} of {found.texts:,} texts have no known word: {', '.join(places[:3])}{more}"
            )
        columns = CUT if vectors.pieces else UNKNOWN
        return "\n\n".join(["\n".join(lines), *([table(unknown, columns)] if unknown else [])])

    context.sink.answer(facts, human)


def _open_model(context: Context, verb: str, name: str, **options: Any) -> WordVectors:
    """The vectors of a name or a file: fetched and compiled at first use, opened in milliseconds after that.

    options: those of `word_options`.
    """
    from zoo.targets import fetch_target
    from zoo.words.loading import load_words

    target = context.find_model(verb, name, member=options.get("member"))
    local = fetch_target(target, context.store, report=context.report)
    return load_words(local, context.store, report=context.report, **options)


def _known_words(vectors: WordVectors, words: Sequence[str]) -> list[str]:
    """The words as the vectors have them. Raises UnknownWord for one that they lack, UsageError for more."""
    known, unknown = look_up(vectors, words)
    if len(unknown) == 1:
        raise unknown[0]
    if unknown:
        named = ", ".join(repr(error.word) for error in unknown)
        close = [f"{error.word}: {error.hint}" for error in unknown if error.hint]
        raise UsageError(f"no words {named} among {len(vectors):,}", hint="\n".join(close) or None)
    return known


def look_up(vectors: WordVectors, words: Sequence[str]) -> tuple[list[str], list[UnknownWord]]:
    """The words that are known, and the others as errors.

    In lower case where only that is known: people type Paris, GloVe has paris.
    """
    from zoo.words.vectors.word_vectors import UnknownWord

    there = vectors.key_to_index
    folded = [word if word in there or word.lower() not in there else word.lower() for word in words]
    unknown = [UnknownWord(word, vectors) for word in dict.fromkeys(folded) if word not in vectors]
    return [word for word in folded if word in vectors], unknown


def _read_sum(words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What is added and what is taken away.

    >>> _read_sum(("king", "-", "man", "+", "woman"))
    (['king', 'woman'], ['man'])
    """
    positive: list[str] = []
    negative: list[str] = []
    side = positive
    for word in words:
        if word in ("+", "-"):
            side = positive if word == "+" else negative
        else:
            side.append(word)
            side = positive
    if not positive or words[-1] in ("+", "-"):
        raise UsageError(f"not a sum of words: {' '.join(words)}", hint="Like: king - man + woman")
    return positive, negative


def _neighbour_rows(pairs: Any) -> list[dict[str, Any]]:
    """(word, cosine) pairs as rows."""
    return [{"word": word, "similarity": float(cosine)} for word, cosine in pairs]


COMMANDS = {"similar": similar, "analogy": analogy, "odd": odd, "coverage": coverage}
