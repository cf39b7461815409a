"""The house: what each room shows, what it keeps to itself, and that no two files lean on each other."""

from __future__ import annotations

import ast
import shutil
import subprocess
from importlib import import_module

import pytest

import import_graph
from import_graph import FOLDERS, ROOT, modules

ROOMS = [module for module in modules() if module.count(".") == 1 and import_graph.is_package(module)]
MAX_LINES = 400
PACKAGES = [module for module in modules() if import_graph.is_package(module)]


def room(module: str) -> str:
    """Where a file stands: `compbench.store` for `compbench.store.run`; a file outside the rooms stands by itself."""
    return ".".join(module.split(".")[:2])


def is_private(module: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in module.split("."))


def test_no_room_reaches_into_another_s_private_files() -> None:
    reached = {
        f"{module} -> {other}"
        for module in modules()
        for other in import_graph.imported(module)
        if is_private(other) and room(other) != room(module)
    }
    assert reached == set()


def test_no_file_is_longer_than_400_lines() -> None:
    n_lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in modules().items()}
    assert {module: n for module, n in n_lines.items() if n > MAX_LINES} == {}


def test_no_two_files_lean_on_each_other() -> None:
    assert import_graph.circles() == []


def test_what_is_known_of_a_model_is_a_field_and_not_looked_for() -> None:
    """`ResolvedModel` holds it, and a scorer's further faces are protocols."""
    looked_for = {
        f"{module}: {ast.unparse(call)}"
        for module in modules()
        if room(module) in ("compbench.runs", "compbench.registry", "compbench.cli")
        for call in ast.walk(import_graph.tree(module))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("getattr", "hasattr")
        if isinstance(call.args[1], ast.Constant)
        if ast.unparse(call.args[0]).rpartition(".")[2] in ("asked", "made", "model", "resolved", "scorer", "spec")
    }
    assert looked_for == set()


def test_an_import_within_a_function_or_through_a_face_is_seen() -> None:
    readers = {module for module in modules() if "compbench.tasks.gallery" in import_graph.imported(module)}
    assert any(module.startswith("compbench.cli.") for module in readers)  # within the function of `show-task`
    assert import_graph.home("compbench.core", "Example") == "compbench.core.examples"
    assert import_graph.home("compbench", "registry") == "compbench.registry"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_for_and_what_it_shows_exists(package: str) -> None:
    assert ast.get_docstring(import_graph.tree(package)), f"{package} does not say what it is for"
    loaded = import_module(package)
    for name in getattr(loaded, "__all__", ()):
        assert getattr(loaded, name) is not None
    assert sorted(getattr(loaded, "__all__", ())) == list(getattr(loaded, "__all__", ()))


@pytest.mark.parametrize("name", [name for name in ROOMS if name.startswith("compbench.")])
def test_a_room_lists_what_it_shows(name: str) -> None:
    assert isinstance(import_module(name).__all__, list)


def test_a_name_that_no_face_shows_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'compbench\.core' has no attribute 'Exampel'"):
        _ = import_module("compbench.core").Exampel


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a git checkout")
def test_no_file_of_the_packages_or_the_tests_is_ignored_by_git() -> None:
    folders = [*FOLDERS.values(), ROOT / "tests"]
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert [path for path in listed if path.endswith(".py")] == []
