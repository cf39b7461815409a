"""What a notebook has under one name: tables, tests, curves and figures, and a run that shows itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import compbench
import pages
from compbench.store.run import Run
from compbench_analysis.figures import plots
from compbench_analysis.frames import curves
from compbench_analysis.frames.compare import compare
from compbench_analysis.frames.tables import tidy


def test_one_name_leads_to_all_that_reads_runs() -> None:
    assert compbench.tidy is tidy
    assert compbench.compare is compare
    assert compbench.curves is curves
    assert compbench.plots is plots
    assert {"compare", "curves", "plots", "tidy"} <= set(dir(compbench))
    with pytest.raises(AttributeError, match="no attribute 'plotz'"):
        compbench.plotz  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_run_shows_its_scores_by_tag(tmp_path: Path) -> None:
    run = pages.scored(tmp_path, pages.task(12), "one", lambda i: pages.RIGHT if i % 2 else pages.WRONG)
    shown = run._repr_html_()
    assert "<b>photos / one</b>: 12 examples measured" in shown
    assert "<th>overall (12)</th>" in shown
    assert "<tr><th>group, %</th>" in shown
    assert "<td>50.0 [25.4, 74.6]</td>" in shown
    assert shown.endswith("<td>16.7</td></tr></tbody></table>")
    assert run.summary().equals(tidy(run))
    assert set(run.summary("parity")["tag"]) == {"even", "odd", "overall"}


def test_a_run_that_is_not_whole_or_not_begun_or_torn_says_so(tmp_path: Path) -> None:
    task = pages.task(12)
    assert "partial: 5 of 12 examples" in pages.scored(tmp_path, task, "some", lambda i: pages.RIGHT, n=5)._repr_html_()
    assert "partial: 0 of 12 examples" in pages.scored(tmp_path, task, "none", lambda i: pages.RIGHT, n=0)._repr_html_()
    torn = pages.scored(tmp_path, task, "torn", lambda i: pages.RIGHT)
    (torn.path / "run.json").write_text("{")
    assert "run.json" in Run(torn.path)._repr_html_()


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    task = dataclasses.replace(pages.task(4), name="<b>photos</b>")
    shown = pages.scored(tmp_path, task, "<img src=x>", lambda i: np.eye(2))._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x&gt;" in shown
