"""Is the mean of a difference over the whole bank positive? Two tests that may be looked at again and again.

Both say for the prefix of an example's order what sign is certain at a level of risk, over all looks together:
`Asymptotic` compares the stratified mean with its standard error, `Anytime` bets on draws of which each is at most a
stated bound. Neither decides on a difference that does not vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from scipy import special

from compbench.strata import Strata
from compbench.types import Floats, Ints

__all__ = ["Anytime", "Asymptotic", "Bound", "Estimate", "boundary", "estimate"]

_GRID = 401  # points of the numerical integration
_LOWEST = -7.0  # standard deviations below which no path matters
_STAKE = 0.9  # the largest part of the wealth that is bet on a draw
_PRIOR_SPREAD = 0.01  # variance that the first bet assumes, in squares of the bound


class Bound(Protocol):
    """A test that holds over all looks together. `differences` [m, n] are over the first n draws of the order."""

    @property
    def name(self) -> str: ...
    @property
    def strata(self) -> Strata: ...
    def signs(self, differences: Floats, look: int, up: float, down: float) -> Ints:
        """[m]: 1 where the mean is positive at risk `up`, -1 where it is negative at risk `down`, else 0."""
        ...

    def is_broken(self, differences: Floats) -> bool:
        """Whether a draw contradicts what the bound rests on."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What a prefix says about the mean over the bank, of each of m differences."""

    mean: Floats  # [m], the stratified mean
    standard_error: Floats  # [m], of a sample without replacement; 0 when the bank is exhausted, inf when unknown
    z: Floats  # [m], standard normal at worst when the mean over the bank is 0; 0 when nothing is known


@dataclass(frozen=True, eq=False)
class Asymptotic:
    """Stratified means against a group-sequential boundary; the risk is spent in proportion to the information."""

    strata: Strata
    name: str = "asymptotic"

    def signs(self, differences: Floats, look: int, up: float, down: float) -> Ints:
        position = int(np.searchsorted(self.strata.looks, look))
        z = estimate(differences, self.strata.in_order[:look], self.strata.sizes).z
        highest, lowest = boundary(self.information, up)[position], -boundary(self.information, down)[position]
        return np.where(z >= highest, 1, np.where(z <= lowest, -1, 0))

    def is_broken(self, differences: Floats) -> bool:
        return False

    @cached_property
    def information(self) -> tuple[float, ...]:
        """At each look before the last, 1 / variance in units of the bank's own; 0 where no variance is known.

        From the design alone: strata vary as the shares say that they do (Neyman's allocation read backwards).
        """
        sizes, counts = self.strata.sizes, self.strata.counts[:-1]
        spread = (np.array(self.strata.shares) * sizes.sum() / sizes) ** 2
        parts = (sizes / sizes.sum()) ** 2 * spread
        with np.errstate(divide="ignore"):
            variance = (parts * (1 / counts - 1 / sizes)).sum(1)
        known = ((counts >= 2) | (counts == sizes)).all(1)
        return tuple(np.where(known, (parts / sizes).sum() / variance, 0.0).tolist())


@dataclass(frozen=True, eq=False)
class Anytime:
    """Betting against a mean of the other sign, draw by draw without replacement; no draw is larger than `limit`.

    Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2023), section 5, with a
    predictable bet. Valid at every draw, whatever the differences look like; the order must be one random stratum.
    """

    strata: Strata
    limit: float
    name: str = "anytime"

    def __post_init__(self) -> None:
        if len(self.strata.shares) != 1:
            raise ValueError(f"the anytime bound needs one stratum, not {len(self.strata.shares)}")

    def signs(self, differences: Floats, look: int, up: float, down: float) -> Ints:
        n_bank = len(self.strata.order)
        gains = [_log_wealth(side * differences, self.limit, n_bank) for side in (1, -1)]
        with np.errstate(divide="ignore"):
            return np.where(gains[0] >= -np.log(up), 1, np.where(gains[1] >= -np.log(down), -1, 0))

    def is_broken(self, differences: Floats) -> bool:
        return bool((np.abs(differences) > self.limit).any())


def estimate(differences: Floats, strata: Ints, sizes: Ints) -> Estimate:
    """The stratified mean of `differences` [m, n], whose draws lie in `strata` [n] of these `sizes` [H].

    z is a t statistic made cautious for few, skewed and heavy-tailed draws. As if one more draw, as large as the
    largest seen, stood against it; corrected for skewness (Hall, 1992) where that makes it smaller; with
    Satterthwaite's degrees of freedom.
    """
    each = (strata[:, None] == np.arange(len(sizes))).astype(np.float64)  # [n, H]
    counts = each.sum(0)
    is_open = counts < sizes
    means = differences @ each / np.maximum(counts, 1)
    mean = means @ (sizes / sizes.sum())
    if (counts[is_open] < 2).any():
        return Estimate(mean, np.full(len(mean), np.inf), np.zeros(len(mean)))
    apart = differences - means[:, strata]  # [m, n]
    weights = np.where(is_open, (sizes / sizes.sum()) ** 2 * (1 - counts / sizes) / counts, 0)
    parts = weights * (apart**2 @ each) / np.maximum(counts - 1, 1)  # [m, H] of the variance
    variance = parts.sum(1)
    varies = variance > (1e-9 * np.abs(differences).max(1)) ** 2
    spread = np.where(varies, variance, 1)
    influence = np.where(is_open, sizes / sizes.sum() / np.sqrt(counts * np.maximum(counts - 1, 1)), 0)
    largest = (np.abs(apart) * influence[strata]).max(1)
    t = np.sign(mean) * np.maximum(np.abs(mean) - largest, 0) / np.sqrt(spread + largest**2)
    t = _unskewed(t, *_skewness(apart, each, sizes, spread))
    freedom = spread**2 / np.maximum((parts**2 / np.maximum(counts - 1, 1)).sum(1), 1e-300)
    z = -np.sign(t) * special.ndtri(special.stdtr(freedom, -np.abs(t)))
    return Estimate(mean, np.sqrt(variance), np.where(varies, z, 0.0))


@lru_cache(maxsize=256)
def boundary(information: tuple[float, ...], risk: float) -> tuple[float, ...]:
    """The z at each look above which a mean of 0 is found with probability `risk` over all looks together.

    z at information u is W(u) / sqrt(u) for a Brownian motion W (for a random sample without replacement of n of D
    draws u = n / (D - n)). Of the risk, u / (1 + u) is spent by u: as much as of the bank was seen. Armitage,
    McPherson & Rowe (1969), integrated numerically. Infinite at looks without information.
    """
    bounds: list[float] = []
    paths, weights, before, spent = np.zeros(1), np.ones(1), 0.0, 0.0
    for now in information:
        if now <= before or risk <= 0:
            bounds.append(np.inf)
            continue
        step, goal = np.sqrt(now - before), risk * now / (1 + now)
        bound = _crossed_by(paths, weights, step, goal - spent) / np.sqrt(now)
        ends = np.linspace(_LOWEST, bound, _GRID) * np.sqrt(now)
        density = np.exp(-(((ends[:, None] - paths) / step) ** 2) / 2) @ weights / (step * np.sqrt(2 * np.pi))
        paths, weights, before, spent = ends, density * _trapezoid(ends), now, goal
        bounds.append(float(bound))
    return tuple(bounds)


def _crossed_by(paths: Floats, weights: Floats, step: float, share: float) -> float:
    """The level that `share` of the paths is above after a normal step; by bisection."""
    low, high = float(paths.min()) - 10 * step, float(paths.max()) + 40 * step
    for _ in range(80):
        middle = (low + high) / 2
        if special.ndtr((paths - middle) / step) @ weights > share:
            low = middle
        else:
            high = middle
    return high


def _trapezoid(points: Floats) -> Floats:
    weights = np.full(len(points), points[1] - points[0])
    weights[[0, -1]] /= 2
    return weights


def _skewness(apart: Floats, each: Floats, sizes: Ints, variance: Floats) -> tuple[Floats, Floats]:
    """[m], [m]: the third cumulant of the standardised mean, and its covariance with the variance's relative error."""
    counts = each.sum(0)
    unbiased = np.where(counts > 2, counts / np.maximum((counts - 1) * (counts - 2), 1), 0)
    third = apart**3 @ each * unbiased  # [m, H]
    left = 1 - counts / sizes
    weights = (sizes / sizes.sum()) ** 3 * left / np.maximum(counts, 1) ** 2
    scale = variance**1.5
    return third @ (weights * (2 * left - 1)) / scale, third @ (weights * left) / scale


def _unskewed(t: Floats, cumulant: Floats, covariance: Floats) -> Floats:
    """Hall's monotone cubic of a studentised mean, where it lies nearer to 0."""
    slope = (3 * covariance - cumulant) / 6
    corrected = t + slope * t**2 + slope**2 * t**3 / 3 + covariance / 2 - slope
    nearer = np.where(np.sign(corrected) == np.sign(t), np.minimum(np.abs(corrected), np.abs(t)), 0)
    return np.sign(t) * nearer


def _log_wealth(differences: Floats, limit: float, n_bank: int) -> Floats:
    """[m], the largest log wealth so far of who bets that the mean over the bank is positive.

    Before each draw `expected` is what the draws left must average if the whole averages 0.
    """
    n = np.arange(differences.shape[-1])
    seen = _before(differences)
    expected = -seen / (n_bank - n)
    error = differences - np.cumsum(differences, -1) / (n + 1)
    spread = (_PRIOR_SPREAD * limit**2 + _before(error**2)) / (n + 1)
    ahead = np.maximum(seen / (n + 1) - expected, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = _STAKE / np.maximum(expected + limit, 0)
        bet = np.minimum(ahead / (spread + ahead**2), most)
        gain = np.log1p(bet * (differences - expected))
    # draws left that would have to be beyond the limit: the mean is positive for certain
    wealth = np.where(expected < -limit, np.inf, np.cumsum(np.where(expected <= -limit, 0, gain), -1))
    return wealth.max(-1)


def _before(values: Floats) -> Floats:
    """The sum of all earlier ones."""
    return np.cumsum(values, -1) - values
