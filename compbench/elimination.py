"""Successive elimination: a caption is out when it certainly has a higher error than the best one so far.

For one image and captions of k classes. The race ends when all captions left are of one class; most are out after a
few draws. Prompts of one class do not compete.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from compbench.policies import (
    Comparison,
    Outcome,
    Unfinished,
    Verdict,
    checked_risk,
    full_scores,
    nested_scores,
    stratified_means,
)
from compbench.sequential import Bound, Estimate, estimate
from compbench.types import Bools, Floats, Ints, UsageError

__all__ = ["TOP_1", "Elimination"]

TOP_1 = "top-1"


@dataclass(frozen=True, eq=False)
class _Race:
    """How far a race has come."""

    missing: Bools  # [C, D], what it waits for; all False when it is over
    n_draws: Ints  # [C]
    winner: int  # caption; of equally good ones the first


@dataclass(frozen=True, eq=False)
class Elimination:
    """The class predicted differs from the full bank's with probability `risk` at most.

    The best caption can only be put out by one of another class that is found better: each at `risk` over their
    number. If classes are left when the bank is exhausted, the lowest mean wins, and of equal ones the first.
    """

    matches: Bools  # [1, C]
    of_caption: Ints  # [C] the class of each caption
    bound: Bound
    risk: float = 0.05

    def __post_init__(self) -> None:
        checked_risk(self.risk)
        if self.matches.shape != (1, len(self.of_caption)):
            raise UsageError(
                f"a race of classes is for one image and {len(self.of_caption)} captions, not {self.matches.shape}"
            )

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        return self._run(errors[0], measured[0]).missing[None]

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        return self._scores(errors[0], self._over(errors[0], measured[0]))[None]

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        race = self._over(errors[0], measured[0])
        found = self._described(errors[0], race)
        doubt = min(1.0, sum(each.doubt for each in found))
        top_1 = Outcome(bool(self.matches[0, race.winner]), all(each.is_exact for each in found), doubt)
        risk = self.risk if len(self.bound.strata.looks) > 1 else 0.0
        n_draws, n_bank = race.n_draws[None], errors.shape[-1]
        return Verdict(self.bound.name, risk, n_draws, n_bank, {TOP_1: top_1}, tuple(found), (race.winner,))

    @cached_property
    def _level(self) -> float:
        n_others = len(self.of_caption) - np.unique(self.of_caption, return_counts=True)[1].min()
        return self.risk / max(int(n_others), 1)

    def _over(self, errors: Floats, measured: Bools) -> _Race:
        race = self._run(errors, measured)
        if race.missing.any():
            raise Unfinished(f"the race is not over: {int(race.missing.sum())} more errors are wanted")
        return race

    def _run(self, errors: Floats, measured: Bools) -> _Race:
        """The race; captions that the scores put before its winner are measured to the end, and so is the winner."""
        race = self._replay(errors, measured)
        to_the_end = np.zeros(len(errors), bool)
        while not race.missing.any():
            scores = self._scores(errors, race)
            ahead = (scores >= scores[race.winner]) & (self.of_caption != self.of_caption[race.winner])
            if not ahead.any() or (race.n_draws == errors.shape[-1]).all():
                return race
            ahead[race.winner] = True
            to_the_end = to_the_end | ahead if (ahead & ~to_the_end).any() else np.ones_like(to_the_end)
            race = _to_the_end(errors, measured, race, to_the_end)
        return race

    def _replay(self, errors: Floats, measured: Bools) -> _Race:
        strata = self.bound.strata
        n_bank = errors.shape[-1]
        n_draws, left = np.zeros(len(errors), np.int64), np.arange(len(errors))
        missing, winner = np.zeros(errors.shape, bool), 0
        for look in strata.looks.tolist():
            draws = strata.order[:look]
            here = np.ix_(left, draws)
            missing[here] = ~measured[here]
            if missing.any():
                break
            n_draws[left] = look
            winner = int(left[stratified_means(errors[left], strata, look).argmin()])
            rivals = left[self.of_caption[left] != self.of_caption[winner]]
            if look == n_bank or not len(rivals):
                break
            differences = errors[np.ix_(rivals, draws)] - errors[winner, draws]
            if self.bound.is_broken(differences):
                race = _Race(missing, n_draws, winner)
                return _to_the_end(errors, measured, race, np.ones(len(errors), bool))
            out = rivals[self.bound.signs(differences, look, self._level, 0.0) > 0]
            left = np.setdiff1d(left, out)
            if len(out) == len(rivals):
                break
        return _Race(missing, n_draws, winner)

    def _scores(self, errors: Floats, race: _Race) -> Floats:
        """[C]."""
        if (race.n_draws == errors.shape[-1]).all():
            return full_scores(errors)
        strata = self.bound.strata
        return nested_scores(lambda n, some: stratified_means(errors[some], strata, n), race.n_draws)

    def _described(self, errors: Floats, race: _Race) -> list[Comparison]:
        """The winner against each caption of another class, on the draws that they share."""
        strata, n_bank = self.bound.strata, errors.shape[-1]
        found: dict[int, Comparison] = {}
        shared = np.minimum(race.n_draws, race.n_draws[race.winner])
        others = self.of_caption != self.of_caption[race.winner]
        for n in np.unique(shared[others]).tolist():
            rivals = np.flatnonzero(others & (shared == n))
            draws = strata.order[:n]
            about = estimate(
                errors[np.ix_(rivals, draws)] - errors[race.winner, draws], strata.in_order[:n], strata.sizes
            )
            found |= _against(race.winner, rivals, about, n, n_bank)
        return [found[each] for each in sorted(found)]


def _to_the_end(errors: Floats, measured: Bools, race: _Race, to_the_end: Bools) -> _Race:
    """Some captions [C] on the full bank; the best of them wins, since the winner and all that may be better are."""
    missing = to_the_end[:, None] & ~measured
    n_draws = np.where(to_the_end, errors.shape[-1], race.n_draws)
    if missing.any():
        return _Race(missing, n_draws, race.winner)
    among = np.flatnonzero(to_the_end)
    return _Race(missing, n_draws, int(among[full_scores(errors[among]).argmax()]))


def _against(winner: int, rivals: Ints, about: Estimate, n: int, n_bank: int) -> dict[int, Comparison]:
    doubts = np.where(about.mean > 0, special.ndtr(-np.abs(about.z)), 0.5) if n < n_bank else np.zeros(len(rivals))
    values = zip(rivals.tolist(), about.mean.tolist(), about.standard_error.tolist(), doubts.tolist(), strict=True)
    return {
        rival: Comparison("class", (0, winner), (0, rival), 1, n, margin, error, n == n_bank, doubt)
        for rival, margin, error, doubt in values
    }
