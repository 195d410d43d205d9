"""What a name means: every verb with every kind of target, as typed."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.commands import Call, Said, write_registry

from zoo import load_model, load_run
from zoo.catalogue.entry import TextInput, Weights, WordModel
from zoo.cli.main import VERBS
from zoo.cli.options import ModelName
from zoo.errors import IntegrityError, UsageError
from zoo.store.store import Store
from zoo.targets import KINDS, NEEDS, Checkpoint, RunFolder, VectorFile, find_target, kind_of

# verb -> what is typed with a target @, images or texts for items, and a new file or folder
TYPED = {
    "show": "show @",
    "fetch": "fetch @ --dry-run",
    "verify": "verify @",
    "path": "path @",
    "lock": "lock @",
    "bundle": "bundle @ -o new.tar",
    "check": "check DATA --model @",
    "pick": "pick DATA --model @",
    "tune": "tune @ DATA --trials 1 --epochs 1 --out new-study",
    "finetune": "finetune @ DATA --out new --epochs 1",
    "predict": "predict @ ITEMS",
    "evaluate": "evaluate @ DATA",
    "calibrate": "calibrate @ DATA",
    "explain": "explain @ ITEMS --nearest 0",
    "report": "report @ --out new.html",
    "compare": "compare @ @ DATA",
    "lr-find": "lr-find @ DATA",
    "embed": "embed @ ITEMS -o new.npz",
    "similar": "similar @ good",
    "analogy": "analogy @ good",
    "odd": "odd @ good bad ugly",
    "coverage": "coverage @ reviews",
    "rm": "rm @",
}
# target -> its kind, and what its items are
TARGETS = {
    "run-images": ("run", "images"),
    "./run-images": ("run", "images"),
    "run-images/run.json": ("run", "images"),
    "run-images/adapter.safetensors": ("run", "images"),
    "run-texts": ("run", "texts"),
    "run-texts/words.txt": ("run", "texts"),
    "digits": ("images", "images"),
    "own_words": ("words", "texts"),
    "own.txt": ("vector file", "texts"),
    "./own.txt": ("vector file", "texts"),
    "own.zip": ("vector file", "texts"),
    "weights.pth": ("checkpoint", "images"),
    "old.pth": ("checkpoint", "images"),
    "weights.safetensors": ("checkpoint", "images"),
    "models.tar": ("bundle", "images"),
    "forgotten": ("unlisted", "texts"),
    "gone.txt": ("unlisted", "texts"),
}
# what means neither a model nor a run -> what the error says
NOTHING = {
    "digits-photos": "digits-photos is a folder of images, not a model or a run",
    "reviews": "reviews is a folder of texts, not a model or a run",
    "empty": "empty is a folder without run.json, not a model or a run",
    "one.png": "one.png is an image, not a model or a run",
    "counts.txt": "counts.txt has one number on each line: a list of words and their counts, not vectors",
    "table.csv": "table.csv is a file of texts, not a model or a run",
    "nosuchrun": "no model 'nosuchrun', and no run folder or file of that name",
    "./nosuchrun": "./nosuchrun: no such file or folder",
    "nosuch.txt": "nosuch.txt: no such file or folder",
    "": "the name of a model is empty",
    "https://example.org/x.txt": "an address alone cannot prove what comes from it",
}
# what a verb cannot do with a target of the right kind: the exit code
ODD = {
    ("evaluate", "digits"): 5,  # it has other classes
    ("lock", "./own.txt"): 2,  # a path means another file in another folder
    # the run has seen all of the data
    **{("calibrate", target): 5 for target, (kind, _) in TARGETS.items() if kind == "run"},
}
VERB_OF_HINT = re.compile(r"zoo ([a-z]+)[^\n]*")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a target of every kind, and the home that they were made with."""
    from zoo.runs.demo import write_digits
    from zoo.runs.making.finetuning import finetune_model
    from zoo.store.bundles.packing import bundle

    folder = tmp_path_factory.mktemp("desk")
    store = Store(folder / "home")
    write_digits(folder / "digits-photos")
    (folder / "one.png").write_bytes(next(folder.rglob("*.png")).read_bytes())
    (folder / "empty").mkdir()
    (folder / "reviews").mkdir()
    for name in ("good", "bad"):
        lines = (f"a {name} film {number}" for number in range(20))
        (folder / "reviews" / f"{name}.txt").write_text("\n".join(lines))
    (folder / "table.csv").write_text("text,label\na good film,good\na bad film,bad\n")
    (folder / "counts.txt").write_text("the 1061396\nof 593677\nking 4\n")
    words = "good 1 2 3\nbad 3 1 2\nugly 2 2 1\nfilm 0 1 0\n"
    for name in ("own.txt", "registered.txt", "forgotten.txt", "gone.txt"):
        (folder / name).write_text(f"{name} 0 0 1\n{words}")
    with zipfile.ZipFile(folder / "own.zip", "w") as archive:
        archive.writestr("own.txt", words)
    for file, name, source in (("registry", "own_words", "registered"), ("old", "forgotten", "forgotten")):
        content = (folder / f"{source}.txt").read_bytes()
        weights = Weights(url=f"{source}.txt", sha256=hashlib.sha256(content).hexdigest())
        entry = WordModel(
            name=name,
            family="own",
            task="word-vectors",
            architecture="words/glove-text",
            weights=weights,
            license="mit",
            input=TextInput(dimension=3),
        )
        write_registry(folder / f"{file}.yaml", entry)
    common = {"store": store, "epochs": 1, "device": "cpu"}
    finetune_model("digits", folder / "digits-photos", out=folder / "run-images", **common)
    finetune_model(folder / "own.txt", folder / "reviews", out=folder / "run-texts", **common)
    network = load_model("digits", store=store)
    torch.save(network.state_dict(), folder / "weights.pth")
    torch.save(network.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(network.state_dict(), folder / "weights.safetensors")
    bundle(store, [network.zoo_entry], folder / "models.tar")
    return folder


@pytest.fixture
def typed(call: Call, home: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Said]:
    """`typed("predict", "digits")`: the verb with that target, in a folder of this test."""
    folder = home.parent / "desk"
    shutil.copytree(desk, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZOO_HOME", str(folder / "home"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert call("fetch", "forgotten", "gone.txt", "--registry", "old.yaml").code == 0
    Path("gone.txt").unlink()

    def act(verb: str, target: str) -> Said:
        items = TARGETS.get(target, ("", "images"))[1]
        places = {"images": ("digits-photos", "one.png"), "texts": ("reviews", "reviews/good.txt")}[items]
        words = {"@": target, "DATA": places[0], "ITEMS": places[1]}
        arguments = [words.get(word, word) for word in TYPED[verb].split()]
        return call(*arguments, "--registry", "registry.yaml")

    return act


@pytest.mark.thorough
@pytest.mark.parametrize("target", TARGETS)
def test_every_verb_uses_a_target_or_says_what_it_is_and_which_verb_can(
    typed: Callable[[str, str], Said], target: str
) -> None:
    kind = TARGETS[target][0]
    for verb in TYPED:
        need = NEEDS[f"zoo {verb}"]
        said = typed(verb, target)
        if kind in need.kinds:
            assert said.code == ODD.get((verb, target), 0), f"zoo {verb} {target}: {said.err}"
            continue
        assert (said.code, said.out) == (2, ""), f"zoo {verb} {target}: {said.err}"
        assert KINDS[kind].what in said.err
        assert f"zoo {verb} takes {need.wants}" in said.err
        for hinted in VERB_OF_HINT.finditer(said.err.partition("\n")[2]):
            assert hinted[1] in VERBS, hinted[0]
            if f"zoo {hinted[1]}" in NEEDS and shlex.quote(target) in hinted[0].split():
                assert kind in NEEDS[f"zoo {hinted[1]}"].kinds, f"{hinted[0]} would be refused as well"


@pytest.mark.thorough
@pytest.mark.parametrize("target", NOTHING)
def test_what_is_neither_a_model_nor_a_run_is_named_by_every_verb(
    typed: Callable[[str, str], Said], target: str
) -> None:
    for verb in TYPED:
        said = typed(verb, target)
        assert (said.code, said.out) == (2, ""), f"zoo {verb} {target}: {said.err}"
        assert NOTHING[target] in said.err


def test_the_table_has_every_verb_that_takes_a_model() -> None:
    from zoo.cli.main import cli

    context = cli.make_context("zoo", ["list"])
    takes = {
        verb
        for verb in VERBS
        for parameter in cli.get_command(context, verb).params  # type: ignore[union-attr]
        if isinstance(parameter.type, ModelName)
    }
    assert takes == set(TYPED)
    assert {f"zoo {verb}" for verb in takes} <= set(NEEDS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("typed_words", "right"),
    [
        ("finetune digits-photos digits --out new", "zoo finetune digits digits-photos"),
        ("predict one.png run-images", "zoo predict run-images one.png"),
        ("evaluate digits-photos run-images", "zoo evaluate run-images digits-photos"),
        ("embed one.png digits -o new.npz", "zoo embed digits one.png"),
    ],
)
def test_swapped_arguments_are_shown_in_the_right_order(
    call: Call, typed: Callable[[str, str], Said], typed_words: str, right: str
) -> None:
    said = call(*typed_words.split())
    assert said.code == 2
    assert "not a model or a run" in said.err
    assert f"The model comes first: {right}" in said.err


def test_a_checkpoint_becomes_a_model_by_the_line_that_is_shown(
    call: Call, typed: Callable[[str, str], Said]
) -> None:
    said = call("predict", "weights.pth", "one.png")
    line = re.search(r"zoo (registry add .*) --like MODEL", said.err)
    assert line is not None
    assert call(*shlex.split(line[1]), "--like", "digits").code == 0
    assert call("predict", "weights", "one.png", "--registry", "registry.yaml").code == 0


def test_a_mistyped_path_or_run_is_answered_with_the_right_one(
    call: Call, typed: Callable[[str, str], Said]
) -> None:
    assert "Did you mean run-images" in call("predict", "run-image", "one.png").err
    assert "Did you mean own.txt?" in call("similar", "./onw.txt", "good").err


def test_a_run_that_is_not_whole_is_not_called_a_model_that_is_missing(
    typed: Callable[[str, str], Said],
) -> None:
    Path("run-images/run.json").unlink()
    said = typed("predict", "run-images")
    assert said.code == 3
    assert "holds adapter.safetensors but not run.json" in said.err


def test_a_run_hides_a_model_of_its_name_and_a_bare_folder_does_not(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    store = Store(desk / "home")
    (desk / "resnet18").mkdir()
    assert kind_of(find_target("resnet18", store=store)) == "images"
    (desk / "resnet18" / "run.json").write_text("{}")
    assert find_target("resnet18", store=store) == RunFolder("resnet18", Path("resnet18"))


def test_a_target_is_found_without_reading_the_whole_file_or_writing_anything(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    store = Store(tmp_path / "home")
    assert find_target("own.txt", store=store) == VectorFile("own.txt", Path("own.txt"))
    assert find_target(f"file://{desk}/own.txt", store=store) == VectorFile(
        f"file://{desk}/own.txt", desk / "own.txt"
    )
    assert find_target("weights.pth", store=store) == Checkpoint("weights.pth", Path("weights.pth"))
    assert not store.home.exists()


def test_the_library_answers_as_the_command_line_does(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    store = Store(desk / "home")
    assert load_run("run-images/run.json", store=store).path == Path("run-images")
    with pytest.raises(UsageError, match=r"digits is a model for images, and zoo\.load_run takes a run"):
        load_run("digits", store=store)
    with pytest.raises(UsageError, match=r"run-images is a run, and zoo\.load_model takes a model"):
        load_model("run-images", store=store)
    Path("run-bad").mkdir(exist_ok=True)
    Path("run-bad/run.json").write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        load_run("run-bad", store=store)
