"""Other draws from the ones at hand: weights over a bank's draws, the same for all examples that share the bank.

A bank has one noise at each timestep: a sample of one unit per stratum. Its variance is estimated from neighbouring
timesteps, whose expected errors are nearly the same. A unit is what was drawn independently of the rest: a draw, or an
antithetic pair, whose two draws err in opposite ways. Pairs vary so little that the trend of an error over t would be
most of what their neighbours differ by, so it is taken out of them.
"""

from __future__ import annotations

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.errors import UsageError

__all__ = ["LEAST_UNITS", "LEAST_UNITS_OF_OWN_NOISE", "balanced_subsets", "contrasts", "resamples", "standard_error"]

# Below so many units (draws, or antithetic pairs) that all examples share, a standard deviation over other draws is not
# printed. In simulations with the trends and the noise of tiny-sd's errors, nine figures of ten were 0.75 to 1.8 times
# the truth from 32 draws, at every accuracy; 0.7 to 2.1 times from 16; from 8 even their mean was half as large again.
# What is left at 32 is too large rather than too small, and where nearly all examples are right.
LEAST_UNITS = 32
# Where each image has noise of its own every example adds to what is known, and few draws of each are enough; with
# fewer than these the trend over t is taken for noise.
LEAST_UNITS_OF_OWN_NOISE = 8
_REACH = 3  # neighbours on either side that tell what is expected of a pair
_LEAST_FOR_A_CURVE = 6  # units: of fewer, each is held against the line through two others


def contrasts(timesteps: Floats, units: Ints | None = None) -> Floats:
    """[K, D]: the sum of squares of these combinations of some values [D] estimates the variance of their mean.

    `units` [D] labels what was drawn together (None: each draw by itself). Of single draws they are the successive
    differences in order of timestep, sum of (y_d+1 - y_d)^2 / (2 D (D - 1)): the mean square successive difference of
    von Neumann et al. (Ann. Math. Statist. 12, 1941), in Wolter's Introduction to Variance Estimation (2007, section
    8.2) the estimator v2 of systematic samples. Of pairs: how far the mean of each is off a parabola through its
    neighbours, three on either side, in units of its standard deviation (after Gasser, Sroka & Jennen-Steinmetz,
    Biometrika 73, 1986, who take a line through one on either side).

    >>> contrasts(np.array([0, 1])).tolist()
    [[-0.5, 0.5]]
    """
    order = np.argsort(timesteps, kind="stable")
    if units is None or len(np.unique(units)) == len(units):
        n = len(order)
        found = np.zeros((max(n - 1, 0), n))
        steps = np.arange(n - 1)
        found[steps, order[:-1]], found[steps, order[1:]] = -1.0, 1.0
        return found / np.sqrt(2 * n * (n - 1)) if n > 1 else found
    sums = (np.unique(units)[:, None] == units).astype(np.float64)  # [U, D]
    sizes = sums.sum(1)
    means = sums / sizes[:, None]
    return _off_a_curve(means @ timesteps) @ means * (sizes / len(units))[:, None]


def resamples(timesteps: Floats, n_resamples: int, seed: int, units: Ints | None = None) -> Floats:
    """[n_resamples, D] weights: means that scatter around the plain mean as those of other draws would.

    The plain mean plus each contrast times a standard normal number of its own, so that the variance over resamples is
    the one that the contrasts estimate (Fay & Train's successive difference replication, 1995, with normal factors;
    Beaumont & Patak's generalised bootstrap, International Statistical Review 80, 2012). Weights may be negative.
    """
    found = contrasts(timesteps, units)
    if not len(found) or not found.any():
        raise UsageError("one draw says nothing about other draws; run with more draws")
    rng = np.random.default_rng(seed)
    return 1 / len(timesteps) + rng.standard_normal((n_resamples, len(found))) @ found


def standard_error(values: Floats, timesteps: Floats, units: Ints | None = None) -> Floats:
    """[...] of the mean over the last axis of `values` [..., D], by `contrasts`; NaN for a single unit.

    The spread of all draws would count the trend over t as noise.

    >>> float(standard_error(np.array([1.0, 3.0]), np.array([0, 1])))
    1.0
    """
    n_draws = values.shape[-1]
    if len(np.unique(np.arange(n_draws) if units is None else units)) < 2:
        return np.full(values.shape[:-1], np.nan)
    if units is None or len(np.unique(units)) == n_draws:  # without the matrix, which is large for many draws
        steps = np.diff(values[..., np.argsort(timesteps, kind="stable")], axis=-1)
        return np.sqrt((steps**2).sum(-1) / (2 * n_draws * (n_draws - 1)))
    return np.sqrt(((values @ contrasts(timesteps, units).T) ** 2).sum(-1))


def balanced_subsets(timesteps: Floats, n_draws: int, n_subsets: int, seed: int, units: Ints | None = None) -> Floats:
    """[n_subsets, D] weights, each row the mean over `n_draws` draws: one at random of each of `n_draws` even blocks.

    So a subset is balanced over the timesteps, as the bank's own prefixes are. The blocks begin anywhere and go around,
    so that no draw is favoured where D is not a multiple of them. With all draws there is one subset. Antithetic
    pairs are chosen whole, but for a single draw of one of them where `n_draws` is odd.

    >>> balanced_subsets(np.arange(4), 4, 2, seed=0).tolist()
    [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]
    """
    rng, n_all = np.random.default_rng([seed, n_draws]), len(timesteps)
    if units is None or len(np.unique(units)) == n_all:
        return _one_of_each_block(rng, np.argsort(timesteps, kind="stable"), n_draws, n_subsets) / n_draws
    labels, unit_of, sizes = np.unique(units, return_inverse=True, return_counts=True)
    n_units = min(len(labels), -(-n_draws // int(sizes.max())))
    means = np.bincount(unit_of, timesteps) / sizes
    chosen = _one_of_each_block(rng, np.argsort(means, kind="stable"), n_units, n_subsets)[:, unit_of]  # [subsets, D]
    for row in chosen:
        spare = rng.permutation(np.flatnonzero(row))
        partners = [draw for draw in spare if row[unit_of == unit_of[draw]].sum() > 1]
        row[partners[: max(0, int(row.sum()) - n_draws)]] = 0
    return chosen / chosen.sum(1, keepdims=True)


def _one_of_each_block(rng: np.random.Generator, order: Ints, n_chosen: int, n_subsets: int) -> Floats:
    """[n_subsets, N]: 1 where a member of `order` [N] is chosen, one of each of `n_chosen` even blocks, else 0."""
    n_all = len(order)
    edges = np.floor((np.arange(n_chosen + 1) + rng.random((n_subsets, 1))) * n_all / n_chosen).astype(int)
    places = rng.integers(edges[:, :-1], edges[:, 1:]) % n_all  # [n_subsets, n_chosen]
    chosen = np.zeros((n_subsets, n_all))
    chosen[np.arange(n_subsets)[:, None], order[places]] = 1
    return chosen


def _off_a_curve(times: Floats) -> Floats:
    """[U, U]: each unit less what its neighbours say by least squares; of variance 1 where each unit's is 1."""
    found, order = np.eye(len(times)), np.argsort(times, kind="stable")
    if len(times) < 2:
        return np.zeros((0, len(times)))
    is_few = len(times) < _LEAST_FOR_A_CURVE
    degree = min(1, len(times) - 2) if is_few else 2
    reach = np.ptp(times) or 1.0  # so that powers of a distance stay of one size
    for place, unit in enumerate(order):
        first = min(max(0, place - 1), max(0, len(times) - 3)) if is_few else max(0, place - _REACH)
        window = order[first : first + 3] if is_few else order[first : place + 1 + _REACH]
        near = window[window != unit]
        distances = (times[near] - times[unit]) / reach
        found[unit, near] -= np.linalg.pinv(distances[:, None] ** np.arange(degree + 1))[0]
    return found / np.sqrt((found**2).sum(1, keepdims=True))
