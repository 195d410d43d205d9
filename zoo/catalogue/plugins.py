"""What other packages add, through entry points: URL schemes and architectures, imported when one is used.

    [project.entry-points."zoo.sources"]
    lab = "zoo_lab.source:SCHEME"              # a zoo.plugins.Scheme, for lab://…

    [project.entry-points."zoo.architectures"]
    lab = "zoo_lab.networks:ARCHITECTURE"      # a zoo.plugins.Architecture, for lab/…

Reading a registry loads only their names. A broken plugin stops only the models that need it, with one
sentence. Built-in names cannot be replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from zoo.errors import BrokenPlugin, ZooError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SOURCES, ARCHITECTURES = "zoo.sources", "zoo.architectures"

T = TypeVar("T")
P = ParamSpec("P")


def plugin_names(group: str) -> list[str]:
    """The names that installed packages add to a group."""
    return list(_read_names(group, tuple(sys.path)))


def find_points(group: str, name: str) -> list[EntryPoint]:
    """The entry points of a name; a package that is on the path twice counts once."""
    from importlib.metadata import entry_points

    return list({point.value: point for point in entry_points(group=group, name=name)}.values())


def load_plugin(group: str, name: str, kind: type[T]) -> T | None:
    """The object that a package adds under a name, of type `kind`; None if no package does.

    Raises BrokenPlugin if it cannot be imported, has another type, or if two packages add the same name.
    """
    points = find_points(group, name)
    if not points:
        return None
    if len(points) > 1:
        owners = " and ".join(sorted(map(package_of, points)))
        raise BrokenPlugin(f"two packages add {name!r} to {group}: {owners}", hint="Uninstall one of them.")
    try:
        found = points[0].load()
    except (Exception, SystemExit) as error:
        raise _broken(points[0], "cannot be imported", error) from error
    if not isinstance(found, kind):
        raise _broken(points[0], f"is of type {type(found).__name__}, not {kind.__name__}")
    return found


def guard(group: str, name: str, function: Callable[P, T], kind: tuple[type, ...]) -> Callable[P, T]:
    """A plugin's function, wrapped so that its faults raise BrokenPlugin. kind: the types that it may return.

    A ZooError passes unchanged, and so does a TypeError of an architecture, which may be about the arguments
    that a registry gives it.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            found = function(*args, **kwargs)
        except ZooError:
            raise
        except Exception as error:
            if group == ARCHITECTURES and isinstance(error, TypeError):
                raise  # an argument of the entry that its constructor does not take
            raise _broken(find_points(group, name)[0], "failed", error) from error
        if not isinstance(found, kind):
            wanted = " or ".join(one.__name__ for one in kind)
            what = f"returned {type(found).__name__} instead of {wanted}"
            raise _broken(find_points(group, name)[0], what)
        return found

    return guarded


def package_of(point: EntryPoint) -> str:
    """The distribution that an entry point belongs to."""
    return "some package" if point.dist is None else str(point.dist.name)


@cache
def _read_names(group: str, path: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001, part of the cache key
    """The names that the packages on the path add. Cached: 5 ms, and a registry asks for every entry."""
    from importlib.metadata import entry_points

    return tuple(sorted({point.name for point in entry_points(group=group)}))


def _broken(point: EntryPoint, what: str, error: BaseException | None = None) -> BrokenPlugin:
    """The error for a plugin that does not work."""
    reason = "" if error is None else f": {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    package = package_of(point)
    return BrokenPlugin(
        f"{point.value}, which {package} adds to {point.group} as {point.name!r}, {what}{reason}",
        hint=f"Upgrade or uninstall {package}; every other model works without it.",
    )
