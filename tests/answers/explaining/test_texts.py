"""What words add to an answer: exact where that is possible, and nothing for words that are not known."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.kits import Kit

from zoo.answers.explaining.explanations import TextExplanation
from zoo.answers.explaining.word_weights import read_words
from zoo.answers.run import Run, load_run
from zoo.errors import UsageError
from zoo.store.store import Store

TEXT = "a dull story , but the ending is wonderful , wonderful qwertyuiop"


def explained(run: Run, text: str = TEXT, **options: object) -> TextExplanation:
    (found,) = run.explain([text], device="cpu", **{"nearest": 0, **options})  # type: ignore[arg-type]
    assert isinstance(found, TextExplanation)
    return found


def weights(found: TextExplanation) -> dict[str, float]:
    return {word.word: word.weight for word in found.words if word.weight is not None}


def test_weights_add_up_to_the_evidence_and_judgements_weigh_most(reviews: Run) -> None:
    found = explained(reviews, labels=["positive"])
    assert found.method == "exact"
    assert found.constant is not None
    assert sum(weights(found).values()) + found.constant == pytest.approx(found.evidence, abs=1e-4)
    ranked = sorted(weights(found), key=lambda word: weights(found)[word])
    assert (ranked[0], ranked[-1]) == ("dull", "wonderful")
    opposite = explained(reviews, labels=["negative"])
    assert weights(opposite)["dull"] == pytest.approx(-weights(found)["dull"], abs=1e-5)


def test_the_evidence_is_the_log_odds_of_the_probability(reviews: Run) -> None:
    import math

    found = explained(reviews)
    assert found.score is not None
    assert found.evidence == pytest.approx(math.log(found.score / (1 - found.score)), abs=1e-3)


def test_unknown_words_are_named_without_a_weight(reviews: Run) -> None:
    word = explained(reviews).words[-1]
    assert (word.word, word.weight, word.how) == ("qwertyuiop", None, "skipped")
    assert next(w for w in explained(reviews).words if w.word == "wonderful").count == 2


def test_words_are_read_as_the_network_reads_them(reviews: Run, kit: Kit) -> None:
    reader = reviews.classifier.reader
    assert reader is not None
    for line in (kit.texts / "positive.txt").read_text("utf-8").splitlines()[:50]:
        words = read_words(reader, line)
        assert tuple(number for word in words for number in word.ids) == reader(line).ids


def test_occlusion_agrees_with_the_exact_weights_of_long_texts(reviews: Run) -> None:
    """Without a word the mean is one of fewer words: the weights are not equal, but of one sign."""
    exact, falls = explained(reviews), explained(reviews, method="occlusion")
    assert falls.method == "occlusion"
    for word in ("dull", "wonderful"):
        assert weights(exact)[word] * weights(falls)[word] > 0


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"encoder": "sif"}, "exact"),
        ({"encoder": "tfidf", "standardize": True}, "exact"),
        ({"encoder": "cnn", "epochs": 3}, "occlusion"),
        ({"head": "mlp"}, "occlusion"),
    ],
)
def test_other_encoders_and_heads(
    options: dict[str, object], method: str, kit: Kit, shared_store: Store, tmp_path: Path
) -> None:
    from zoo.runs.making.finetuning import finetune_model

    settings = {
        "epochs": 5,
        "registry": kit.registry,
        "store": shared_store,
        "device": "cpu",
        "baseline": False,
    }
    finetune_model(kit.words, kit.texts, out=tmp_path / "run", **settings | options)  # type: ignore[arg-type]
    found = explained(load_run(tmp_path / "run", store=shared_store), labels=["positive"])
    assert found.method == method
    if method == "exact":
        assert found.constant is not None
        assert sum(weights(found).values()) + found.constant == pytest.approx(found.evidence, abs=1e-3)
    assert weights(found)["dull"] < weights(found)["wonderful"]


def test_a_text_without_known_words_has_no_weights(reviews: Run) -> None:
    found = explained(reviews, "qwertyuiop")
    assert weights(found) == {}
    assert found.evidence == pytest.approx(found.constant)


def test_training_texts_that_are_alike(reviews: Run, kit: Kit) -> None:
    found = explained(reviews, "a very wonderful film", data=kit.texts, nearest=3)
    assert len(found.nearest) == 3
    assert found.nearest[0].label == "positive"
    assert found.nearest[0].text


def test_grad_cam_of_a_text_is_refused(reviews: Run) -> None:
    with pytest.raises(UsageError, match="needs photographs"):
        explained(reviews, method="grad-cam")
