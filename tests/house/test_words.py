"""Words that the code does not use: loop variables that name nothing, docstrings that open with What, How or One."""

from __future__ import annotations

import ast
import functools
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import import_graph
from import_graph import ROOT

FOLDERS = ("compbench", "analysis", "baselines", "tests", "docs", "notebooks", ".ci")
NAMELESS = {"each", "it", "its", "item", "one", "thing", "x1"}
PACKAGES = ("compbench/", "analysis/", "baselines/")
ASKING = re.compile(r"(What|How|One|Of)\b(?!')")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
REPEATED = re.compile(r"\b([A-Za-z]+(?: [A-Za-z]+)+) \1\b")
MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The Python of every file, of every page's blocks and of every notebook, by the place it is from."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    return {str(path.relative_to(ROOT)): tree for path in sorted(paths) if (tree := tree_of(path))}


def tree_of(path: Path) -> ast.Module | None:
    if path.suffix == ".py":
        return import_graph.parsed(path)
    return ast.parse(code_of(path)) if path.suffix in (".md", ".ipynb") else None


def code_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return "\n".join(textwrap.dedent(block) for block in BLOCK.findall(text))
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    return MAGIC.sub("", "\n".join("".join(cell["source"]) for cell in cells))


def loop_variables(tree: ast.Module) -> Iterator[ast.Name]:
    for loop in ast.walk(tree):
        if isinstance(loop, ast.For | ast.AsyncFor | ast.comprehension):
            yield from (name for name in ast.walk(loop.target) if isinstance(name, ast.Name))


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text


def test_a_loop_variable_is_a_noun() -> None:
    found = [(place, name) for place, tree in trees().items() for name in loop_variables(tree)]
    assert len(found) > 1000
    assert [f"{place}: {name.id} (line {name.lineno})" for place, name in found if name.id in NAMELESS] == []


def test_a_docstring_opens_with_a_noun_or_a_verb() -> None:
    found = [
        (place, text) for place, tree in trees().items() if place.startswith(PACKAGES) for text in docstrings(tree)
    ]
    assert len(found) > 2000
    assert [f"{place}: {text.splitlines()[0]}" for place, text in found if ASKING.match(text)] == []


def test_no_text_repeats_a_phrase_at_once() -> None:
    """Two words or more that stand twice in a row are left over from an edit: 'there is there is nothing'."""
    found = [
        f"{place}: {repeated[0]!r} (line {text.lineno})"
        for place, tree in trees().items()
        if place.startswith(PACKAGES) and place.endswith(".py")
        for text in ast.walk(tree)
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
        if (repeated := REPEATED.search(text.value))
    ]
    assert REPEATED.search("there is there is nothing")
    assert found == []


def test_no_text_is_cut_off_by_a_missing_bracket() -> None:
    """Two lines of text are one only within brackets; without them Python drops the second in silence."""
    dropped = [
        f"{place}: line {statement.lineno}"
        for place, tree in trees().items()
        if place.endswith(".py")
        for node in ast.walk(tree)
        for block in (getattr(node, "body", None), getattr(node, "orelse", None))
        for statement in (block[1:] if isinstance(block, list) else ())
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant | ast.JoinedStr)
        if getattr(statement.value, "value", "") is not ...
    ]
    assert dropped == []
