"""Probabilities of classes: against known answers, and as bounds where classes were given up early."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
from compbench.cli import app
from compbench.core.aliases import Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.metrics import CLASSIFYING
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Schedule, entry_of
from compbench.schedules.staged import Staged
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames.calibration import (
    ClassScores,
    calibrate,
    class_scores,
    expected_calibration_error,
    fit_temperature,
    held_out,
    probabilities,
    reliability,
)
from compbench_analysis.text import calibrate as calibrated

NAMES = ("ant", "bee", "cow", "dog")
OF_CAPTION = (0, 1, 1, 2, 3)  # the bee has two prompts


def scores_of(low: object, high: object = None, labels: object = None) -> ClassScores:
    below = np.asarray(low, float)
    above = below if high is None else np.asarray(high, float)
    n = len(below)
    truth = np.zeros(n, int) if labels is None else np.asarray(labels, int)
    names = tuple(map(str, range(n)))
    return ClassScores(names, names, truth, below.argmax(-1), below, above)


def sampled(n: int, temperature: float, seed: int = 0, n_classes: int = 4) -> tuple[Floats, Ints]:
    """Scores, and labels drawn with the probabilities that their softmax at `temperature` says."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, n_classes))
    shares = scipy.special.softmax(scores / temperature, axis=-1)
    return scores, (shares.cumsum(-1) > rng.random((n, 1))).argmax(-1)


def task_of(labels: Ints) -> Task:
    matches = [np.array([[place == k for place in OF_CAPTION]]) for k in range(4)]
    captions = tuple(f"prompt {n}" for n in range(5))
    examples = [
        Example(f"{n:04d}", (Image(f"{n}", b"", "0" * 64),), captions, matches[k], {"class": (NAMES[k],)})
        for n, k in enumerate(labels)
    ]
    return Task("beasts", examples, CLASSIFYING, classes=Classes(NAMES, OF_CAPTION))


def stored(root: Path, n: int = 400, temperature: float = 0.3, seed: int = 0) -> Run:
    scores, labels = sampled(n, temperature, seed)
    task = task_of(labels)
    run = Store(root).open(RunKey("beasts", task.revision, "model", None, {}), task)
    worse = scores[:, 1] - 1  # the bee's other prompt
    rows = np.stack([scores[:, 0], scores[:, 1], worse, scores[:, 2], scores[:, 3]], axis=1)
    RunWriter(run).append(
        [ScoreMatrix(example.id, row[None]) for example, row in zip(task.examples, rows, strict=True)]
    )
    RunWriter(run).mark("done")
    return run


class TestProbabilities:
    def test_a_whole_example_has_the_softmax(self) -> None:
        low, high = probabilities(scores_of([[0.0, np.log(3.0)], [2.0, 2.0]]), 1.0)
        assert np.allclose(low, [[0.25, 0.75], [0.5, 0.5]])
        assert low is high

    def test_minus_the_errors_over_a_temperature_is_the_papers_equation(self) -> None:
        errors = np.random.default_rng(0).random((5, 4))
        written_out = np.array([[1 / np.exp(row[i] - row).dot(np.ones(4)) for i in range(4)] for row in errors])
        assert np.allclose(probabilities(scores_of(-errors), 1.0)[0], written_out)

    def test_a_class_that_was_given_up_has_an_interval_worked_by_hand(self) -> None:
        low, high = probabilities(scores_of([[0.0, -2.0, -1.0]], [[0.0, -0.5, -1.0]]), 1.0)
        e = np.exp
        assert np.allclose(low[0, 1], e(-2) / (e(-2) + 1 + e(-1)))
        assert np.allclose(high[0, 1], e(-0.5) / (e(-0.5) + 1 + e(-1)))
        assert np.allclose(low[0, 0], 1 / (1 + e(-0.5) + e(-1)))
        assert np.allclose(high[0, 0], 1 / (1 + e(-2) + e(-1)))

    @given(st.integers(0, 1000), st.floats(0.01, 10))
    @settings(deadline=None, max_examples=50)
    def test_the_probability_of_any_scores_within_the_intervals_lies_within_its_interval(
        self, seed: int, temperature: float
    ) -> None:
        rng = np.random.default_rng(seed)
        low = rng.normal(size=(3, 5))
        high = low + rng.exponential(size=(3, 5)) * rng.integers(0, 2, (3, 5))
        least, most = probabilities(scores_of(low, high), temperature)
        for share in rng.random((4, 3, 5)):
            some = scipy.special.softmax((low + share * (high - low)) / temperature, axis=-1)
            assert (least <= some + 1e-12).all()
            assert (some <= most + 1e-12).all()

    def test_nothing_known_is_anything_from_0_to_1(self) -> None:
        low, high = probabilities(scores_of([[0.0, -np.inf, -1.0]], [[0.0, np.inf, -1.0]]), 1.0)
        assert (low[0, 1], high[0, 1]) == (0.0, 1.0)
        assert np.allclose((low[0, 0], high[0, 0]), (0.0, 1 / (1 + np.exp(-1))))


class TestTemperature:
    @pytest.mark.parametrize("temperature", [0.002, 1.0, 40.0])
    def test_the_temperature_that_made_the_labels_is_found(self, temperature: float) -> None:
        scores, labels = sampled(8000, 1.0)
        found, is_at_edge = fit_temperature(scores_of(scores * temperature, labels=labels))
        assert found == pytest.approx(temperature, rel=0.1)
        assert not is_at_edge

    def test_it_is_where_the_likelihood_is_greatest(self) -> None:
        scores, labels = sampled(200, 0.5)
        found, _ = fit_temperature(scores_of(scores, labels=labels))
        losses = [
            -scipy.special.log_softmax(scores / temperature, axis=-1)[np.arange(200), labels].mean()
            for temperature in (found * 0.98, found, found * 1.02)
        ]
        assert losses[1] == min(losses)

    def test_scores_that_are_never_wrong_have_no_temperature(self) -> None:
        _, is_at_edge = fit_temperature(scores_of(np.eye(4)[[0, 1, 2, 3]], labels=[0, 1, 2, 3]))
        assert is_at_edge

    def test_what_is_not_known_makes_no_model_surer(self) -> None:
        scores, labels = sampled(500, 0.3)
        wide = np.where(scores < scores.max(-1, keepdims=True), scores + 0.5, scores)
        known, _ = fit_temperature(scores_of(scores, labels=labels))
        bounded, _ = fit_temperature(scores_of(scores, wide, labels))
        assert bounded > known


class TestCalibrationError:
    def test_it_is_the_mean_distance_worked_by_hand(self) -> None:
        confidence = np.array([0.95, 0.85, 0.55, 0.51, 0.2])
        is_right = np.array([True, False, True, False, False])
        # bins of a half: four examples of mean confidence 0.715, half of them right; one of 0.2, wrong
        assert expected_calibration_error(confidence, is_right, 2) == pytest.approx((4 * 0.215 + 0.2) / 5)

    def test_a_bin_is_closed_above(self) -> None:
        bins = reliability(np.array([0.5, 0.5 + 1e-9, 1.0, 0.0]), np.ones(4, bool), 2)
        assert bins["n"].tolist() == [2, 2]
        assert bins["low"].tolist() == [0.0, 0.5]

    def test_labels_drawn_from_the_probabilities_are_calibrated(self) -> None:
        scores, labels = sampled(20_000, 0.5)
        shares = scipy.special.softmax(scores / 0.5, axis=-1)
        assert expected_calibration_error(shares.max(-1), shares.argmax(-1) == labels, 15) < 0.02


class TestHeldOut:
    def test_a_group_is_on_one_side_whatever_the_other_groups_are(self) -> None:
        groups = [f"{n // 3}" for n in range(300)]
        fitted, judged = held_out(groups, 0.2, seed=1)
        assert sorted([*fitted, *judged]) == list(range(300))
        assert not {groups[n] for n in fitted} & {groups[n] for n in judged}
        assert len(fitted) == 60

    def test_another_seed_is_another_split(self) -> None:
        names = [str(n) for n in range(50)]
        assert held_out(names, 0.5, 0)[0].tolist() != held_out(names, 0.5, 1)[0].tolist()


class TestRuns:
    def test_the_best_prompt_speaks_for_its_class(self, tmp_path: Path) -> None:
        run = stored(tmp_path, 50)
        found = class_scores(run)
        expected, labels = sampled(50, 0.3)
        assert np.array_equal(found.low, expected)
        assert found.labels.tolist() == labels.tolist()
        assert found.is_whole.all()

    def test_nothing_that_is_reported_was_fitted_on(self, tmp_path: Path) -> None:
        found = calibrate(stored(tmp_path), share=0.25, seed=3)
        names = [f"{n:04d}" for n in range(400)]
        _, judged = held_out(names, 0.25, 3)
        assert found.examples["id"].tolist() == [names[n] for n in judged]
        assert (found.n_fitted, found.n_judged, found.n_pruned) == (100, 300, 0)

    def test_a_run_whose_labels_follow_its_scores_becomes_calibrated(self, tmp_path: Path) -> None:
        found = calibrate(stored(tmp_path, 3000), share=0.3)
        assert found.temperature == pytest.approx(0.3, rel=0.15)
        assert found.ece < 0.04 < found.ece_untempered
        assert found.nll < found.nll_of_chance == np.log(4)
        assert found.confidence == pytest.approx(found.accuracy, abs=0.04)
        right = found.examples["prediction"] == found.examples["class"]
        assert right.tolist() == found.examples["is_right"].tolist()
        assert found.bins["n"].sum() == found.n_judged

    def test_scores_of_another_scale_say_the_same(self, tmp_path: Path) -> None:
        one = calibrate(stored(tmp_path / "one", 300))
        scores, labels = sampled(300, 0.3)
        task = task_of(labels)
        run = Store(tmp_path / "other").open(RunKey("beasts", task.revision, "model", None, {}), task)
        rows = np.stack([scores[:, 0], scores[:, 1], scores[:, 1] - 1, scores[:, 2], scores[:, 3]], axis=1) * 1e-5 - 7
        RunWriter(run).append(
            [ScoreMatrix(example.id, row[None]) for example, row in zip(task.examples, rows, strict=True)]
        )
        other = calibrate(run)
        assert other.temperature == pytest.approx(one.temperature * 1e-5, rel=1e-3)
        assert np.allclose(other.examples["probability"], one.examples["probability"], atol=1e-3)

    def test_a_tie_is_wrong_and_has_no_prediction(self, tmp_path: Path) -> None:
        task = task_of(np.zeros(6, int))
        run = Store(tmp_path).open(RunKey("beasts", task.revision, "model", None, {}), task)
        RunWriter(run).append([ScoreMatrix(example.id, np.array([[3.0, 1, 1, 3, 1]])) for example in task.examples])
        found = calibrate(run, share=0.5)
        assert found.accuracy == 0
        assert set(found.examples["prediction"]) == {""}

    def test_what_cannot_be_is_told(self, tmp_path: Path) -> None:
        run = stored(tmp_path, 20)
        with pytest.raises(UsageError, match=r"share must be .* got 1\.5"):
            calibrate(run, share=1.5)
        with pytest.raises(UsageError, match="n_bins must be at least 1, got 0"):
            calibrate(run, n_bins=0)
        with pytest.raises(UsageError, match="has 2 examples, too few to fit on some and test on others"):
            calibrate(stored(tmp_path / "few", 2), share=0.1)
        matching = fakes.task(2)
        other = Store(tmp_path).open(RunKey("fake", matching.revision, "model", None, {}), matching)
        with pytest.raises(UsageError, match="is not a classification"):
            calibrate(other)


BANK = 200
TIMES = np.arange(2, 1000, 5)


def scheduled(root: Path, schedule: Schedule, n: int = 12) -> tuple[Run, Floats]:
    """A run of a schedule, its policy followed to the end, and the full scores [N, C] that it did not measure.

    Every third picture looks like another class than its own.
    """
    labels = np.arange(n) % 4
    shown = np.where(np.arange(n) % 3 == 0, (labels + 1) % 4, labels)
    task = task_of(labels)
    ramp = np.linspace(0.1, 0.9, BANK, dtype=np.float32)
    bank = DrawTable(TIMES.astype(np.float32), np.sqrt(1 - ramp**2), ramp, "v")
    key = RunKey("beasts", task.revision, "model", None, entry_of(schedule))
    run = Store(root).open(key, task, view={"n_draws": schedule.draws, "target": "native"})
    RunWriter(run).write_draws(bank)
    rng, full = np.random.default_rng(0), []
    for example, looks in zip(task.examples, shown, strict=True):
        far = np.array([0.0 if place == looks else 0.05 * (1 + place) for place in OF_CAPTION])
        shared = rng.normal(size=BANK)
        errors = 1 + far[:, None] + shared + 0.1 * rng.normal(size=(5, BANK))
        errors = errors.astype(np.float32)[None]  # [1, C, D]
        policy = schedule.policy(example.id, example.matches, bank, task.classes)
        measured = np.zeros(errors.shape, bool)
        while (wanted := policy.wanted(np.where(measured, errors, 0.0), measured)).any():
            measured |= wanted
        RunWriter(run).append(
            [Measurement(example.id, np.arange(BANK, dtype=np.int32), {"l2": np.where(measured, errors, 0)}, measured)]
        )
        full.append(-errors[0].mean(-1))
    RunWriter(run).mark("done")
    return run, np.stack(full)


RACING = Racing(BANK)
PAPER = Staged((3, 1), (20, 200), draws=BANK)


@pytest.mark.parametrize("schedule", [RACING, PAPER], ids=["racing", "paper"])
def test_a_class_that_a_schedule_gave_up_has_a_bound_that_holds_what_it_would_have_been(
    tmp_path: Path, schedule: Schedule
) -> None:
    run, full = scheduled(tmp_path, schedule)
    assert run.done() == {f"{n:04d}" for n in range(12)}
    found = class_scores(run)
    whole = np.stack([full[:, 0], full[:, 1:3].max(-1), full[:, 3], full[:, 4]], axis=1)
    whole -= np.take_along_axis(whole, found.predicted[:, None], 1)
    assert not found.is_whole.any()
    assert (found.predicted != found.labels).tolist() == [n % 3 == 0 for n in range(12)]
    is_held = (found.low <= whole + 1e-6) & (whole <= found.high + 1e-6)
    assert is_held.mean() > 0.95
    least, most = probabilities(found, 0.05)
    truth = scipy.special.softmax(whole / 0.05, axis=-1)
    assert ((least <= truth + 1e-6) & (truth <= most + 1e-6)).mean() > 0.95
    assert (most - least).max() < 0.9  # it says something


def test_a_report_of_a_scheduled_run_says_that_probabilities_are_intervals(tmp_path: Path) -> None:
    run, _ = scheduled(tmp_path, RACING)
    found = calibrate(run, share=0.5)
    assert found.n_pruned == found.n_judged == 6
    assert (found.examples["probability"] < found.examples["probability_high"]).all()
    text = calibrated.to_text({"model": found})
    assert "6 of 6 examples have classes that were dropped early" in text
    assert " or " in text


class TestCommand:
    def test_it_prints_a_table_rows_and_the_probabilities_of_each_example(self, tmp_path: Path) -> None:
        run = stored(tmp_path)
        ask = ["calibrate", "beasts/model", "--runs", str(tmp_path)]
        table = CliRunner().invoke(app.group, ask, catch_exceptions=False)
        assert "at T = 1  " in table.output
        rows = json.loads(CliRunner().invoke(app.group, [*ask, "--format", "json"]).output)
        assert sum(row["n"] for row in rows) == 320
        assert {row["temperature"] for row in rows} == {calibrate(run).temperature}
        each = CliRunner().invoke(app.group, [*ask, "--format", "csv", "--examples"]).output.splitlines()
        assert len(each) == 321
        assert each[0].startswith("model,id,class,prediction,is_right,probability")

    def test_it_draws_the_reliability_diagram(self, tmp_path: Path) -> None:
        stored(tmp_path, 60)
        ask = ["calibrate", "beasts/model", "--runs", str(tmp_path), "--output", str(tmp_path / "diagram.png")]
        result = CliRunner().invoke(app.group, ask, catch_exceptions=False)
        assert result.exit_code == 0
        assert (tmp_path / "diagram.png").stat().st_size > 10_000

    def test_the_diagram_shows_the_bins(self, tmp_path: Path) -> None:
        found = calibrate(stored(tmp_path, 200), n_bins=5)
        figure = calibrated.reliability_diagram({"model": found, "again": found})
        upper = [axis for axis in figure.axes if axis.get_title()]
        assert [axis.get_title() for axis in upper] == [
            f"{name}: ECE {100 * found.ece:.1f} %" for name in ("model", "again")
        ]
        points = upper[0].lines[1].get_xydata()
        assert np.allclose(points, found.bins[["confidence", "accuracy"]])
