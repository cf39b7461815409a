"""Bounds that bet: is the mean of a difference over the whole bank positive, whatever the differences are like?

`Anytime` keeps its risk if no difference exceeds its limit. `Guaranteed` keeps it if of the draws that are not certain
either none is beyond the limit of a first wave, or some number at least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.schedules._bounds import BEYOND, VIOLATED, Estimate, estimate, looks_within, n_within
from compbench.schedules.strata import Strata

__all__ = ["Anytime", "Guaranteed", "log_wealth", "missed"]

_STAKE = 0.9  # the largest part of the wealth that is bet on a draw
_CERTAIN = 1e300  # a log wealth that no risk but 0 stands against
_PRIOR_SPREAD = 0.01  # variance that the first bet assumes, in squares of the limit


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

    def signs(self, differences: Floats, up: float, down: float, *, since: int = 0) -> Ints:
        n_bank, looks = len(self.strata.order), looks_within(self.strata, differences, since)
        with np.errstate(divide="ignore"):
            goals = -np.log([up, down])  # at risk 0 more than any wealth
        wins, loses = (
            np.maximum.accumulate(log_wealth(side * differences, self.limit, n_bank), axis=1)[:, looks - 1] >= goal
            for side, goal in zip((1, -1), goals, strict=True)
        )
        return np.where(wins, 1, np.where(loses, -1, 0))

    def n_sound(self, differences: Floats) -> Ints:
        is_broken = np.abs(differences) > self.limit
        return np.where(is_broken.any(1), is_broken.argmax(1), differences.shape[1])

    def named(self, differences: Floats) -> str:
        return self.name  # what exceeds the limit ended on the whole bank

    def estimate(self, differences: Floats) -> Estimate:
        return estimate(differences, self.strata, [differences.shape[1]])


@dataclass(frozen=True, eq=False)
class Guaranteed:
    """Betting on the draws beyond those of certainty, once so many are measured that no few decisive ones are missed.

    Valid if of the other draws either none is beyond the limit or at least `decisive` are: those are all missed with
    the probability of the level at most (hypergeometric) before the first decision, and one that is met ends the race.
    """

    strata: Strata  # one random stratum, and perhaps that of certainty
    limit: float
    decisive: int
    name: str = "guaranteed"

    def signs(self, differences: Floats, up: float, down: float, *, since: int = 0) -> Ints:
        looks, n_certain = looks_within(self.strata, differences, since), self.strata.n_certain
        n_rest = len(self.strata.order) - n_certain
        known = differences[:, :n_certain].sum(1, keepdims=True) / max(n_rest, 1)  # what each other draw makes up for
        found: list[Bools] = []
        for side, level in ((1, up), (-1, down)):
            bets = side * (differences[:, n_certain:] + known)
            wealth = log_wealth(bets, self.limit - side * known, n_rest)
            with np.errstate(divide="ignore"):
                is_won = np.maximum.accumulate(wealth, axis=1)[:, looks - n_certain - 1] >= -np.log(level)
            found.append(is_won & (missed(n_rest, looks - n_certain, self.decisive) <= level))
        return np.where(found[0], 1, np.where(found[1], -1, 0))

    def n_sound(self, differences: Floats) -> Ints:
        limits = np.where(np.arange(len(self.strata.order)) < self.strata.n_certain, np.inf, self.limit)
        return n_within(differences, limits)

    def named(self, differences: Floats) -> str:
        n_beyond = (np.abs(differences[:, self.strata.n_certain :]) > self.limit * (1 + 1e-9)).sum(1)
        if not n_beyond.any():
            return self.name
        return VIOLATED if ((n_beyond > 0) & (n_beyond < self.decisive)).any() else BEYOND

    def estimate(self, differences: Floats) -> Estimate:
        return estimate(differences, self.strata, [differences.shape[1]])


def missed(n_bank: int, n_measured: Ints, n_decisive: int) -> Floats:
    """The probability that a random sample without replacement holds none of some draws of a bank.

    >>> missed(1000, np.array([260, 140]), 10).round(3).tolist()
    [0.048, 0.22]
    """
    left = np.clip(n_bank - n_measured, 0, None)[:, None] - np.arange(n_decisive)
    return np.prod(np.clip(left, 0, None) / np.maximum(n_bank - np.arange(n_decisive), 1), axis=1)


def log_wealth(differences: Floats, limit: float | Floats, n_bank: int) -> Floats:
    """[m, n], the log wealth after each draw of who bets that the mean over the bank is positive.

    Before each draw `expected` is what the draws left must average if the whole averages 0. A bet is fair then and
    loses on average if the whole averages less. Beyond all bounds once the draws left cannot make up for the rest.
    """
    n = np.arange(differences.shape[-1])
    total = np.cumsum(differences, -1)
    seen = total - differences
    expected = -seen / (n_bank - n)
    error = (differences - total / (n + 1)) ** 2
    spread = (_PRIOR_SPREAD * limit**2 + np.cumsum(error, -1) - error) / (n + 1)
    ahead = np.maximum(seen / (n + 1) - expected, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = _STAKE / np.maximum(expected + limit, 0)
        gain = np.log1p(np.minimum(ahead / (spread + ahead**2), most) * (differences - expected))
    wealth = np.cumsum(np.where(expected <= -limit, 0, gain), -1)
    is_certain = total > ((n_bank - n - 1) * (1 + 1e-9) + 1e-9) * limit  # beyond rounding
    return np.where(is_certain, _CERTAIN, wealth)
