"""A file imports only from floors below its own, inside a room too; light rooms import nothing heavy."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from measures import Module, find_circles, import_graph, read_modules

ROOT = Path(__file__).parents[1]
FLOORS = [
    ("errors", "events", "notebook"),
    ("progress", "tensorboard"),
    ("file_formats", "vision", "threads"),
    ("catalogue",),
    ("store",),
    ("words",),
    ("targets",),
    ("backbones",),
    ("data",),
    ("registering", "features"),
    ("training",),
    ("runs",),
    ("choosing",),
    ("answers",),
    ("cli", "plugins"),
]
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = ("errors", "events", "progress", "catalogue", "store", "targets", "cli")
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "gensim",
    "accelerate",
    "sklearn",
    "torchmetrics",
    "matplotlib",
    "polars",
}
# Imports that close a circle: to be cut, one by one. A line that is not needed any more fails.
CIRCLES_TO_CUT: set[tuple[str, str]] = set()
# The same for imports that only a type checker sees.
TYPE_CIRCLES_TO_CUT: set[tuple[str, str]] = set()
# Imports inside a room that go up in its map.
CLIMBS_TO_END: set[tuple[str, str]] = set()
MODULES = read_modules(ROOT)
ROOMS_WITH_FOLDERS = sorted(
    room for room in HEIGHT if any(path.is_dir() for path in (ROOT / "zoo" / room).glob("[a-z]*"))
)
MAP_LINE = re.compile(r"    (?P<names>[a-z_]+/?(?:, [a-z_]+/?)*)  +\S")
FILES = sorted(p for package in ("zoo", "adapters") for p in (ROOT / package).rglob("*.py"))


def room_of(module: str) -> str | None:
    """The room of a dotted module name; None for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "zoo" and len(parts) > 1 else None


def imports(path: Path, *, module_level: bool = False) -> set[str]:
    """Every absolute module name that a file imports; with `module_level`, not those inside functions."""
    names: set[str] = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if module_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = ".".join(package[: len(package) - child.level + 1]) if child.level else ""
                module = ".".join(part for part in (base, child.module or "") if part)
                names.update([module, *(f"{module}.{alias.name}" for alias in child.names)])
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_from_floors_below_its_own(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts
    if own[0] == "adapters":
        assert not [name for name in imports(path) if name.split(".")[0] == "zoo"], (
            "adapters never imports zoo"
        )
        return
    if len(own) == 2 and own[1] in ("__init__", "__main__"):
        return
    for name in imports(path):
        room = room_of(name)
        if room is None or room == own[1] or room not in HEIGHT:
            continue
        assert HEIGHT[room] < HEIGHT[own[1]], f"{own[1]} may not import zoo.{room}"


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if set(p.relative_to(ROOT).with_suffix("").parts[1:2]) & set(LIGHT)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_light_rooms_import_nothing_heavy_at_module_level(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path, module_level=True)} & HEAVY


@pytest.mark.parametrize("package", sorted({p.parent for p in FILES}), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_has_the_name_of_a_public_function_of_its_package(package: Path) -> None:
    tree = ast.parse((package / "__init__.py").read_text("utf-8"))
    public = {
        node.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("__all__", "PUBLIC")
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    modules = {p.stem for p in package.glob("*.py")} | {p.name for p in package.iterdir() if p.is_dir()}
    assert not public & modules


@pytest.mark.parametrize(
    ("types", "to_cut"),
    [(False, CIRCLES_TO_CUT), (True, CIRCLES_TO_CUT | TYPE_CIRCLES_TO_CUT)],
    ids=["run", "types"],
)
def test_no_files_import_each_other_in_a_circle(types: bool, to_cut: set[tuple[str, str]]) -> None:
    graph = import_graph(MODULES, types=types)
    assert not find_circles(without(graph, to_cut)), "a circle of imports"
    for edge in to_cut:
        assert find_circles(without(graph, to_cut - {edge})), (
            f"{edge} closes no circle any more: delete its line"
        )


def without(graph: dict[str, set[str]], edges: set[tuple[str, str]]) -> dict[str, set[str]]:
    """The graph after some imports are cut."""
    return {name: {other for other in found if (name, other) not in edges} for name, found in graph.items()}


@pytest.mark.parametrize("room", ROOMS_WITH_FOLDERS)
def test_inside_a_room_files_import_only_what_its_map_lists_above_them(room: str) -> None:
    order = list(room_map(room))
    parts = {
        module.name.split(".")[2] for module in MODULES.values() if module.name.startswith(f"zoo.{room}.")
    }
    assert sorted(order) == sorted(parts), (
        f"the map in zoo/{room}/__init__.py lists each file and folder once"
    )
    place = {name: number for number, name in enumerate(order)}
    climbs = {
        (module.name, other)
        for module in MODULES.values()
        for other in imports_in_room(module, room)
        if place[part_of(other)] > place[part_of(module.name)]
    }
    known = {edge for edge in CLIMBS_TO_END if edge[0].startswith(f"zoo.{room}.")}
    assert not climbs - known, f"an import goes up in the map of zoo/{room}/__init__.py"
    assert not known - climbs, "this import does not go up any more: delete its line"


def room_map(room: str) -> Iterator[str]:
    """The files and folders of a room as the map in its docstring lists them, lowest first."""
    text = ast.get_docstring(MODULES[f"zoo.{room}"].tree, clean=False) or ""
    for line in text.splitlines():
        if (found := MAP_LINE.match(line)) is not None:
            yield from (name.removesuffix("/") for name in found["names"].split(", "))


def part_of(module: str) -> str:
    """The file or folder of a room that a module is in."""
    return module.split(".")[2]


def imports_in_room(module: Module, room: str) -> set[str]:
    """What a module imports of its own room, for types too."""
    inside = f"zoo.{room}."
    if not module.name.startswith(inside):
        return set()
    return {name for name in module.imports | module.type_imports if name.startswith(inside)}
