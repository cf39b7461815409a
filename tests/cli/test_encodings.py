"""Every file is read and written as UTF-8, whatever the locale; names stay themselves."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fakes
import import_graph
from compbench.cli.app import main
from compbench.core.examples import Task
from compbench.runs import harness

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("compbench", "analysis/compbench_analysis", "baselines/compbench_baselines")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# an ASCII locale, as a bare container or a batch system has; no other is sure to be installed
PLAIN = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MARK = """
import sys
from pathlib import Path
from compbench.store.run import Run
from compbench.store.writer import RunWriter
run = Run(Path(sys.argv[1]))
RunWriter(run).mark("partial")
RunWriter(run).mark("done")
"""


def test_no_source_file_leaves_the_encoding_of_a_text_to_the_locale() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:90]}"
        for path in SOURCES
        for call in _calls(path)
        if _is_left_open(call)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "is_left_open"),
    [
        ("open(p)", True),
        ("open(p, 'rb')", False),
        ("p.open('w')", True),
        ("p.open('w', encoding='utf-8')", False),
        ("p.read_text()", True),
        ("p.write_text(t, 'utf-8')", False),
        ("subprocess.run(c, text=True)", True),
        ("subprocess.run(c)", False),
        ("Image.open(p)", False),
        ("os.open(p, flags)", False),
    ],
)
def test_the_search_knows_text_from_bytes(code: str, is_left_open: bool) -> None:
    (call,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    assert _is_left_open(call) is is_left_open


def test_names_survive_any_number_of_marks_under_an_ascii_locale(tmp_path: Path) -> None:
    task = fakes.task(3, "pâté – 日本")
    run = harness.run(task, model=fakes.Spec(), runs=tmp_path)
    before = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-c", MARK, str(run.path)],
        env={**os.environ, **PLAIN},
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    after = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert after["key"] == before["key"]
    assert after["task"] == before["task"]


def test_output_is_utf_8_under_an_ascii_locale(tmp_path: Path) -> None:
    page = tmp_path / "table.md"
    command = ["run", "shapes", "-m", "chance", "--limit", "6", "--runs", str(tmp_path / "r"), "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "compbench", *command, "--format", "markdown", "--output", str(page)],
        env={**os.environ, **PLAIN},
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    there = page.read_text(encoding="utf-8")
    assert main(["show", "shapes/chance", "--runs", str(tmp_path / "r"), "--format", "markdown"]) == 0
    assert "text" in there


def test_the_name_of_a_file_is_the_same_text_under_every_locale(tmp_path: Path) -> None:
    (tmp_path / "pâté").touch()
    code = (
        "import json, os, sys; from compbench.core.disk import text_of\n"
        "print(json.dumps([text_of(each) for each in os.listdir(sys.argv[1])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, **PLAIN}, check=True, capture_output=True
    )
    assert json.loads(done.stdout) == ["pâté"]


def test_a_name_that_utf_8_cannot_hold_is_stored_and_read_again(tmp_path: Path) -> None:
    task = Task("fake", fakes.task(2).examples, fakes.task(2).metrics, description="caf\udce9")
    run = harness.run(task, model=fakes.Spec(), runs=tmp_path)
    assert run.info.task.description == "caf\udce9"


def _calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(import_graph.parsed(path)) if isinstance(node, ast.Call))


def _is_left_open(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    name, owner = _name(call.func)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) < 2
    if owner == "subprocess":
        return any(
            isinstance(value := keywords.get(word), ast.Constant) and bool(value.value)
            for word in ("text", "universal_newlines")
        )
    if name == "fdopen" or (name == "open" and owner == ""):
        return "b" not in _mode(call, 1)
    is_file = name == "open" and owner not in ("os", "Image", "PIL.Image", "webbrowser", "asked", "self")
    return is_file and "b" not in _mode(call, 0) and not _is_no_file(owner)


def _mode(call: ast.Call, place: int) -> str:
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), None)
    given = call.args[place] if given is None and len(call.args) > place else given
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else "r"


def _is_no_file(owner: str) -> bool:
    """Archives give bytes; a store opens runs."""
    return any(word in owner.lower() for word in ("archive", "zip", "tar", "store", "self._open"))


def _name(function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Attribute):
        return function.attr, ast.unparse(function.value)
    return (function.id, "") if isinstance(function, ast.Name) else ("", "")
