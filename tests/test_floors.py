"""A file imports only from floors below its own, and the light rooms import nothing heavy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    ("errors", "events"),
    ("catalogue",),
    ("store",),
    ("words",),
    ("backbones",),
    ("data",),
    ("registering", "features"),
    ("training",),
    ("runs",),
    ("cli", "plugins"),
]
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = ("errors", "events", "catalogue", "store", "cli")
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
