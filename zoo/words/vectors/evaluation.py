"""How good word vectors are: analogies (Mikolov et al. 2013) and people's judgements of word pairs.

The same numbers as gensim's on the same files; analogies are answered hundreds at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from zoo.errors import UsageError
from zoo.words.vectors.nearest import Floats, Neighbours
from zoo.words.vectors.vocabulary import Vocabulary

QUESTIONS_AT_ONCE = 256
# What gensim looks at: the five nearest words that were not asked with.
LOOKED_AT = 5

Question = tuple[str, str, str, str]
Section = dict[str, Any]


class Vectors(Protocol):
    """What is evaluated: WordVectors, or anything that answers these questions."""

    vocabulary: Vocabulary

    def combine(self, positive: Sequence[int], negative: Sequence[int]) -> tuple[Floats, list[int]]:
        """(the mean of the rows less the mean of the others, of length one; the rows)."""
        ...

    def nearest(self, queries: Floats, most: int, *, stop: int | None = None) -> Neighbours:
        """The rows before `stop` that are nearest to vectors of length one."""
        ...

    def similarity(self, w1: int, w2: int) -> float:
        """The cosine of two rows."""
        ...


def evaluate_analogies(
    vectors: Vectors, path: Path, restrict_vocab: int, case_insensitive: bool, dummy4unknown: bool
) -> tuple[float, list[Section]]:
    """(share right, sections) on a file of questions `a b c d` under headers `: NAME`.

    Each section, and the last one, "Total accuracy", is {"section": name, "correct": [...], "incorrect":
    [...]}, as in gensim. restrict_vocab: only the first so many words ask and answer.
    case_insensitive: words are compared in upper case, of several the first row counts.
    dummy4unknown: a question with an unknown word counts as wrong instead of being left out.

    Raises UsageError for a file without a header before its first question, or without any question.
    """
    names, questions = _read_questions(path, case_insensitive)
    if not questions:
        raise UsageError(f"{path} has no question: four words on a line")
    asked_words = {word for _, words in questions for word in words}
    rows = _first_rows(vectors, asked_words, restrict_vocab, case_insensitive)
    sections: list[Section] = [{"section": name, "correct": [], "incorrect": []} for name in names]
    answerable: list[_Asked] = []
    order: list[_Asked] = []
    for section, words in questions:
        known = [rows[word] for word in words if word in rows]
        asked = _Asked(section, words, tuple(known) if len(known) == 4 else None)  # type: ignore[arg-type]
        order.append(asked)
        if asked.rows is not None:
            answerable.append(asked)
    answers = iter(_answer(vectors, answerable, restrict_vocab, case_insensitive))
    for asked in order:
        if asked.rows is None:
            if dummy4unknown:
                sections[asked.section]["incorrect"].append(asked.words)
            continue
        right = next(answers) == asked.words[3]
        sections[asked.section]["correct" if right else "incorrect"].append(asked.words)
    total: Section = {
        "section": "Total accuracy",
        "correct": [words for section in sections for words in section["correct"]],
        "incorrect": [words for section in sections for words in section["incorrect"]],
    }
    counted = len(total["correct"]) + len(total["incorrect"])
    return (len(total["correct"]) / counted if counted else 0.0), [*sections, total]


def evaluate_pairs(
    vectors: Vectors,
    path: Path,
    delimiter: str,
    encoding: str,
    restrict_vocab: int,
    case_insensitive: bool,
    dummy4unknown: bool,
) -> tuple[Any, Any, float]:
    """(Pearson, Spearman, percent of pairs with an unknown word) on a file of `word word judgement`.

    Lines that begin with `#` are comments; lines of another form are passed over, as in gensim.
    Raises UsageError where no pair is left.
    """
    from scipy import stats

    pairs: list[tuple[str, str, float]] = []
    for line in path.read_text(encoding).splitlines():
        fields = (line.upper() if case_insensitive else line).split(delimiter)
        if line.startswith("#") or len(fields) != 3:
            continue
        try:
            pairs.append((fields[0], fields[1], float(fields[2])))
        except ValueError:
            continue
    rows = _first_rows(
        vectors, {word for a, b, _ in pairs for word in (a, b)}, restrict_vocab, case_insensitive
    )
    judged: list[float] = []
    computed: list[float] = []
    unknown = 0
    for first, second, judgement in pairs:
        if first in rows and second in rows:
            judged.append(judgement)
            computed.append(vectors.similarity(rows[first], rows[second]))
            continue
        unknown += 1
        if dummy4unknown:
            judged.append(judgement)
            computed.append(0.0)
    if len(judged) < 2:
        raise UsageError(f"{path} has {len(judged)} pairs of known words: too few for a correlation")
    counted = len(judged) if dummy4unknown else len(judged) + unknown
    return stats.pearsonr(judged, computed), stats.spearmanr(judged, computed), 100 * unknown / counted


class _Asked(NamedTuple):
    """One question of a section: the four words, and the rows of the four where all are known."""

    section: int
    words: Question
    rows: tuple[int, int, int, int] | None


def _answer(
    vectors: Vectors, questions: Sequence[_Asked], restrict_vocab: int, case_insensitive: bool
) -> Iterator[str | None]:
    """The word nearest to b - a + c for each question, other than the three."""
    remaining = iter(questions)
    while batch := list(islice(remaining, QUESTIONS_AT_ONCE)):
        means = [vectors.combine([b, c], [a])[0] for a, b, c, _ in (q.rows for q in batch if q.rows)]
        found = vectors.nearest(np.vstack(means), LOOKED_AT + 3, stop=restrict_vocab)
        for question, rows in zip(batch, found.rows.tolist(), strict=True):
            given = (question.rows or ())[:3]
            predicted = None
            for row in [row for row in rows if row >= 0 and row not in given][:LOOKED_AT]:
                word = vectors.vocabulary.word(row)
                predicted = word.upper() if case_insensitive else word
                if predicted not in question.words[:3]:
                    break
            yield predicted


def _read_questions(path: Path, case_insensitive: bool) -> tuple[list[str], list[tuple[int, Question]]]:
    """(names of the sections, (section, four words) per question); other lines are passed over."""
    names: list[str] = []
    questions: list[tuple[int, Question]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith(": "):
            names.append(line.lstrip(": ").strip())
            continue
        if not names and line.strip():
            raise UsageError(
                f"{path}, line {number}: a question before any section", hint="Begin the file with ': NAME'."
            )
        words = (line.upper() if case_insensitive else line).split()
        if len(words) == 4:
            questions.append((len(names) - 1, (words[0], words[1], words[2], words[3])))
    return names, questions


def _first_rows(
    vectors: Vectors, words: set[str], restrict_vocab: int, case_insensitive: bool
) -> dict[str, int]:
    """The row of each word that is among the first `restrict_vocab`; in upper case, the first such row."""
    rows: dict[str, int] = {}
    if not case_insensitive:
        listed = sorted(words)
        found = vectors.vocabulary.find_many(listed).tolist()
        return {word: row for word, row in zip(listed, found, strict=True) if 0 <= row < restrict_vocab}
    for row, word in enumerate(islice(vectors.vocabulary, restrict_vocab)):
        upper = word.upper()
        if upper in words and upper not in rows:
            rows[upper] = row
    return rows
