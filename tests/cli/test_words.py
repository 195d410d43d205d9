"""Exploring word vectors from the command line, with gensim as the judge."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import Call
from support.judge import read_as_gensim

from zoo.errors import Interrupted
from zoo.store.local import LocalModel


@dataclass(frozen=True)
class Lexicon:
    """Word vectors, and the reading of gensim, which is the judge of every answer."""

    name: str
    registry: Path
    file: Path
    judge: Any

    def near(self, *words: str, count: int = 5) -> list[str]:
        return [word for word, _ in self.judge.most_similar(list(words), topn=count)]


@pytest.fixture(params=["tiny", "real"])
def lexicon(request: pytest.FixtureRequest) -> Lexicon:
    """The words of the tiny set, then the real GloVe words."""
    if request.param == "tiny":
        folder, name, file = request.getfixturevalue("tiny"), "tiny_words", "words.txt"
    else:
        folder, name, file = request.getfixturevalue("data"), "glove_demo", "glove.6B.50d.head.txt"
    path = folder / "words" / file
    return Lexicon(name, folder / "registry.yaml", path, read_as_gensim(path))


@pytest.fixture
def words(call: Call, lexicon: Lexicon) -> Call:
    """`words("similar", "king")`: a verb on these vectors."""
    return lambda verb, *rest: call(verb, lexicon.name, *rest, "--registry", lexicon.registry)


on_real = pytest.mark.parametrize("lexicon", ["real"], indirect=True)


def test_similar_answers_as_gensim_does(words: Call, lexicon: Lexicon) -> None:
    first, second = words("similar", "king", "film", "--top", "5", "--json").json
    assert [n["word"] for n in first["similar"]] == lexicon.near("king")
    assert [n["word"] for n in second["similar"]] == lexicon.near("film")


def test_analogy_answers_as_gensim_does(words: Call, lexicon: Lexicon) -> None:
    rows = words("analogy", "king", "-", "man", "+", "woman", "--json").json
    expected = lexicon.judge.most_similar(positive=["king", "woman"], negative=["man"], topn=5)
    assert [row["word"] for row in rows] == [word for word, _ in expected]
    assert [row["similarity"] for row in rows] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)


def test_odd_answers_as_gensim_does(words: Call, lexicon: Lexicon) -> None:
    chosen = ["king", "film", "music", "of"]
    assert words("odd", *chosen).out.strip() == lexicon.judge.doesnt_match(chosen)


@on_real
def test_a_game_is_odd_among_countries(words: Call) -> None:
    assert words("odd", "france", "germany", "italy", "football").out.strip() == "football"


def test_case_is_folded_when_only_the_lower_case_is_known(words: Call, lexicon: Lexicon) -> None:
    (found,) = words("similar", "King", "--top", "1", "--json").json
    assert [n["word"] for n in found["similar"]] == lexicon.near("king", count=1)


def test_an_unknown_word_is_named_with_close_ones(words: Call) -> None:
    said = words("similar", "kingdon")
    assert said.code == 2
    assert "kingdon" in said.err
    assert "kingdom" in said.err


def test_an_image_model_has_no_words(call: Call) -> None:
    said = call("similar", "resnet18", "king")
    assert said.code == 2
    assert "zoo list --task word-vectors" in said.err


def test_a_file_is_explored_by_its_path_and_what_is_wrong_with_it_is_told_once(
    call: Call, home: Path, data: Path
) -> None:
    path = data / "words" / "glove.6B.50d.head.txt"
    first = call("similar", path, "king", "--top", "1")
    assert "prince" in first.out
    assert "5 words are not valid UTF-8 (line 218, 785, 1,329, 1,409, 1,420)" in first.err
    assert call("similar", path, "king", "--top", "1").err == ""
    assert "prince" in call("analogy", path, "king", "--top", "1").out
    shown = call("show", path)
    assert "not-utf8:  5 words are not valid UTF-8 (line 218, 785" in shown.out
    assert "words:     2,441" in shown.out
    assert "kB freed" in call("rm", path).out
    assert [found for found in home.rglob("*") if found.is_file() and found.suffix != ".lock"] == []


def test_a_signal_while_one_file_is_compiled_ends_the_command(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{name}.txt" for name in ("one", "two")]
    for path in paths:
        path.write_text("king 1 2\nqueen 3 4\n")
    begun: list[str] = []

    def stopped(model: LocalModel, *_: object, **__: object) -> None:
        begun.append(model.entry.name)
        raise Interrupted("stopped by SIGTERM", exit_code=143)

    monkeypatch.setattr("zoo.words.loading.load_words", stopped)
    assert call("fetch", *paths).code == 143
    assert begun == ["one.txt"]


def test_what_was_made_of_a_file_is_deleted_also_when_the_file_is_gone(
    call: Call, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "words.txt"
    path.write_text("king 1 2\nqueen 3 4\n")
    assert call("fetch", path).code == 0
    assert list((home / "blobs").iterdir())
    path.unlink()
    assert "freed" in call("rm", path).out
    assert list((home / "blobs").iterdir()) == []
    said = call("rm", path)
    assert (said.code, "no such file" in said.err) == (2, True)


def test_fetch_compiles_word_vectors_as_they_are_wanted_and_show_tells_their_error(
    call: Call, data: Path
) -> None:
    registry = ("--registry", data / "registry.yaml")
    fetched = call("fetch", "glove_demo", "--precision", "float16", *registry)
    assert "float16: no number changed by more than 0.0019" in fetched.err
    facts = call("show", "glove_demo", "--json", *registry).json["compiled"]
    assert list(facts) == ["float16"]
    assert 0.001 < facts["float16"]["max_error"] < 0.002
    assert set(facts["float16"]["faults"]) == {"not-utf8", "duplicate"}
    said = call("similar", "glove_demo", "king", *registry)
    assert (said.code, said.err) == (0, ""), "what is compiled already is taken"
    assert list(call("show", "glove_demo", "--json", *registry).json["compiled"]) == ["float16"]


@on_real
def test_strict_refuses_faults_with_exit_code_3(words: Call) -> None:
    said = words("similar", "king", "--strict")
    assert said.code == 3
    assert "refused, because strict" in said.err
    assert words("similar", "king").code == 0
    assert words("similar", "king", "--strict").code == 3


def test_options_of_words_are_refused_where_no_words_are_fetched(call: Call) -> None:
    said = call("fetch", "resnet18", "--precision", "float16")
    assert said.code == 2
    assert "are for word vectors" in said.err
    assert call("similar", "resnet18", "king", "--precision", "float61").err.startswith("error: no precision")


def test_a_member_of_a_zip_is_chosen(call: Call, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "glove.zip", "w") as archive:
        archive.writestr("a.txt", "the 1 0\nof 1 1\n")
        archive.writestr("b.txt", "the 1 0 0\nof 1 1 0\n")
    said = call("similar", tmp_path / "glove.zip", "the")
    assert said.code == 2
    assert "Say which one with --member: a.txt, b.txt" in said.err
    refused = call("registry", "add", tmp_path / "glove.zip", "--to", tmp_path / "r.yaml")
    assert (refused.code, "Unpack the file that you want" in refused.err) == (2, True)
    assert call("similar", tmp_path / "glove.zip", "the", "--member", "b.txt").code == 0
    assert "dimension: 3" in call("show", tmp_path / "glove.zip").out
    fetch = ("fetch", tmp_path / "glove.zip", "--member", "a.txt")
    assert call(*fetch).code == 0
    assert [row["action"] for row in call(*fetch, "--dry-run", "--json").json] == ["keep"]
    refused = call(*fetch, "--license", "mit")
    assert refused.code == 2
    assert "--license allows mit" in refused.err


def test_all_unknown_words_are_named_at_once(words: Call) -> None:
    said = words("similar", "kigndom", "prinse", "qqqq")
    assert said.code == 2
    assert "no words 'kigndom', 'prinse', 'qqqq'" in said.err
    assert "kigndom: Did you mean kingdom?" in said.err


def test_the_odd_one_is_looked_for_among_the_known_words(words: Call, lexicon: Lexicon) -> None:
    chosen = ["king", "film", "music", "of"]
    said = words("odd", *chosen, "qqqq")
    assert said.out.strip() == lexicon.judge.doesnt_match(chosen)
    assert f"no word 'qqqq' among {len(lexicon.judge.key_to_index):,}: left out" in said.err
    assert "at least three known words, not 2" in words("odd", "king", "film", "qqqq").err
    assert "at least three words" in words("odd", "king", "king", "king").err


def test_a_sum_may_be_one_argument(words: Call) -> None:
    apart = words("analogy", "king", "-", "man", "+", "woman", "--top", "1").out
    assert words("analogy", "king - man + woman", "--top", "1").out == apart


def test_a_word_with_a_zero_vector_has_no_neighbours_and_says_why(call: Call, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("the 1 0\nnothing 0 0\nof 1 1\n")
    said = call("similar", tmp_path / "own.txt", "nothing", "the", "--json")
    nothing, of_the = said.json
    assert nothing["similar"] == []
    assert of_the["similar"][0]["word"] == "of"
    assert "nothing is near 'nothing': its vector, or every other one, is zero" in said.err


@on_real
def test_an_approximate_index_tells_its_recall(words: Call) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'transfer-zoo[index]'")
    said = words("similar", "king", "--approximate", "--top", "1")
    assert "approximate index: recall 0.9" in said.err
    assert "prince" in said.out
    assert 0.95 <= words("similar", "king", "--approximate", "--json").json[0]["recall"] <= 1


def test_without_faiss_an_approximate_search_names_the_extra(
    words: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    said = words("similar", "king", "--approximate")
    assert said.code == 2
    assert "pip install 'transfer-zoo[index]'" in said.err


def test_a_fasttext_model_answers_for_words_that_it_never_saw(call: Call, tmp_path: Path) -> None:
    from gensim.models import FastText
    from gensim.models.fasttext import load_facebook_vectors, save_facebook_model

    path, texts = tmp_path / "tiny.bin", tmp_path / "texts.txt"
    sentences = [["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]] * 5
    model = FastText(sentences, vector_size=8, min_count=1, epochs=1, bucket=1000, workers=1, seed=1)
    save_facebook_model(model, str(path))
    reference = load_facebook_vectors(str(path))
    texts.write_text("the foxes\n", "utf-8")
    [found] = json.loads(call("similar", path, "foxes", "--top", "3", "--json").out)
    near = reference.most_similar("foxes", topn=3)
    assert [row["word"] for row in found["similar"]] == [word for word, _ in near]
    assert [row["similarity"] for row in found["similar"]] == pytest.approx([c for _, c in near], abs=1e-5)
    shown = call("show", path)
    assert "unknown_words: vectors from character n-grams of 3 to 6, 1,000 buckets" in shown.out
    covered = call("coverage", path, texts)
    assert "1 of the other 1 get vectors from their character n-grams" in covered.out
    assert call("embed", path, texts, "--out", tmp_path / "out.npz").code == 0
    features = np.load(tmp_path / "out.npz")["features"]
    np.testing.assert_allclose(features[0], (reference["the"] + reference["foxes"]) / 2, atol=1e-6)
    quantised = tmp_path / "tiny.ftz"
    content = bytearray(path.read_bytes())
    content[84:92] = (20).to_bytes(8, "little")  # n-grams that pruning left
    quantised.write_bytes(content)
    refused = call("similar", quantised, "fox")
    assert refused.code == 3
    assert "quantised fastText model (.ftz)" in refused.err
