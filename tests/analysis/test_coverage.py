"""How often the printed intervals cover, by simulation: those of comparisons, of draws and of margins.

Those of a single score are simulated in test_intervals.py, and the paired ones of examples that stand alone in
test_paired.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import test_curves
from scipy import stats

from compbench.core.examples import ScoreTable
from compbench.core.metrics import TEXT
from compbench.core.rules import scores_under
from compbench.diffusion.draws import balanced_timesteps
from compbench_analysis.frames import curves
from compbench_analysis.frames._pairing import effective
from compbench_analysis.frames.margins import margins
from compbench_analysis.statistics import paired_tests
from compbench_analysis.statistics.intervals import Sample, standard_error
from compbench_analysis.statistics.resampling import LEAST_UNITS, resamples
from compbench_analysis.statistics.resampling import standard_error as of_draws

pytestmark = pytest.mark.slow


def _at_least(share: float, n: int) -> float:
    """What a coverage of `share` hardly ever falls below by chance in n trials."""
    return float(stats.binom.ppf(0.0005, n, share)) / n


def _covered(bounds: list[tuple[float, float]], truth: float) -> float:
    low, high = np.array(bounds).T
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("alike", [0.2, 0.7])
@pytest.mark.parametrize(("n_groups", "size"), [(60, 3), (25, 4)])
def test_the_difference_of_two_models_on_shared_images_is_covered(alike: float, n_groups: int, size: int) -> None:
    rng, n_trials, shares = np.random.default_rng(0), 600, np.array([0.4, 0.2, 0.1, 0.3])  # both, A, B, neither
    own = rng.dirichlet(shares * (1 - alike) / alike, (n_trials, n_groups))
    kinds = (rng.random((n_trials, n_groups, size, 1)) > own.cumsum(-1)[:, :, None, :-1]).sum(-1).reshape(n_trials, -1)
    sample = Sample.of([str(n // size) for n in range(n_groups * size)])
    bounds = [paired_tests.interval(effective(np.isin(kind, (0, 1)), np.isin(kind, (0, 2)), sample)) for kind in kinds]
    assert _at_least(0.93, n_trials) < _covered(bounds, 0.1) < 0.99


@pytest.mark.parametrize(("n_classes", "size"), [(10, 12), (40, 4)])
def test_the_difference_of_two_means_per_class_is_covered(n_classes: int, size: int) -> None:
    rng, n_trials = np.random.default_rng(1), 600
    shares = rng.dirichlet([2, 1, 0.7, 1.5], n_classes)
    kinds = (rng.random((n_trials, n_classes, size, 1)) > shares.cumsum(-1)[:, None, :-1]).sum(-1).reshape(n_trials, -1)
    sample = Sample.of([str(n) for n in range(n_classes * size)], [str(n // size) for n in range(n_classes * size)])
    bounds = [paired_tests.interval(effective(np.isin(kind, (0, 1)), np.isin(kind, (0, 2)), sample)) for kind in kinds]
    truth = float((shares[:, 1] - shares[:, 2]).mean())
    assert _at_least(0.93, n_trials) < _covered(bounds, truth) < 0.99


def test_what_other_draws_would_give_is_covered() -> None:
    rng, n_banks, n, n_draws = np.random.default_rng(2), 300, 120, 32
    gaps = rng.normal(0.1, 0.5, (n, 1, 1, 1)) * (1 - np.eye(2))[None, :, :, None]
    weights = resamples(np.arange(n_draws), 200, seed=0)

    def shares(scores: np.ndarray) -> np.ndarray:  # [R, N, 2, 2] -> [R]
        flat = scores.reshape(-1, 2, 2)
        matches = np.broadcast_to(np.eye(2, dtype=bool), flat.shape)
        return TEXT.outcome(ScoreTable(("",) * len(flat), flat, matches)).reshape(scores.shape[:2]).mean(1)

    values, errors_of = [], []
    for _ in range(n_banks):
        # noise of its own, and noise that all examples share
        errors = gaps + rng.normal(0, 1, (n, 2, 2, n_draws)) + rng.normal(0, 1, (1, 2, 2, n_draws))
        values.append(float(shares(-errors.mean(-1)[None])[0]))
        errors_of.append(np.std(shares(scores_under(errors, weights)), ddof=1))
    reach = stats.norm.ppf(0.975) * np.array(errors_of)
    covered = float((np.abs(np.array(values) - np.mean(values)) <= reach).mean())
    assert _at_least(0.93, n_banks) < covered < 0.995


def test_the_margin_that_endless_draws_would_give_is_covered() -> None:
    rng, n_banks, n_draws = np.random.default_rng(3), 4000, 32
    timesteps = rng.permutation(n_draws)
    trend = np.sin(timesteps / 6)
    differences = 0.3 + trend + rng.normal(0, 1, (n_banks, n_draws)) * (0.5 + timesteps / n_draws)
    truth = 0.3 + trend.mean()
    covered = np.abs(differences.mean(1) - truth) <= stats.norm.ppf(0.975) * of_draws(differences, timesteps)
    assert _at_least(0.93, n_banks) < covered.mean() < 0.98


def test_the_margins_of_a_run_are_covered(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    shape = np.array([[0.0, 1.0], [9.0, 0.0]])[None, :, :, None]  # the second picture is never in doubt
    errors = np.zeros((900, 2, 2, 24)) + shape
    errors[:, 0, 1] = rng.normal(0, 1, (900, 24)) + 0.4  # the margin that endless draws would give
    frame = margins(test_curves._run(tmp_path, errors)).query("metric == 'text'")
    covered = ((frame["margin"] - 0.4).abs() <= stats.norm.ppf(0.975) * frame["se"]).mean()
    assert _at_least(0.93, 900) < covered < 0.98


@pytest.mark.parametrize("size", [1, 4])
def test_the_mean_paired_difference_by_timestep_is_covered(size: int) -> None:
    rng, n_trials, n_groups = np.random.default_rng(5), 3000, 30
    own = rng.normal(0.2, 1, (n_trials, n_groups, 1))
    values = (own + rng.normal(0, 1, (n_trials, n_groups, size))).reshape(n_trials, -1)
    sample = Sample.of([str(n // size) for n in range(n_groups * size)])
    se, n_free = standard_error(values, sample)
    covered = np.abs(sample.mean(values) - 0.2) <= stats.t.ppf(0.975, n_free) * se
    assert _at_least(0.94, n_trials) < covered.mean() < 0.975


def test_the_differences_of_a_run_have_that_interval(tmp_path: Path) -> None:
    run = test_curves._run(tmp_path, test_curves._noisy(12, 6))
    row = curves.differences(run, n_bins=1).query("tag == 'overall'").iloc[0]
    errors = np.stack([measurement.errors["l2"] for measurement in run.measurements().values()]).astype(float)
    its = (errors[:, 0, 1] + errors[:, 1, 0] - errors[:, 0, 0] - errors[:, 1, 1]).mean(-1) / 2
    theirs = stats.ttest_1samp(its, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("gap", [0.0, -0.05, -0.1])
def test_as_many_draws_as_are_asked_for_tell_what_others_would_give(gap: float) -> None:
    """Within a factor of 1.8, under a steep trend and noise that grows with t; with a quarter of them less often."""
    rng, n = np.random.default_rng(6), 150
    load, size = rng.normal(size=(n, 2, 3)), rng.uniform(0.3, 1.2, (n, 2, 1))

    def share_within(n_draws: int) -> float:
        t = np.sort(balanced_timesteps(1000)[:n_draws]) / 1000
        means, weights = (t**4 + gap) * size, resamples(t, 200, seed=0)
        values, told = [], []
        for _ in range(80):
            shared = (load[..., None] * rng.normal(size=(3, n_draws))).sum(2)
            errors = means + (0.02 + t) ** 2 * size * (shared + rng.normal(size=(n, 2, n_draws)))
            values.append(float((errors.mean(-1) > 0).all(1).mean()))
            told.append(((errors @ weights.T) > 0).all(1).mean(0).std(ddof=1))
        ratio = np.array(told) / np.std(values, ddof=1)
        return float(((ratio > 1 / 1.8) & (ratio < 1.8)).mean())

    enough = share_within(LEAST_UNITS)
    assert enough > 0.85
    assert share_within(LEAST_UNITS // 4) < enough
