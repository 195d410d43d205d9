"""What any result on texts is held against: TF-IDF and logistic regression, in a second, without vectors."""

from __future__ import annotations

from typing import Any

from zoo.data.dataset import Dataset
from zoo.runs.record import Baseline
from zoo.words.texts.tokens import WordTokenizer

NAME = "TF-IDF + logistic regression"


def new_baseline(tokenizer: WordTokenizer) -> Any:
    """The baseline before it is trained: a scikit-learn pipeline, from texts to classes.

    scikit-learn's defaults but for sublinear counts. How strong such baselines are: Wang and Manning 2012,
    https://aclanthology.org/P12-2018.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(analyzer=tokenizer, sublinear_tf=True),
        LogisticRegression(max_iter=1000),
    )


def measure_baseline(dataset: Dataset, tokenizer: WordTokenizer) -> Baseline:
    """The baseline trained on the train part, measured on val: the same words, the same split."""
    model = new_baseline(tokenizer)
    model.fit([item.text for item in dataset.train], [item.label for item in dataset.train])
    right = model.score([item.text for item in dataset.val], [item.label for item in dataset.val])
    return Baseline(name=NAME, metrics={"accuracy": float(right)})
