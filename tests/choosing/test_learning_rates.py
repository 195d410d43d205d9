"""zoo lr-find: a rate read off losses at growing rates, with nothing kept and nothing changed."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.commands import Call
from support.kits import Kit, on_real_slowly, real_kit, tiny_kit

from adapters import build_head
from zoo.choosing.rates.curve import RULES, Curve, suggest
from zoo.choosing.rates.finder import FoundRate, find_lr
from zoo.choosing.rates.rate_range import try_rates
from zoo.cli.chart import chart
from zoo.data.kinds import IMAGES
from zoo.errors import DatasetError, Interrupted, TrainingStopped, UnknownName, UsageError
from zoo.runs.making.finetuning import finetune_model
from zoo.store.store import Store
from zoo.training.batches import FeatureBatches
from zoo.training.loop import fit
from zoo.training.machine import Machine
from zoo.training.phase_state import PhaseState, begin_phase
from zoo.training.recipe import Recipe, resolve
from zoo.training.strategies import phases


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Kit:
    """The tiny set, or the real one."""
    if getattr(request, "param", "tiny") == "real":
        return real_kit(request.getfixturevalue("data"))
    return tiny_kit(request.getfixturevalue("tiny"))


@pytest.fixture
def find(kit: Kit, store: Store) -> Callable[..., FoundRate]:
    """`find(unfreeze=1, ...)`: with the network and the photographs of the kit."""

    def run(name: str | None = None, data: Path | None = None, **options: Any) -> FoundRate:
        settings = {"registry": kit.registry, "store": store, "device": "cpu", **options}
        return find_lr(name or kit.net, data or kit.images, **settings)

    return run


def curve(loss: Callable[[float], float], *, steps: int = 100, noise: float = 0.0) -> Curve:
    """Losses at rates from 1e-6 to 10, as a function of the power of ten."""
    powers = np.linspace(-6, 1, steps)
    draws = np.random.default_rng(0).normal(0, noise, steps)
    losses = [loss(power) + draw for power, draw in zip(powers, draws, strict=True)]
    return Curve(tuple(10**powers), tuple(losses), steps)


def fall_and_rise(power: float) -> float:
    """From 1 down to 0 between 1e-4 and 1e-2, up from 1 on."""
    return (1 - min(1.0, max(0.0, (power + 4) / 2))) + 5 * max(0.0, power)


def test_rules_find_the_middle_of_the_fall_its_steepest_point_the_minimum_and_the_rise() -> None:
    found = suggest(curve(fall_and_rise, noise=0.02))
    assert [*found] == [*RULES]
    assert 3e-4 < found["valley"] < 3e-3
    assert 1e-4 < found["steepest"] < 1e-2
    assert 5e-4 < found["minimum/10"] < 5e-3
    assert found["minimum/10"] <= found["rise/10"] < 0.2


def test_noise_alone_suggests_nothing_and_a_rise_without_a_fall_a_tenth_of_it() -> None:
    assert suggest(curve(lambda power: 0.7, noise=0.1)) == {}
    found = suggest(curve(lambda power: 0.01 + 5 * max(0.0, power + 2), noise=0.005))
    assert [*found] == ["rise/10"]
    assert 2e-4 < found["rise/10"] < 2e-3


def phase(items: int = 64, *, poisoned: bool = False) -> PhaseState:
    """A head on features that part two classes, with dropout, Adam and a moving average."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(items) % 2
    features = torch.randn(items, 8, generator=generator) + labels[:, None]
    if poisoned:
        features[:] = math.nan
    recipe = resolve(Recipe(epochs=3, batch_size=16, dropout=0.5, ema=0.9), IMAGES)
    torch.manual_seed(2)
    return begin_phase(
        build_head("mlp", 8, 2, hidden=(4,), dropout=0.5),
        FeatureBatches(features, labels, 16, seed=0),
        FeatureBatches(features, labels, 64),
        recipe=recipe,
        phase=phases(recipe)[0],
        machine=Machine(torch.device("cpu")),
    )


def test_a_phase_trains_bit_for_bit_as_if_no_rate_had_been_tried() -> None:
    tried, fresh = phase(), phase()
    before = torch.get_rng_state()
    first = try_rates(tried, lowest=1e-6, highest=10, steps=40)
    assert torch.equal(torch.get_rng_state(), before)
    assert try_rates(tried, lowest=1e-6, highest=10, steps=40) == first
    assert first.losses[-1] != first.losses[0]
    one, other = fit(tried), fit(fresh)
    assert [end.val_loss for end in one.history] == [end.val_loss for end in other.history]
    assert all(torch.equal(one.best_state[name], other.best_state[name]) for name in other.best_state)


def test_each_step_has_its_rate_and_the_test_ends_where_the_loss_diverges() -> None:
    state = phase()
    found = try_rates(state, lowest=1e-6, highest=1e6, steps=60)
    ratios = [after / before for before, after in zip(found.rates, found.rates[1:], strict=False)]
    assert np.allclose(ratios, 1e12 ** (1 / 59))
    assert 10 < len(found.rates) < 60
    assert found.losses[-1] > 4 * min(found.losses)


def test_a_loss_that_is_no_number_and_one_that_diverges_at_once_are_said() -> None:
    with pytest.raises(TrainingStopped, match="not a number in the first step"):
        try_rates(phase(poisoned=True), lowest=1e-6, highest=10, steps=40)
    with pytest.raises(TrainingStopped, match="diverges within") as stopped:
        try_rates(phase(), lowest=1e4, highest=1e30, steps=40)
    assert stopped.value.hint == "Begin lower: --from 1e+01"


@on_real_slowly
@pytest.mark.parametrize("options", [{}, {"unfreeze": 1, "epochs": 5, "steps": 20}], ids=["head", "deeper"])
def test_a_seed_gives_the_same_curve_again_and_nothing_is_written(
    find: Callable[..., FoundRate], store: Store, kit: Kit, options: dict[str, Any], tmp_path: Path
) -> None:
    if kit.name == "real" and options:
        options = options | {"batch_size": 16}

    def files() -> list[Path]:  # hashes are remembered of photographs that are two seconds old
        return sorted(p for p in tmp_path.rglob("*") if p.is_file() and "hashes" not in p.parts)

    first = find(**options)
    before = files()
    again = find(**options)
    assert again.losses == first.losses
    assert files() == before
    assert not [path for path in before if "home" not in str(path) and "tiny" not in str(path)]
    assert (first.phase, first.option) == (("tune", "--tune-lr") if options else ("head", "--lr"))
    if not options:
        assert 1e-5 < first.suggestion < 1


@on_real_slowly
def test_the_suggested_rate_trains_as_well_as_the_usual_one(
    find: Callable[..., FoundRate], kit: Kit, store: Store, tmp_path: Path
) -> None:
    rate = find().suggestion
    common: dict[str, Any] = {"registry": kit.registry, "store": store, "device": "cpu"}
    usual = finetune_model(kit.net, kit.images, out=tmp_path / "usual", **common)
    found = finetune_model(kit.net, kit.images, out=tmp_path / "found", lr=rate, **common)
    noise = math.sqrt(usual.val_accuracy * (1 - usual.val_accuracy) / kit.val_images) + 1 / kit.val_images
    assert found.val_accuracy >= usual.val_accuracy - 2 * noise


@pytest.fixture
def table(kit: Kit, tmp_path: Path) -> Path:
    """The photographs of the kit with a label of several, and with a number: how bright they are."""
    rows = ["path,labels,brightness"]
    for path in sorted((kit.images / "train").rglob("*.*")):
        bright = float(np.asarray(Image.open(path).convert("L")).mean())
        labels = path.parent.name + ("|bright" if bright > 60 else "")
        rows.append(f"{path},{labels},{bright:.3f}")
    file = tmp_path / "table.csv"
    file.write_text("\n".join(rows))
    return file


@pytest.mark.parametrize(("task", "column"), [("multi-label", "labels"), ("regression", "brightness")])
def test_several_labels_and_numbers_have_a_curve_too(
    find: Callable[..., FoundRate], table: Path, task: str, column: str
) -> None:
    found = find(data=table, task=task, label_column=column)
    assert found.suggestion is not None
    assert 0 < min(found.smoothed) < found.smoothed[0]


@pytest.mark.parametrize("options", [{}, {"unfreeze": "all", "steps": 30}, {"encoder": "cnn", "steps": 30}])
def test_texts_have_a_curve_too(find: Callable[..., FoundRate], kit: Kit, options: dict[str, Any]) -> None:
    found = find(kit.words, kit.texts, **options)
    assert found.suggestion is not None
    assert found.option == ("--tune-lr" if options else "--lr")


@pytest.fixture
def few(kit: Kit, tmp_path: Path) -> Path:
    """Three photographs of each class in train and two in val, all of one colour."""
    for part, count in (("train", 3), ("val", 2)):
        for label in kit.classes:
            (tmp_path / "few" / part / label).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (64, 64 + number), "white").save(
                    tmp_path / "few" / part / label / f"{number}.png"
                )
    return tmp_path / "few"


def test_too_few_items_and_equal_ones_are_refused_in_words(
    find: Callable[..., FoundRate], few: Path, kit: Kit
) -> None:
    with pytest.raises(DatasetError, match="6 training items are too few"):
        find(data=few)
    for label in kit.classes:
        for number in range(10, 20):
            Image.new("RGB", (64, 64 + number), "white").save(few / "train" / label / f"{number}.png")
    with pytest.raises(DatasetError, match="features are all equal"):
        find(data=few)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"lowest": 0.0}, UsageError, "from 0 to 10"),
        ({"lowest": 1.0, "highest": 0.1}, UsageError, "must grow"),
        ({"highest": math.inf}, UsageError, "must grow"),
        ({"lowest": math.nan}, UsageError, "must grow"),
        ({"steps": 5}, UsageError, "5 steps say nothing"),
        ({"rule": "vally"}, UnknownName, "no rule 'vally'"),
    ],
)
def test_what_has_no_curve_is_refused_before_anything_is_read(
    find: Callable[..., FoundRate], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find(data=Path("no-such-folder"), **options)


def test_a_ready_recipe_is_taken_by_its_name_and_its_head_is_chosen(find: Callable[..., FoundRate]) -> None:
    options = {"strategy": "head", "epochs": 20, "lr": 0.003, "schedule": "cosine", "patience": 5}
    quick = find(recipe="quick", steps=20)
    assert (quick.usual, quick.option) == (0.003, "--lr")
    assert quick.losses == find(**options, steps=20).losses
    assert find(recipe="tiny-data", steps=20).phase == "head"
    with pytest.raises(UnknownName, match="quik"):
        find(recipe="quik")


def test_a_head_that_is_computed_has_no_rate(find: Callable[..., FoundRate]) -> None:
    with pytest.raises(UsageError, match="no rate to find for head nearest-mean: it is computed"):
        find(head="nearest-mean", steps=20)
    assert find(head="nearest-mean", unfreeze=1, steps=20).option == "--tune-lr"


def test_the_commands_take_ready_recipes_and_files_alike(ask: Call, kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("epochs = 3\n")
    shared = (kit.net, kit.images, "--registry", kit.registry_file, "--device", "cpu")
    for number, recipe in enumerate(("quick", tmp_path / "my.toml", "quik")):
        out = tmp_path / f"tuning-{number}"
        for words in (("lr-find", "--steps", 20), ("tune", "--trials", 1, "--jobs", 1, "--out", out)):
            said = ask(*words, *shared, "--recipe", recipe)
            assert said.code == (2 if recipe == "quik" else 0), said.err
            assert ("Did you mean quick?" in said.err) == (recipe == "quik")
    assert "epochs = 20" in (tmp_path / "tuning-0" / "recipe.toml").read_text()
    assert "epochs = 3" in (tmp_path / "tuning-1" / "recipe.toml").read_text()


def test_a_wish_to_stop_keeps_nothing(find: Callable[..., FoundRate]) -> None:
    asked: Iterator[bool] = iter([False] * 5 + [True] * 99)
    with pytest.raises(Interrupted, match="nothing was kept"):
        find(stop_requested=lambda: next(asked))


def test_the_command_shows_a_curve_and_the_next_command_with_what_was_typed(
    ask: Call, kit: Kit, tmp_path: Path
) -> None:
    picture = tmp_path / "rates.svg"
    said = ask(
        "lr-find", kit.net, kit.images, "--batch-size", 8, "--no-standardize", "--rule", "steepest",
        "--plot", picture,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.out.isascii()
    assert max(map(len, said.out.split("\nRULE")[0].splitlines())) <= 80
    assert "RULE" in said.out
    assert "Suggested by steepest: --lr " in said.out
    following = said.out.splitlines()[-1]
    assert following.startswith(f"Next: zoo finetune {kit.net} {kit.images} ")
    assert following.endswith(" --out run")
    assert "--batch-size 8" in following
    assert "--no-standardize" in following
    assert "--lr " in following
    assert not {"--rule", "--plot", "--steps"} & {*following.split()}
    assert picture.read_text().count("<path") > 3
    words = following.removeprefix("Next: zoo ").removesuffix(" --out run").split()
    trained = ask(*words, "--epochs", 2, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err


def test_the_command_answers_in_json_and_refuses_a_picture_that_is_there(
    ask: Call, kit: Kit, tmp_path: Path
) -> None:
    said = ask("lr-find", kit.net, kit.images, "--json", "--steps", 40)
    facts = json.loads(said.out)
    assert facts["suggestion"] == facts["suggestions"]["minimum/10"]
    assert len(facts["rates"]) == len(facts["losses"]) == len(facts["smoothed"])
    assert facts["option"] == "--lr"
    assert f"--lr {facts['suggestion']:g}" in facts["next"]
    there = tmp_path / "there.png"
    there.write_bytes(b"")
    assert ask("lr-find", kit.net, kit.images, "--plot", there).code == 2
    assert there.read_bytes() == b""


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("plain", [True, False])
def test_a_chart_is_as_wide_as_it_may_be_and_shows_its_curve(width: int, plain: bool) -> None:
    found = curve(fall_and_rise)
    lines = chart(
        found.rates, found.smoothed, width=width, top=1.5, marks={"here": 1e-3}, plain=plain
    ).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.isascii() for line in lines) == plain
    point = "*" if plain else "•"
    rows = [row for row, line in enumerate(lines[:12]) if point in line]
    assert rows == [*range(12)]
    assert lines[0].rstrip().endswith(point)  # risen at the right end
    assert lines[-1].strip() == "here"
    axis = 10
    at = lines[-1].index("here") + 2 - axis
    assert abs(at / (width - axis) - 3 / 7) < 0.05


def test_the_copy_of_a_phase_is_not_needed() -> None:
    state = phase()
    before = copy.deepcopy(state.model.state_dict())
    try_rates(state, lowest=1e-4, highest=1, steps=20)
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())
    assert all(not facts for facts in state.optimizer.state.values())
