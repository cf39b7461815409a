"""The bound of a race with a tolerance: a comparison is decided once the doubt of its sign is small enough.

Doubts are estimates: from a t statistic of the mean of least variance (`_learned_way.py`), whose errors are made larger
by what examples held out of the wave had, and from the margins that the wave had. The level at which a comparison is
decided is the one at which, of those examples, as large a share of outcomes is expected to change as the tolerance
allows (`_held_out.py`). It is the same for all: an example that is decided with less doubt, as most are, leaves its
share to the others. Where examples have heavy draws of their own, none is decided before enough of these were
measured (`_heavy.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from compbench.core.aliases import Floats, Ints
from compbench.schedules._bounds import BEYOND, Estimate, looks_within, n_within, normal
from compbench.schedules._learned_way import LearnedWay

__all__ = ["Expected", "doubts_of"]

_LARGEST = 37.0  # a z beyond which no tail is told from 0
_WIDTH = 0.5  # of the margins that one of the wave stands for, in that margin


@dataclass(frozen=True, eq=False)
class Expected:
    """Signs at the bound's own `level` of doubt, whatever risk is asked for."""

    strata: LearnedWay
    level: float
    limits: Floats  # [D] of the bank's draws; one beyond sends its example to the full bank
    name: str = "pooled"

    def signs(self, differences: Floats, up: float, down: float, *, since: int = 0) -> Ints:
        at = looks_within(self.strata, differences, since)
        mean, error = self.strata.means(differences, at)
        t = mean / error
        tails = special.stdtr(np.maximum(at - 1, 1), -np.abs(t))
        is_open = at - self.strata.n_certain >= self.strata.pattern.floor
        rows, looks = np.nonzero((tails <= self.level) & is_open)  # no doubt is less than its tail
        doubts = doubts_of(self.strata, looks + since, -special.ndtri(tails[rows, looks]))
        found = np.zeros(t.shape, np.int64)
        found[rows, looks] = np.where(doubts <= self.level, np.sign(t[rows, looks]), 0)
        return found

    def n_sound(self, differences: Floats) -> Ints:
        return n_within(differences, self.limits[self.strata.order])

    def named(self, differences: Floats) -> str:
        return self.name if (self.n_sound(differences) == differences.shape[1]).all() else BEYOND

    def estimate(self, differences: Floats) -> Estimate:
        n = differences.shape[1]
        if n == len(self.strata.order):
            mean = differences.mean(1, keepdims=True)
            return Estimate(mean, np.zeros_like(mean), np.zeros_like(mean))
        mean, error = self.strata.means(differences, np.array([n]))
        looks = np.full(len(mean), np.searchsorted(self.strata.looks, n))
        doubts = doubts_of(self.strata, looks, np.abs(normal(mean / error, np.array([n - 1.0])))[:, 0])
        found = np.minimum(self.strata.pattern.borne_out * doubts, 0.5)
        return Estimate(mean, error, -np.sign(mean) * special.ndtri(found)[:, None])


def doubts_of(way: LearnedWay, looks: Ints, z: Floats) -> Floats:
    """The probability of the other sign after a statistic z >= 0, where margins are like those of the wave.

    Were all margins equally probable, it would be the normal tail, and it is never less: a wave is too small to show
    that none is near 0. Where most are small, an early z of 3 is chance more often than not; for that each of the
    wave's margins, of either sign, stands for normal ones around it.
    """
    z = np.minimum(z, _LARGEST)
    precision = np.sqrt(way.information[looks]) / way.inflation[looks]
    margins = np.maximum(np.array(way.pattern.margins or (0.0,)) * precision[:, None], 1e-9)
    centres = np.concatenate([margins, -margins], 1)  # [n, margins], in standard errors, as all below
    spread = (_WIDTH * centres) ** 2
    logs = -((z[:, None] - centres) ** 2) / (1 + spread) / 2 - np.log1p(spread) / 2
    likely = np.exp(logs - logs.max(-1, keepdims=True))
    against = special.ndtr(-(z[:, None] * spread + centres) / np.sqrt(spread * (1 + spread)))
    return np.maximum((likely * against).sum(-1) / likely.sum(-1), special.ndtr(-z))
