"""Write tests/words/model2vec.json: tiny static embedding models as model2vec saves them, and its answers.

python tools/model2vec_answers.py        # needs `pip install model2vec`, which no test needs
"""

from __future__ import annotations

import base64
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import model2vec
import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

OUT = Path(__file__).parents[1] / "tests" / "words" / "model2vec.json"
FILES = ("model.safetensors", "tokenizer.json", "config.json")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PIECES = [*SPECIAL, "the", "a", "film", "##s", "##ing", "good", "bad", "act", "##or", "was", ",", ".", "!"]
PIECES += ["very", "not", "it", "run", "##ner", "12"]
SCORES = {"<s>": 0.0, "<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -3.0, "▁the": -2.0, "▁film": -3.5}
SCORES |= {"s": -3.0, "ing": -3.6, "▁good": -3.7, "▁act": -4.0, "or": -4.1, "▁été": -4.5, "。": -5.0}
SCORES |= {"▁run": -4.2, "n": -6.0, "er": -5.0}
TEXTS = [
    "The film was good.",
    "Actors, running, filming!",
    "",
    "zzz qqq",
    "zzz the qqq films",
    "not very good, not bad: a 12",
    "the été runner 。",
    "good " * 9 + "bad",
    "films\nacting\t the",
]


def wordpiece() -> Tokenizer:
    """A tokenizer as BERT's, with special tokens and padding that must not count."""
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer


def unigram() -> Tokenizer:
    """A tokenizer as that of multilingual models."""
    tokenizer = Tokenizer(models.Unigram(list(SCORES.items()), unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def static_models() -> dict[str, dict[str, Any]]:
    """The arguments of every model, by its name."""
    rng = np.random.default_rng(7)
    count = len(PIECES)

    def floats(rows: int) -> Any:
        return rng.standard_normal((rows, 6)).astype(np.float32)

    def bytes_(rows: int) -> Any:
        return rng.integers(-127, 128, (rows, 6)).astype(np.int8)

    factors, rows = rng.uniform(0.1, 2, count), rng.integers(0, 8, count)
    return {
        "float32": {"vectors": floats(count), "normalize": True},
        "float16": {"vectors": floats(count).astype(np.float16), "normalize": True},
        "int8": {"vectors": bytes_(count), "normalize": True},
        "weights": {"vectors": floats(count), "weights": factors, "normalize": False},
        "mapping": {"vectors": floats(8), "weights": factors.astype("f4"), "token_mapping": rows},
        "int8-mapping": {"vectors": bytes_(8), "weights": factors, "token_mapping": rows},
        "short": {"vectors": floats(count), "max_length": 3},
        "unlimited": {"vectors": floats(count), "max_length": None, "normalize": True},
        "unigram": {"vectors": floats(len(SCORES)), "tokenizer": unigram(), "normalize": True},
    }


def answer(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The files of a model, and its vectors of TEXTS.

    model2vec rounds the vectors of a float16 model to float16: asked with the same numbers as float32.
    """
    arguments = {"tokenizer": wordpiece(), **arguments}
    model2vec.StaticModel(**arguments).save_pretrained(folder)
    model = model2vec.StaticModel.from_pretrained(folder)
    if model.embedding.dtype == np.float16:
        model.embedding = model.embedding.astype(np.float32)
    vectors = model.encode(TEXTS, use_multiprocessing=False)
    return {
        "files": {name: base64.b64encode((folder / name).read_bytes()).decode() for name in FILES},
        "vectors": [[round(float(number), 8) for number in vector] for vector in vectors],
    }


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: answer(Path(folder) / name, model) for name, model in static_models().items()}
    written = {"version": version("model2vec"), "texts": TEXTS, "models": found}
    OUT.write_text(json.dumps(written, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
