"""The verb `doctor`: what is installed, what it would run on, and what stands in the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zoo.cli.command import Context, command
from zoo.errors import BrokenPlugin, UsageError, ZooError
from zoo.store.disk.space import free_bytes, nearest_folder, size_text

OURS = ("zoo", "adapters")


@command("zoo doctor")
def doctor(context: Context) -> int:
    """Versions, device, store, and what is wrong with them. Exit code 1 when something is."""
    from zoo.runs.versions import library_versions

    plugins, broken = _find_plugins()
    models, unread = _count_models(context)
    problems = [
        *_shadowed_packages(),
        *_store_problems(context),
        *_setting_problems(context),
        *unread,
        *broken,
    ]
    facts: dict[str, Any] = {
        "versions": library_versions(),
        "python": sys.executable,
        "device": _describe_device(),
        "store": {"home": str(context.store.home), "free_bytes": free_bytes(context.store.home)},
        "models": models,
        "settings": {name: value for name, value in sorted(os.environ.items()) if _is_setting(name)},
        "plugins": plugins,
        "problems": problems,
    }

    def human() -> str:
        lines = [f"{name:<14} {version}" for name, version in facts["versions"].items()]
        lines.append(f"{'device':<14} {facts['device']}")
        lines.append(
            f"{'store':<14} {facts['store']['home']}, {size_text(facts['store']['free_bytes'])} free"
        )
        lines.append(
            f"{'models':<14} {facts['models']['curated']} curated, {facts['models']['all']:,} in all"
        )
        lines += [f"{name:<14} {value}" for name, value in facts["settings"].items()]
        lines += [f"{'plugin':<14} {plugin}" for plugin in plugins]
        lines += [f"problem: {problem}" for problem in problems] or ["No problem found."]
        return "\n".join(lines)

    context.sink.answer(facts, human)
    return 1 if problems else 0


def _shadowed_packages() -> list[str]:
    """Packages of ours whose import would find somebody else's: `adapters` is another project's name too."""
    found = []
    home = Path(__file__).parents[2].resolve()
    for name in OURS:
        spec = find_spec(name)
        places = [] if spec is None else [Path(p).resolve() for p in spec.submodule_search_locations or ()]
        if places != [home / name]:
            where = places[0] if places else "nowhere"
            found.append(
                f"`import {name}` finds {where}, not ours: uninstall that package, or use a fresh environment"
            )
    owners = set(packages_distributions().get("adapters", ())) - {"transfer-zoo"}
    if owners:
        found.append(
            f"the package {', '.join(owners)} also installs `adapters`: pip uninstall {' '.join(owners)}"
        )
    return found


def _store_problems(context: Context) -> list[str]:
    """What keeps the store from taking a new model."""
    if context.store.home.exists() and not context.store.home.is_dir():
        return [f"{context.store.home} is a file, not a folder: set ZOO_HOME to another place"]
    home = nearest_folder(context.store.home)
    if not os.access(home, os.W_OK):
        return [f"{home} cannot be written: set ZOO_HOME to a folder of your own"]
    free = free_bytes(home)
    return (
        [f"only {size_text(free)} free in {home}: set ZOO_HOME to a larger disk"] if free < 2 * 10**8 else []
    )


def _count_models(context: Context) -> tuple[dict[str, int], list[str]]:
    """How many models there are, and what is wrong with the registry files that should name them."""
    try:
        registry = context.registry
    except UsageError as error:
        return {"curated": 0, "all": 0}, [_in_a_line(error)]
    unread = [f"{_in_a_line(error)} It came with a bundle." for error in registry.unread.values()]
    return {"curated": len(registry.curated()), "all": len(registry.everything())}, unread


def _setting_problems(context: Context) -> list[str]:
    """What is wrong with environment variables: nothing can be fetched until that is put right."""
    from zoo.catalogue.search import size_setting
    from zoo.store.sources.mirrors import mirror_rules

    sizes = ("ZOO_FEATURES_SIZE", "ZOO_FEATURES_MEMORY", "ZOO_PIXELS_MEMORY", "ZOO_HASHES")
    readers: dict[str, Callable[[], object]] = {
        "ZOO_LICENSE_POLICY": lambda: context.store.policies,
        "ZOO_MIRROR": mirror_rules,
        **{name: partial(size_setting, name, 0) for name in sizes},
    }
    problems = []
    for name, read in readers.items():
        try:
            read()
        except UsageError as error:
            line = _in_a_line(error)
            problems.append(line if line.startswith(name) else f"{name}: {line}")
    return problems


def _in_a_line(error: ZooError) -> str:
    """A message and its hint as sentences of one line."""
    message, hint = (" ".join((text or "").split()) for text in (error.message, error.hint))
    return f"{message.rstrip('.')}. {hint}".strip()


def _find_plugins() -> tuple[list[str], list[str]]:
    """What other packages add, and what of it does not work."""
    from zoo.catalogue.plugins import (
        ARCHITECTURES,
        SOURCES,
        find_points,
        load_plugin,
        package_of,
        plugin_names,
    )
    from zoo.catalogue.rules import NAMESPACES
    from zoo.catalogue.schemes import SCHEMES

    found, broken = [], []
    for group, form, ours in ((SOURCES, "://…", SCHEMES), (ARCHITECTURES, "/…", NAMESPACES)):
        for name in plugin_names(group):
            if name in ours:
                owners = " and ".join(sorted(map(package_of, find_points(group, name))))
                broken.append(f"{owners} adds {name!r} to {group}, a name of zoo's own: it is never used")
                continue
            found.append(f"{name}{form}")
            try:
                load_plugin(group, name, _kind_of_plugin(group))
            except BrokenPlugin as error:
                broken.append(error.message)
    return found, broken


def _kind_of_plugin(group: str) -> type:
    """What a plugin of a group must be; anything, where our own packages cannot be imported."""
    from zoo.catalogue.plugins import SOURCES
    from zoo.store.remote import Scheme

    if group == SOURCES:
        return Scheme
    try:
        from zoo.backbones.architectures import Architecture
    except ImportError:  # `adapters` is somebody else's: a problem that is reported already
        return object
    return Architecture


def _describe_device() -> str:
    """What training would run on."""
    import torch

    try:
        from zoo.training.device import pick_device
    except ImportError:  # `adapters` is somebody else's: a problem that is reported already
        return "unknown"
    device = pick_device("auto")
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}, {torch.cuda.device_count()} in all"
    return f"{device.type}, {torch.get_num_threads()} threads"


def _is_setting(name: str) -> bool:
    """Whether an environment variable changes what zoo does, and is safe to print (tokens are not)."""
    return name.startswith("ZOO_") or name in (
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "CUDA_VISIBLE_DEVICES",
        "NO_COLOR",
    )


COMMANDS = {"doctor": doctor}
