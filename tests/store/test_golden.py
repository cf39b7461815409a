"""Two runs stored by version 0.1.0, one of errors and one of scores: every later version reads them alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import compbench
from compbench.core.rules import Rule

GOLDEN = Path(__file__).parents[1] / "golden"


def test_stored_errors_are_read_as_they_were_measured() -> None:
    run = compbench.load_run(GOLDEN / "errors")
    assert run.status == "done"
    assert run.rule == Rule("native", 4)
    table = run.table()
    right = -(0 + 1 + 2 + 3) / 4  # error d at draw d for a match, d + 1 for a mismatch
    expected = np.array([[right, right - 1], [right - 1, right]])
    assert table.ids == tuple(f"{n:04d}" for n in range(6))
    assert np.allclose(table.scores, expected)
    assert np.allclose(run.table(Rule(draws=1)).scores, [[0, -1], [-1, 0]])
    assert run.examples()["tags"].iloc[0] == {"tag": ["Object"]}


def test_stored_scores_are_read_as_they_were_given() -> None:
    run = compbench.load_run(GOLDEN / "scores")
    assert np.array_equal(run.table().scores, np.broadcast_to(np.eye(2), (6, 2, 2)))


@pytest.mark.parametrize("name", ["errors", "scores"])
def test_any_parquet_reader_finds_the_scores(name: str) -> None:
    frame = pd.read_parquet(GOLDEN / name / "scores")
    assert len(frame) == 6 * 4
    assert {"example_id", "image", "caption", "score"} <= set(frame.columns)
