"""The rows of races: measured once each, kept over a kill, and measured anew where the decisions are others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compbench
from compbench.schedules.wave import Lesson
from noisy import N_BANK, NoisySpec, pairs
from tests.benchmarks import racing
from tests.benchmarks.populations import POPULATIONS, bounds, of_bank
from tests.benchmarks.raced import Raced, raced
from tests.benchmarks.raced_rows import Asked, Row, read, row_of, write

SMALL = ["--populations", "98 % exact ties", "--bounds", "asymptotic", "--examples", "8"]
ASKED = Asked("made up", "stored", "1", 10, "text", "pooled", 0.05)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raced") / "rows.csv"
    racing.main([*SMALL, "--to", str(path)])
    return path


@pytest.fixture
def rows(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(measured, tmp_path))


def test_a_row_holds_every_form_and_margin_and_is_not_measured_twice(rows: Path) -> None:
    found = read(rows)
    assert [(asked.form, asked.margin) for asked in found] == [
        (form, margin) for form in ("shared", "private") for margin in ("0.5", "2")
    ]
    assert {(row.examples, row.orders) for row in found.values()} == {(8, 2)}
    first = next(iter(found))
    marked = {**found, first: replace(found[first], evaluations=0.123)}
    write(rows, marked)
    racing.main([*SMALL, "--to", str(rows)])
    assert read(rows) == marked


def test_after_a_kill_the_rows_that_are_missing_are_measured(rows: Path) -> None:
    whole = read(rows)
    write(rows, dict(list(whole.items())[:2]))
    racing.main([*SMALL, "--to", str(rows)])
    assert read(rows) == whole


def test_other_code_that_decides_alike_keeps_a_row_and_one_that_does_not_measures_it_anew(rows: Path) -> None:
    whole = read(rows)
    alike, another, *_ = whole
    write(
        rows,
        {
            **whole,
            alike: replace(whole[alike], code="old", evaluations=0.123),
            another: replace(whole[another], code="old", evaluations=0.123, probe="of old"),
        },
    )
    racing.main([*SMALL, "--to", str(rows)])
    found = read(rows)
    assert found[alike] == replace(whole[alike], evaluations=0.123)
    assert found[another] == whole[another]


def test_another_lesson_is_told_from_races_that_all_went_to_the_end() -> None:
    """Where eight examples are measured in full, they do not tell whether others would be."""
    (population,) = (known for known in POPULATIONS if known.name == "98 % exact ties")
    race = of_bank(population, "private", bounds()["tolerance"], 8, 0.5, 0)
    strict, lax = (raced(*race, taught=lambda lesson, level=level: with_level(lesson, level)) for level in (1e-9, 2e-9))
    assert strict.is_full.all()
    assert lax.is_full.all()
    assert strict.probe != lax.probe


def with_level(lesson: Lesson, level: float) -> Lesson:
    assert lesson.pattern is not None
    return replace(lesson, pattern=replace(lesson.pattern, level=level))


def test_a_stored_run_is_raced_for_text_and_for_all_and_compared_with_a_prefix(tmp_path: Path) -> None:
    run = compbench.run(pairs(6), model=NoisySpec(), runs=tmp_path)
    options = ["--draws", str(N_BANK), "--bounds", "asymptotic", "--orders", "2", "--harder", "1", "2"]
    racing.main([str(run.path), *options, "--to", str(tmp_path / "rows.csv")])
    found = list(read(tmp_path / "rows.csv").values())
    assert [(row.margin, row.raced_for) for row in found] == [
        ("1", "text"),
        ("1", "all"),
        ("0.5", "text"),
        ("0.5", "all"),
    ]
    assert all(row.examples == 6 and row.by_prefix is not None and 0 < row.evaluations <= 1 for row in found)
    assert found[0].evaluations < found[1].evaluations < 1


def test_an_interval_needs_two_orders(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        racing.main(["--banks", "1"])
    assert "two orders or banks at least" in capsys.readouterr().err


def test_the_intervals_of_a_stored_run_take_an_example_s_orders_for_one_example() -> None:
    changed = np.zeros((4, 50, 2), bool)
    changed[:, 0, 1] = True  # the same example in each order
    shares = np.repeat([[0.2], [0.3], [0.2], [0.3]], 50, axis=1)
    row = row_of(ASKED, Raced(changed, np.full(changed.shape, 0.01), shares, np.zeros(shares.shape, bool), "probe"))
    alone = row_of(replace(ASKED, form="shared"), Raced(changed, changed * 0.0, shares, changed[..., 0], "probe"))
    assert (row.changed, row.changed_by_order, row.expected) == (0.02, "1 1 1 1", 0.01)
    assert row.changed_high > 2 * alone.changed_high
    assert row.evaluations == pytest.approx(0.25)
    assert row.evaluations_high - row.evaluations == pytest.approx(3.182 * 0.05774 / 2, abs=1e-4)  # t, 3 degrees


def test_a_row_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    shares = np.array([[0.5], [0.25]])
    found = Raced(np.zeros((2, 1, 1), bool), np.zeros((2, 1, 1)), shares, shares > 0.3, "probe")
    row: Row = row_of(ASKED, found, 0.125)
    write(tmp_path / "rows.csv", {row.asked: row})
    assert read(tmp_path / "rows.csv") == {ASKED: row}
