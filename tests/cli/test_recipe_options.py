"""The options of `zoo finetune` are the knobs of the recipe, and its problems are in the words of the command
line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.commands import Call

from zoo.runs.demo import write_digits
from zoo.training.recipe import KNOBS


def test_the_kind_of_item_comes_before_everything_that_depends_on_it(ask: Call, tmp_path: Path) -> None:
    said = ask("finetune", "tiny_words", tmp_path, "--out", tmp_path / "run", "--augment", "light")
    assert said.code == 2
    assert "--augment is for images, and this model takes texts" in said.err
    assert "unfreeze" not in said.err


def test_three_mistakes_are_three_problems_in_the_words_of_the_command_line(
    call: Call, tmp_path: Path
) -> None:
    options = ("--hidden", "3", "--encoder", "cnn", "--tune-lr", "1")
    said = call("finetune", "digits", tmp_path, "--out", tmp_path / "run", *options)
    assert said.code == 2
    assert "3 problems" in said.err
    for problem in (
        "--hidden belongs to --head mlp; the head is linear",
        "--tune-lr has no effect while the whole backbone stays frozen: add --unfreeze 1",
        "--encoder is for texts, and this model takes images",
    ):
        assert problem in said.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["--epochs", "many"], "--epochs must be a whole number, not 'many'"),
        (["--lr", "nan"], "--lr must be above 0, not nan"),
        (["--optimizer", "adan"], "--optimizer cannot be 'adan'. Did you mean adam or adamw?"),
        (["--on-bad", "quit"], "--on-bad cannot be 'quit'. There are: skip, stop."),
        (["--from-scratch"], "--from-scratch begins with random weights: add --unfreeze all"),
        (["--unfreeze", "-1"], "--unfreeze must be at least 0, not -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_names_the_option_that_was_typed(
    call: Call, tmp_path: Path, options: list[str], problem: str
) -> None:
    said = call("finetune", "digits", tmp_path, "--out", tmp_path / "run", *options)
    assert said.code == 2
    assert problem in said.err
    assert not re.search(r"[a-z]_[a-z]", said.err.partition("\n")[0])


@pytest.mark.parametrize("asked", ["99", "layer9"])
def test_a_stage_that_is_not_there_is_answered_with_those_that_are(
    call: Call, tmp_path: Path, asked: str
) -> None:
    write_digits(tmp_path / "digits")
    said = call("finetune", "digits", tmp_path / "digits", "--out", tmp_path / "run", "--unfreeze", asked)
    assert said.code == 2
    assert f"--unfreeze {asked}: the network has" in said.err
    assert "The stages, the last first: " in said.err


def test_help_has_every_knob_with_its_default_below_its_heading(call: Call) -> None:
    said = call("finetune", "--help")
    text = " ".join(said.out.split())
    for knob in KNOBS.values():
        assert re.search(rf"{knob.option}\b", text), knob.name
    for shown in (
        "[default: 0.2; 0.5 for texts with --unfreeze or a trained encoder]",
        "Widths of the hidden layers. [only with --head mlp; default: 256]",
        "--unfreeze N|none|all|STAGE",
        "--device auto|cpu|cuda|mps|cuda:N",
        "--balance / --no-balance",
        "[only for images; default: one per core]",
    ):
        assert shown in text
    headings = re.findall(r"^([A-Z][^\n:]*):$", said.out, re.M)
    assert headings[1:-1] == [
        "Head",
        "Training",
        "Deeper stages, with --strategy or --unfreeze",
        "Texts, with word vectors",
        "Stopping",
        "Data",
        "Machine",
    ]
    places = [text.index(f"{option} ") for option in ("--head", "--hidden", "--epochs", "--lr", "--seed")]
    assert places == sorted(places)


def test_a_recipe_that_was_printed_gives_the_same_run_and_what_is_typed_wins(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    data, file = tiny / "images", tmp_path / "recipe.toml"
    common = ["--head", "mlp", "--hidden", "8", "--epochs", "2", "--device", "cpu"]
    printed = ask("finetune", "tiny_net", data, "--out", tmp_path / "a", *common, "--print-recipe")
    assert not (tmp_path / "a").exists()
    file.write_text(printed.out)
    ask("finetune", "tiny_net", data, "--out", tmp_path / "a", *common)
    ask("finetune", "tiny_net", data, "--out", tmp_path / "b", "--recipe", file)
    ask("finetune", "tiny_net", data, "--out", tmp_path / "c", "--recipe", file, "--epochs", "1")
    a, b, c = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_a_mistake_in_a_recipe_file_is_in_the_words_of_the_command_line(
    ask: Call, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text("lr = -1\nbatch_size = 0\n")
    said = ask(
        "finetune", "tiny_net", tiny / "images", "--out", tmp_path / "a", "--recipe", tmp_path / "recipe.toml"
    )
    assert said.code == 2
    assert "--lr must be above 0" in said.err
    assert "--batch-size must be at least 1" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "run", "--out", "other"], "--out cannot be given with --resume"),
        (["--resume", "run", "--label-column", "kind"], "--label-column cannot be given with --resume"),
        (["tiny_net", "--resume", "run"], "tiny_net is one of them without the other"),
        (["--resume", "run"], "nothing to go on from: there is no checkpoint in run.partial"),
        (["tiny_net", "data", "--out", "run", "--force"], "--force is for --resume alone"),
        (["tiny_net", "--out", "run"], "missing argument 'DATA'"),
        (["tiny_net", "data"], "missing option '--out'"),
        (["tiny_net", "data", "--out", "run", "--checkpoint-every", "0"], "--checkpoint-every"),
    ],
)
def test_what_does_not_go_with_resume_is_refused(call: Call, arguments: list[str], words: str) -> None:
    said = call("finetune", *arguments)
    assert (said.code, words in said.err) == (2, True), said.err
