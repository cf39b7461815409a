"""Each example's way through the bank: its own, balanced in every prefix, unbiased."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compbench.core.errors import UsageError
from compbench.schedules._bounds import estimate
from compbench.schedules.strata import Strata, allocation_from, looks, strata

TIMESTEPS = np.random.default_rng(0).permutation(1000)


@pytest.mark.parametrize("n_draws", [1, 2, 7, 16, 17, 100, 1000])
def test_looks_grow_and_end_with_the_bank(n_draws: int) -> None:
    budgets = looks(n_draws)
    assert budgets[-1] == n_draws
    assert (np.diff(budgets) > 0).all()
    assert budgets[0] <= max(16, (n_draws + 1) // 2)


@pytest.mark.parametrize("n_draws", [1, 2, 7, 16, 100, 999, 1000])
def test_an_order_goes_through_the_whole_bank_and_strata_are_ranges_of_timesteps(n_draws: int) -> None:
    ours = strata(TIMESTEPS[:n_draws], seed=0, example_id="a")
    assert sorted(ours.order) == list(range(n_draws))
    by_time = ours.of_draw[np.argsort(TIMESTEPS[:n_draws])]
    assert (np.diff(by_time) >= 0).all()
    assert ours.sizes.max() - ours.sizes.min() <= 1


def test_an_order_depends_on_the_seed_and_the_example_alone() -> None:
    ours = strata(TIMESTEPS, seed=0, example_id="a").order
    np.testing.assert_array_equal(ours, strata(TIMESTEPS, seed=0, example_id="a").order)
    others = [strata(TIMESTEPS, seed=0, example_id="b").order, strata(TIMESTEPS, seed=1, example_id="a").order]
    assert all((ours != other).mean() > 0.9 for other in others)
    # stored runs are continued on other machines and with later versions: these numbers must not change
    assert strata(np.arange(100), seed=0, example_id="0017").order[:8].tolist() == [16, 22, 46, 53, 78, 86, 5, 32]


@pytest.mark.parametrize("shares", [None, (0.4, 0.3, 0.15, 0.08, 0.05, 0.02)])
def test_every_prefix_holds_strata_in_proportion(shares: tuple[float, ...] | None) -> None:
    ours = strata(TIMESTEPS, seed=3, example_id="a", allocation=shares)
    counts = np.cumsum(ours.in_order[:, None] == np.arange(len(ours.sizes)), axis=0)
    assert (counts[15] >= 2).all()  # at the first look each stratum's variance can be estimated
    until = np.flatnonzero((counts == ours.sizes).any(1))[0]  # then a stratum is exhausted
    after = 100 if shares else 16  # when the first two of each are made up for
    excess = np.abs(counts - np.arange(1, 1001)[:, None] * np.array(ours.shares))[after:until]
    assert excess.max() < 1.01


def test_draws_within_a_stratum_come_in_random_order() -> None:
    first = [strata(np.arange(40), seed=0, example_id=str(n), n_strata=1).order[0] for n in range(4000)]
    times = np.bincount(first, minlength=40)
    assert ((times - 100) ** 2 / 100).sum() < 85  # chi-squared with 39 degrees of freedom: 2e-5 above


def _all_orders(of_draw: np.ndarray, turns: np.ndarray) -> list[Strata]:
    """Every order of a small bank whose strata come in the given turns."""
    members = [np.flatnonzero(of_draw == h) for h in range(of_draw.max() + 1)]
    orders = []
    for arrangement in itertools.product(*(itertools.permutations(member) for member in members)):
        order = np.empty(len(of_draw), int)
        for stratum, block in enumerate(arrangement):
            order[turns == stratum] = block
        orders.append(Strata(of_draw, order, (0.5, 0.5)))
    return orders


def test_mean_and_variance_of_a_prefix_are_unbiased_over_all_orders() -> None:
    values = np.array([0.3, 1.1, -0.4, 5.0, 2.0, 9.0, -1.0])
    orders = _all_orders(np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 1, 1, 0, 1, 0, 1]))
    for n in (4, 5):
        found = [estimate(values[ordering.order][None, :n], ordering, [n]) for ordering in orders]
        means = np.array([estimate.mean[0, 0] for estimate in found])
        assert means.mean() == pytest.approx(values.mean(), rel=1e-12)
        assert np.mean([estimate.standard_error[0, 0] ** 2 for estimate in found]) == pytest.approx(
            means.var(), rel=1e-12
        )
        weighted = np.array(
            [ordering.weights[ordering.looks == n, :n] @ values[ordering.order[:n]] for ordering in orders]
        )
        np.testing.assert_allclose(weighted[:, 0], means)


def test_an_allocation_follows_the_spread_that_the_pilot_had() -> None:
    rng, of_draw = np.random.default_rng(4), np.repeat([0, 1, 2, 3], 100)
    errors = rng.normal(size=(10, 2, 2, 400)) * np.array([8, 4, 2, 2])[of_draw]
    errors *= 10.0 ** rng.integers(-3, 3, (10, 1, 1, 1))  # an example of large errors counts like the others
    shares = allocation_from(errors, np.broadcast_to(np.eye(2, dtype=bool), (10, 2, 2)), of_draw)
    assert shares == pytest.approx((0.9 * np.array([8, 4, 2, 2]) / 16 + 0.1 / 4).tolist(), rel=0.06)
    assert all(share == round(share, 4) for share in shares)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UsageError, match="does not fit 6 strata"):
        strata(TIMESTEPS, seed=0, example_id="a", allocation=(0.5, 0.5))
    with pytest.raises(UsageError, match="0 strata of 1000 draws"):
        strata(TIMESTEPS, seed=0, example_id="a", n_strata=0)
    with pytest.raises(UsageError, match="do not vary"):
        allocation_from(np.ones((1, 2, 2, 8)), np.eye(2, dtype=bool)[None], np.repeat([0, 1], 4))
