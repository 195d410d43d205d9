"""What a text becomes depends on its words alone: not on padding, and not on what else is in its batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapters import attach_head, freeze, parameter_groups, stages, unfreeze
from adapters.texts import ENCODERS, InvalidText, TextClassifier, TextEncoder, WordEmbedding, pad_ids

KNOWN, NEW, DIMENSION = 40, 6, 10
TEXTS = [
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [41],
    [5, 46, 5],
    [12, 13, 14, 15],
    [],
    [3, 3],
    [40, 1, 40, 1, 40, 1, 2],
]


def build(encoder: str, **options: Any) -> TextEncoder:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn((KNOWN, DIMENSION), generator=generator)
    if encoder in ("tfidf", "sif"):
        options["weights"] = torch.rand(KNOWN + NEW, generator=generator) + 0.1
    if encoder == "sif":
        options["component"] = torch.nn.functional.normalize(
            torch.randn(DIMENSION, generator=generator), dim=0
        )
    return TextEncoder(matrix, encoder=encoder, new_words=NEW, hidden=8, **options)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_text_has_the_same_vector_in_every_company_and_with_any_padding(encoder: str) -> None:
    model = build(encoder).eval()
    together = model(pad_ids(TEXTS))
    assert together.shape == (len(TEXTS), model.features)
    for i, text in enumerate(TEXTS):
        alone = model(pad_ids([text]))[0]
        assert torch.allclose(alone, together[i], atol=1e-6), text
        padded = model(pad_ids([text, [1] * 50]))[0]
        assert torch.allclose(padded, together[i], atol=1e-6), text
    shuffled = model(pad_ids(TEXTS[::-1])).flip(0)
    assert torch.allclose(shuffled, together, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_gradient_of_a_text_too_depends_on_nothing_else(encoder: str) -> None:
    def gradients(texts: list[list[int]]) -> list[Tensor]:
        model = build(encoder, frozen=False)
        model(pad_ids(texts))[0].square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    for alone, together in zip(gradients(TEXTS[2:3]), gradients([TEXTS[2], *TEXTS]), strict=True):
        assert torch.allclose(alone, together, atol=1e-6)
        assert torch.isfinite(together).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_text_without_words_is_zeros_and_harms_no_gradient(encoder: str) -> None:
    model = build(encoder, frozen=False)
    encoded = model(pad_ids([[], []]))
    assert not encoded.any()
    model(pad_ids(TEXTS)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model(torch.zeros((3, 0), dtype=torch.int64)).shape == (3, model.features)


def test_other_words_and_another_order_do_change_a_text_where_they_should() -> None:
    for encoder in ENCODERS:
        model = build(encoder).eval()
        one, other, turned = model(pad_ids([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [5, 4, 3, 2, 1]]))
        assert not torch.allclose(one, other, atol=1e-3)
        ordered = encoder in ("cnn", "gru", "lstm")
        assert torch.allclose(one, turned, atol=1e-6) != ordered, encoder


def test_means_are_the_means_of_the_words_vectors() -> None:
    model = build("mean")
    assert torch.allclose(model(pad_ids([[3, 7]]))[0], model.embedding.known.weight[[3, 7]].mean(0))
    model = build("tfidf")
    weights = model.get_buffer("weights")[[3, 7]]
    expected = (weights[:, None] * model.embedding.known.weight[[3, 7]]).sum(0) / weights.sum()
    assert torch.allclose(model(pad_ids([[3, 7]]))[0], expected, atol=1e-6)
    model = build("sif")
    assert (model(pad_ids(TEXTS)) @ model.encoder.get_buffer("component")).abs().max() < 1e-6


def test_a_frozen_matrix_never_moves_while_new_words_learn() -> None:
    model = TextClassifier(build("mean", frozen=True), classes=2)
    known, new = model.encoder.embedding.known.weight.clone(), model.encoder.embedding.new.weight.clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            model(pad_ids(TEXTS)), torch.tensor([0, 1, 0, 1, 0, 1, 0])
        ).backward()
        optimizer.step()
    assert torch.equal(model.encoder.embedding.known.weight, known)
    moved = (model.encoder.embedding.new.weight != new).any(dim=1).nonzero().flatten().tolist()
    assert {1, 6} <= set(moved)
    assert not model.encoder.embedding.new.weight[0].any()


def test_a_tuned_matrix_moves_and_padding_stays_zero() -> None:
    model = TextClassifier(build("cnn", frozen=False), classes=2)
    before = model.encoder.embedding.known.weight.clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(pad_ids(TEXTS)).square().sum().backward()
        optimizer.step()
    after = model.encoder.embedding.known.weight
    assert not torch.equal(after[1:16], before[1:16])
    assert not after[0].any()
    assert torch.equal(after[20:40], before[20:40])  # words of no text


def test_the_callers_matrix_is_copied_and_new_words_have_its_spread() -> None:
    matrix = torch.randn((5000, 4), generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 2, 3, 0.1]
    )
    embedding = WordEmbedding(matrix, frozen=False, new_words=5000)
    spread = embedding.new.weight[1:].detach().std(dim=0)
    assert torch.allclose(spread, matrix.std(dim=0), rtol=0.05)
    again = WordEmbedding(matrix, new_words=5000)
    assert torch.equal(again.new.weight, embedding.new.weight)
    given = WordEmbedding(matrix, new_words=matrix[:3] * 2)
    assert torch.equal(given(torch.tensor([[5001, 5003]]))[0], matrix[[0, 2]] * 2)
    with torch.no_grad():
        embedding.known.weight.zero_()
    assert matrix.any()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_all_that_an_encoder_learned_is_in_its_state(encoder: str) -> None:
    model, again = build(encoder), build(encoder, seed=7)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(pad_ids(TEXTS)), again.eval()(pad_ids(TEXTS)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "cnm"}, "no text encoder 'cnm'; there are mean, tfidf"),
        ({"encoder": "tfidf"}, "'tfidf' takes weights, one per word"),
        ({"encoder": "sif", "weights": torch.ones(3)}, "'sif' takes weights, one per word, and a component"),
        ({"encoder": "mean", "weights": torch.ones(3)}, "neither weights nor a component"),
        ({"encoder": "tfidf", "weights": torch.ones(4)}, r"\(4,\) weights for 3 words"),
        ({"matrix": torch.ones(3)}, r"is \(words, dimension\) floats, not \(3,\)"),
        ({"matrix": torch.ones((3, 2), dtype=torch.int64)}, "floats"),
        ({"new_words": torch.ones((2, 5))}, r"new words have vectors of shape \(2, 5\)"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, Any], message: str) -> None:
    matrix = options.pop("matrix", torch.ones((3, 2)))
    with pytest.raises(InvalidText, match=message):
        TextEncoder(matrix, **options)


def test_ids_are_padded_and_cut() -> None:
    assert pad_ids([[1, 2, 3], [], [4]], longest=2).tolist() == [[1, 2], [0, 0], [4, 0]]
    assert pad_ids([]).shape == (0, 1)
    assert pad_ids([[], []]).tolist() == [[0], [0]]
    with pytest.raises(InvalidText, match="see pad_ids"):
        build("mean")(torch.tensor([1, 2]))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_has_the_same_stages_from_words_to_classifier(encoder: str) -> None:
    model = TextClassifier(build(encoder), classes=2)
    freeze(model)
    attach_head(model, 3)
    assert [stage.name for stage in stages(model)] == ["known", "new", "encoder", "classifier"]
    assert [sum(stage.holds(name) for stage in stages(model)) for name in model.state_dict()] == [
        1 for _ in model.state_dict()
    ]
    unfreeze(model, 2)
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "encoder.embedding.known.weight" not in learns
    assert "encoder.embedding.new.weight" in learns
    unfreeze(model, 3)
    assert model.encoder.embedding.known.weight.requires_grad


def test_words_are_not_pulled_towards_zero() -> None:
    model = TextClassifier(build("cnn"), classes=2)
    unfreeze(model)
    decays = {
        id(p): group["weight_decay"]
        for group in parameter_groups(model, 1e-3, weight_decay=0.1)
        for p in group["params"]
    }
    assert (
        decays[id(model.encoder.embedding.known.weight)]
        == decays[id(model.encoder.embedding.new.weight)]
        == 0
    )
    assert decays[id(model.classifier.weight)] == 0.1
