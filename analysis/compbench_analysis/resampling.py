"""Other draws from the ones at hand: weights over a bank's draws, the same for all examples, since all share the bank.

A bank has one noise at each timestep: a sample of one unit per stratum. Its variance is estimated from neighbouring
timesteps, whose expected errors are nearly the same; what they do differ by makes the estimate a little too large.
"""

from __future__ import annotations

import numpy as np

from compbench.types import Floats, UsageError

__all__ = ["balanced_subsets", "half_samples", "standard_error"]


def balanced_subsets(timesteps: Floats, n_draws: int, n_subsets: int, seed: int) -> Floats:
    """[n_subsets, D] weights, each row the mean over `n_draws` draws: one at random of each of `n_draws` even blocks.

    So a subset is balanced over the timesteps, as the bank's own prefixes are. The blocks begin anywhere and go around,
    so that no draw is favoured where D is no multiple of them. With all draws there is one subset.

    >>> balanced_subsets(np.arange(4), 4, 2, seed=0).tolist()
    [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]
    """
    rng, n_all = np.random.default_rng([seed, n_draws]), len(timesteps)
    edges = np.floor((np.arange(n_draws + 1) + rng.random((n_subsets, 1))) * n_all / n_draws).astype(int)
    chosen = (rng.integers(edges[:, :-1], edges[:, 1:])) % n_all  # [n_subsets, n_draws] places in order of timestep
    weights = np.zeros((n_subsets, n_all))
    weights[np.arange(n_subsets)[:, None], _by_timestep(timesteps)[chosen]] = 1 / n_draws
    return weights


def half_samples(timesteps: Floats, n_resamples: int, seed: int) -> Floats:
    """[n_resamples, D] weights of a stratified bootstrap; neighbouring timesteps, two by two, are the strata.

    n - 1 of a stratum's n draws are taken with replacement and count n / (n - 1) times, which makes the variance of a
    mean unbiased in strata this small (Rao and Wu, JASA 83, 1988); of two draws one counts double.
    """
    if len(timesteps) < 2:
        raise UsageError("one draw tells nothing of what other draws would give; run with more draws")
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_resamples, len(timesteps)))
    for stratum in np.array_split(_by_timestep(timesteps), len(timesteps) // 2):  # twos; threes where D is odd
        n = len(stratum)
        weights[:, stratum] = rng.multinomial(n - 1, np.full(n, 1 / n), n_resamples) * (n / (n - 1))
    return weights / len(timesteps)


def standard_error(values: Floats, timesteps: Floats) -> Floats:
    """[...] of the mean over the last axis of `values` [..., D], by successive differences; NaN for a single draw.

    In order of timestep, sqrt(sum of (y_d+1 - y_d)^2 / (2 D (D - 1))): the mean square successive difference of von
    Neumann et al. (Ann. Math. Statist. 12, 1941), in Wolter's Introduction to Variance Estimation (2007, section 8.2)
    the estimator v2 of systematic samples. The spread of all draws would count the trend over t as noise.

    >>> float(standard_error(np.array([1.0, 3.0]), np.array([0, 1])))
    1.0
    """
    n_draws = values.shape[-1]
    if n_draws < 2:
        return np.full(values.shape[:-1], np.nan)
    steps = np.diff(values[..., _by_timestep(timesteps)], axis=-1)
    return np.sqrt((steps**2).sum(-1) / (2 * n_draws * (n_draws - 1)))


def _by_timestep(timesteps: Floats) -> np.ndarray:
    return np.argsort(timesteps, kind="stable")
