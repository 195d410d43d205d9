"""zoo tune: the best recipe gives its score again, nothing that is finished is lost, and work is shared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import Call
from support.kits import Kit, real_kit, tiny_kit

from zoo.choosing.tuning.answer import Tuned
from zoo.choosing.tuning.search import pack, unpack
from zoo.choosing.tuning.space import PARAMETERS, choose_space
from zoo.choosing.tuning.storage import LEASE, give_up_lost, open_study, quiet_optuna
from zoo.choosing.tuning.tuner import tune
from zoo.data.kinds import IMAGES, TEXTS
from zoo.errors import (
    DatasetError,
    Interrupted,
    InvalidRecipe,
    MissingExtra,
    TrainingStopped,
    UnknownName,
    UsageError,
)
from zoo.events import Event, Progress
from zoo.runs.making.finetuning import finetune_model
from zoo.store.store import Store
from zoo.training.recipe import Recipe, resolve
from zoo.training.recipe_file import read_recipe

optuna = pytest.importorskip("optuna")


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Kit:
    """The tiny set, or the real one."""
    if getattr(request, "param", "tiny") == "real":
        return real_kit(request.getfixturevalue("data"))
    return tiny_kit(request.getfixturevalue("tiny"))


@pytest.fixture
def search(kit: Kit, store: Store, tmp_path: Path) -> Callable[..., Tuned]:
    """`search(trials=5, ...)`: with the network and the photographs of the kit, in one process."""

    def run(**options: Any) -> Tuned:
        settings = {
            "name": kit.net,
            "data": kit.images,
            "out": tmp_path / "tuning",
            "jobs": 1,
            "registry": kit.registry,
            "store": store,
            "device": "cpu",
            **options,
        }
        return tune(**settings)

    return run


WAYS: dict[str, dict[str, Any]] = {
    "heads": {"trials": 6, "epochs": 20},
    "deeper": {"trials": 3, "epochs": 3, "tune_epochs": 1, "unfreeze": 1, "deeper": True},
}


@pytest.mark.parametrize(
    ("kit", "way"),
    [("tiny", "heads"), ("tiny", "deeper"), pytest.param("real", "heads", marks=pytest.mark.slow)],
    indirect=["kit"],
)
def test_the_best_recipe_gives_its_score_again_exactly(
    kit: Kit, search: Callable[..., Tuned], store: Store, tmp_path: Path, way: str
) -> None:
    found = search(**WAYS[way])
    recipe = read_recipe(found.file)
    assert recipe == found.recipe
    run = finetune_model(
        kit.net, kit.images, out=tmp_path / "run", registry=kit.registry, store=store, recipe=recipe
    )
    assert run.val_loss == found.best.loss
    assert run.metrics == found.best.metrics
    assert run.epochs == found.best.epochs


def test_texts_are_tuned_as_well(
    kit: Kit, search: Callable[..., Tuned], store: Store, tmp_path: Path
) -> None:
    found = search(name=kit.words, data=kit.texts, trials=3, epochs=10)
    run = finetune_model(
        kit.words, kit.texts, out=tmp_path / "run", registry=kit.registry, store=store, recipe=found.recipe
    )
    assert (run.val_loss, run.metrics) == (found.best.loss, found.best.metrics)


def test_what_nobody_tuned_is_tried_first_and_the_search_repeats(
    search: Callable[..., Tuned], tmp_path: Path
) -> None:
    found = search(trials=12, epochs=5)
    again = search(trials=12, epochs=5, out=tmp_path / "again")
    assert [trial.values for trial in found.trials] == [trial.values for trial in again.trials]
    assert found.usual is not None
    assert found.usual.number == 0
    assert found.best.score >= found.usual.score  # type: ignore[operator]
    assert len({json.dumps(trial.values) for trial in found.trials}) == 12


def test_going_on_keeps_what_is_finished(search: Callable[..., Tuned]) -> None:
    first = search(trials=4, epochs=3)
    more = search(trials=7, epochs=3)
    assert len(more.trials) == 7
    assert {trial.number for trial in first.trials} < {trial.number for trial in more.trials}
    assert search(trials=7, epochs=3).best == more.best  # nothing is left to do


def command(kit: Kit, out: Path, *more: object) -> list[str]:
    """`zoo tune` in a process of its own."""
    words = ["tune", kit.net, kit.images, "--registry", kit.registry_file, "--out", out, "--jobs", 1, *more]
    return [sys.executable, "-m", "zoo", *map(str, words), "--device", "cpu"]


def finished(out: Path) -> list[Any]:
    """The trials of a study that have an outcome."""
    if not (out / "study.journal").exists():
        return []
    with quiet_optuna():
        backend = optuna.storages.journal.JournalFileBackend(str(out / "study.journal"))
        try:
            study = optuna.load_study(study_name="zoo", storage=optuna.storages.JournalStorage(backend))
        except KeyError:
            return []
        return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def wait_for_trials(out: Path, count: int) -> None:
    deadline = time.monotonic() + 90
    while len(finished(out)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_a_killed_search_loses_no_finished_trial_and_gives_up_the_one_it_worked_on(
    kit: Kit, search: Callable[..., Tuned], tmp_path: Path
) -> None:
    out = tmp_path / "tuning"
    process = subprocess.Popen(command(kit, out, "--trials", 500), start_new_session=True)
    wait_for_trials(out, 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {trial.number: trial.params for trial in finished(out)}
    found = search(trials=len(before) + 2)
    after = {trial.number: trial.params for trial in finished(out)}
    assert before.items() <= after.items()
    assert len(found.trials) == len(before) + 2


@pytest.mark.timeout(300)
def test_two_processes_on_one_study_share_the_work(kit: Kit, tmp_path: Path) -> None:
    out = tmp_path / "tuning"
    both = [subprocess.Popen(command(kit, out, "--trials", 40, "--epochs", 30)) for _ in range(2)]
    assert [process.wait(240) for process in both] == [0, 0]
    trials = finished(out)
    assert len(trials) == 40
    workers = {trial.user_attrs["lease"][1] for trial in trials}
    assert workers == {process.pid for process in both}
    assert len({json.dumps(trial.params) for trial in trials}) == len(trials)  # nothing was done twice


@pytest.mark.timeout(300)
def test_helpers_are_started_and_waited_for(search: Callable[..., Tuned], tmp_path: Path) -> None:
    found = search(trials=60, jobs=2, epochs=30)
    workers = {trial.user_attrs["lease"][1] for trial in finished(tmp_path / "tuning")}
    assert os.getpid() in workers
    assert len(workers) == 2
    assert len(found.trials) >= 60


def test_a_database_holds_a_study_for_several_machines(search: Callable[..., Tuned], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search(trials=2, epochs=2, study=url)
    found = search(trials=4, epochs=2, study=url, out=tmp_path / "elsewhere")
    assert len(found.trials) == 4
    assert (tmp_path / "elsewhere" / "recipe.toml").is_file()


CREATE = """
import sys
from zoo.choosing.tuning.storage import open_study, quiet_optuna
with quiet_optuna():
    study, new = open_study(sys.argv[1], {"model": "net"})
print(new)
"""


def test_two_that_create_a_study_at_once_have_the_same(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    begun = [
        subprocess.Popen([sys.executable, "-c", CREATE, url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in begun)
    assert said == ["False", "False", "True"]


def test_a_trial_without_its_process_is_given_up_and_one_with_it_is_not(tmp_path: Path) -> None:
    with quiet_optuna():
        study, _ = open_study(tmp_path, {})
        here, gone, late, far = (study.ask() for _ in range(4))
        host = os.uname().nodename
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        here.set_user_attr("lease", [host, os.getpid(), time.time() + LEASE])
        gone.set_user_attr("lease", [host, ended.pid, time.time() + LEASE])
        late.set_user_attr("lease", ["elsewhere", 1, time.time() - 1])
        far.set_user_attr("lease", ["elsewhere", 1, time.time() + LEASE])
        assert give_up_lost(study) == 2
        states = [trial.state.name for trial in study.trials]
    assert states == ["RUNNING", "FAIL", "FAIL", "RUNNING"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 4}, "another recipe"),
        ({"over": ["lr"]}, "another search"),
        ({"data": "reduced"}, "another data"),
    ],
)
def test_a_study_of_something_else_is_not_gone_on_with(
    kit: Kit, search: Callable[..., Tuned], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    search(trials=1, epochs=2)
    if "data" in change:
        for label in kit.classes:
            (tmp_path / "less" / label).mkdir(parents=True)
            for source in kit.val(label):
                (tmp_path / "less" / label / source.name).write_bytes(source.read_bytes())
        change = {"data": tmp_path / "less"}
    with pytest.raises(UsageError, match=words):
        search(**{"trials": 2, "epochs": 2, **change})


def replace_one(kit: Kit, folder: Path) -> tuple[Path, bytes]:
    """Put the photograph of another class where one lies; returns where, and what was there."""
    one, other = (sorted((folder / "train" / label).iterdir())[0] for label in kit.classes)
    before = one.read_bytes()
    one.write_bytes(other.read_bytes() + b"\0")
    return one, before


@pytest.mark.parametrize("way", WAYS)
def test_photographs_that_are_replaced_meanwhile_end_the_search(
    kit: Kit, search: Callable[..., Tuned], tmp_path: Path, way: str
) -> None:
    folder, replaced = tmp_path / "photos", []
    shutil.copytree(kit.images, folder)

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.task == "trials" and event.done == 2:
            replaced.append(replace_one(kit, folder))

    with pytest.raises(
        TrainingStopped, match=r"^1 image of \d+ hold something else .* began: train/"
    ) as stop:
        search(**WAYS[way], data=folder, report=report)
    [(place, before)] = replaced
    assert place.name in stop.value.message
    assert len(finished(tmp_path / "tuning")) == 2  # none of what was there later
    with pytest.raises(UsageError, match="photographs of the same names held something else"):
        search(**WAYS[way], data=folder)
    place.write_bytes(before)
    assert len(search(**WAYS[way], data=folder).trials) == WAYS[way]["trials"]


def test_a_photograph_that_is_written_again_as_it_was_is_the_same(
    kit: Kit, search: Callable[..., Tuned], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(kit.images, folder)

    def report(event: Event) -> None:
        if isinstance(event, Progress) and event.task == "trials":
            place, before = replace_one(kit, folder)
            place.write_bytes(before)

    assert len(search(trials=3, epochs=2, data=folder, report=report).trials) == 3


def test_a_study_of_an_earlier_version_that_kept_no_contents_is_gone_on_with(tmp_path: Path) -> None:
    with quiet_optuna():
        open_study(tmp_path, {"model": "net"})
        assert open_study(tmp_path, {"model": "net", "contents": "5e"})[1] is False


def test_asking_to_stop_keeps_the_trials_and_says_how_to_go_on(
    search: Callable[..., Tuned], tmp_path: Path
) -> None:
    asked = iter(range(10_000))
    with pytest.raises(Interrupted, match="stopped after"):
        search(trials=500, epochs=5, stop_requested=lambda: next(asked) > 300)
    assert finished(tmp_path / "tuning")
    assert (tmp_path / "tuning" / "recipe.toml").is_file()


def test_the_time_is_kept(search: Callable[..., Tuned]) -> None:
    search(trials=1)  # the imports and the features
    began = time.monotonic()
    found = search(minutes=0.05)
    assert len(found.trials) > 1
    assert 2 < time.monotonic() - began < 30  # it took the time, and ended


def test_labels_that_mean_nothing_are_expected_to_be_guessed(
    kit: Kit, search: Callable[..., Tuned], tmp_path: Path
) -> None:
    chance = np.random.default_rng(0)
    folder = tmp_path / "noise"
    for label in kit.classes:
        (folder / label).mkdir(parents=True)
    files = [
        path
        for part in ("train", "val")
        for name in kit.classes
        for path in (kit.images / part / name).iterdir()
    ]
    for number, source in enumerate(files):
        label = kit.classes[int(chance.integers(2))]
        (folder / label / f"{number}{source.suffix}").write_bytes(source.read_bytes())
    found = search(data=folder, trials=40, epochs=10, val_fraction=0.4)
    assert found.expected is not None
    low, high = found.expected.interval
    assert found.expected.accuracy < found.best.metrics["accuracy"]
    assert low < 0.5 < high
    nested = search(data=folder, trials=40, epochs=10, val_fraction=0.4, nested=3)
    assert nested.best == found.best  # the study is gone on with: there is nothing left to do
    assert nested.expected is not None
    assert nested.expected.how == "nested cross-validation: the search repeated in 3 folds"
    low, high = nested.expected.interval
    assert low < 0.5 < high
    assert high - low < 0.16  # every item counts, not the validation items alone


def test_the_test_part_is_measured_by_the_best_recipe_alone(
    kit: Kit, search: Callable[..., Tuned], store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for part in ("train", "val", "test"):
        for label in kit.classes:
            (folder / part / label).mkdir(parents=True)
    for label in kit.classes:
        for number, source in enumerate(sorted((kit.images / "train" / label).iterdir())):
            (folder / ("val" if number % 3 else "train") / label / source.name).write_bytes(
                source.read_bytes()
            )
        for source in kit.val(label):
            (folder / "test" / label / source.name).write_bytes(source.read_bytes())
    found = search(data=folder, trials=3, epochs=10)
    assert found.expected is not None
    assert "test items" in found.expected.how
    run = finetune_model(
        kit.net, folder, out=tmp_path / "run", registry=kit.registry, store=store, recipe=found.recipe
    )
    from zoo.runs.run import load_run

    items = [(path, label) for label in kit.classes for path in sorted((folder / "test" / label).iterdir())]
    answers = load_run(run.run, store=store).predict([path for path, _ in items], device="cpu")
    right = sum(answer.label == label for answer, (_, label) in zip(answers, items, strict=True))
    assert found.expected.accuracy == pytest.approx(right / len(items))


def test_the_command_shows_draws_and_explains(ask: Call, kit: Kit, tmp_path: Path) -> None:
    out = tmp_path / "tuning"
    said = ask(
        "tune", kit.net, kit.images, "--trials", 12, "--jobs", 1, "--explain", "--out", out, "--device", "cpu"
    )
    assert said.code == 0, said.err
    assert "untuned" in said.out
    assert "Learning rate" in said.out
    assert "by the choice among" in said.out
    assert f"--recipe {out / 'recipe.toml'}" in said.out
    for name in ("importances", "slices", "lr", "batch_size", "hidden"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size[0] > 400
    facts = json.loads(
        ask(
            "tune",
            kit.net,
            kit.images,
            "--trials",
            12,
            "--jobs",
            1,
            "--out",
            out,
            "--device",
            "cpu",
            "--json",
        ).out
    )
    assert len(facts["trials"]) == 12
    assert facts["best"] == facts["trials"][0]
    assert facts["lessons"] == []


def test_layers_are_compared_at_equal_numbers_of_parameters(
    kit: Kit, search: Callable[..., Tuned], store: Store
) -> None:
    found = search(trials=1, epochs=2, explain=True)
    hidden = next(lesson for lesson in found.lessons if lesson.name == "hidden")
    counts = [example.parameters for example in hidden.examples[1:]]
    assert max(counts) / min(counts) < 1.02
    assert len(counts) == 3
    rates = next(lesson for lesson in found.lessons if lesson.name == "lr")
    losses = [example.last.train_loss if example.last else np.inf for example in rates.examples]
    assert min(losses) < losses[0]  # the smallest rate has hardly begun


def test_what_is_given_is_not_searched_and_what_has_no_effect_neither() -> None:
    names = choose_space(Recipe(lr=0.1, head="linear"), IMAGES).names
    assert not {"lr", "head", "layers", "width", "activation", "unfreeze", "tune_lr", "augment"} & set(names)
    assert {"layers", "width"} <= set(choose_space(Recipe(head="mlp"), IMAGES).names)
    assert {"unfreeze", "tune_lr", "augment"} <= set(choose_space(Recipe(), IMAGES, deeper=True).names)
    assert "augment" not in choose_space(Recipe(), TEXTS, deeper=True).names
    assert choose_space(Recipe(), IMAGES, over=["lr"]).names == ("lr",)
    of_lora = set(choose_space(Recipe(strategy="lora"), IMAGES, deeper=True).names)
    assert "unfreeze" not in of_lora
    assert {"tune_lr", "augment"} <= of_lora
    assert "tune_lr" not in choose_space(Recipe(strategy="head"), IMAGES, deeper=True).names


@pytest.mark.parametrize("kind", [IMAGES, TEXTS], ids=lambda kind: kind.noun)
@pytest.mark.parametrize("deeper", [False, True])
def test_every_draw_is_a_recipe_that_can_be_used(kind: Any, deeper: bool) -> None:
    space = choose_space(Recipe(), kind, deeper=deeper)
    with quiet_optuna():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(300):
            resolve(space.recipe(space.suggest(study.ask())), kind)


@pytest.mark.parametrize("kind", [IMAGES, TEXTS], ids=lambda kind: kind.noun)
@pytest.mark.parametrize("optimizer", [None, "sgd", "rmsprop"])
def test_the_usual_values_are_in_the_ranges(kind: Any, optimizer: str | None) -> None:
    base = Recipe(head="mlp", unfreeze=1, optimizer=optimizer)
    space = choose_space(base, kind, deeper=True, items=5)
    usual = space.usual()
    assert set(usual) == set(space.names)
    with quiet_optuna():
        study = optuna.create_study()
        study.enqueue_trial(usual)
        assert space.suggest(study.ask()) == usual
    assert {parameter.name for parameter in PARAMETERS} >= set(usual)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 153])
def test_answers_survive_their_text(count: int) -> None:
    right = np.random.default_rng(count).random(count) < 0.5
    assert (unpack(pack(right)) == right).all()


def test_a_ready_recipe_is_what_trials_have_in_common(search: Callable[..., Tuned], kit: Kit) -> None:
    found = search(recipe="quick", epochs=3, trials=2)
    assert (found.recipe.epochs, found.recipe.lr, found.recipe.schedule) == (3, 0.003, "cosine")
    assert all("lr" not in trial.values for trial in found.trials)
    with pytest.raises(UnknownName, match="quik"):
        search(recipe="quik")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"trials": 0}, UsageError, "above 0"),
        ({"minutes": float("nan")}, UsageError, "above 0"),
        ({"nested": 2}, UsageError, "nested must be at least 3"),
        ({"nested": 5, "minutes": 1}, UsageError, "--trials"),
        ({"over": ["learning"]}, UnknownName, "learning"),
        ({"lr": -1}, InvalidRecipe, "lr"),
        ({"data": Path("nowhere")}, DatasetError, "nowhere"),
        ({"study": "nonsense://x"}, UsageError, "cannot be opened"),
        ({"learning_rate": 1}, InvalidRecipe, "learning_rate"),
        ({"strategy": "auto"}, UsageError, "every trial would choose anew"),
    ],
)
def test_what_cannot_be_is_refused(
    search: Callable[..., Tuned], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        search(**options)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match="optuna"), quiet_optuna():
        pass


def test_optuna_is_left_as_it_was() -> None:
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    with quiet_optuna():
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    optuna.logging.set_verbosity(optuna.logging.INFO)
