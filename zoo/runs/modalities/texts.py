"""Runs on texts: published word vectors, an encoder over them, and the words that the texts need."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from adapters import ENCODERS, TextClassifier, TextEncoder, freeze, frozen_fingerprint
from adapters.texts import draw_vectors
from zoo.data.dataset import Dataset, Item
from zoo.data.texts import Text
from zoo.errors import DatasetError
from zoo.events import Note, Report
from zoo.runs.baseline import measure_baseline
from zoo.runs.classifier import attach_recipe_head, build_text_network, put_adapter
from zoo.runs.folder import read_adapter, read_words
from zoo.runs.modalities.text_items import TextItems
from zoo.runs.session import (
    VAL_BATCH,
    PreparedModel,
    Session,
    TrainingData,
    batches_of,
    compute_features,
)
from zoo.training.batches import TextBatches
from zoo.training.recipe import LEARNED_ENCODERS, Resolved
from zoo.training.seeds import seed_torch
from zoo.training.strategies import Phase, phases
from zoo.words.loading import load_words
from zoo.words.texts.policies import STAND_INS, parse_policy
from zoo.words.texts.pooling import Pooling, fit_pooling, tell_of_missing_blanks
from zoo.words.texts.selection import ReadText, TextReader, WordSelection, known_forms, select_words
from zoo.words.texts.tokens import tokenizer_of
from zoo.words.texts.unknown import usual_policy
from zoo.words.vectors.word_vectors import WordVectors


def prepare(session: Session) -> PreparedModel:
    """The network of the plan, everything frozen, with its new head or with that of the earlier run."""
    plan, recipe, record = session.plan, session.recipe, session.plan.start_record
    if record is not None and plan.start is not None and record.text is not None:
        reader, sha256 = read_words(plan.start, record.text), record.weights_sha256
        state = read_adapter(plan.start, record).state
        network: nn.Module = build_text_network(state, recipe, len(plan.dataset.classes))
    else:
        local = plan.local or session.store.fetch(plan.entry, report=session.report)
        vectors = load_words(
            local, session.store, precision="float32", member=plan.member, report=session.report
        )
        reader, encoder = _choose_words(vectors, plan.dataset, recipe, session.report)
        network = TextClassifier(encoder, len(plan.dataset.classes))
        sha256, state = None if recipe.from_scratch else local.sha256, {}
    freeze(network)
    head = attach_recipe_head(network, plan.dataset.classes, recipe, plan.task)
    if record is not None and plan.start is not None:
        put_adapter(network, state, record, plan.start)
    kept = frozenset(network.state_dict())
    return PreparedModel(network, head, sha256, "", kept, frozen_fingerprint(network), reader)


def _choose_words(
    vectors: WordVectors, dataset: Dataset, recipe: Resolved, report: Report
) -> tuple[TextReader, TextEncoder]:
    """How the dataset's texts are read, and an encoder with the vectors of the words that they need.

    Words that the vectors know are taken from every part: their vectors were published before anybody saw
    these texts. New words, and what a word weighs, come from train alone.
    """
    tokenizer = tokenizer_of(vectors)
    policy = recipe.unknown if vectors.pieces is None else "skip"  # a piece stands for no other one

    def words(items: Sequence[Item]) -> list[list[str]]:
        return known_forms(vectors, (i.text or "" for i in items), tokenizer, policy, recipe.max_words)

    train = words(dataset.train)
    tell_of_missing_blanks(vectors, train, report)
    known = select_words(vectors, train + words(dataset.val + dataset.test), new_from=None)
    if not any(vectors.vocabulary.find_many([word for text in train for word in text]) >= 0):
        raise DatasetError(
            "the vectors know none of the words of the training texts",
            hint="Are the texts in the language of the vectors? See: zoo coverage",
        )
    matrix = torch.from_numpy(np.array(known.matrix(vectors)))
    new, first = _choose_new_words(vectors, train, matrix, recipe)
    selection = WordSelection((*known.words, *new), known.known)
    if recipe.from_scratch:
        matrix = draw_vectors(matrix, len(matrix), recipe.seed)
    name = recipe.encoder
    pooling = fit_pooling(vectors, train, name) if ENCODERS[name].needs else Pooling(name)
    weights = torch.tensor([pooling.weights.get(word, pooling.other) for word in selection.words])
    seed_torch(recipe.seed)
    encoder = TextEncoder(
        matrix,
        encoder=name,
        new_words=first,
        weights=weights if ENCODERS[name].needs else None,
        component=None if pooling.component is None else torch.from_numpy(pooling.component),
        hidden=recipe.encoder_width,
        seed=recipe.seed,
    )
    return TextReader(tokenizer, selection, policy, recipe.max_words), encoder


def _choose_new_words(
    vectors: WordVectors, train: Sequence[Sequence[str]], matrix: Tensor, recipe: Resolved
) -> tuple[tuple[str, ...], Tensor]:
    """Words of train that the vectors lack, with a vector each to begin with (new, dimension).

    What is left of the policy (ngrams, mean) gives one, and so do the n-grams of a fastText model, unless the
    policy is to skip; where new words learn, those that come often enough
    and have none begin with a random one. matrix: of the known words, whose spread the random ones have.
    """
    least = recipe.new_words or math.inf
    rest = [name for name in parse_policy(recipe.unknown) if name not in STAND_INS]
    if not rest:
        rest = [usual_policy(vectors)]
    counts = Counter(word for words in train for word in words)
    found = select_words(vectors, train, new_from=1)
    first, given = found.first_vectors(vectors, "+".join(rest))
    lacking = found.words[found.known :]
    chosen = [row for row, word in enumerate(lacking) if given[row] or counts[word] >= least]
    drawn = draw_vectors(matrix, len(chosen), recipe.seed + 1)  # not the draws of the words from scratch
    begin = torch.from_numpy(first)[chosen]
    return tuple(lacking[row] for row in chosen), torch.where(
        torch.from_numpy(given)[chosen][:, None], begin, drawn
    )


def open_items(session: Session, model: PreparedModel, items: Sequence[Item]) -> TextItems:
    """The texts as the encoder is asked about them."""
    assert model.reader is not None
    texts = [Text(item.path, item.text or "") for item in items]
    return TextItems(texts, model.reader, report=session.report)


def read_data(session: Session, model: PreparedModel) -> TrainingData:
    """Read every text, report how much of it is known; measure the baseline, compute what the head needs."""
    dataset, recipe = session.plan.dataset, session.recipe
    assert model.reader is not None
    items = dataset.train + dataset.val
    source = open_items(session, model, items)
    session.report(_describe_read(source.read, model.reader))
    tokenizer, task = model.reader.tokenizer, session.plan.task
    data = TrainingData(
        dataset,
        None,
        None,
        baseline=measure_baseline(dataset, tokenizer, task) if recipe.baseline else None,
        read={item.path: text for item, text in zip(items, source.read, strict=True)},
    )
    if phases(recipe)[0].trains != "features":
        return data
    features = compute_features(session, model, source).features
    train, val = features[: len(dataset.train)], features[len(dataset.train) :]
    encoded = session.encode(dataset.train)
    return replace(
        data,
        train=batches_of(session, train, encoded, session.batch_size, shuffled=True),
        val=batches_of(session, val, session.encode(dataset.val), VAL_BATCH, shuffled=False),
    )


def open_batches(
    session: Session, data: TrainingData, items: Sequence[Item], phase: Phase | None = None
) -> TextBatches:
    """The ids of the texts' words, padded: shuffled for a phase, in order without one."""
    ids = [data.read[item.path].ids for item in items]
    seed = None if phase is None else session.recipe.seed
    walks = (
        session.recipe.encoder in LEARNED_ENCODERS
    )  # a mean is as good with any padding, and learns better
    return TextBatches(
        ids,
        session.encode(items),
        session.batch_size,
        seed=seed,
        alike=walks,
        share=session.processes.share,
        sampling=session.recipe.sampling,
    )


def _describe_read(read: Sequence[ReadText], reader: TextReader) -> Note:
    """How many words are known, what was done about the others, what texts have none, and what was cut."""
    how: Counter[str] = sum((text.how for text in read), Counter())
    words, unit = sum(text.words for text in read), reader.tokenizer.unit
    counts = ", ".join(f"{count:,} {name} ({count / max(1, words):.1%})" for name, count in how.most_common())
    empty = sum(text.is_empty for text in read)
    lost = f"; {empty:,} of {len(read):,} texts have no known word" if empty else ""
    cut = [text.cut for text in read if text.cut]
    if cut:
        lost += (
            f"; {len(cut):,} of {len(read):,} texts are longer than {reader.longest:,} {unit}: "
            f"{sum(cut):,} {unit} are not read (--max-words)"
        )
    return Note(f"{words:,} {unit}: {counts}{lost}", level="warning" if empty else "info")
