"""Texts as features: an embedding from any matrix of word vectors, and an encoder to one vector per text.

    encoder = TextEncoder(matrix, encoder="cnn", frozen=True, new_words=500)
    model = TextClassifier(encoder, classes=2)
    logits = model(pad_ids([[1, 7, 3], [2]]))

Word ids: 0 is padding, 1 to the number of known words are the rows of the matrix, later ones are new words.
The vector of a text does not depend on the other texts in its batch: padding is masked, never averaged,
convolved into a text or read by a recurrent network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapters.tables import ENCODERS, TEXT_STAGES

PADDING = 0


class InvalidText(ValueError):
    """Ids, weights or options that do not match the encoder; states what is expected."""


class WordEmbedding(nn.Module):
    """Vectors of known words, frozen or trainable, and of new words, which are always trainable.

    Args:
        matrix: (known words, dimension).
        frozen: Whether the vectors of known words stay as they are.
        new_words: How many new words there are, or their initial vectors (new words, dimension). Without
            vectors they are drawn uniformly with the known vectors' variance, as in Kim 2014,
            https://aclanthology.org/D14-1181.
        seed: For repeatable vectors of new words.

    Raises:
        InvalidText: If the matrix or the new vectors have another shape.
    """

    def __init__(
        self, matrix: Tensor, *, frozen: bool = True, new_words: int | Tensor = 0, seed: int = 0
    ) -> None:
        super().__init__()
        if matrix.ndim != 2 or not matrix.is_floating_point() or matrix.numel() == 0:
            raise InvalidText(f"a matrix of vectors is (words, dimension) floats, not {tuple(matrix.shape)}")
        known = matrix.detach().float()
        new = new_words if isinstance(new_words, Tensor) else draw_vectors(known, new_words, seed)
        if new.ndim != 2 or new.shape[1] != known.shape[1]:
            raise InvalidText(
                f"new words have vectors of shape {tuple(new.shape)}, known ones {tuple(known.shape)}"
            )
        self.known = _embed(known, frozen=frozen)
        self.new = _embed(new.detach().float(), frozen=False)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self.known.embedding_dim)

    @property
    def words(self) -> int:
        """The largest id: known and new words together."""
        return int(self.known.num_embeddings + self.new.num_embeddings) - 2

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, length) ids -> (batch, length, dimension); zeros for padding."""
        last_known = self.known.num_embeddings - 1
        vectors: Tensor = self.known(torch.where(ids <= last_known, ids, PADDING))
        if self.new.num_embeddings > 1:
            vectors = vectors + self.new(torch.where(ids > last_known, ids - last_known, PADDING))
        return vectors


class TextEncoder(nn.Module):
    """Ids of a text's words in, one vector of `features` numbers out.

    Args:
        matrix: (known words, dimension).
        encoder: A row of ENCODERS.
        frozen: See WordEmbedding.
        new_words: See WordEmbedding.
        weights: (known + new words,) the weight of each word in a mean: idf for `tfidf`, a / (a + p) for
            `sif`; only for these two.
        component: (dimension,) of length one, which `sif` removes from every text.
        hidden: Width inside trainable encoders (filters of each size, units of each direction).
        seed: See WordEmbedding.

    Attributes:
        features: The length of the vectors.

    Raises:
        InvalidText: If an argument does not match the encoder.
    """

    def __init__(
        self,
        matrix: Tensor,
        *,
        encoder: str = "mean",
        frozen: bool = True,
        new_words: int | Tensor = 0,
        weights: Tensor | None = None,
        component: Tensor | None = None,
        hidden: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise InvalidText(f"no text encoder {encoder!r}; there are {', '.join(ENCODERS)}")
        self.embedding = WordEmbedding(matrix, frozen=frozen, new_words=new_words, seed=seed)
        kind = ENCODERS[encoder]
        if (kind.needs is not None) != (weights is not None) or (encoder == "sif") != (component is not None):
            raise InvalidText(f"{encoder!r} takes {kind.needs or 'neither weights nor a component'}")
        if weights is not None:
            if weights.shape != (self.embedding.words,):
                raise InvalidText(f"{tuple(weights.shape)} weights for {self.embedding.words} words")
            self.register_buffer("weights", torch.cat([torch.zeros(1), weights.detach().float()]))
        self.encoder = cast(Encoder, kind.build(self.embedding.dimension, hidden))
        if component is not None:
            if component.shape != (self.embedding.dimension,):
                raise InvalidText(f"a component of shape {tuple(component.shape)}")
            self.encoder.get_buffer("component").copy_(component.detach())
        self.name = encoder
        self.is_weighted = weights is not None
        self.features = self.encoder.features

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, length) ids, 0 only after the last word -> (batch, features); zeros without words."""
        if ids.ndim != 2:
            raise InvalidText(f"ids are (batch, length), not {tuple(ids.shape)}: see pad_ids")
        if ids.shape[1] == 0:
            ids = ids.new_zeros((ids.shape[0], 1))
        mask = ids != PADDING
        weights = self.get_buffer("weights")[ids] if self.is_weighted else mask.float()
        encoded: Tensor = self.encoder(self.embedding(ids), mask, weights)
        return encoded * mask.any(dim=1, keepdim=True)


class TextClassifier(nn.Module):
    """A text encoder with a linear `classifier` after it, which `attach_head` finds and replaces.

    Its stages, from the input: `known` words, `new` words, `encoder`, `classifier`. So `unfreeze(model, 1)`
    makes the encoder trainable, 2 also new words, 3 also the published vectors.

    Args:
        encoder: The text encoder.
        classes: The number of classes.
    """

    def __init__(self, encoder: TextEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.features, classes)

    def own_stages(self) -> list[tuple[str, tuple[str, ...]]]:
        """(name, modules and buffers) of each stage; see `adapters.stages`."""
        parts = (
            ("encoder.embedding.known",),
            ("encoder.embedding.new",),
            ("encoder.encoder", "encoder.weights"),
        )
        return [*zip(TEXT_STAGES, parts, strict=True), ("classifier", ("classifier",))]

    def no_weight_decay(self) -> set[str]:
        """Weights without weight decay: with it, Adam would change words that are not in a batch."""
        return {"encoder.embedding.known.weight", "encoder.embedding.new.weight"}

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, length) ids -> (batch, classes)."""
        logits: Tensor = self.classifier(self.encoder(ids))
        return logits


class Encoder(nn.Module):
    """From the vectors of words to one vector. features: its length."""

    features: int


class Mean(Encoder):
    """The weighted mean of the words; the plain mean if every weight is 1."""

    def __init__(self, dimension: int, _hidden: int) -> None:
        super().__init__()
        self.features = dimension

    def forward(self, vectors: Tensor, _mask: Tensor, weights: Tensor) -> Tensor:
        """vectors (batch, length, dimension), mask and weights (batch, length) -> (batch, features)."""
        total = weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return torch.einsum("bld,bl->bd", vectors, weights) / total


class CommonRemoved(Encoder):
    """SIF: the mean of the weighted words minus its projection on one direction that all texts share.

    Arora, Liang, Ma 2017, https://openreview.net/forum?id=SyK00v5xx. The sum is divided by the
    number of words.
    """

    component: Tensor

    def __init__(self, dimension: int, _hidden: int) -> None:
        super().__init__()
        self.features = dimension
        self.register_buffer("component", torch.zeros(dimension))

    def forward(self, vectors: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """As Mean.forward."""
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        means = torch.einsum("bld,bl->bd", vectors, weights) / count
        return means - torch.outer(means @ self.component, self.component)


class Attention(Encoder):
    """A mean in which the words' weights are learned: softmax of u · tanh(W x + b).

    Yang et al. 2016, https://aclanthology.org/N16-1174.
    """

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.features = dimension
        self.project = nn.Linear(dimension, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, vectors: Tensor, mask: Tensor, _weights: Tensor) -> Tensor:
        """As Mean.forward; the given weights are not used."""
        scores = self.score(torch.tanh(self.project(vectors))).squeeze(-1)
        # Not -inf: a text without words would give NaN, also in its gradient.
        attention = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=1)
        return torch.einsum("bld,bl->bd", vectors, attention * mask)


class Convolution(Encoder):
    """Filters over 3, 4 and 5 consecutive words, and the largest response of each in the text.

    Kim 2014, https://aclanthology.org/D14-1181. Only windows inside the text count; a text that is shorter
    than a window has one, padded with zeros.
    """

    WIDTHS = (3, 4, 5)

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.features = hidden * len(self.WIDTHS)
        self.filters = nn.ModuleList(nn.Conv1d(dimension, hidden, width) for width in self.WIDTHS)

    def forward(self, vectors: Tensor, mask: Tensor, _weights: Tensor) -> Tensor:
        """As Mean.forward; the given weights are not used."""
        lengths = mask.sum(dim=1, keepdim=True)
        places = torch.arange(mask.shape[1], device=mask.device)
        largest = []
        for width, convolve in zip(self.WIDTHS, self.filters, strict=True):
            answers = torch.relu(convolve(functional.pad(vectors.transpose(1, 2), (0, width - 1))))
            inside = places < (lengths - width + 1).clamp(min=1)
            # After the ReLU no response is below 0, so a window outside of the text cannot be the largest.
            largest.append((answers * inside.unsqueeze(1)).amax(dim=2))
        return torch.cat(largest, dim=1)


class Recurrent(Encoder):
    """The last states of a recurrent network that reads the text in both directions."""

    network: Callable[..., nn.RNNBase]

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.features = 2 * hidden
        self.rnn = self.network(dimension, hidden, batch_first=True, bidirectional=True)

    def forward(self, vectors: Tensor, mask: Tensor, _weights: Tensor) -> Tensor:
        """As Mean.forward; the given weights are not used."""
        # Packed, so that the backward direction begins at each text's last word, not in its padding.
        lengths = mask.sum(dim=1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        last = self.rnn(packed)[1]
        states: Tensor = last[0] if isinstance(last, tuple) else last  # an LSTM has cells besides its states
        return torch.cat([states[0], states[1]], dim=1)


class GatedRecurrent(Recurrent):
    """A GRU, Cho et al. 2014, https://arxiv.org/abs/1406.1078."""

    network = nn.GRU


class LongShortTermMemory(Recurrent):
    """An LSTM, Hochreiter and Schmidhuber 1997."""

    network = nn.LSTM


def pad_ids(texts: Sequence[Sequence[int]], *, longest: int | None = None) -> Tensor:
    """The ids of texts of any lengths as one tensor, padded with 0 at their ends.

    >>> pad_ids([[1, 7, 3], [2], []]).tolist()
    [[1, 7, 3], [2, 0, 0], [0, 0, 0]]

    Args:
        texts: The word ids of each text; an empty text becomes padding only.
        longest: The number of words after which a text is truncated; None for no limit.

    Returns:
        (batch, length) int64.
    """
    cut = [torch.tensor(list(text[:longest]), dtype=torch.int64) for text in texts]
    if not cut:
        return torch.zeros((0, 1), dtype=torch.int64)
    padded = nn.utils.rnn.pad_sequence(cut, batch_first=True, padding_value=PADDING)
    return padded if padded.shape[1] else torch.zeros((len(cut), 1), dtype=torch.int64)


def draw_vectors(known: Tensor, count: int, seed: int) -> Tensor:
    """`count` vectors drawn uniformly from [-a, a], with a such that they have the known ones' variance."""
    edge = (3 * known.var(dim=0, correction=0)).sqrt()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand((count, known.shape[1]), generator=generator) * 2 - 1
    return drawn.to(known.device) * edge


def _embed(vectors: Tensor, *, frozen: bool) -> nn.Embedding:
    """An embedding with a row of zeros for padding before the vectors, in its own memory."""
    table = torch.cat([vectors.new_zeros((1, vectors.shape[1])), vectors])
    embedding = nn.Embedding(table.shape[0], table.shape[1], padding_idx=PADDING, _weight=table)
    embedding.weight.requires_grad_(not frozen)
    return embedding
