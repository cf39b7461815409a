"""Runs that differ by their seed alone are one row: the mean and the standard deviation over seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import test_tables

import fakes
from compbench.cli.app import main
from compbench.store.run import Run
from compbench_analysis.frames import tables
from compbench_analysis.frames.seeds import same_but_seed
from compbench_analysis.statistics.intervals import Sample, interval
from compbench_analysis.text import show

RIGHT, WRONG = test_tables.RIGHT, test_tables.WRONG
TASK = test_tables._task(fakes.TAGS * 20)


def _run(root: Path, is_right: Sequence[bool], seed: int, model: str = "sd", **measurement: str) -> Run:
    scores = [RIGHT if right else WRONG for right in is_right]
    return test_tables._stored(root, TASK, scores, model, seed=seed, **measurement)


def _seeds(root: Path, n_right: Sequence[int] = (30, 36, 24)) -> list[Run]:
    """Run k has its first n_right[k] examples right."""
    return [_run(root, [n < right for n in range(60)], seed) for seed, right in enumerate(n_right)]


def test_a_row_is_the_mean_and_the_standard_deviation_over_seeds(tmp_path: Path) -> None:
    row = tables.over_seeds(_seeds(tmp_path)).query("tag == 'overall' and metric == 'text'").iloc[0]
    assert row["model"] == "sd (3 seeds)"
    assert row["seeds"] == 3
    assert row["value"] == pytest.approx(0.5)
    assert row["sd"] == pytest.approx(np.std([30 / 60, 36 / 60, 24 / 60], ddof=1))
    shares = np.repeat([1, 2 / 3, 1 / 3, 0], [24, 6, 6, 24])  # of the seeds, by example
    low, high = interval(shares, Sample.of([str(n) for n in range(60)]))
    assert (row["low"], row["high"]) == pytest.approx((float(low), float(high)))


def test_the_table_says_mean_and_spread_and_how_many(tmp_path: Path) -> None:
    runs = _seeds(tmp_path)
    assert "50.0 (sd 10.0)" in show.to_text(runs)
    text = show.to_text(runs, full=True)
    line = next(line for line in text.splitlines() if line.startswith("sd (3 seeds)"))
    assert line.rstrip().endswith("50.0 ± 10.0")
    assert "mean ± standard deviation over the seeds" in text
    assert text.count("seed:1") == 1  # every signature is there


def test_each_shows_them_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = _seeds(tmp_path)
    text = show.to_text(runs, each_seed=True)
    assert "sd (seed 1)" in text
    assert "seeds" not in text
    asked = [run.key.digest for run in runs]
    assert main(["show", *asked, "--each", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == text.strip()
    assert main(["show", *asked, "--runs", str(tmp_path)]) == 0
    assert "sd (3 seeds)" in capsys.readouterr().out


def test_csv_holds_the_interval_and_the_digests(tmp_path: Path) -> None:
    runs = _seeds(tmp_path)
    row = list(csv.DictReader(io.StringIO(show.to_text(runs, "csv"))))[-1]
    assert (row["seeds"], row["run"]) == ("3", "+".join(run.key.digest for run in runs))
    assert float(row["low"]) < 0.5 < float(row["high"])


def test_the_order_of_the_seeds_changes_nothing_but_their_names(tmp_path: Path) -> None:
    runs = _seeds(tmp_path)
    here, there = (tables.over_seeds(given).drop(columns="run") for given in (runs, runs[::-1]))
    assert np.allclose(here[["value", "sd", "low", "high"]], there[["value", "sd", "low", "high"]])


def test_what_differs_in_more_than_the_seed_stays_apart(tmp_path: Path) -> None:
    every = [True] * 60
    runs = [
        _run(tmp_path, every, 0),
        _run(tmp_path, every, 1, protocol="paper"),
        _run(tmp_path, every, 1, model="other"),
        _run(tmp_path, every[:40], 2),  # measured other examples
        test_tables._stored(tmp_path, TASK, [RIGHT] * 60, "clip"),
        test_tables._stored(tmp_path, TASK, [RIGHT] * 60, "clip", dtype="float16"),
    ]
    assert [len(group.runs) for group in same_but_seed(runs)] == [1] * 6


def test_a_single_run_is_what_tidy_says(tmp_path: Path) -> None:
    run = _seeds(tmp_path, (30,))[0]
    frame = tables.over_seeds(run)
    assert frame.drop(columns=["seeds", "sd"]).equals(tables.tidy(run))
    assert frame["sd"].isna().all()
