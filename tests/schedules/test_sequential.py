"""Tests that may be looked at again and again: their risk by simulation, their formulas by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from compbench.schedules._bets import Anytime, log_wealth
from compbench.schedules._bounds import Asymptotic, boundary, estimate
from compbench.schedules.strata import Strata, strata

ALLOCATION = (0.05, 0.08, 0.12, 0.15, 0.2, 0.4)
WORST_FIRST = {  # differences of some bank, before their mean is taken away
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "t2": lambda rng, shape: rng.standard_t(2, size=shape),
    "t3": lambda rng, shape: rng.standard_t(3, size=shape),
    "skewed up": lambda rng, shape: rng.lognormal(size=shape),
    "skewed down": lambda rng, shape: -rng.lognormal(size=shape),
    "exponential down": lambda rng, shape: -rng.exponential(size=shape),
    "sparse": lambda rng, shape: rng.normal(size=shape) * (rng.random(shape) < 0.1),
    "sparse, skewed down": lambda rng, shape: -rng.exponential(size=shape) * (rng.random(shape) < 0.1),
    "sparse t3": lambda rng, shape: rng.standard_t(3, size=shape) * (rng.random(shape) < 0.1),
    "of timesteps": lambda rng, shape: (
        rng.normal(size=shape) * np.exp(np.linspace(-2, 2, shape[1])) + 3 * np.linspace(0, 1, shape[1]) ** 3
    ),
}


def banks(kind: str, n: int, n_draws: int, seed: int = 0) -> np.ndarray:
    """[n, D] differences in order of timestep whose mean over the bank is 0; what is 0 stays 0."""
    values = WORST_FIRST[kind](np.random.default_rng(seed), (n, n_draws))
    counts = values != 0
    return values - counts * (values.sum(1, keepdims=True) / np.maximum(counts.sum(1, keepdims=True), 1))


def in_random_order(values: np.ndarray, its: Strata, seed: int = 1) -> np.ndarray:
    """Each row of [n, D] in an order of its own that has the same strata in turn as `its`."""
    keys = np.random.default_rng(seed).random(values.shape)
    shuffled = np.empty_like(values)
    for stratum in range(len(its.sizes)):
        members, places = np.flatnonzero(its.of_draw == stratum), np.flatnonzero(its.in_order == stratum)
        chosen = np.argsort(keys[:, members], axis=1)
        shuffled[:, places] = np.take_along_axis(values[:, members], chosen, axis=1)
    return shuffled


def first_signs(signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n]: what is decided first (0: nothing before the bank's end), and at which look."""
    at = (signs != 0).argmax(1)
    return np.take_along_axis(signs, at[:, None], 1)[:, 0], at


def is_at_most(n_wrong: int, n: int, risk: float) -> bool:
    """Whether so many wrong decisions are compatible with the risk: less would be seen once in 10,000 times."""
    return bool(stats.binom.sf(n_wrong - 1, n, risk) > 1e-4)


@pytest.mark.parametrize("kind", WORST_FIRST)
@pytest.mark.parametrize(("n_draws", "shares"), [(100, None), (400, ALLOCATION)])
def test_the_asymptotic_bound_keeps_its_risk_where_the_mean_is_zero(kind: str, n_draws: int, shares) -> None:
    its = strata(np.arange(n_draws), seed=0, example_id="a", allocation=shares)
    differences = in_random_order(banks(kind, 1000, n_draws), its)
    for risk in (0.05, 0.01):
        decided, _ = first_signs(Asymptotic(its).signs(differences, risk, 0.0))
        assert is_at_most(int((decided > 0).sum()), 1000, risk)
    decided, _ = first_signs(Asymptotic(its).signs(-differences, 0.0, 0.05))
    assert is_at_most(int((decided < 0).sum()), 1000, 0.05)


@pytest.mark.parametrize("n_draws", [16, 32])
@pytest.mark.parametrize("kind", ["gaussian", "t2", "skewed down", "sparse"])
def test_the_asymptotic_bound_keeps_its_risk_in_small_banks(kind: str, n_draws: int) -> None:
    its = strata(np.arange(n_draws), seed=0, example_id="a")
    differences = in_random_order(banks(kind, 2000, n_draws), its)
    decided, _ = first_signs(Asymptotic(its).signs(differences, 0.05, 0.0))
    assert is_at_most(int((decided > 0).sum()), 2000, 0.05)


@pytest.mark.parametrize("kind", WORST_FIRST)
def test_the_anytime_bound_keeps_its_risk_where_the_mean_is_zero(kind: str) -> None:
    its = strata(np.arange(100), seed=0, example_id="a", n_strata=1)
    values = in_random_order(banks(kind, 1000, 100), its)
    largest = np.abs(values).max(1, keepdims=True)
    differences = values / np.where(largest > 0, largest, 1)  # of which none is larger than 1: the tightest limit
    for risk in (0.05, 0.2):
        decided, _ = first_signs(Anytime(its, 1.0).signs(differences, risk, 0.0))
        assert is_at_most(int((decided > 0).sum()), 1000, risk)


def test_large_margins_are_decided_early_and_rightly() -> None:
    its = strata(np.arange(1000), seed=0, example_id="a")
    differences = in_random_order(banks("gaussian", 200, 1000), its)
    differences += 6 * differences.std(1, keepdims=True) / np.sqrt(1000)  # six standard errors of the whole bank
    decided, at = first_signs(Asymptotic(its).signs(differences, 0.05, 0.05))
    assert (decided == 1).all()
    assert its.looks[at].mean() < 300
    limited = strata(np.arange(1000), seed=0, example_id="a", n_strata=1)
    decided, at = first_signs(Anytime(limited, float(np.abs(differences).max())).signs(differences, 0.05, 0.05))
    assert (decided >= 0).all()
    assert limited.looks[at].mean() < 700


def test_up_and_down_are_mirror_images() -> None:
    its = strata(np.arange(100), seed=0, example_id="a")
    differences = in_random_order(banks("skewed up", 50, 100), its) + 1
    one = strata(np.arange(100), seed=0, example_id="a", n_strata=1)
    for bound in (Asymptotic(its), Anytime(one, 20.0)):
        ours, theirs = bound.signs(differences, 0.1, 0.02), bound.signs(-differences, 0.02, 0.1)
        assert (ours != 0).any()
        np.testing.assert_array_equal(ours, -theirs)


def test_later_looks_do_not_change_earlier_ones() -> None:
    its = strata(np.arange(100), seed=0, example_id="a")
    differences = in_random_order(banks("gaussian", 50, 100), its) + 0.5
    one = strata(np.arange(100), seed=0, example_id="a", n_strata=1)
    for bound in (Asymptotic(its), Anytime(one, 10.0)):
        whole = bound.signs(differences, 0.05, 0.05)
        np.testing.assert_array_equal(bound.signs(differences[:, :30], 0.05, 0.05), whole[:, : (its.looks <= 30).sum()])
        np.testing.assert_array_equal(bound.signs(differences, 0.05, 0.05, since=4), whole[:, 4:])


def test_what_does_not_vary_is_never_certain_and_risk_zero_never_decides() -> None:
    its = strata(np.arange(100), seed=0, example_id="a")
    constant = np.stack([np.full(100, 0.1), np.zeros(100)])
    assert not Asymptotic(its).signs(constant, 0.5, 0.5).any()
    one = strata(np.arange(100), seed=0, example_id="a", n_strata=1)
    assert not Anytime(one, 1.0).signs(constant[1:], 0.5, 0.5).any()
    certain = 1 + in_random_order(banks("gaussian", 20, 100), its) / 100
    for bound in (Asymptotic(its), Anytime(one, 5.0)):
        assert not bound.signs(certain, 0.0, 0.0).any()
        assert (bound.signs(certain, 0.05, 0.0)[:, -1] == 1).all()


def test_a_mean_that_the_draws_left_cannot_undo_is_certain_at_any_risk_but_none() -> None:
    one = strata(np.arange(100), seed=0, example_id="a", n_strata=1)
    signs = Anytime(one, 1.0).signs(np.ones((1, 100)), 1e-300, 0.0)[0]
    np.testing.assert_array_equal(signs == 1, one.looks[:-1] > 50)


def test_on_average_a_bettor_gains_nothing_where_the_mean_is_zero() -> None:
    values = np.array([0.9, -0.5, 0.2, -1.0, 0.1, 0.3])
    orders = np.array(list(itertools.permutations(values)))
    wealth = np.exp(log_wealth(orders, 1.0, 6))
    assert (wealth[:, 1:].max(0) > 1.9).all()
    np.testing.assert_allclose(wealth.mean(0), 1, rtol=1e-9)
    less = np.exp(log_wealth(orders - 0.05, 1.05, 6))
    assert (less[:, 1:].mean(0) < 1).all()


def test_draws_beyond_the_limit_are_found() -> None:
    one = strata(np.arange(8), seed=0, example_id="a", n_strata=1)
    differences = np.array([[0.1, -0.9, 0.2], [0.3, 0.3, -0.5]])
    assert Anytime(one, 0.5).n_sound(differences).tolist() == [1, 3]
    assert Asymptotic(one).n_sound(differences).tolist() == [3, 3]
    with pytest.raises(ValueError, match="one stratum, not 4"):
        Anytime(strata(np.arange(16), seed=0, example_id="a"), 0.5)


def test_the_boundary_is_crossed_as_often_as_it_says() -> None:
    information, risk = (0.02, 0.05, 0.1, 0.3, 1.0, 4.0), 0.05
    bounds = np.array(boundary(information, risk))
    steps = np.random.default_rng(0).normal(size=(200_000, 6)) * np.sqrt(np.diff([0, *information]))
    crossed = (np.cumsum(steps, 1) / np.sqrt(information) >= bounds).cumsum(1) > 0
    spent = risk * np.array(information) / (1 + np.array(information))
    np.testing.assert_allclose(crossed.mean(0), spent, atol=4 * np.sqrt(spent.max() / 200_000))


def test_the_boundary_agrees_with_the_multivariate_normal_distribution() -> None:
    information, risk = (0.5, 1.5, 3.0), 0.1
    bounds = boundary(information, risk)
    correlation = np.sqrt(np.minimum.outer(information, information) / np.maximum.outer(information, information))
    inside = stats.multivariate_normal.cdf(bounds, cov=correlation, abseps=1e-7, releps=1e-7, rng=0)
    assert 1 - inside == pytest.approx(risk * 3 / 4, abs=2e-5)
    assert boundary((0.5,), 0.3)[0] == pytest.approx(stats.norm.isf(0.1), abs=1e-9)


def test_information_is_that_of_a_sample_without_replacement() -> None:
    its = strata(np.arange(160), seed=0, example_id="a", n_strata=4)
    at_equal_counts = its.looks[:-1] % 4 == 0
    n = its.looks[:-1][at_equal_counts]
    assert len(n) > 3
    np.testing.assert_allclose(np.array(Asymptotic(its).information)[at_equal_counts], n / (160 - n))
    skewed = strata(np.arange(160), seed=0, example_id="a", allocation=ALLOCATION)
    assert (np.diff(Asymptotic(skewed).information) > 0).all()


def test_with_one_stratum_the_estimate_is_the_textbooks() -> None:
    its = strata(np.arange(50), seed=0, example_id="a", n_strata=1)
    sample = np.random.default_rng(5).exponential(size=(1, 20)) + 0.2
    found = estimate(sample, its, [20])
    assert found.mean[0, 0] == pytest.approx(sample.mean())
    assert found.standard_error[0, 0] == pytest.approx(sample.std(ddof=1) / np.sqrt(20) * np.sqrt(1 - 20 / 50))
    t = found.mean[0, 0] / found.standard_error[0, 0]
    assert 0 < found.z[0, 0] < stats.norm.isf(stats.t.sf(t, 19))  # more cautious than Student's
    assert estimate(sample[:, :1], its, [1]).standard_error[0, 0] == np.inf
