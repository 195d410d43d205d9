"""Static embedding models: as model2vec answers in model2vec.json (tools/model2vec_answers.py made it)."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.loopback import Server, answer

from zoo import finetune_model, load_model, load_run
from zoo.catalogue.registry import load_registry
from zoo.data.texts import Text
from zoo.errors import HashMismatch, IntegrityError, NotAModel, Offline, UsageError
from zoo.runs.using.embedding import embed_by_vectors
from zoo.store.store import Store
from zoo.words.compiling.compiler import compile_vectors
from zoo.words.texts.pooling import coverage, embed_texts
from zoo.words.texts.tokens import PieceTokenizer, WordTokenizer, tokenizer_of
from zoo.words.vectors.layout import check_layout
from zoo.words.vectors.word_vectors import WordVectors, open_vectors

ANSWERS: dict[str, Any] = json.loads(Path(__file__).with_name("model2vec.json").read_text("utf-8"))
TEXTS: list[str] = ANSWERS["texts"]
COMMIT = "c0ffee" * 6 + "c0ff"


def lay(folder: Path, name: str = "float32") -> Path:
    """The folder of a model."""
    folder.mkdir(exist_ok=True)
    for file, content in ANSWERS["models"][name]["files"].items():
        (folder / file).write_bytes(base64.b64decode(content))
    return folder


def answers(name: str) -> np.ndarray:
    """model2vec's own vectors of the texts."""
    return np.array(ANSWERS["models"][name]["vectors"])


@pytest.fixture
def model(tmp_path: Path, store: Store) -> WordVectors:
    opened = load_model(str(lay(tmp_path / "tiny")), store=store)
    assert isinstance(opened, WordVectors)
    return opened


@pytest.mark.parametrize("name", ANSWERS["models"])
def test_texts_have_the_vectors_that_model2vec_gives_them(name: str, tmp_path: Path) -> None:
    compile_vectors(lay(tmp_path / name, name), tmp_path / "compiled")
    found = embed_texts(open_vectors(tmp_path / "compiled"), TEXTS)
    np.testing.assert_allclose(found.matrix, answers(name), rtol=1e-6, atol=1e-6)
    assert found.without_vector.tolist() == [not vector.any() for vector in answers(name)]
    check_layout(tmp_path / "compiled")


def test_a_text_of_unknown_pieces_has_none_and_no_special_token_counts(model: WordVectors) -> None:
    assert tokenizer_of(model)("Actors, zzz!") == ["act", "##or", "##s", ",", "!"]
    assert tokenizer_of(model)("zzz") == []
    assert str(embed_texts(model, ["Actors zzz", "qqq"])).startswith(
        "3 pieces of words: 3 known; 1 of 2 texts"
    )


def test_a_long_text_is_cut_where_the_model_cuts_it(tmp_path: Path, store: Store) -> None:
    short = load_model(str(lay(tmp_path / "short", "short")), store=store)
    assert tokenizer_of(short)("a film a film a film") == ["a", "film", "a"]
    assert tokenizer_of(short)("qq a film") == ["a", "film"], "an unknown piece counts"
    assert tokenizer_of(short)("qqq a film") == ["a"], "three pieces of the median length are nine characters"


def test_a_word_of_several_pieces_has_the_mean_of_their_vectors(model: WordVectors) -> None:
    pieces = model[["act", "##or", "##s"]]
    np.testing.assert_allclose(model["Actors"], pieces.mean(axis=0), rtol=1e-6)
    assert "Actors" in model
    assert "Actors" not in model.key_to_index
    assert "zzz" not in model
    assert len(model) == 23
    assert model.to_gensim().most_similar("film", topn=1)[0][0] == model.most_similar("film", topn=1)[0][0]


def test_coverage_counts_words_that_are_one_piece_and_names_the_pieces_of_others(model: WordVectors) -> None:
    found = coverage(model, ["The actors filming", "qqq zzz"])
    assert (found.tokens, found.known, found.from_ngrams) == (5, 1, 2)
    assert dict(zip([word for word, _ in found.unknown], found.cut, strict=True)) == {
        "actors": "act ##or ##s",
        "filming": "film ##ing",
        "qqq": "?",
        "zzz": "?",
    }
    assert found.without_known == (1,)


def test_the_command_says_what_coverage_means_for_pieces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from zoo.cli.main import main

    (tmp_path / "texts.txt").write_text("The actors\n")
    with pytest.raises(SystemExit) as left:
        main(["coverage", str(lay(tmp_path / "tiny")), str(tmp_path / "texts.txt")])
    assert not left.value.code
    out = capsys.readouterr().out
    assert "50.0% of 2 words are one piece" in out
    assert "1 of the other 1 are cut into several pieces" in out
    assert "act ##or ##s" in out


def test_the_weights_stand_for_their_folder(tmp_path: Path, store: Store, model: WordVectors) -> None:
    same = load_model(str(tmp_path / "tiny" / "model.safetensors"), store=store)
    assert same.path == model.path


def test_another_tokenizer_beside_the_same_weights_is_another_model(tmp_path: Path, store: Store) -> None:
    folder = lay(tmp_path / "tiny")
    before = embed_texts(load_model(str(folder), store=store), TEXTS).matrix
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"normalize": False}))
    after = embed_texts(load_model(str(folder), store=store), TEXTS).matrix
    assert not np.allclose(np.linalg.norm(after[0]), 1)
    np.testing.assert_allclose(after[0] / np.linalg.norm(after[0]), before[0], rtol=1e-5)


def _cut_tokenizer(folder: Path) -> None:
    definition = json.loads((folder / "tokenizer.json").read_bytes())
    definition["model"]["vocab"].pop("12")
    (folder / "tokenizer.json").write_text(json.dumps(definition))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_cut_tokenizer, "22 pieces, its weights have 23 vectors"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be used"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "config.json is not a JSON object"),
        (lambda folder: (folder / "config.json").write_text('{"max_length": 0}'), "has max_length 0"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:-8]
            ),
            "its weights cannot be read",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    damage: Any, says: str, tmp_path: Path, store: Store
) -> None:
    damage(lay(tmp_path / "tiny"))
    with pytest.raises(IntegrityError, match=says):
        load_model(str(tmp_path / "tiny"), store=store)


def test_what_has_no_tokenizer_beside_it_is_no_model(tmp_path: Path, store: Store) -> None:
    (lay(tmp_path / "tiny") / "tokenizer.json").unlink()
    with pytest.raises(NotAModel):
        load_model(str(tmp_path / "tiny"), store=store)


@pytest.mark.parametrize("option", [{"encoding": "latin-1"}, {"member": "a.txt"}, {"limit": 3}])
def test_options_of_other_files_are_refused(option: dict[str, Any], tmp_path: Path, store: Store) -> None:
    with pytest.raises(UsageError, match="no member, no encoding and no limit"):
        load_model(str(lay(tmp_path / "tiny")), store=store, **option)


def test_a_tokenizer_is_the_same_from_its_settings(model: WordVectors) -> None:
    settings = json.loads(json.dumps(tokenizer_of(model).settings))
    again = WordTokenizer.from_settings(settings)
    assert isinstance(again, PieceTokenizer)
    assert again("Filming actors!") == ["film", "##ing", "act", "##or", "##s", "!"]


def test_a_run_reads_texts_as_the_model_does(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "texts"
    for label, word in (("good", "very good"), ("bad", "not bad")):
        (folder / label).mkdir(parents=True)
        for number in range(20):
            ending = ["films", "actors", "runner", "acting"][number % 4]
            (folder / label / f"{number}.txt").write_text(f"{word} {ending} {'a ' * number}")
    weights = str(lay(tmp_path / "tiny"))
    finetune_model(weights, folder, out=tmp_path / "run", store=store, epochs=20)
    found = load_run(tmp_path / "run", store=store).predict(["Very good filming!"])[0]
    assert found.label == "good"
    assert (found.words, found.known) == (5, 4), "the exclamation mark is in no training text"
    definition = tmp_path / "run" / "tokenizer.json"
    assert "##ing" not in (tmp_path / "run" / "run.json").read_text()
    definition.write_bytes(definition.read_bytes().replace(b"##or", b"##er"))
    with pytest.raises(HashMismatch, match=r"tokenizer\.json"):
        load_run(tmp_path / "run", store=store).predict(["good"])


# --- from the Hub, as an entry of a registry


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A Hub that holds owner/static; small files have no sha256 there."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    for name, packed in ANSWERS["models"]["float32"]["files"].items():
        content = base64.b64decode(packed)
        facts: dict[str, Any] = {"X_Repo_Commit": COMMIT, "X_Linked_Size": len(content)}
        if name == "model.safetensors":
            facts["X_Linked_Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        location = server.add(f"/cdn/{name}", content).replace("127.0.0.1", "localhost")
        for revision in ("main", COMMIT):
            path = f"/owner/static/resolve/{revision}/{name}"
            server.add(path, content, answer(302, Location=location, **facts))
    return server


ENTRY = """models:
  tiny:
    family: potion
    task: word-vectors
    architecture: words/model2vec
    weights: {url: 'hf://owner/static/model.safetensors'}
    input: {dimension: 6}
    license: mit
"""


def test_an_entry_brings_the_files_beside_its_weights_of_the_same_commit(
    hub: Server, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "registry.yaml").write_text(ENTRY)
    registry = load_registry([tmp_path / "registry.yaml"])
    vectors = load_model("tiny", registry=registry, store=store)
    found = embed_by_vectors(vectors, [Text(Path("a"), text) for text in TEXTS])
    np.testing.assert_allclose(found.features, answers("float32"), rtol=1e-6, atol=1e-6)
    assert any(f"resolve/{COMMIT}/tokenizer.json" in request.path for request in hub.log)
    requests = len(hub.log)
    offline = Store(store.home, offline=True)
    assert load_model("tiny", registry=registry, store=offline).path == vectors.path
    assert load_model("tiny", registry=registry, store=offline, precision="float16") is not None
    assert len(hub.log) == requests
    store.remove(registry["tiny"])
    assert list(store.blobs.folder.iterdir()) == []
    assert list((store.home / "records").iterdir()) == []
    with pytest.raises(Offline):
        load_model("tiny", registry=registry, store=offline)
