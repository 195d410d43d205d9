"""Going on with a run that was interrupted: planned again from what it left, held against it, trained to its
end. Imports no torch before that."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from zoo.catalogue.registry import entry_from
from zoo.errors import DatasetError, InvalidRecipe
from zoo.events import Report
from zoo.progress import usual_report
from zoo.runs.folder import next_free
from zoo.runs.making.differences import Resumption, check_same
from zoo.runs.making.finetuning import plan_run
from zoo.runs.making.unfinished import Facts, facts_of, find_unfinished
from zoo.runs.record import RunResult
from zoo.store.names import default_store
from zoo.targets import HubFile, RegistryModel, Target, find_target
from zoo.training.interruption import never
from zoo.training.ready_recipes import ready_recipe
from zoo.training.recipe import Recipe, RecipeOptions, merge, read_options
from zoo.training.time_limit import parse_time
from zoo.words.own_files import is_hub_file

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store


def resume(
    run: str | Path,
    *,
    name: str | Path | None = None,
    data: str | Path | None = None,
    force: bool = False,
    registry: Registry | None = None,
    store: Store | None = None,
    checkpoint_every: int | str | None = None,
    time_limit: str | float | None = None,
    report: Report | None = None,
    stop_requested: Callable[[], bool] = never,
    recipe: Recipe | str | None = None,
    **options: Unpack[RecipeOptions],
) -> RunResult:
    """Train an interrupted run to its end, and return what came out.

    It goes on after the last epoch, or step, that its newest checkpoint has. On a CPU the weights are bit for
    bit those of a run that was never interrupted, on the same machine with the same number of threads.

    Args:
        run: The folder that `finetune_model` was given as `out`.
        name: The model; None for the one that the run began with.
        data: The data, where they lie now; None for where they lay.
        force: Go on although the data, the recipe, the device or a version is another: not bit for bit then.
            Other classes and another model are refused all the same.
        registry: Where the weights of an earlier run may be found again; None for the default one.
        store: The store to keep files in; None for the default one.
        checkpoint_every: As for `finetune_model`; None for what the run began with.
        time_limit: How long training may take from here on, as for `finetune_model`. None: to its end,
            whatever limit the run began with.
        report: Called with every event. None: a bar on a terminal and in a notebook, and
            nothing in a pipe; `zoo.events.silent`: nothing.
        stop_requested: Asked after every step; once it is true, the run is interrupted again.
        recipe: The recipe as it should be; what differs from the run's own is named, and refused without
            `force`.
        **options: Fields of a `zoo.Recipe`, one by one; they win over `recipe`.

    Returns:
        What came out, as run.json has it too.

    Raises:
        UsageError: The run is finished, or has no checkpoint.
        ResumeRefused: The run would go on with something else; with every difference.
        RunExists: Another process trains this run, or what is at its place is another run.
        DatasetError: The data are not where they were, and `data` does not say where they are.
        IntegrityError: Every checkpoint is damaged, or a file is not what it should be.
        ZooError: What else `finetune_model` raises.
    """
    store, report = store or default_store(), report or usual_report()
    seconds = None if time_limit is None else parse_time(time_limit)
    out, facts = find_unfinished(Path(run))
    if data is None and not os.path.lexists(facts.request.data):
        raise DatasetError(
            f"the data of this run are not there any more: {facts.request.data}",
            hint=f"Say where they are now: zoo finetune MODEL DATA --resume {shlex.quote(str(run))}",
        )
    if checkpoint_every is not None:
        request = msgspec.structs.replace(facts.request, checkpoint_every=checkpoint_every)
        facts = msgspec.structs.replace(facts, request=request)
    target = _target_of(facts, store) if name is None else find_target(name, registry=registry, store=store)
    plan = plan_run(
        facts.request.name if name is None else name,
        facts.request.data if data is None else data,
        out=None,
        target=target,
        registry=registry,
        store=store,
        **facts.request.reading,
        member=facts.request.member,
        data_license=facts.request.data_license,
        checkpoint_every=facts.request.checkpoint_every,
        report=report,
        recipe=_recipe_of(facts, recipe, options),
        options={},
        takes_features=True,
    )
    skips = (
        facts.request.skips_any
    )  # the recipe, with every default filled in, does not know who asked for it
    plan = replace(
        plan,
        out=out,
        skips_any=skips,
        request=msgspec.structs.replace(plan.request, skips_any=skips),
        time_limit=seconds,
    )
    resumption = Resumption(facts, force, f"zoo finetune MODEL DATA --out {next_free(out)}")
    check_same(resumption, facts_of(plan), out=out, report=report)
    from zoo.runs.making.trainer import train_run  # from here on torch is needed

    return train_run(plan, store=store, report=report, stop_requested=stop_requested, resumption=resumption)


def _target_of(facts: Facts, store: Store) -> Target:
    """What the run began with: no registry has to list it now."""
    request = facts.request
    if request.kind in ("run", "vector file"):
        return find_target(Path(request.name), store=store, member=request.member)
    if is_hub_file(request.name):
        return HubFile(request.name, request.member)
    entry = dict(facts.model)
    return RegistryModel(request.name, entry_from(entry.pop("name"), entry))


def _recipe_of(facts: Facts, recipe: Recipe | str | None, options: Mapping[str, Any]) -> Recipe:
    """The run's own recipe, with what is asked for now in its place. Raises InvalidRecipe."""
    own = msgspec.convert(facts.recipe, Recipe)
    given, problems = read_options(options)
    recipe = ready_recipe(recipe) if isinstance(recipe, str) else recipe
    if problems:
        raise InvalidRecipe(problems)
    return merge(own if recipe is None else merge(own, recipe), given)
