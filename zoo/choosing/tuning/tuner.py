"""`zoo tune`: from a model and labelled items to the settings that suit them best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from zoo.choosing.tuning.answer import (
    Tuned,
    expect_by_resampling,
    find_importances,
    find_usual,
    read_trials,
)
from zoo.choosing.tuning.bench import Bench
from zoo.choosing.tuning.estimate import expect_nested, expect_on_test
from zoo.choosing.tuning.helpers import helpers
from zoo.choosing.tuning.lessons import Lesson, draw_lesson, make_lessons
from zoo.choosing.tuning.search import Search, refuse_replaced
from zoo.choosing.tuning.space import Space, choose_space
from zoo.choosing.tuning.storage import CONTENTS, open_study, quiet_optuna
from zoo.data.contents import count_cpus
from zoo.errors import Interrupted, InvalidRecipe, TrainingStopped, UsageError
from zoo.events import Report, silent
from zoo.progress import usual_report
from zoo.runs.making.finetuning import plan_run
from zoo.runs.modalities.table import modality_of, modality_of_target
from zoo.runs.plan import Plan
from zoo.runs.session import Session
from zoo.store.names import default_store
from zoo.targets import accept, find_target
from zoo.training.device import pick_device
from zoo.training.interruption import never
from zoo.training.ready_recipes import ready_recipe
from zoo.training.recipe import AUTO, COMPUTED_HEADS, Recipe, RecipeOptions, begin_with, merge, read_options
from zoo.training.recipe_file import write_recipe
from zoo.training.strategies import phases

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store

TRIALS = 100
_MOST_JOBS = 4
_ENOUGH = 50  # trials for which one more process is worth its beginning
RECIPE = "recipe.toml"


def tune(
    name: str | Path,
    data: str | Path,
    *,
    out: str | Path,
    trials: int | None = None,
    minutes: float | None = None,
    deeper: bool = False,
    over: Sequence[str] = (),
    jobs: int | None = None,
    study: str | None = None,
    explain: bool = False,
    nested: int | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    class_level: int | None = None,
    group_by: str | None = None,
    member: str | None = None,
    report: Report | None = None,
    stop_requested: Callable[[], bool] = never,
    recipe: Recipe | str | None = None,
    **options: Unpack[RecipeOptions],
) -> Tuned:
    """Search for the recipe that suits a model and some data best, and write it to `out`.

    Trials are compared by their accuracy on the validation items (of equals, the smaller loss). Those that
    train the head alone share the features, so that a CPU does hundreds a minute. Called again with the same
    `out`, the search goes on; called by several processes at once, they share it.

    Args:
        name: A model or a file of word vectors, as `zoo.finetune_model` takes it.
        data: A folder or a table, as `zoo.finetune_model` takes it.
        out: A folder for the study, the best recipe and the pictures.
        trials: How many finished trials the study is to have in the end. None: as many as `minutes` allow,
            or 100.
        minutes: The time that there is.
        deeper: Also search how many stages of the network to train, at which rates, with which augmentation.
        over: Names of the parameters to search; none for all whose options are left open.
        jobs: Processes that share the trials; with one, the same search gives the same trials. None: one per
            core, up to four, where heads train on a CPU and there are enough trials.
        study: The URL of a database that holds the study instead of a file in `out`, for several machines.
        explain: Also train three short series of heads, which show what the learning rate, the batch size,
            layers and neurons do on these data.
        nested: So many folds, in each of which the search is repeated on the others, to find what accuracy to
            expect of its outcome. It costs as much as so many more searches. None: the test part gives it, or
            resampling of the validation items, on which the epochs were chosen too.
        registry: The registry to find the model in; None for the default one.
        store: The store to keep files and features in; None for the default one.
        path_column: The column of a table that names the image files.
        text_column: The column of a table that holds the texts.
        label_column: The column of a table that names the classes.
        split_column: The column of a table that names the part of each item.
        class_level: Which level of folders is the classes.
        group_by: A column of a table, or a regular expression that is matched with the items' paths below the
            root of the data: items with equal cells, or equal matches (of its first group, if it has one),
            belong together, and are drawn together: one patient, one video.
        member: Which file of a .zip of word vectors.
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.
        stop_requested: Asked after every step; once it is true, the finished trials are kept.
        recipe: What every trial has in common, or the name of a ready one: "quick"; it is not searched.
        **options: Fields of a `zoo.Recipe`, one by one; they win over `recipe`.

    Returns:
        The trials, the best recipe, what mattered, and the accuracy to be expected on new items.

    Raises:
        InvalidRecipe: A recipe that cannot be used, with every problem.
        UsageError: `out` holds a study of something else.
        DatasetError: The data cannot be used as they are.
        TrainingStopped: Not one trial could be finished; or photographs were replaced meanwhile.
        Interrupted: Ctrl-C, or `stop_requested`; the finished trials are in `out`.
    """
    _check_numbers(trials, minutes, jobs)
    if nested is not None and nested < 3:
        raise UsageError(
            f"nested must be at least 3, not {nested}: one fold to measure on, one to validate with, the "
            "rest to train on"
        )
    if nested is not None and minutes is not None:
        raise UsageError(
            "nested searches repeat the trials, however long they take",
            hint="Say how many, instead of how long: --trials 100.",
        )
    report = report or usual_report()
    given, problems = read_options(options)
    if problems:
        raise InvalidRecipe(problems)
    if isinstance(recipe, str):
        target = find_target(name, registry=registry, store=store or default_store(), member=member)
        kind = modality_of_target(accept(target, "zoo tune")).kind
        base = begin_with(ready_recipe(recipe), given, kind)
    else:
        base = given if recipe is None else merge(recipe, given)
    arguments: dict[str, Any] = {
        "name": name,
        "data": data,
        "out": Path(out),
        "trials": TRIALS if trials is None and minutes is None else trials,
        "deadline": None if minutes is None else time.monotonic() + 60 * minutes,
        "deeper": deeper,
        "over": tuple(over),
        "study": study,
        "registry": registry,
        "store": store,
        "columns": {
            "path_column": path_column,
            "text_column": text_column,
            "label_column": label_column,
            "split_column": split_column,
            "class_level": class_level,
            "group_by": group_by,
            "member": member,
        },
        "base": base,
    }
    began = time.perf_counter()
    with quiet_optuna():
        search = _open_search(**arguments, report=report, stop=stop_requested)
        count = _usual_jobs(search) if jobs is None else jobs
        if count > 1:
            search.bench.prepare()  # else every process would compute the features
        with helpers(count - 1, arguments):
            search.run()
        return _finish(search, Path(out), began=began, explain=explain, folds=nested, report=report)


def _usual_jobs(search: Search) -> int:
    """How many processes suit a search: a head trains in one thread, and a process takes seconds to begin."""
    session, trials = search.bench.session, search.trials
    if session.device.type != "cpu" or any(parameter.deeper for parameter in search.space.parameters):
        return 1
    if any(phase.trains != "features" for phase in phases(session.recipe)):
        return 1
    return min(count_cpus(), _MOST_JOBS, _MOST_JOBS if trials is None else 1 + trials // _ENOUGH)


def help_with(**arguments: Any) -> None:
    """Work on a study that another process has begun, until it is done."""
    with quiet_optuna():
        _open_search(**arguments, report=silent, stop=never).run()


def _check_numbers(trials: int | None, minutes: float | None, jobs: int | None) -> None:
    for what, number in (("trials", trials), ("minutes", minutes), ("jobs", jobs)):
        if number is not None and not number > 0:
            raise UsageError(f"{what} must be above 0, not {number:g}")


def _open_search(
    *,
    name: str | Path,
    data: str | Path,
    out: Path,
    trials: int | None,
    deadline: float | None,
    deeper: bool,
    over: Sequence[str],
    study: str | None,
    registry: Registry | None,
    store: Store | None,
    columns: Mapping[str, Any],
    base: Recipe,
    report: Report,
    stop: Callable[[], bool],
) -> Search:
    """The plan of every trial, and the study at its place."""
    store = store or default_store()
    plan = plan_run(
        name,
        data,
        out=None,
        registry=registry,
        store=store,
        report=report,
        recipe=base,
        options={},
        **columns,
    )
    if plan.start is not None:
        raise UsageError(
            f"{name} is a run, whose head is trained already",
            hint=f"Tune the model that it began with: zoo tune {plan.entry.name} {data} --out {out}",
        )
    if base.strategy == AUTO:
        raise UsageError(
            "zoo tune does not take strategy auto: every trial would choose anew",
            hint="Name one, or leave it out: --deeper searches how deep to train.",
        )
    if base.head == AUTO:
        raise UsageError(
            "zoo tune does not take head auto: every trial would choose anew",
            hint="Name one, or leave it out: it is searched.",
        )
    if base.batch_size == AUTO:
        raise UsageError(
            "zoo tune does not take batch_size auto: every trial would choose anew",
            hint="Name one, or leave it out: it is searched.",
        )
    if base.head in COMPUTED_HEADS:
        raise UsageError(
            f"zoo tune has nothing to search for head {base.head}: it is computed, not trained",
            hint=f"Train it: zoo finetune {name} {data} --head {base.head} --out RUN",
        )
    kind = modality_of(plan.entry).kind
    space = choose_space(base, kind, deeper=deeper, over=over, items=len(plan.dataset.train))
    if not space.parameters:
        raise UsageError("every option is given: there is nothing to search", hint="Leave some of them out.")
    session = Session(plan, store, pick_device(plan.recipe.device), report, stop)
    found, new = open_study(study or out, _facts(plan, space))
    return Search(found, new, Bench(session), space, trials, deadline, report, stop)


def _facts(plan: Plan, space: Space) -> dict[str, Any]:
    """What a trial depends on besides its values."""
    items = plan.dataset.train + plan.dataset.val
    contents = None if plan.watched is None else plan.watched.fingerprint(item.path for item in items)
    return {
        "model": plan.entry.name,
        "weights": plan.entry.weights.sha256 or plan.entry.weights.urls[0],
        "data": plan.dataset.fingerprint,
        "split": plan.dataset.split.hash,
        **({} if contents is None else {CONTENTS: contents}),
        "recipe": {k: v for k, v in msgspec.to_builtins(space.base).items() if v is not None},
        "search": list(space.names),
    }


def _finish(
    search: Search, out: Path, *, began: float, explain: bool, folds: int | None, report: Report
) -> Tuned:
    """Read the study, write the best recipe, draw, and find what to expect of it."""
    trials = read_trials(search.study)
    if not trials or trials[0].score is None:
        if search.interrupted:
            raise Interrupted("stopped before a trial was finished", hint="The same command begins again.")
        fault = next((trial.fault for trial in trials if trial.fault), "the time was over")
        raise TrainingStopped(f"not one trial was finished: {fault}", hint="Give it more time: --minutes.")
    best, plan = trials[0], search.bench.session.plan
    recipe, file = search.space.recipe(best.values), out / RECIPE
    out.mkdir(parents=True, exist_ok=True)
    model, data = plan.as_typed
    write_recipe(
        recipe, file, f"Trial {best.number} of {len(trials)} of zoo tune {model} {data}\n{best.metrics}"
    )
    if search.interrupted:
        raise Interrupted(
            f"stopped after {len(trials):,} trials; the best of them: {file}",
            hint="The same command goes on with them.",
        )
    importances = find_importances(search.study)
    headline = plan.task.headline
    lessons = make_lessons(search.bench, recipe) if explain else []
    pictures = _draw(search, out, importances, lessons)
    expected = expect_on_test(search, recipe, report) if plan.dataset.test else None
    if expected is None and folds:
        expected = expect_nested(search, folds, report)
    refuse_replaced(plan)
    return Tuned(
        folder=out,
        trials=tuple(trials),
        usual=find_usual(trials, search.space),
        recipe=recipe,
        file=file,
        importances=importances,
        expected=expected or expect_by_resampling(search.study, trials),
        validation=_count_validation(search, trials),
        headline=headline,
        lessons=tuple(lessons),
        pictures=pictures,
        seconds=time.perf_counter() - began,
    )


def _count_validation(search: Search, trials: Sequence[Any]) -> int:
    """How many validation items there are, without those that cannot be read."""
    found = {
        t.number: t.user_attrs.get("result", {}).get("right") for t in search.study.get_trials(deepcopy=False)
    }
    packed = next((found[trial.number] for trial in trials if found.get(trial.number)), None)
    return len(search.bench.session.plan.dataset.val) if packed is None else int(packed.split(":")[0])


def _draw(
    search: Search, out: Path, importances: Mapping[str, float], lessons: Sequence[Lesson]
) -> tuple[Path, ...]:
    """The pictures of a study."""
    from zoo.choosing.tuning.pictures import draw_importances, draw_slices

    trials, names = read_trials(search.study), [*search.space.names]
    headline = search.bench.session.plan.task.headline
    drawn = [out / "slices.png"]
    draw_slices(trials, names, headline, drawn[0])
    if importances:
        drawn.insert(0, out / "importances.png")
        draw_importances(importances, drawn[0])
    for lesson in lessons:
        drawn.append(out / f"{lesson.name}.png")
        draw_lesson(lesson, headline, drawn[-1])
    return tuple(drawn)
