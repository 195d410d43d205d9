"""What you do to a network: freeze it rightly, give it a new head. Pure torch, any `nn.Module`, in place."""

from adapters.errors import AdapterError, FrozenChanged, InvalidHead, NoClassifier, UnknownName
from adapters.heads import ACTIVATIONS, HEADS, CosineLinear, Head, Standardize, build_head
from adapters.texts import ENCODERS, InvalidText, TextClassifier, TextEncoder, WordEmbedding, pad_ids

__all__ = [
    "ACTIVATIONS",
    "ENCODERS",
    "HEADS",
    "AdapterError",
    "CosineLinear",
    "FrozenChanged",
    "Head",
    "InvalidHead",
    "InvalidText",
    "NoClassifier",
    "Standardize",
    "TextClassifier",
    "TextEncoder",
    "UnknownName",
    "WordEmbedding",
    "build_head",
    "pad_ids",
]
