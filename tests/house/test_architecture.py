"""The examples of ARCHITECTURE.md are whole files that work as the page says."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import compbench
from compbench.cli import app
from compbench.core import ScoreTable
from compbench_analysis.frames.tables import tidy
from import_graph import ROOT, modules

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`(\w+)\.py`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
Imported = Callable[[str], ModuleType]


@pytest.fixture
def imported(own_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imported]:
    """The page's files in a folder from which they can be imported; nothing of them is left behind."""
    for name, code in FILES.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPBENCH_RUNS", raising=False)
    yield import_module
    for name in FILES:
        sys.modules.pop(name, None)


def test_every_block_of_python_has_a_file_name() -> None:
    assert len(FILES) == len(re.findall(r"^```python$", TEXT, re.MULTILINE)) == 7


@pytest.mark.parametrize("package", ["compbench", "compbench_analysis", "compbench_baselines"])
def test_every_room_is_on_the_map(package: str) -> None:
    rooms = {name.split(".")[1] for name, path in modules().items() if name.count(".") == 1 and path.stem == "__init__"}
    of_package = {room for room in rooms if f"{package}.{room}" in modules()}
    assert of_package == {room for room in of_package if f"`{room}`" in TEXT or f"`{package}/{room}`" in TEXT}


def test_the_task_and_the_model_are_used_by_name(imported: Imported, capsys: pytest.CaptureFixture[str]) -> None:
    _ = imported("use_both")
    assert capsys.readouterr().out.count("True") == 9  # three examples; text, image and group


def test_the_denoiser_s_errors_are_those_of_its_formula(imported: Imported) -> None:
    _ = imported("plain_colours")
    rgb = imported("plain_diffusion").RGB
    run = compbench.run("plain-colours", model="plain-diffusion")
    frame = run.to_frame()
    assert frame[["text", "image", "group"]].all(axis=None)
    (table,) = run.error_tables()
    bank, row = run.draws(), table.ids.index("green-red")
    mean_of_picture = np.array([30, 180, 60]) / 255  # the first picture of the example is the green one
    distance = ((mean_of_picture - np.array(rgb["red"])) ** 2).mean()
    expected = (bank.alpha / bank.sigma)[:8] ** 2 * distance
    np.testing.assert_allclose(table.errors[row, 0, 1], expected, rtol=1e-4)


def test_the_metric_is_right_where_the_true_pairs_are_above_on_average(imported: Imported) -> None:
    metric = imported("on_average").ON_AVERAGE
    scores = np.array([[[2.0, 1.0], [0.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 3.0], [3.0, 0.0]]])
    table = ScoreTable(("right", "tied", "wrong"), scores, np.stack([np.eye(2, dtype=bool)] * 3))
    assert metric.outcome(table).tolist() == [True, False, False]
    assert metric.ties(table).tolist() == [False, True, False]
    assert metric.chance(np.eye(2, dtype=bool)) == 0.5


def test_the_figure_has_a_row_for_each_cell(imported: Imported) -> None:
    _ = imported("plain_colours"), imported("brightest")
    frame = tidy([compbench.run("plain-colours", model="brightest")])
    (axis,) = imported("dots").dots(frame).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [f"brightest {name}" for name in frame["metric"]]


def test_the_subcommand_counts(
    imported: Imported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ = imported("plain_colours"), imported("brightest")
    _ = compbench.run("plain-colours", model="brightest")
    monkeypatch.setitem(sys.modules, "compbench.cli.counting", imported("counting"))
    monkeypatch.setitem(app._HOMES, "count", "counting:count")
    assert app.main(["count", "plain-colours/brightest"]) == 0
    assert capsys.readouterr().out.strip() == "3"
