"""Two models on the same examples, in numbers: known answers, mirrored answers, coverage and power by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from compbench_analysis.statistics import paired_tests
from compbench_analysis.statistics.paired_tests import Agreement

counts = st.integers(0, 60)
cells = st.builds(Agreement, counts, counts, counts, counts).filter(lambda each: each.n > 0)


def _swapped(cells: Agreement) -> Agreement:
    return Agreement(cells.both, cells.only_b, cells.only_a, cells.neither)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis)


def test_outcomes_are_counted_in_four_cells() -> None:
    a, b = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert Agreement.of(a, b) == Agreement(both=1, only_a=2, only_b=1, neither=1)
    assert Agreement.of(a, b).difference == pytest.approx(1 / 5)


@pytest.mark.parametrize(("only_a", "only_b"), [(9, 1), (1, 9), (5, 5), (0, 6), (0, 5), (3, 0), (40, 70)])
def test_mcnemar_is_a_binomial_test_of_the_disagreements(only_a: int, only_b: int) -> None:
    p = paired_tests.mcnemar(Agreement(30, only_a, only_b, 20))
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, rel=1e-12)


def test_models_that_never_disagree_do_not_differ() -> None:
    assert paired_tests.mcnemar(Agreement(5, 0, 0, 5)) == 1.0
    low, high = paired_tests.interval(Agreement(5, 0, 0, 5))
    assert low < 0 < high
    assert low == pytest.approx(-high)


def test_no_examples_say_nothing() -> None:
    nothing = Agreement(0, 0, 0, 0)
    values = [
        paired_tests.mcnemar(nothing),
        *paired_tests.interval(nothing),
        paired_tests.detectable(nothing),
        nothing.difference,
    ]
    values += [
        paired_tests.sign_flips(np.zeros(0), np.zeros(0, int)),
        paired_tests.gain_test(np.zeros(0, int), np.ones(1, int)),
    ]
    assert all(map(math.isnan, values))


@given(cells)
@settings(deadline=None, max_examples=60)
def test_swapping_the_models_mirrors_every_answer(cells: Agreement) -> None:
    other = _swapped(cells)
    assert paired_tests.mcnemar(cells) == pytest.approx(paired_tests.mcnemar(other), rel=1e-9)
    assert paired_tests.interval(cells) == pytest.approx(
        [-bound for bound in paired_tests.interval(other)[::-1]], abs=1e-12
    )
    assert paired_tests.detectable(cells) == pytest.approx(paired_tests.detectable(other), nan_ok=True)
    low, high = paired_tests.interval(cells)
    assert -1 - 1e-12 <= low <= cells.difference <= high <= 1 + 1e-12


@pytest.mark.parametrize("n", [26, 141])
@pytest.mark.parametrize("shares", [(0.2, 0.15, 0.1, 0.55), (0.6, 0.05, 0.05, 0.3), (0.1, 0.4, 0.2, 0.3)])
def test_the_interval_of_the_difference_covers_as_often_as_it_says(n: int, shares: tuple[float, ...]) -> None:
    drawn = np.random.default_rng(0).multinomial(n, shares, 4000)
    truth = shares[1] - shares[2]
    kinds, times = np.unique(drawn, axis=0, return_counts=True)
    bounds = np.array([paired_tests.interval(Agreement(*map(int, kind))) for kind in kinds])
    coverage = (times * ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1]))).sum() / times.sum()
    n_disagreements = n * (shares[1] + shares[2])
    assert 0.935 < coverage < (0.98 if n_disagreements > 5 else 1)  # too wide, not too narrow, where there are few


def test_the_interval_of_a_difference_of_gains_covers_as_often_as_it_says() -> None:
    rng, shares = np.random.default_rng(1), [(0.2, 0.2, 0.1, 0.5), (0.3, 0.1, 0.2, 0.4)]
    firsts, seconds = rng.multinomial(141, shares[0], 1500), rng.multinomial(60, shares[1], 1500)
    truth = 0.1 - (-0.1)
    bounds = np.array(
        [
            paired_tests.gain_interval(Agreement(*map(int, first)), Agreement(*map(int, second)))
            for first, second in zip(firsts, seconds, strict=True)
        ]
    )
    coverage = ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean()
    assert 0.93 < coverage < 0.975


@pytest.mark.parametrize(("n", "discordant"), [(400, 160), (141, 50), (26, 10)])
def test_the_detectable_difference_is_found_four_times_in_five(n: int, discordant: int) -> None:
    half = discordant // 2
    difference = paired_tests.detectable(Agreement(n - discordant, half, discordant - half, 0))
    share = 0.5 + difference * n / discordant / 2
    wins = np.random.default_rng(2).binomial(discordant, share, 20_000)
    p_of = np.array([stats.binomtest(k, discordant).pvalue for k in range(discordant + 1)])
    assert (p_of[wins] <= 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_fewer_than_six_disagreements_can_show_nothing() -> None:
    assert math.isnan(paired_tests.detectable(Agreement(20, 5, 0, 1)))
    assert paired_tests.detectable(Agreement(20, 6, 0, 1)) > 0


def test_sign_flips_are_scipys_permutation_test_where_all_signs_are_tried() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, 12)
    theirs = stats.permutation_test((differences,), _mean, permutation_type="samples", vectorized=True)
    assert paired_tests.sign_flips(differences, np.arange(12)) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_random_sign_flips_are_near_scipys() -> None:
    differences = np.random.default_rng(4).normal(0.12, 1, 200)
    rng = np.random.default_rng(0)
    theirs = stats.permutation_test((differences,), _mean, permutation_type="samples", vectorized=True, rng=rng)
    ours = paired_tests.sign_flips(differences, np.arange(200), seed=1)
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)
    assert paired_tests.sign_flips(-differences, np.arange(200), seed=1) == ours
    assert paired_tests.sign_flips(differences, np.arange(200), seed=2) != ours


def test_sign_flips_of_outcomes_are_mcnemars_test() -> None:
    gains = np.array([1.0] * 9 + [-1.0] * 1 + [0.0] * 2)
    assert paired_tests.sign_flips(gains, np.arange(12)) == pytest.approx(paired_tests.mcnemar(Agreement(2, 9, 1, 0)))


def test_a_group_flips_as_one() -> None:
    # ten copies of three independent examples hold no more than the three do
    assert paired_tests.sign_flips(np.ones(30), np.repeat(np.arange(3), 10)) == 2 / 2**3


@pytest.mark.parametrize("seed", range(4))
def test_the_gain_test_is_scipys_permutation_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.choice([-1, 0, 1], 5, p=[0.1, 0.4, 0.5]), rng.choice([-1, 0, 1], 7, p=[0.5, 0.3, 0.2])
    theirs = stats.permutation_test(
        (first, second), lambda one, two, axis: one.mean(axis) - two.mean(axis), vectorized=True, n_resamples=np.inf
    )
    ours = paired_tests.gain_test(first, second)
    assert ours == pytest.approx(theirs.pvalue, abs=1e-9)
    assert paired_tests.gain_test(second, first) == pytest.approx(ours, abs=1e-9)
    assert paired_tests.gain_test(-first, -second) == pytest.approx(ours, abs=1e-9)


def test_the_gain_test_is_quick_for_twenty_thousand_examples() -> None:
    first = np.tile([1, 0, -1, 0], 2500)
    assert paired_tests.gain_test(first, first) == pytest.approx(1, abs=0.02)


def test_holm_multiplies_the_smallest_by_all_and_the_next_by_one_fewer() -> None:
    assert paired_tests.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert paired_tests.holm([]) == []
