"""A run is read by another rule or on fewer examples, and stays as it was for every later reader."""

from __future__ import annotations

from pathlib import Path

import pytest

import fakes
from compbench.core.errors import RunError, UsageError
from compbench.core.rules import Rule
from compbench.runs import harness
from compbench.store.run import Run

VIEW = {"n_draws": 4, "target": "native"}


def _run(root: Path, n_bank: int = 4, **asked: object) -> Run:
    limit = asked.pop("limit", None)
    scorer = fakes.ErrorScorer(n_bank)
    return harness.run(fakes.task(), model=fakes.GivenSpec(scorer, {**VIEW, **asked}), limit=limit, runs=root)  # pyright: ignore


def _plain(run: Run) -> Run:
    return Run(run.path)


def test_fewer_draws_and_a_subset_are_what_the_command_reads_and_nobody_else(tmp_path: Path) -> None:
    _run(tmp_path)
    asked = _run(tmp_path, n_draws=2, limit=3)
    assert asked.table().scores[0, 0].tolist() == [-0.5, -1.5]
    assert (len(asked.done()), asked.is_partial) == (3, True)
    plain = _plain(asked)
    assert (plain.status, plain.rule, len(plain.done()), plain.is_partial) == ("done", Rule(draws=4), 12, False)
    assert plain.table().scores[0, 0].tolist() == [-1.5, -2.5]


def test_more_draws_of_every_example_are_what_a_plain_reader_reads(tmp_path: Path) -> None:
    _run(tmp_path)
    plain = _plain(_run(tmp_path, 10, n_draws=10))
    assert (plain.rule, plain.status, len(plain.done())) == (Rule(draws=10), "done", 12)


def test_more_draws_of_some_examples_leave_a_whole_run_whole(tmp_path: Path) -> None:
    _run(tmp_path)
    asked = _run(tmp_path, 10, n_draws=10, limit=3)
    assert (asked.rule.draws, len(asked.done())) == (10, 3)
    plain = _plain(asked)
    assert (plain.rule, plain.status, len(plain.done())) == (Rule(draws=4), "done", 12)


def test_a_rule_that_reads_more_examples_than_the_first_becomes_the_runs_own(tmp_path: Path) -> None:
    _run(tmp_path, 10, n_draws=10, limit=3)
    plain = _plain(_run(tmp_path))
    assert (plain.rule, plain.status, len(plain.done())) == (Rule(draws=4), "done", 12)


def test_the_first_target_stays_the_runs_own(tmp_path: Path) -> None:
    _run(tmp_path)
    asked = _run(tmp_path, target="eps")
    assert asked.rule.target == "eps"
    assert _plain(asked).rule.target == "native"


def test_a_smaller_limit_does_not_shrink_what_was_asked_for(tmp_path: Path) -> None:
    _run(tmp_path, limit=6)
    plain = _plain(_run(tmp_path, limit=3))
    assert (plain.info.limit, len(plain.done()), plain.status) == (6, 6, "partial")


def test_a_command_that_fails_leaves_a_whole_run_whole(tmp_path: Path) -> None:
    run = _run(tmp_path)
    with pytest.raises(RunError):
        harness.run(fakes.task(), model=fakes.GivenSpec(None, {**VIEW, "n_draws": 9}), runs=tmp_path)
    assert _plain(run).status == "done"


def test_reading_another_way_gives_what_a_run_with_these_settings_gives_and_writes_nothing(tmp_path: Path) -> None:
    run = _plain(_run(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    read = run.read(draws=2, limit=3)
    assert read.table().scores.tolist() == _run(tmp_path, n_draws=2, limit=3).table().scores.tolist()
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert read.read(draws=4).table().ids == read.table().ids  # settings that are not given stay as they are


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"draws": 9}, "cannot be read with draws=9, target=native, loss=l2: it has 4 draws of each example"),
        ({"loss": "l1"}, "holds no errors 'l1'; it has l2"),
        ({"unconditional": True}, "none without a caption"),
        ({"target": "zebra"}, "no scoring rule named 'zebra'"),
        ({"draws": 0}, "draws cannot be 0"),
    ],
)
def test_what_the_stored_errors_cannot_answer_is_refused_with_what_is_stored(
    tmp_path: Path, asked: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _plain(_run(tmp_path)).read(**asked)  # pyright: ignore[reportArgumentType]


def test_a_run_of_scores_has_no_other_reading(tmp_path: Path) -> None:
    run = harness.run(fakes.task(), model=fakes.Spec("perfect"), runs=tmp_path)
    assert len(run.read(limit=3).table().ids) == 3
    with pytest.raises(UsageError, match="stores scores and no errors per draw"):
        run.read(draws=2)
