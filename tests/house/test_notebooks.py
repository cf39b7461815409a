"""The notebooks run from top to bottom, as a reader would run them, and are stored without outputs."""

from __future__ import annotations

import ast
import asyncio
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from compbench.cli.app import main

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # jupyter's own deprecations
    from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The top of a repository, whose notebooks share the folder of runs: what one measures the next finds."""
    top = tmp_path_factory.mktemp("repository")
    (top / "notebooks").mkdir()
    return top


def _executed(name: str, top: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook with its outputs, run where it lies and where no hub can be reached."""
    monkeypatch.delenv("COMPBENCH_RUNS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(top / "notebooks")}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(client.async_execute())
    return notebook


def _kinds(notebook: nbformat.NotebookNode, cell_id: str) -> set[str]:
    (cell,) = (cell for cell in notebook.cells if cell.id == cell_id)
    return {kind for output in cell.outputs for kind in output.get("data", {output.output_type: ""})}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_name_that_a_notebook_imports_is_there(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    imports = [node for node in ast.walk(ast.parse("\n".join(cells))) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        module = import_module(str(node.module))
        for alias in node.names:
            assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}"), (node.module, alias.name)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_asks_for_every_example(path: Path) -> None:
    source = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert "compbench.run(" in source
    assert "limit=" not in source


@pytest.mark.slow
def test_the_quickstart_needs_no_weights_but_those_that_ship(
    top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = _executed("01_quickstart", top, monkeypatch)
    assert "text/html" in _kinds(done, "run")
    assert "image/png" in _kinds(done, "plot")
    monkeypatch.chdir(top)
    assert main(["show", "shapes"]) == 0  # the command finds what the notebook stored
    assert "shapes, 400 examples" in capsys.readouterr().out
    assert {"tiny-sd", "tiny-clip", "chance"} < {folder.name for folder in (top / "runs" / "shapes").iterdir()}


@pytest.mark.slow
def test_per_tag_scores_runs_as_it_is(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = _executed("02_per_tag_scores", top, monkeypatch)
    for cell_id in ("bars", "heat", "two-panels", "agreement"):
        assert "image/png" in _kinds(done, cell_id)
    for cell_id in ("tidy", "crossed", "own", "draws", "compare"):
        assert "text/html" in _kinds(done, cell_id)


@pytest.mark.slow
def test_how_many_draws_runs_as_it_is(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = _executed("03_how_many_draws", top, monkeypatch)
    for cell_id in ("draws", "timesteps", "margins"):
        assert "image/png" in _kinds(done, cell_id)
    for cell_id in ("draws-table", "rules", "unsure", "table"):
        assert "text/html" in _kinds(done, cell_id)
