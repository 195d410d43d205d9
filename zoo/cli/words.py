"""The verbs that explore word vectors: similar, analogy, odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zoo.cli.command import Context, ModelName, command
from zoo.cli.sink import table
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.words.vectors import WordVectors

NEIGHBOURS = {"word": "WORD", "similarity": "COSINE"}


@command("zoo similar glove-wiki-gigaword-100 coffee tea")
@click.argument("model", type=ModelName())
@click.argument("words", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Neighbours per word.")
def similar(context: Context, model: str, words: tuple[str, ...], top: int) -> None:
    """The words nearest to each word, by the cosine of their vectors: exact, all words in one pass."""
    vectors = open_model(context, model)
    found = vectors.most_similar_many([fold(vectors, word) for word in words], topn=top)
    neighbours = [(word, neighbour_rows(pairs)) for word, pairs in zip(words, found, strict=True)]

    def human() -> str:
        return "\n\n".join(f"{word}\n{table(rows, NEIGHBOURS)}" for word, rows in neighbours)

    context.sink.answer([{"word": word, "similar": rows} for word, rows in neighbours], human)


@command(
    "zoo analogy glove-wiki-gigaword-100 king - man + woman",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("model", type=ModelName())
@click.argument("words", nargs=-1, required=True, metavar="WORD [-|+ WORD]…")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Words to show.")
def analogy(context: Context, model: str, words: tuple[str, ...], top: int) -> None:
    """The words nearest to a sum and difference of words: king - man + woman."""
    positive, negative = read_sum(words)
    vectors = open_model(context, model)
    pairs = vectors.most_similar(
        positive=[fold(vectors, word) for word in positive],
        negative=[fold(vectors, word) for word in negative],
        topn=top,
    )
    rows = neighbour_rows(pairs)
    context.sink.answer(rows, lambda: table(rows, NEIGHBOURS))


@command("zoo odd glove-wiki-gigaword-100 breakfast cereal dinner lunch")
@click.argument("model", type=ModelName())
@click.argument("words", nargs=-1, required=True)
def odd(context: Context, model: str, words: tuple[str, ...]) -> None:
    """The word that goes least with the others."""
    if len(words) < 3:
        raise UsageError("the odd one out needs at least three words", hint="See: zoo odd --help")
    vectors = open_model(context, model)
    word = vectors.doesnt_match([fold(vectors, word) for word in words])
    context.sink.answer({"odd": word, "words": list(words)}, lambda: word)


def open_model(context: Context, name: str) -> WordVectors:
    """The vectors of a name: fetched and compiled at first use, opened in milliseconds after that."""
    from zoo.catalogue.entry import WordModel
    from zoo.store.obtaining import find_model
    from zoo.words.loading import load_words

    entry = find_model(name, registry=context.registry, store=context.store)
    if not isinstance(entry, WordModel):
        raise UsageError(f"{name} has no words: it is {entry.task}", hint="See: zoo list --task word-vectors")
    return load_words(context.store.fetch(entry, report=context.report), context.store, report=context.report)


def fold(vectors: WordVectors, word: str) -> str:
    """The word, in lower case if only that is known: people type Paris, GloVe knows paris."""
    return word if word in vectors or word.lower() not in vectors else word.lower()


def read_sum(words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """What is added and what is taken away.

    >>> read_sum(("king", "-", "man", "+", "woman"))
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


def neighbour_rows(pairs: Any) -> list[dict[str, Any]]:
    """(word, cosine) pairs as rows."""
    return [{"word": word, "similarity": float(cosine)} for word, cosine in pairs]


COMMANDS = {"similar": similar, "analogy": analogy, "odd": odd}
