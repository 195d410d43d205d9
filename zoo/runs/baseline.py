"""What any result on texts is held against: TF-IDF and logistic regression, in a second, without vectors."""

from __future__ import annotations

from typing import Any

from zoo.data.dataset import Dataset
from zoo.runs.record import Baseline
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.task import Task
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


def measure_baseline(dataset: Dataset, tokenizer: WordTokenizer, task: Task = SINGLE_LABEL) -> Baseline:
    """The baseline trained on the train part, measured on val: the same words, the same split."""
    train, val = [item.text for item in dataset.train], [item.text for item in dataset.val]
    if task is SINGLE_LABEL:
        model = new_baseline(tokenizer)
        model.fit(train, [item.label for item in dataset.train])
        right = model.score(val, [item.label for item in dataset.val])
        return Baseline(name=NAME, metrics={"accuracy": float(right)})
    import torch

    width = task.width(dataset.classes)
    targets, truth = (task.encode([i.target for i in part], width) for part in (dataset.train, dataset.val))
    model, name = _baseline_of(task, tokenizer)
    model.fit(train, targets.numpy())
    found = model.predict(val) if task.scale is not None else model.decision_function(val)
    outputs = torch.from_numpy(found).float().reshape(len(val), width)
    return Baseline(name=name, metrics=task.figures(outputs, truth))


def _baseline_of(task: Task, tokenizer: WordTokenizer) -> tuple[Any, str]:
    """The same for several classes, each by itself, or for numbers; and what it is called."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(analyzer=tokenizer, sublinear_tf=True)
    if task.scale is not None:
        return make_pipeline(words, Ridge()), "TF-IDF + ridge regression"
    return make_pipeline(words, OneVsRestClassifier(LogisticRegression(max_iter=1000))), NAME
