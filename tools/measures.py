"""Measures of the code, printed as tables: what a review starts from, and what a change is compared with.

    python tools/measures.py                   # this checkout
    python tools/measures.py ../older          # another one: git worktree add --detach ../older COMMIT

What is measured, of the packages zoo and adapters:

rooms       files and lines; functions (methods and nested ones too) and their length without the docstring:
            median, 90th percentile, longest; share of functions with a docstring; most parameters of one
            (`self`, `cls`, `*args` and `**options` not counted); lines of more than 100 columns
doors       public-named functions of modules, and how many of them no other product file uses: those should
            be private. A use is an import, an attribute of an imported module, or text that names both module
            and function, as a table of lazy imports does. What only tests use counts as unused
imports     the modules that import most other modules of the project
longest     the longest functions
circles     groups of modules that import each other: at run time (also inside functions), and with the
            imports that only a type checker sees

Standard library only, nothing of the checkout is imported. `tests/test_floors.py` uses `read_modules` and
`find_circles` to keep the circles at zero.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

PACKAGES = ("zoo", "adapters")
WIDE = 100
SHOWN = 10

Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = Mapping[str, Iterable[str]]


@dataclass
class Module:
    """One source file.

    room: the folder below zoo that holds it; `zoo` for the files directly there, `adapters` for all of those.
    imports, type_imports: the modules that it imports, of this project and of others.
    """

    name: str
    room: str
    path: Path
    text: str
    tree: ast.Module
    imports: set[str] = field(default_factory=set)
    type_imports: set[str] = field(default_factory=set)


def main(checkout: Path) -> None:
    """Print every table."""
    modules = read_modules(checkout)
    unused = find_unused(modules)
    print(table(ROOM_COLUMNS, [*room_rows(modules)]))
    print(table(("room", "public functions", "used by no other file"), [*door_rows(modules, unused)]))
    print(table(("module", "own modules that it imports"), [*import_rows(modules)][:SHOWN]))
    print(table(("function", "lines"), [*length_rows(modules)][:SHOWN]))
    print(table(("circles", "number", "modules"), [*circle_rows(modules)]))


# Reading


def read_modules(checkout: Path) -> dict[str, Module]:
    """Every module of the product, by its dotted name; imports are resolved to modules where these exist."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((checkout / package).rglob("*.py")):
            parts = path.relative_to(checkout).with_suffix("").parts
            room = parts[1] if package == "zoo" and len(parts) > 2 else package
            name = ".".join(parts).removesuffix(".__init__")
            text = path.read_text("utf-8")
            modules[name] = Module(name, room, path, text, ast.parse(text))
    for module in modules.values():
        _read_imports(module, modules)
    return modules


def _read_imports(module: Module, modules: Mapping[str, Module]) -> None:
    for node, typed in _walk_imports(module.tree, False):
        names = _imported(node, module)
        found = {name if name in modules else name.rpartition(".")[0] or name for name in names}
        (module.type_imports if typed else module.imports).update(found - {module.name})


def _walk_imports(node: ast.AST, typed: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import statement below a node, and whether it stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, typed
        yield from _walk_imports(child, typed or _is_type_checking(child))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imported(node: ast.Import | ast.ImportFrom, module: Module) -> set[str]:
    """The dotted names that a statement imports; of `from a import b`, `a.b`, which may be a module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    package = module.name.split(".")
    if module.path.stem != "__init__":
        package = package[:-1]
    base = package[: len(package) - node.level + 1] if node.level else []
    whole = ".".join([*base, *([node.module] if node.module else [])])
    return {f"{whole}.{alias.name}" for alias in node.names}


def functions_of(module: Module) -> list[Function]:
    """Every function of a module: methods and nested ones too."""
    return [node for node in ast.walk(module.tree) if isinstance(node, Function)]


def length_of(function: Function) -> int:
    """The lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        lines -= (text.end_lineno or text.lineno) - text.lineno + 1
    return lines


def parameters_of(function: Function) -> int:
    """How many parameters a caller can name or place."""
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


# Circles


def find_circles(graph: Graph) -> list[set[str]]:
    """The groups of names that reach each other: Tarjan's strongly connected components of two or more.

    >>> find_circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}) == [{"b", "c"}]
    True
    """
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in graph:
                continue
            if other not in order:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], order[other])
        if lowest[name] == order[name]:
            place = stack.index(name)
            group = set(stack[place:])
            del stack[place:]
            if len(group) > 1:
                circles.append(group)

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return circles


def import_graph(modules: Mapping[str, Module], *, types: bool = False) -> dict[str, set[str]]:
    """Which module imports which. types: with the imports that only a type checker sees.

    Without the package `zoo` itself: it re-exports names of every room, resolved when they are used.
    """
    return {
        name: module.imports | (module.type_imports if types else set())
        for name, module in modules.items()
        if name != "zoo"
    }


# Doors


def public_functions(module: Module) -> set[str]:
    """The names of a module's own functions that do not begin with an underscore."""
    return {n.name for n in module.tree.body if isinstance(n, Function) and not n.name.startswith("_")}


def find_unused(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """By module, its public-named functions that no other product file uses."""
    used: set[tuple[str, str]] = set()
    for module in modules.values():
        used |= _uses(module, modules)
    return {name: {f for f in public_functions(m) if (name, f) not in used} for name, m in modules.items()}


def _uses(module: Module, modules: Mapping[str, Module]) -> set[tuple[str, str]]:
    """(other module, name) for everything that a module takes from others."""
    found: set[tuple[str, str]] = set()
    known_as: dict[str, str] = {}  # local name -> module
    for node, _ in _walk_imports(module.tree, False):
        for name in _imported(node, module):
            if name in modules:
                known_as[name.rpartition(".")[2]] = name
            else:
                found.add((name.rpartition(".")[0], name.rpartition(".")[2]))
    texts = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known_as:
            found.add((known_as[node.value.id], node.attr))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < WIDE:
            texts.update((node.value, *node.value.split(":", 1)))
    return found | {(name, text) for name in texts & set(modules) for text in texts}


# Tables

ROOM_COLUMNS = (
    "room",
    "files",
    "lines",
    "functions",
    "length median/p90/max",
    "with docstring",
    "most parameters",
    f"lines over {WIDE}",
)


def room_rows(modules: Mapping[str, Module]) -> Iterator[tuple[object, ...]]:
    """The sizes of each room, and of all together."""
    rooms = sorted({module.room for module in modules.values()})
    for room in (*rooms, "all"):
        own = [module for module in modules.values() if room in (module.room, "all")]
        functions = [function for module in own for function in functions_of(module)]
        lines = [line for module in own for line in module.text.splitlines()]
        documented = sum(ast.get_docstring(function) is not None for function in functions)
        yield (
            room,
            len(own),
            len(lines),
            len(functions),
            spread_of([length_of(function) for function in functions]),
            f"{documented / len(functions):.0%}" if functions else "",
            max(map(parameters_of, functions), default=0),
            sum(len(line) > WIDE for line in lines),
        )


def spread_of(lengths: list[int]) -> str:
    """Median, 90th percentile and largest, as text.

    >>> spread_of([1, 2, 3, 4, 10]), spread_of([7]), spread_of([])
    ('3/8/10', '7/7/7', '')
    """
    if not lengths:
        return ""
    tenth = quantiles(lengths, n=10, method="inclusive")[-1] if len(lengths) > 1 else lengths[0]
    return f"{median(lengths):.0f}/{tenth:.0f}/{max(lengths)}"


def door_rows(modules: Mapping[str, Module], unused: Mapping[str, set[str]]) -> Iterator[tuple[object, ...]]:
    """The public functions of each room, and those that nothing else uses."""
    rooms = sorted({module.room for module in modules.values()})
    for room in (*rooms, "all"):
        own = [name for name, module in modules.items() if room in (module.room, "all")]
        yield (
            room,
            sum(len(public_functions(modules[name])) for name in own),
            sum(len(unused[name]) for name in own),
        )


def import_rows(modules: Mapping[str, Module]) -> Iterator[tuple[object, ...]]:
    """The modules by the number of other modules that they import, most first."""
    counts = {name: len((m.imports | m.type_imports) & set(modules)) for name, m in modules.items()}
    yield from sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def length_rows(modules: Mapping[str, Module]) -> Iterator[tuple[object, ...]]:
    """Every function by its length, longest first."""
    found = [(f"{n}.{f.name}", length_of(f)) for n, m in modules.items() for f in functions_of(m)]
    yield from sorted(found, key=lambda item: (-item[1], item[0]))


def circle_rows(modules: Mapping[str, Module]) -> Iterator[tuple[object, ...]]:
    """The circles at run time, and with types."""
    for kind, types in (("at run time", False), ("with types", True)):
        circles = find_circles(import_graph(modules, types=types))
        yield kind, len(circles), "; ".join(" ".join(sorted(circle)) for circle in circles)


def table(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A Markdown table."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
