"""Who imports whom, read from the source: at the top of a module, within functions, and through lazy faces."""

from __future__ import annotations

import ast
import functools
import gc
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "compbench": ROOT / "compbench",
    "compbench_analysis": ROOT / "analysis" / "compbench_analysis",
    "compbench_baselines": ROOT / "baselines" / "compbench_baselines",
}


@functools.cache
def modules() -> dict[str, Path]:
    """Each module's file by its dotted name; a package stands under its own name."""
    return dict(_found())


def _found() -> Iterator[tuple[str, Path]]:
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def is_package(module: str) -> bool:
    return modules()[module].name == "__init__.py"


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file's tree, which many laws look at."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    gc.freeze()  # it stays, and so do all others: the collector need not walk them whenever one more is parsed
    return tree


def tree(module: str) -> ast.Module:
    return parsed(modules()[module])


@functools.cache
def imported(module: str) -> frozenset[str]:
    """Our modules that this one imports, now or later or for its types; a name of a face is its home's."""
    found = {home for node in ast.walk(tree(module)) for home in _homes(node)}
    return frozenset(found - {module})


@functools.cache
def needed(module: str) -> frozenset[str]:
    """The same without what it imports for its types alone."""
    found = {home for node in _run(tree(module)) for home in _homes(node)}
    return frozenset(found - {module})


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below, but for what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not is_for_types:
            yield child
            yield from _run(child)


def _homes(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules())
    elif isinstance(node, ast.ImportFrom) and node.module in modules():
        yield from (home(node.module, alias.name) for alias in node.names)


@functools.cache
def home(module: str, name: str) -> str:
    """The module that `from module import name` reads: a file of the package, or where its face takes the name from."""
    if f"{module}.{name}" in modules():
        return f"{module}.{name}"
    shown = _shown(module) if is_package(module) else {}
    return home(shown[name], name) if name in shown else module


def _shown(package: str) -> dict[str, str]:
    """What a package's face shows, with the module that it is taken from."""
    taken = [node for node in ast.walk(tree(package)) if isinstance(node, ast.ImportFrom) and node.module in modules()]
    return {alias.asname or alias.name: node.module for node in taken if node.module for alias in node.names}


def circles() -> list[list[str]]:
    """Sets of modules that need one another, each sorted (the strongly connected components of more than one)."""
    reached = {module: _reached(module) for module in modules()}
    of_each = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in modules()
        if module in reached[module]
    }
    return sorted(list(circle) for circle in of_each)


def _reached(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        new = needed(waiting.pop()) - found
        found |= new
        waiting.extend(new)
    return found
