"""Texts on the command line: a run trained, asked, measured and embedded as a user types it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars
import pytest
from support.commands import Call
from support.tiny import DIMENSION

import zoo
from zoo.cli.embedding import POOLINGS
from zoo.errors import LicenseRefused
from zoo.words.texts import pooling as words_texts


@pytest.fixture(scope="module")
def desk(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 150 reviews of each class, and a home that the tests of this file share."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "reviews").mkdir()
    for name in ("negative", "positive"):
        lines = (tiny / "reviews" / f"{name}.txt").read_text("utf-8").split("\n")[:150]
        (folder / "reviews" / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.fixture(autouse=True)
def use_shared_home(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word vectors are fetched once for all tests of this file."""
    monkeypatch.setenv("ZOO_HOME", str(desk / "home"))


@pytest.fixture
def guarded(run: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, and a policy that does not allow the licence of its vectors (pddl) nor an unknown one."""
    (desk / "own.txt").write_text("good 1 2\nbad 3 4\n")
    monkeypatch.setenv("ZOO_LICENSE_POLICY", "mit")
    return run


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "RUN", "--text", "a good film"),
        ("evaluate", "RUN", "REVIEWS"),
        ("embed", "RUN", "--text", "good", "-o", "OUT"),
        ("embed", "OWN", "--text", "good", "-o", "OUT"),
        ("bundle", "RUN", "-o", "OUT"),
        ("similar", "OWN", "good"),
        ("coverage", "OWN", "REVIEWS"),
        ("finetune", "RUN", "REVIEWS", "--out", "OUT"),
    ],
    ids=" ".join,
)
def test_no_verb_goes_round_the_licence_policy(
    ask: Call, guarded: Path, desk: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    places = {"RUN": guarded, "OWN": desk / "own.txt", "REVIEWS": desk / "reviews", "OUT": tmp_path / "o.npz"}
    said = ask(*(places.get(word, word) for word in command))
    assert (said.code, said.out) == (2, "")
    assert "ZOO_LICENSE_POLICY allows mit" in said.err
    assert not (tmp_path / "o.npz").exists()


def test_the_library_does_not_go_round_the_licence_policy(guarded: Path, desk: Path) -> None:
    for act in (
        lambda: zoo.load_run(guarded).predict(["good"]),
        lambda: zoo.load_model(str(desk / "own.txt")),
    ):
        with pytest.raises(LicenseRefused):
            act()


@pytest.fixture
def run(ask: Call, desk: Path) -> Path:
    """A run on the reviews, trained once."""
    if not (desk / "run").exists():
        said = ask(
            "finetune", "tiny_words", desk / "reviews", "--out", desk / "run", "--epochs", "3", "--json"
        )
        assert said.code == 0, said.err
        assert said.json["frozen_changed"] == 0
        assert 0 < said.json["baseline"]["val_accuracy"] < 1
    return desk / "run"


def test_the_baseline_is_printed_beside_the_result(ask: Call, desk: Path) -> None:
    said = ask("finetune", "tiny_words", desk / "reviews", "--out", desk / "other", "--epochs", "1")
    assert "TF-IDF + logistic regression on the same split: 0." in said.out
    assert "--no-baseline" in ask("finetune", "--help").out


def test_predict_takes_texts_files_tables_and_standard_input(
    ask: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.txt").write_text("a very good film\n\nnot good at all\n")
    (tmp_path / "new.csv").write_text("id,text\n1,a very good film\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfqqxqq\xe2\x80\xa8zzxzz\n\n")))
    rows = ask(
        "predict", run, tmp_path / "new.txt", tmp_path / "new.csv", "-", "--text", "good", "--json"
    ).json
    assert [Path(row["path"]).name for row in rows] == [
        "text:1",
        "new.txt:1",
        "new.txt:3",
        "new.csv:1",
        "-:1",
    ]
    assert {"path", "label", "probability", "top", "error", "text", "words", "known"} == set(rows[0])
    assert rows[1]["probability"] == pytest.approx(rows[3]["probability"])
    assert [row["known"] for row in rows] == [1, 4, 4, 4, 0]
    (whole,) = ask("predict", run, tmp_path / "new.txt", "--whole-files", "--json").json
    assert whole["words"] == 8


def test_a_text_without_a_known_word_is_flagged_in_every_output(ask: Call, run: Path, tmp_path: Path) -> None:
    said = ask("predict", run, "--text", "qqxqq zzxzz")
    assert "means nothing" in said.out
    assert "1 of 1 texts have no known word" in said.err
    for name, model in (("run", run), ("words", "tiny_words")):
        out = tmp_path / f"{name}.npz"
        said = ask("embed", model, "--text", "good film", "--text", "qqxqq", "-o", out, "--json")
        assert said.json["without_known_words"] == 1
        with np.load(out, allow_pickle=False) as arrays:
            assert arrays["known"].tolist() == [2, 0]
            assert arrays["features"].shape == (2, DIMENSION)
            assert not arrays["features"][1].any()


def test_evaluate_measures_a_run_on_a_table_of_texts(ask: Call, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("review\tsentiment\na very good film\tpositive\nnot good at all\tnegative\n")
    found = ask("evaluate", run, table, "--json").json
    assert found["items"] == 2
    assert found["classes"] == ["negative", "positive"]
    named = ask("evaluate", run, table, "--text-column", "review", "--json").json
    assert named["confusion"] == found["confusion"]


def test_word_vectors_embed_texts_with_the_pooling_that_is_asked_for(
    ask: Call, desk: Path, tmp_path: Path
) -> None:
    assert set(POOLINGS) == set(words_texts.POOLINGS)
    frames = {}
    for pooling in POOLINGS:
        out = tmp_path / f"{pooling}.parquet"
        texts = desk / "reviews" / "positive.txt"
        assert ask("embed", "tiny_words", texts, "--pooling", pooling, "-o", out).code == 0
        frames[pooling] = np.stack(polars.read_parquet(out)["features"].to_list())
    assert frames["mean"].shape == (150, DIMENSION)
    assert not np.allclose(frames["mean"], frames["tfidf"])


def test_coverage_says_what_is_known_and_what_is_not(ask: Call, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the good film\nqqxqq zzxzz qqxqq\n")
    found = ask("coverage", "tiny_words", tmp_path / "t.txt", "--json").json
    assert (found["texts"], found["words"], found["known"]) == (2, 6, 3)
    assert found["unknown"][0] == {"word": "qqxqq", "count": 2}
    assert [Path(place).name for place in found["without_known_words"]] == ["t.txt:2"]
    assert "50.0% of 6 words known" in ask("coverage", "tiny_words", tmp_path / "t.txt").out


def test_coverage_counts_what_is_read_by_its_parts(ask: Call, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("l'film good\nqqx'film\nqqx'qqy\n")
    found = ask("coverage", "tiny_words", tmp_path / "t.txt", "--json").json
    assert (found["words"], found["known"], found["from_parts"]) == (4, 1, 2)
    assert [Path(place).name for place in found["without_known_words"]] == ["t.txt:3"]
    said = ask("coverage", "tiny_words", tmp_path / "t.txt").out
    assert "2 of the other 3 are read by the parts that an apostrophe joins" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "RUN"], 2, "no files and no texts"),
        (["predict", "RUN", "nowhere.txt"], 5, "no file or folder"),
        (["predict", "tiny_words", "--text", "x"], 2, "zoo finetune tiny_words DATA --out run"),
        (["predict", "tiny_net", "--text", "x"], 2, "takes images"),
        (["embed", "RUN", "--text", "x", "--pooling", "sif", "-o", "f.npz"], 2, "need word vectors"),
        (["embed", "tiny_words", "--text", "x", "--pooling", "man", "-o", "f.npz"], 2, "Did you mean mean"),
        (["finetune", "tiny_words", "DATA", "--out", "x", "--encoder", "cn"], 2, "Did you mean cnn"),
        (
            ["finetune", "tiny_words", "DATA", "--out", "x", "--augment", "light", "--unfreeze", "all"],
            2,
            "for images",
        ),
        (
            ["finetune", "tiny_net", "DATA", "--out", "x", "--encoder", "cnn"],
            2,
            "encoder is for texts",
        ),
        (["coverage", "tiny_net", "DATA"], 2, "takes word vectors"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_mistakes_are_answered_with_what_to_type(
    ask: Call, run: Path, desk: Path, arguments: list[str], code: int, message: str
) -> None:
    named = {"RUN": run, "DATA": desk / "reviews"}
    said = ask(*(named.get(argument, argument) for argument in arguments))
    assert said.code == code
    assert message in said.err
    assert said.out == ""


def test_a_file_of_vectors_trains_like_a_model_of_the_registry(
    ask: Call, desk: Path, tiny: Path, tmp_path: Path
) -> None:
    vectors = tiny / "words" / "words.txt"
    said = ask("finetune", vectors, desk / "reviews", "--out", tmp_path / "run", "--epochs", "1", "--json")
    assert said.code == 0, said.err
    assert ask("predict", tmp_path / "run", "--text", "good", "--json").json[0]["known"] == 1
