"""gensim's reading of a file of vectors: what our answers are held against."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any


@cache
def read_as_gensim(path: Path) -> Any:
    """KeyedVectors of a file in GloVe's format; words that are not UTF-8 are treated as we do."""
    from gensim.models import KeyedVectors

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # gensim leaves the file open
        model = KeyedVectors.load_word2vec_format(str(path), no_header=True, unicode_errors="replace")
    # For each word that comes again gensim 4.4 leaves a None and a row of zeros at the end.
    words = len(model.key_to_index)
    assert all(word is None for word in model.index_to_key[words:])
    model.index_to_key, model.vectors = model.index_to_key[:words], model.vectors[:words].copy()
    return model
