"""Comparisons of two models on the same examples: exact tests, intervals, and the smallest difference detectable.

Numbers in, numbers out; every function gives the mirrored answer when the two models change places, and none depends
on the order of the examples but `sign_flips`, whose callers sort them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.packages import named
from compbench_analysis.statistics.intervals import wilson

__all__ = ["Agreement", "detectable", "gain_interval", "gain_test", "holm", "interval", "mcnemar", "sign_flips"]

_SIGNS_AT_ONCE = 8_000_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """The counts of examples on which two models are right together, alone, and not at all."""

    both: float
    only_a: float
    only_b: float
    neither: float

    @classmethod
    def of(cls, a: Bools, b: Bools) -> Agreement:
        """Counted over outcomes [N] of the same examples."""
        return cls(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))

    @property
    def n(self) -> float:
        """Examples."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """The share that A has right minus the share that B has right."""
        return (self.only_a - self.only_b) / self.n if self.n else math.nan


def mcnemar(cells: Agreement) -> float:
    """The exact two-sided p of McNemar's test: could a fair coin have split the disagreements like this?

    >>> mcnemar(Agreement(both=20, only_a=9, only_b=1, neither=5))
    0.021484375
    """
    if not cells.n:
        return math.nan
    with named():  # a tenth of a second, which a table of one model should not wait for
        from scipy import special

    fewer, both = min(cells.only_a, cells.only_b), cells.only_a + cells.only_b
    return min(1.0, 2 * float(special.bdtr(fewer, int(both), 0.5)))


def interval(cells: Agreement) -> tuple[float, float]:
    """The 95 % interval of a difference of paired proportions.

    Method 10 of Newcombe (1998), "Improved confidence intervals for the difference between binomial proportions based
    on paired data", Statistics in Medicine 17: Wilson intervals of both shares, squared and added with their
    correlation. It stays within -1 and 1.

    >>> [round(bound, 4) for bound in interval(Agreement(36, 12, 2, 0))]  # the paper's example
    [0.0569, 0.3404]
    """
    if not cells.n:
        return math.nan, math.nan
    a, b = (cells.both + cells.only_a) / cells.n, (cells.both + cells.only_b) / cells.n
    (low_a, high_a), (low_b, high_b) = (wilson(share * cells.n, cells.n) for share in (a, b))
    phi = _correlation(cells)
    down = _hypotenuse(a - low_a, high_b - b, phi)
    up = _hypotenuse(high_a - a, b - low_b, phi)
    return max(-1.0, cells.difference - down), min(1.0, cells.difference + up)


def detectable(cells: Agreement, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference that the exact McNemar test finds with this power, given how often the two disagree.

    Of m disagreements a share of 1/2 + x is A's; the difference is 2 x m / n. NaN where they are too few to ever
    give p <= alpha: fewer than six at 5 %.
    """
    with named():  # half a second, which no other command should wait for
        from scipy import optimize, stats

    m = int(cells.only_a + cells.only_b)
    counts = np.arange(m + 1)
    is_enough = 2 * stats.binom.sf(counts - 1, m, 0.5) <= alpha
    if not is_enough.any():
        return math.nan
    enough = int(counts[is_enough][0])

    def lack(share: float) -> float:
        return power - float(stats.binom.sf(enough - 1, m, share) + stats.binom.cdf(m - enough, m, share))

    share = cast("float", optimize.brentq(lack, 0.5, 1.0))
    return (2 * share - 1) * m / cells.n


def sign_flips(differences: Floats, groups: Ints, *, n_resamples: int = 9999, seed: int = 0) -> float:
    """The two-sided p of a mean difference when each group's sign is as likely the other one.

    `differences` [N] of examples in `groups` [N], small whole numbers. All signs are tried where they are no more than
    n_resamples, else as many random ones. (scipy.stats.permutation_test gives the same, in twenty times the time.)
    """
    if not len(differences):
        return math.nan
    sums = np.bincount(groups, weights=differences)
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()  # equal sums stay equal when added in another order
    is_exact = 2 ** len(sums) <= n_resamples
    n_signs = 2 ** len(sums) if is_exact else n_resamples
    rng, at_once = np.random.default_rng(seed), max(1, _SIGNS_AT_ONCE // len(sums))
    n_extreme = 0
    for start in range(0, n_signs, at_once):
        numbers = np.arange(start, min(start + at_once, n_signs))
        is_kept = (
            (numbers[:, None] >> np.arange(len(sums))) & 1
            if is_exact
            else rng.integers(0, 2, (len(numbers), len(sums)), np.int8)
        )
        n_extreme += int((np.abs((2.0 * is_kept - 1) @ sums) >= observed).sum())
    return n_extreme / n_signs if is_exact else (n_extreme + 1) / (n_signs + 1)


def gain_test(first: Ints, second: Ints) -> float:
    """The two-sided p of a gain of A over B that differs between two sets of other examples.

    Each holds -1, 0 or 1 an example: what A has right minus what B has right. The exact permutation test: over all
    ways to deal the examples out, the wins of A and of B that the first set gets are hypergeometric.
    """
    if not len(first) or not len(second):
        return math.nan
    gains = np.concatenate([first, second])
    n, n_first, n_up, n_down = len(gains), len(first), int((gains > 0).sum()), int((gains < 0).sum())
    ups, downs = _likely(n, n_up, n_first)[:, None], _likely(n, n_down, n_first)
    idle, n_idle = n_first - ups - downs, n - n_up - n_down
    ways = _log_choose(n_up, ups) + _log_choose(n_down, downs) + _log_choose(n_idle, idle)
    chances = np.exp(ways - _log_choose(n, np.array(n_first)))
    at_least = chances[ups - downs >= first.sum()].sum()
    at_most = chances[ups - downs <= first.sum()].sum()
    return min(1.0, 2 * float(min(at_least, at_most)))


def gain_interval(first: Agreement, second: Agreement) -> tuple[float, float]:
    """The 95 % interval of the first difference minus the second, of independent sets: Zou & Donner (2008), MOVER."""
    (low_1, high_1), (low_2, high_2) = interval(first), interval(second)
    gain = first.difference - second.difference
    down = math.hypot(first.difference - low_1, high_2 - second.difference)
    up = math.hypot(high_1 - first.difference, second.difference - low_2)
    return max(-2.0, gain - down), min(2.0, gain + up)


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction over a family; a test that could not be made (NaN) is not a member.

    >>> holm([0.01, float("nan"), 0.04])
    [0.02, nan, 0.04]
    """
    p, corrected = np.array(p_values, dtype=float), np.full(len(p_values), math.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # NaN stands last
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected.tolist()


def _correlation(cells: Agreement) -> float:
    """Newcombe's phi: corrected for continuity where it is positive, 0 where a margin is empty."""
    right_a, right_b = cells.both + cells.only_a, cells.both + cells.only_b
    product = right_a * (cells.n - right_a) * right_b * (cells.n - right_b)
    if product <= 0:
        return 0.0
    excess = cells.both * cells.neither - cells.only_a * cells.only_b
    return (max(excess - cells.n / 2, 0) if excess > 0 else excess) / math.sqrt(product)


def _hypotenuse(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _log_choose(n: int, k: Ints) -> Floats:
    """The logarithm of n over k; minus infinity where k is not between 0 and n."""
    with named():
        from scipy import special

    inside = np.clip(k, 0, n)
    ways = special.gammaln(n + 1) - special.gammaln(inside + 1) - special.gammaln(n - inside + 1)
    return np.where(inside == k, ways, -np.inf)


def _likely(n: int, n_marked: int, n_dealt: int) -> Ints:
    """The numbers of marked among the dealt that are not beyond imagination."""
    with named():
        from scipy import stats

    low, high = (int(stats.hypergeom.ppf(q, n, n_marked, n_dealt)) for q in (1e-15, 1 - 1e-15))
    return np.arange(max(low - 2, 0, n_dealt + n_marked - n), min(high + 2, n_marked, n_dealt) + 1)
