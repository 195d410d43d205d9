"""Which tensors of a checkpoint are the weights: the usual ones, or those that an entry names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from zoo.backbones.formats import damage
from zoo.errors import UsageError
from zoo.events import Event, Note

# Where training scripts put weights among other things.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "params",
    "weights",
    "network",
    "net",
)
AVERAGES = re.compile(r"(^|_)(ema|swa|averaged?|shadow)(_|$)")  # names of running averages of the weights
NOT_WEIGHTS = re.compile(r"optim|sched|scaler")
DEEPEST = 4  # levels of a checkpoint that are searched


class Chosen(NamedTuple):
    """The weights of a file. others: where it holds weights that were not chosen. notes: what was done."""

    tensors: dict[str, Tensor]
    others: tuple[str, ...] = ()
    notes: tuple[Event, ...] = ()


def choose_weights(loaded: Any, member: str | None, what: str) -> Chosen:
    """The state dict inside whatever a training script saved: the named one, or the usual one.

    member: its path in the checkpoint (`ema.module`), the last part of it, or what the names of its tensors
    begin with. Of weights and their running average the usual one is the average, as timm has it, if it is as
    complete. Raises IntegrityError where there are no weights, UsageError for a member that is not there.
    """
    parts = dict(_find_parts(loaded))
    if member is not None:
        place = _find_member(parts, member, what)
        if place is not None:
            return Chosen(parts[place], tuple(path for path in parts if path != place))
        whole = choose_weights(loaded, None, what).tensors
        return Chosen(take_below(whole, member, what, parts), tuple(parts))
    path, level = _unwrap(loaded)
    place, tensors = ".".join(path), _direct(level) or _gather(level)
    if not tensors:
        shown = ", ".join(map(repr, list(level)[:5])) if isinstance(level, Mapping) else type(level).__name__
        raise damage(what, f"no weights in it, but {shown or 'nothing'}")
    taken = {place, *(f"{place}.{name}".lstrip(".") for name in level if not _direct(level))}
    others = tuple(p for p in parts if p not in taken and 2 * len(parts[p]) >= len(tensors))
    return Chosen(tensors, others, tuple(_describe(loaded, path, level, tensors, parts, others, what)))


def take_below(
    tensors: Mapping[str, Tensor], prefix: str, what: str, parts: Iterable[str] = ()
) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, without it. Raises UsageError where there are none."""
    start = f"{prefix.rstrip('.')}."
    inside = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    if not inside:
        first = dict.fromkeys(name.partition(".")[0] for name in tensors if "." in name)
        known = [path for path in parts if path] or list(first)
        raise UsageError(
            f"{what} holds no weights called {prefix!r}", hint=f"It holds: {', '.join(known[:8])}"
        )
    return inside


def _describe(
    loaded: Any,
    path: Sequence[str],
    level: Mapping[Any, Any],
    tensors: Mapping[str, Tensor],
    parts: Mapping[str, Mapping[str, Tensor]],
    others: Sequence[str],
    what: str,
) -> Iterator[Note]:
    """What was taken of a checkpoint, what was left out, and what else could be taken."""
    if path:
        average = ", a running average," if _is_average(path) else ""
        yield Note(f"{what}: the weights are taken from {'.'.join(path)!r}{average} of the checkpoint")
    idle = [str(n) for n in level if not any(key == n or key.startswith(f"{n}.") for key in tensors)]
    if idle:
        yield Note(f"{what}: left out, not tensors: {', '.join(idle[:5])}")
    if others:
        named = ", ".join(f"{other!r} ({len(parts[other]):,} tensors)" for other in others[:4])
        hint = f"To take it instead: `weights: {{member: {others[0]}}}` in the entry of {what}."
        yield Note(f"{what}: the checkpoint also holds {named}", hint)
    unnamed = [place for place, value in _walk(loaded) if _is_average(place.split(".")) and _is_list(value)]
    if unnamed:
        message = f"{what}: averages without names cannot be used: {', '.join(unnamed)}"
        yield Note(message, level="warning")


def _unwrap(loaded: Any) -> tuple[list[str], Any]:
    """(the names on the way, what lies there): as deep as wrappers lead."""
    path: list[str] = []
    while isinstance(loaded, Mapping) and len(path) < DEEPEST:
        inner = _inner(loaded)
        if inner is None or len(_direct(loaded)) > _count(loaded[inner]):
            break
        path.append(inner)
        loaded = loaded[inner]
    return path, loaded


def _inner(loaded: Mapping[Any, Any]) -> str | None:
    """The name under which a checkpoint has its weights, if it has one."""
    plain = [name for name in WRAPPERS if isinstance(loaded.get(name), Mapping) and loaded[name]]
    most = max((_count(loaded[name]) for name in plain), default=1)
    averages = [
        name
        for name, value in loaded.items()
        if isinstance(name, str) and AVERAGES.search(name) and _count(value) >= max(most, 1)
    ]
    return next(iter([*averages, *plain]), None)


def _find_parts(loaded: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(dotted path, tensors) of every mapping in a checkpoint that holds named tensors."""
    for path, value in _walk(loaded):
        if tensors := _direct(value):
            yield path, tensors


def _walk(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of all that a checkpoint holds, but for the state of optimizers."""
    yield path, value
    if isinstance(value, Mapping) and depth <= DEEPEST:
        for name, inner in value.items():
            if isinstance(name, str) and not isinstance(inner, Tensor) and not NOT_WEIGHTS.search(name):
                yield from _walk(inner, f"{path}.{name}".lstrip("."), depth + 1)


def _direct(value: Any) -> dict[str, Tensor]:
    """The named tensors of a mapping."""
    if not isinstance(value, Mapping):
        return {}
    return {name: t for name, t in value.items() if isinstance(name, str) and isinstance(t, Tensor)}


def _gather(parts: Any) -> dict[str, Tensor]:
    """The tensors of several state dicts side by side, named as if they were parts of one network."""
    if not isinstance(parts, Mapping):
        return {}
    return {f"{part}.{name}": t for part, inside in parts.items() for name, t in _direct(inside).items()}


def _count(value: Any) -> int:
    """How many named tensors a part of a checkpoint holds."""
    return sum(len(tensors) for _, tensors in _find_parts(value))


def _is_average(path: Iterable[str]) -> bool:
    """Whether one of the names on the way is that of a running average."""
    return any(AVERAGES.search(name) for name in path)


def _is_list(value: Any) -> bool:
    """Whether it is a list of tensors, which has no names."""
    return isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value)


def _find_member(parts: Iterable[str], member: str, what: str) -> str | None:
    """The part of that path, or the only one whose path ends so; None where there is none."""
    fitting = [path for path in parts if member in (path, path.rpartition(".")[2])]
    exact = [path for path in fitting if path == member] or fitting
    if len(exact) > 1:
        raise UsageError(f"{what}: {member!r} may be {' or '.join(exact)}", hint="Name it in full.")
    return exact[0] if exact else None
