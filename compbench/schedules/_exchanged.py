"""Held-out examples with each other's margins: how much of their doubts is borne out.

A first wave has too few small margins for its own races to tell how often a level of doubt is wrong. How the estimated
mean of an example errs on the way through the bank does not depend on where that mean is, so its errors are tried, with
either sign, on the margins of each other example. The comparisons of an example stay together: those of two captions
of one picture err together, and all of an outcome must be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from compbench.core.aliases import Bools, Floats, Ints
from compbench.schedules._expected import doubts_of
from compbench.schedules._learned_way import LearnedWay
from compbench.schedules._pattern import varies

__all__ = ["Exchanged", "exchanged"]


@dataclass(frozen=True, eq=False)
class Exchanged:
    """Races of n made-up examples with m comparisons each, on one way."""

    doubts: Floats  # [n, m, looks]
    signs: Ints  # [n, m, looks] of the estimated mean
    truths: Ints  # [n, m]

    def at(self, level: float, members: Mapping[str, Bools]) -> Floats:
        """[2, outcomes], the mean of wrong outcomes and of their doubts where comparisons are decided at a level."""
        is_decided = self.doubts <= level
        first, never = is_decided.argmax(-1)[..., None], ~is_decided.any(-1)
        signs = np.where(never, self.truths, np.take_along_axis(self.signs, first, -1)[..., 0])
        doubts = np.where(never, 0, np.take_along_axis(self.doubts, first, -1)[..., 0])
        found: list[tuple[float, float]] = []
        for member in members.values():
            is_right = (signs[:, member] > 0).all(1)
            against = np.where(signs[:, member] > 0, 1, doubts[:, member]).min(1)
            is_wrong = is_right != (self.truths[:, member] > 0).all(1)
            found.append((is_wrong.mean(), np.where(is_right, doubts[:, member].sum(1), against).mean()))
        return np.array(found).T


def exchanged(wave: Sequence[Floats], ways: Sequence[tuple[int, LearnedWay]]) -> Sequence[Exchanged]:
    """The differences [m, D] of each example on its ways, with the margins of all others; none if some are even."""
    if not all(varies(differences).all() for differences in wave):
        return ()
    margins = np.array([differences.mean(1) / differences.std(1) for differences in wave])  # [N, m]
    found: list[Exchanged] = []
    for number, way in ways:
        differences, at = wave[number], way.looks[:-1]
        mean, error = way.means(differences[:, way.order], at)
        size = differences.std(1, keepdims=True)
        errors, error = (mean - differences.mean(1, keepdims=True)) / size, error / size
        others = np.delete(margins, number, 0)
        means = np.concatenate([others[..., None] + sign * errors for sign in (1, -1)])  # [n, m, looks]
        tails = special.stdtr(np.maximum(at - 1, 1), -np.abs(means) / error)
        looks = np.broadcast_to(np.arange(len(at)), means.shape)
        doubts = doubts_of(way, looks.ravel(), -special.ndtri(tails).ravel()).reshape(means.shape)
        found.append(Exchanged(doubts, np.sign(means).astype(int), np.tile(np.sign(others).astype(int), (2, 1))))
    return found
