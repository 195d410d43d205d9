"""The main job on texts: real reviews, real GloVe words, the run folder, and what it says of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kits import Kit, Train, on_real

from adapters import ENCODERS
from zoo.errors import DatasetError, HashMismatch, InvalidRecipe, UsageError
from zoo.events import Event, Note
from zoo.runs.record import RunResult
from zoo.runs.run import load_run
from zoo.store.store import Store

VAL_FRACTION = 0.1


@pytest.fixture
def frozen(kit: Kit, train_once: Train) -> RunResult:
    """A head on the mean of frozen vectors, everything else by default; 90 % to train, 10 % to validate."""
    return train_once(kit, kit.words, kit.texts, val_fraction=VAL_FRACTION).result


@pytest.fixture
def said(kit: Kit, train_once: Train) -> list[Event]:
    """What the shared run reported."""
    return train_once(kit, kit.words, kit.texts, val_fraction=VAL_FRACTION).told


@pytest.fixture
def few(kit: Kit, tmp_path: Path) -> Path:
    """200 reviews of each class, a text per line."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("negative", "positive"):
        lines = (kit.texts / f"{name}.txt").read_text("utf-8").split("\n")[:200]
        (folder / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.fixture
def train(kit: Kit, finetune: Callable[..., RunResult], few: Path) -> Callable[..., RunResult]:
    """`train(encoder="cnn")`: a short run on the few reviews."""
    return lambda **options: finetune(kit.words, few, **{"epochs": 2, "baseline": False, **options})


def test_frozen_vectors_tell_reviews_apart_and_nothing_frozen_moves(kit: Kit, frozen: RunResult) -> None:
    assert frozen.val_accuracy >= 0.60
    assert frozen.classes == ("negative", "positive")
    assert frozen.frozen_changed == 0
    assert frozen.trained_parameters == kit.dimension * 2 + 2


def test_the_baseline_stands_beside_every_result(kit: Kit, frozen: RunResult) -> None:
    assert frozen.baseline is not None
    assert "TF-IDF" in frozen.baseline.name
    low, high = kit.baseline
    assert low <= frozen.baseline.val_accuracy <= high


@on_real
@pytest.mark.slow
def test_tuned_vectors_with_new_words_are_much_better(
    kit: Kit, finetune: Callable[..., RunResult], shared_store: Store
) -> None:
    tuned = finetune(kit.words, kit.texts, val_fraction=VAL_FRACTION, unfreeze="all")
    assert tuned.val_accuracy >= 0.74
    record = load_run(tuned.run, store=shared_store).record
    assert record.text is not None
    words = (Path(tuned.run) / "words.txt").read_text("utf-8").splitlines()
    assert len(words) > record.text.known + 2000


def test_what_is_known_of_the_words_is_counted(frozen: RunResult, said: list[Event]) -> None:
    [note] = [e for e in said if isinstance(e, Note) and " words: " in e.message]
    assert "known (" in note.message
    assert "hyphen (" in note.message
    assert "skipped (" in note.message


def test_the_run_keeps_only_its_words_and_needs_no_vectors(
    kit: Kit, frozen: RunResult, tmp_path: Path
) -> None:
    folder = Path(frozen.run)
    assert {p.name for p in folder.iterdir()} == {
        "run.json",
        "adapter.safetensors",
        "history.jsonl",
        "split.jsonl",
        "words.txt",
    }
    record = json.loads((folder / "run.json").read_text())
    assert record["weights_sha256"] == kit.registry.find(kit.words).weights.sha256
    assert record["text"]["tokenizer"]["name"] == "treebank"
    assert record["data"]["layout"] == "lines"
    run = load_run(folder, store=Store(tmp_path / "empty", offline=True))
    good, bad = run.predict(
        ["the best film of the year , about family and love", "too bad : there is nothing here"]
    )
    assert (good.label, bad.label) == ("positive", "negative")
    assert list((tmp_path / "empty").glob("**/*")) == []


def test_a_loaded_run_is_measured_at_what_it_was_trained_to(
    kit: Kit, frozen: RunResult, shared_store: Store
) -> None:
    found = load_run(frozen.run, store=shared_store).evaluate(kit.texts)
    assert found.items == kit.val_texts
    assert found.accuracy == pytest.approx(frozen.val_accuracy)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("unfreeze", ["none", "all"])
def test_every_encoder_trains_and_comes_back_as_it_was(
    encoder: str, unfreeze: str, train: Callable[..., RunResult], few: Path, shared_store: Store
) -> None:
    result = train(
        encoder=encoder,
        unfreeze=unfreeze,
        tune_epochs=1 if encoder in ("cnn", "gru", "lstm", "attention") or unfreeze == "all" else None,
    )
    assert result.frozen_changed == 0
    run = load_run(result.run, store=shared_store)
    assert run.evaluate(few).accuracy == pytest.approx(result.val_accuracy)
    (alone,) = run.predict(["a film that is good"])
    together = run.predict(["a film that is good", "bad " * 40, "it is what it is"])
    assert together[0].probability == pytest.approx(alone.probability, abs=1e-5)
    assert run.classifier.network.training is False


@pytest.mark.parametrize(
    "options", [{}, {"unfreeze": "all", "tune_epochs": 1}, {"encoder": "gru", "tune_epochs": 1}], ids=str
)
def test_the_same_seed_gives_the_same_bytes(
    train: Callable[..., RunResult], tmp_path: Path, options: dict[str, Any]
) -> None:
    for name in ("a", "b"):
        train(out=tmp_path / name, **options)
    a, b = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_published_vectors_stay_while_new_words_and_a_new_encoder_learn(
    kit: Kit, train: Callable[..., RunResult], shared_store: Store, tmp_path: Path
) -> None:
    from zoo.targets import fetch_model
    from zoo.words.loading import load_words

    states = []
    for epochs in (1, 2):
        result = train(
            encoder="attention", tune_epochs=epochs, new_words=1, patience=0, out=tmp_path / str(epochs)
        )
        assert result.frozen_changed == 0
        states.append(load_run(result.run, store=shared_store).classifier)
    record = load_run(result.run, store=shared_store).record
    assert record.recipe.unfreeze == 2
    first, second = (one.network.state_dict() for one in states)
    assert record.text is not None
    assert states[1].reader is not None
    words = states[1].reader.selection.words[: record.text.known]
    published = load_words(fetch_model(kit.words, registry=kit.registry, store=shared_store), shared_store)[
        words
    ]
    assert torch.equal(second["encoder.embedding.known.weight"][1:], torch.from_numpy(published))
    moved = {name for name in second if not torch.equal(first[name], second[name])}
    assert {"encoder.embedding.new.weight", "encoder.encoder.score.weight"} <= moved


def test_one_text_is_not_a_list_of_letters(frozen: RunResult, shared_store: Store) -> None:
    run = load_run(frozen.run, store=shared_store)
    for ask in (run.predict, run.embed):
        with pytest.raises(UsageError, match="one item was given where a list is expected"):
            ask("good")
    assert run.predict([]) == []


def test_words_from_scratch_are_drawn_one_by_one(
    train: Callable[..., RunResult], shared_store: Store, tmp_path: Path
) -> None:
    result = train(from_scratch=True, unfreeze="all", tune_epochs=1, tune_lr=1e-9, new_words=1)
    state = load_run(result.run, store=shared_store).classifier.network.state_dict()
    known, new = (state[f"encoder.embedding.{part}.weight"][1:] for part in ("known", "new"))
    few = min(len(known), len(new))
    assert torch.nn.functional.cosine_similarity(known[:few], new[:few]).abs().mean() < 0.5
    with pytest.raises(InvalidRecipe, match="sif is fitted to them"):
        train(from_scratch=True, unfreeze="all", encoder="sif", out=tmp_path / "sif")


def test_wishes_for_the_head_are_meant_for_an_encoder_that_is_trained_with_it(
    train: Callable[..., RunResult], shared_store: Store
) -> None:
    result = train(encoder="cnn", epochs=3, lr=0.002, patience=0)
    recipe = load_run(result.run, store=shared_store).record.recipe
    assert (result.epochs, recipe.tune_epochs, recipe.tune_lr) == (3, 3, 0.002)


def test_words_of_a_policy_begin_with_what_it_gives_them(
    train: Callable[..., RunResult], few: Path, shared_store: Store
) -> None:
    (few / "more.txt").write_text("an unforgettible kingdoom\nqqxqq zzyzz\n" * 2)
    result = train(unknown="fold+hyphen+ngrams")
    run = load_run(result.run, store=shared_store)
    assert run.record.recipe.new_words == 0
    (found,) = run.predict(["kingdoom"])
    assert found.known == 1


def test_a_run_goes_on_with_everything_frozen(
    train: Callable[..., RunResult], finetune: Callable[..., RunResult], few: Path, tmp_path: Path
) -> None:
    first = train(unfreeze="all", tune_epochs=1)
    further = finetune(first.run, few, out=tmp_path / "further", unfreeze="none", epochs=1)
    assert further.epochs == 1


def test_a_text_without_a_known_word_is_flagged(frozen: RunResult, shared_store: Store) -> None:
    notes: list[Event] = []
    run = load_run(frozen.run, store=shared_store, report=notes.append)
    known, unknown = run.predict(["a good film", "qwxzy blorp"])
    assert (known.words, known.known) == (3, 3)
    assert (unknown.words, unknown.known) == (2, 0)
    assert any(isinstance(n, Note) and "1 of 2 texts have no known word" in n.message for n in notes)


def test_a_run_goes_on_from_a_run_with_its_words(
    train: Callable[..., RunResult], finetune: Callable[..., RunResult], few: Path, tmp_path: Path
) -> None:
    first = train(unfreeze="all", tune_epochs=1)
    further = finetune(first.run, few, out=tmp_path / "further", tune_epochs=2)
    assert (Path(first.run) / "words.txt").read_bytes() == (Path(further.run) / "words.txt").read_bytes()
    with pytest.raises(InvalidRecipe, match="encoder cannot change"):
        finetune(first.run, few, out=tmp_path / "other", encoder="cnn")


def test_damaged_words_are_not_read(frozen: RunResult, shared_store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(frozen.run, copy)
    (copy / "words.txt").write_text("the\nof\n")
    with pytest.raises(HashMismatch, match=r"words\.txt"):
        load_run(copy, store=shared_store).predict(["a film"])


def test_images_and_texts_are_told_apart(
    kit: Kit, finetune: Callable[..., RunResult], few: Path, trained: RunResult, shared_store: Store
) -> None:
    with pytest.raises(InvalidRecipe, match="encoder is for texts"):
        finetune(folder=kit.images, encoder="cnn")
    with pytest.raises(UsageError, match="takes texts"):
        finetune(kit.words, few, path_column="file")
    images = load_run(trained.run, store=shared_store)
    with pytest.raises(DatasetError, match="no file or folder a film"):
        images.predict(["a film"])


def test_unknown_words_of_train_begin_with_the_ngrams_of_a_fasttext_model(
    tmp_path: Path, finetune: Callable[..., RunResult]
) -> None:
    from gensim.models import FastText
    from gensim.models.fasttext import save_facebook_model

    path, data = tmp_path / "tiny.bin", tmp_path / "data"
    sentences = [["a", "good", "fine", "film"], ["a", "bad", "poor", "movie"]] * 10
    model = FastText(sentences, vector_size=8, min_count=1, epochs=1, bucket=1000, workers=1, seed=1)
    save_facebook_model(model, str(path))
    data.mkdir()
    (data / "bad.txt").write_text("".join(f"a bad moviegoer {n}\n" for n in range(12)), "utf-8")
    (data / "good.txt").write_text("".join(f"a good filmmaker {n}\n" for n in range(12)), "utf-8")
    words = {}
    for unknown in ("fold+hyphen", "skip"):
        result = finetune(str(path), data, epochs=1, baseline=False, unknown=unknown, out=tmp_path / unknown)
        words[unknown] = (Path(result.run) / "words.txt").read_text("utf-8").split()
    assert {"moviegoer", "filmmaker"} <= set(words["fold+hyphen"])
    assert not {"moviegoer", "filmmaker"} & set(words["skip"])


def test_what_max_words_cut_is_counted(tmp_path: Path, kit: Kit, finetune: Callable[..., RunResult]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    short = "".join(f"bad {n}\n" for n in range(9))
    (data / "good.txt").write_text("".join(f"best film {n}\n" for n in range(12)), "utf-8")
    (data / "bad.txt").write_text("".join(f"the bad film {n} of all\n" for n in range(3)) + short, "utf-8")
    for most, ending in (
        (3, "; 3 of 24 texts are longer than 3 words: 9 words are not read (--max-words)"),
        (6, ""),
    ):
        told: list[Event] = []
        finetune(
            kit.words,
            data,
            epochs=1,
            baseline=False,
            max_words=most,
            report=told.append,
            out=tmp_path / str(most),
        )
        [note] = [e.message for e in told if isinstance(e, Note) and " words: " in e.message]
        assert note.endswith(ending)
        assert ("not read" in note) == bool(ending)
