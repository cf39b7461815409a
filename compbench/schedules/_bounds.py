"""Is the mean of a difference over the whole bank positive? Tests that may be looked at again and again.

A bound says for each look at an example's order what sign is found at a level of risk, over all looks together. Here
are those that compare the stratified mean with its standard error; `_bets.py` has those that bet, `_expected.py` has
the one that counts doubts. None decides on a difference of 0 throughout.

`Asymptotic` keeps its risk approximately, and only where a prefix shows what the rest is like: a part of the
differences that is rare, large and one-sided is mostly not in the prefix, and neither mean nor standard error know of
it. With 2 % of 1,000 draws one-sided and 20 times as large, 55 % of the decisions at risk 0.05 were not those of the
whole bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import special

from compbench.core.aliases import Floats, Ints
from compbench.schedules.strata import Strata

if TYPE_CHECKING:
    from compbench.schedules._learned_way import LearnedWay

__all__ = [
    "BEYOND",
    "VIOLATED",
    "Asymptotic",
    "Bound",
    "Estimate",
    "Pooled",
    "boundary",
    "estimate",
    "looks_within",
    "n_within",
    "normal",
]

BEYOND = "beyond"  # of an example that was measured to the end because a draw was beyond the wave's limits
VIOLATED = "violated"  # the same, where so few were that the bound does not hold
_BLOCK = 32_768  # differences looked at at once
_GRID = 401  # points of the numerical integration
_LOWEST = -7.0  # standard deviations below which no path matters


class Bound(Protocol):
    """A test for all looks together. `differences` [m, n] are over the first n draws of the order."""

    @property
    def name(self) -> str: ...
    @property
    def strata(self) -> Strata | LearnedWay: ...
    def signs(self, differences: Floats, up: float, down: float, *, since: int = 0) -> Ints:
        """[m, looks]: 1 where the mean is found positive at risk `up`, -1 where negative at risk `down`, else 0.

        The looks are those from number `since` on that lie within n and before the bank's end.
        """
        ...

    def n_sound(self, differences: Floats) -> Ints:
        """[m], the draws before the first that contradicts what the bound rests on; n where none does."""
        ...

    def named(self, differences: Floats) -> str:
        """The bound's name, or what says that differences [m, D] over the whole bank contradict what it rests on."""
        ...

    def estimate(self, differences: Floats) -> Estimate:
        """The mean over the bank from all of `differences` [m, n], the n draws of a look: [m, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class Asymptotic:
    """Stratified means against a group-sequential boundary; the risk is spent in proportion to the information.

    A studentised test: approximate, and wrong where the differences have a rare, large, one-sided part.
    """

    strata: Strata
    name: str = "asymptotic"

    def signs(self, differences: Floats, up: float, down: float, *, since: int = 0) -> Ints:
        looks = looks_within(self.strata, differences, since)
        highest, lowest = (
            side * np.array(boundary(self.information, risk))[since : since + len(looks)]
            for side, risk in ((1, up), (-1, down))
        )
        found = _studentised(differences, self.strata, looks)
        z = np.zeros(found.t.shape)
        near = (found.t >= highest) | (found.t <= lowest)  # z is never further from 0 than t
        z[near] = normal(found.t[near], found.freedom[near])
        return np.where(z >= highest, 1, np.where(z <= lowest, -1, 0))

    def n_sound(self, differences: Floats) -> Ints:
        return np.full(len(differences), differences.shape[1])

    def named(self, differences: Floats) -> str:
        return self.name if (self.n_sound(differences) == differences.shape[1]).all() else BEYOND

    def estimate(self, differences: Floats) -> Estimate:
        return estimate(differences, self.strata, [differences.shape[1]])

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
        known = _is_known(counts, sizes)
        return tuple(np.where(known, (parts / sizes).sum() / variance, 0.0).tolist())


@dataclass(frozen=True, eq=False)
class Pooled(Asymptotic):
    """The same test where a first wave told what is heavy: that comes first, and what exceeds its limits is unsound."""

    limits: tuple[float, ...] = ()  # [H], of the strata but for the draws of certainty
    name: str = "pooled"

    def n_sound(self, differences: Floats) -> Ints:
        return n_within(differences, np.append(self.limits, np.inf)[self.strata.in_order])


def n_within(differences: Floats, limits: Floats) -> Ints:
    """[m], the draws before the first that is beyond its limit; n where none is."""
    is_broken = np.abs(differences) > limits[: differences.shape[1]] * (1 + 1e-9)
    return np.where(is_broken.any(1), is_broken.argmax(1), differences.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """An estimate of the mean over the bank from each prefix, [m, looks]."""

    mean: Floats  # the stratified mean
    standard_error: Floats  # of a sample without replacement; 0 when the bank is exhausted, inf when unknown
    z: Floats  # standard normal at worst when the mean over the bank is 0; 0 when nothing is known


def estimate(differences: Floats, strata: Strata, looks: Sequence[int] | Ints) -> Estimate:
    """The stratified mean of `differences` [m, n], the first of an example's order, at some `looks` up to n.

    z is a t statistic made cautious for few, skewed and heavy-tailed draws. As if one more draw, as large as the
    largest seen, stood against it; corrected for skewness (Hall, 1992) where that makes it smaller; with
    Satterthwaite's degrees of freedom.
    """
    found = _studentised(differences, strata, np.asarray(looks))
    return Estimate(found.mean, found.standard_error, normal(found.t, found.freedom))


def looks_within(strata: Strata | LearnedWay, differences: Floats, since: int) -> Ints:
    looks = strata.looks[since:-1]
    return looks[looks <= differences.shape[1]]


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
    for _ in range(60):
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


@dataclass(frozen=True, slots=True, eq=False)
class _Studentised:
    """[m, looks]."""

    mean: Floats
    standard_error: Floats
    t: Floats
    freedom: Floats


def _studentised(differences: Floats, strata: Strata, looks: Ints) -> _Studentised:
    sizes, parts = strata.sizes, strata.sizes / strata.sizes.sum()
    within = strata.in_order[: differences.shape[1]]
    counts = (within[:, None] == np.arange(len(sizes))).cumsum(0)[looks - 1]  # [looks, H]
    moments = _moments(differences, within, counts)
    weights = parts**2 * (1 - counts / sizes) / np.maximum(counts, 1)
    spreads = weights * moments.second / np.maximum(counts - 1, 1)  # [m, looks, H], of the variance
    mean, variance = moments.mean @ parts, spreads.sum(-1)
    scale = (np.abs(moments.mean) + moments.largest).max(-1)
    varies = (variance > (1e-9 * scale) ** 2) & _is_known(counts, sizes)  # what is less is rounding
    safe = np.where(varies, variance, 1)
    influence = parts * (counts < sizes) / np.sqrt(np.maximum(counts * (counts - 1), 1))
    unseen = (moments.largest * influence).max(-1)
    t = np.sign(mean) * np.maximum(np.abs(mean) - unseen, 0) / np.sqrt(safe + unseen**2)
    t = np.where(varies, _unskewed(t, *_skewness(moments.third, counts, sizes, safe)), 0)
    freedom = safe**2 / np.maximum((spreads**2 / np.maximum(counts - 1, 1)).sum(-1), 1e-300)
    standard_error = np.where(_is_known(counts, sizes), np.sqrt(variance), np.inf)
    return _Studentised(mean, standard_error, t, freedom)


def _is_known(counts: Ints, sizes: Ints) -> np.ndarray:
    """[looks], whether each stratum's variance can be estimated."""
    return ((counts >= 2) | (counts == sizes)).all(-1)


def normal(t: Floats, freedom: Floats) -> Floats:
    """The normal quantile that is as improbable as a t of some degrees of freedom."""
    return -np.sign(t) * special.ndtri(special.stdtr(freedom, -np.abs(t)))


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """The moments of m differences in each of H strata at each look, [m, looks, H]."""

    mean: Floats
    second: Floats  # sums of squares and cubes about the stratum's mean
    third: Floats
    largest: Floats  # distance from the stratum's mean


def _moments(differences: Floats, within: Ints, counts: Ints) -> _Moments:
    """The moments at all looks in one pass, over blocks that fit the cache: races of a thousand classes are common."""
    found = _Moments(*np.zeros((4, len(differences), *counts.shape)))
    rows = max(1, _BLOCK // max(1, differences.shape[1]))
    members = [np.flatnonzero(within == stratum) for stratum in range(counts.shape[1])]
    for first in range(0, len(differences), rows):
        block = slice(first, first + rows)
        for stratum, draws in enumerate(members):
            if len(draws):
                _fill(found, (block, slice(None), stratum), differences[block, draws], counts[:, stratum])
    return found


def _fill(found: _Moments, where: tuple[slice, slice, int], values: Floats, counts: Ints) -> None:
    """The moments of one stratum's `values` [m, n] over its first `counts` [looks]."""
    origin = values[:, :1]  # so that what does not vary has moments of exactly 0
    values = values - origin
    squares = values * values
    n, last = np.maximum(counts, 1), np.maximum(counts, 1) - 1
    sums, squared, cubed = (np.cumsum(sums, 1)[:, last] for sums in (values, squares, squares * values))
    mean = sums / n
    highest, lowest = np.maximum.accumulate(values, 1)[:, last], np.minimum.accumulate(values, 1)[:, last]
    found.mean[where] = mean + origin
    found.second[where] = np.maximum(squared - n * mean**2, 0)
    found.third[where] = cubed - 3 * mean * squared + 2 * n * mean**3
    found.largest[where] = np.maximum(highest - mean, mean - lowest)


def _skewness(third: Floats, counts: Ints, sizes: Ints, variance: Floats) -> tuple[Floats, Floats]:
    """The third cumulant of the standardised mean, and its covariance with the variance's relative error."""
    unbiased = third * np.where(counts > 2, counts / np.maximum((counts - 1) * (counts - 2), 1), 0)
    left = 1 - counts / sizes
    weights = (sizes / sizes.sum()) ** 3 * left / np.maximum(counts, 1) ** 2
    scale = variance**1.5
    return (unbiased * weights * (2 * left - 1)).sum(-1) / scale, (unbiased * weights * left).sum(-1) / scale


def _unskewed(t: Floats, cumulant: Floats, covariance: Floats) -> Floats:
    """Hall's monotone cubic of a studentised mean, where it lies nearer to 0."""
    slope = (3 * covariance - cumulant) / 6
    corrected = t + slope * t**2 + slope**2 * t**3 / 3 + covariance / 2 - slope
    nearer = np.where(np.sign(corrected) == np.sign(t), np.minimum(np.abs(corrected), np.abs(t)), 0)
    return np.sign(t) * nearer
