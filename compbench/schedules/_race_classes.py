"""Successive elimination: a caption is out when it is found to have a higher error than the best one so far.

For one image and captions of k classes. The race ends when all captions left are of one class; most are out after a
few draws. Prompts of one class do not compete.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.schedules._bounds import Bound, Estimate
from compbench.schedules.policies import (
    Comparison,
    Outcome,
    Unfinished,
    Verdict,
    checked_risk,
    estimated_means,
    full_scores,
    raced_scores,
)

__all__ = ["TOP_1", "Elimination"]

TOP_1 = "top-1"


@dataclass(frozen=True, eq=False)
class _Race:
    """The state of a race."""

    missing: Bools  # [C, D], what it waits for; all False when it is over
    n_draws: Ints  # [C]
    winner: int  # caption; of equally good ones the first


@dataclass(frozen=True, eq=False)
class _Duels:
    """Tests of one caption against others at the looks from number `since` up to some horizon."""

    winner: int
    since: int
    row_of: Ints  # [C], the row of each rival
    signs: Ints  # [rivals, looks]
    n_sound: Ints  # [C]

    def covers(self, winner: int, look: int) -> bool:
        return self.winner == winner and look < self.since + self.signs.shape[1]


_NO_DUELS = _Duels(-1, 0, *np.zeros((3, 0, 0), np.int64))


@dataclass(frozen=True, eq=False)
class Elimination:
    """The class predicted differs from the full bank's with probability `risk` at most, as far as the bound does.

    `Anytime` keeps its level with a true limit; `Asymptotic` about does where the differences have no rare, large,
    one-sided part, and does not where they have. The best caption can only be put out by one of another class that is
    found better: each at `risk` over their number. If classes are left when the bank is exhausted, the lowest mean
    wins, and of equal ones the first.
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
        return self._run(_known(errors, measured), measured[0]).missing[None]

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        return self._scored(*self._over(errors, measured))

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        return self._judged(*self._over(errors, measured))

    def concluded(self, errors: Floats, measured: Bools) -> tuple[Floats, Verdict]:
        known, race = self._over(errors, measured)
        return self._scored(known, race), self._judged(known, race)

    def _scored(self, known: Floats, race: _Race) -> Floats:
        return raced_scores(known, self.bound.strata, race.n_draws)[None]

    def _judged(self, known: Floats, race: _Race) -> Verdict:
        found = self._described(known, race)
        doubt = min(1.0, sum(comparison.doubt for comparison in found))
        top_1 = Outcome(bool(self.matches[0, race.winner]), all(comparison.is_exact for comparison in found), doubt)
        risk = self.risk if len(self.bound.strata.looks) > 1 else 0.0
        n_draws, n_bank = race.n_draws[None], known.shape[-1]
        return Verdict(self._bound_of(known, race), risk, n_draws, n_bank, {TOP_1: top_1}, tuple(found), (race.winner,))

    def _bound_of(self, errors: Floats, race: _Race) -> str:
        """The bound's name, or what it is called where a comparison on the full bank contradicts it."""
        n_bank = errors.shape[-1]
        whole = (race.n_draws == n_bank) & (race.n_draws[race.winner] == n_bank)
        whole &= self.of_caption != self.of_caption[race.winner]
        differences = (errors[whole] - errors[race.winner])[:, self.bound.strata.order]
        return self.bound.named(differences)

    @cached_property
    def _level(self) -> float:
        n_others = len(self.of_caption) - np.unique(self.of_caption, return_counts=True)[1].min()
        return self.risk / max(int(n_others), 1)

    def _over(self, errors: Floats, measured: Bools) -> tuple[Floats, _Race]:
        known = _known(errors, measured)
        race = self._run(known, measured[0])
        if race.missing.any():
            raise Unfinished(f"the race is not over: {int(race.missing.sum())} more errors are wanted")
        return known, race

    def _run(self, errors: Floats, measured: Bools) -> _Race:
        """The race; captions that the scores put before its winner are measured to the end, and so is the winner."""
        race = self._replay(errors, measured)
        to_the_end = np.zeros(len(errors), bool)
        while not race.missing.any():
            ahead = self._ahead(errors, race)
            if not ahead.any() or (race.n_draws == errors.shape[-1]).all():
                return race
            ahead[race.winner] = True
            to_the_end = to_the_end | ahead if (ahead & ~to_the_end).any() else np.ones_like(to_the_end)
            race = _to_the_end(errors, measured, race, to_the_end)
        return race

    def _ahead(self, errors: Floats, race: _Race) -> Bools:
        """[C], captions of other classes that the scores do not put after the winner, exact ties apart."""
        scores, exact = raced_scores(errors, self.bound.strata, race.n_draws), full_scores(errors)
        is_exact = (race.n_draws == errors.shape[-1]) & (race.n_draws[race.winner] == errors.shape[-1])
        ties = is_exact & (exact == exact[race.winner]) & (scores == scores[race.winner])
        return (scores >= scores[race.winner]) & ~ties & (self.of_caption != self.of_caption[race.winner])

    def _replay(self, errors: Floats, measured: Bools) -> _Race:
        strata, n_bank = self.bound.strata, errors.shape[-1]
        is_there = measured[:, strata.order]
        n_there = np.where(is_there.all(1), n_bank, is_there.argmin(1))  # [C], draws before the first gap
        in_order = errors[:, strata.order[: n_there.max()]]
        means = estimated_means(in_order, strata)
        n_draws, left, winner, duels = np.zeros(len(errors), np.int64), np.arange(len(errors)), 0, _NO_DUELS
        for number, look in enumerate(strata.looks.tolist()):
            n_draws[left] = look
            if (n_there[left] < look).any():
                missing = np.zeros(errors.shape, bool)
                missing[np.ix_(left, strata.order[:look])] = ~is_there[left, :look]
                return _Race(missing, n_draws, winner)
            winner = int(left[(means[left, number] if look < n_bank else errors[left].mean(-1)).argmin()])
            rivals = left[self.of_caption[left] != self.of_caption[winner]]
            if look == n_bank or not len(rivals):
                break
            if not duels.covers(winner, number):
                duels = self._duels(in_order, winner, rivals, number)
            if (duels.n_sound[rivals] < look).any():
                to_the_end = np.ones(len(errors), bool)
                return _to_the_end(errors, measured, _Race(~measured, n_draws, winner), to_the_end)
            is_out = duels.signs[duels.row_of[rivals], number - duels.since] > 0
            left = np.setdiff1d(left, rivals[is_out])
            if is_out.all():
                break
        return _Race(np.zeros(errors.shape, bool), n_draws, winner)

    def _duels(self, in_order: Floats, winner: int, rivals: Ints, since: int) -> _Duels:
        """The best caption so far against its rivals, at the look number `since` and those up to twice its draws."""
        horizon = 2 * int(self.bound.strata.looks[since])
        differences = in_order[rivals, :horizon] - in_order[winner, :horizon]
        row_of, n_sound = np.zeros((2, len(in_order)), np.int64)
        row_of[rivals], n_sound[rivals] = np.arange(len(rivals)), self.bound.n_sound(differences)
        return _Duels(winner, since, row_of, self.bound.signs(differences, self._level, 0.0, since=since), n_sound)

    def _described(self, errors: Floats, race: _Race) -> list[Comparison]:
        """The winner against each caption of another class, on the draws that they share."""
        strata, n_bank = self.bound.strata, errors.shape[-1]
        found: dict[int, Comparison] = {}
        shared = np.minimum(race.n_draws, race.n_draws[race.winner])
        others = self.of_caption != self.of_caption[race.winner]
        for n in np.unique(shared[others]).tolist():
            rivals = np.flatnonzero(others & (shared == n))
            draws = strata.order[:n]
            about = self.bound.estimate(errors[np.ix_(rivals, draws)] - errors[race.winner, draws])
            found |= _against(race.winner, rivals, about, n, n_bank)
        return [found[label] for label in sorted(found)]


def _known(errors: Floats, measured: Bools) -> Floats:
    """[C, D]; 0 where nothing is measured, whatever stands there."""
    return np.where(measured[0], errors[0], 0)


def _to_the_end(errors: Floats, measured: Bools, race: _Race, to_the_end: Bools) -> _Race:
    """Some captions [C] on the full bank; the best of them wins, since the winner and all that may be better are."""
    missing = to_the_end[:, None] & ~measured
    n_draws = np.where(to_the_end, errors.shape[-1], race.n_draws)
    if missing.any():
        return _Race(missing, n_draws, race.winner)
    among = np.flatnonzero(to_the_end)
    return _Race(missing, n_draws, int(among[full_scores(errors[among]).argmax()]))


def _against(winner: int, rivals: Ints, about: Estimate, n: int, n_bank: int) -> dict[int, Comparison]:
    doubts = (
        np.where(about.mean[:, 0] > 0, special.ndtr(-np.abs(about.z[:, 0])), 0.5)
        if n < n_bank
        else np.zeros(len(rivals))
    )
    values = zip(
        rivals.tolist(), about.mean[:, 0].tolist(), about.standard_error[:, 0].tolist(), doubts.tolist(), strict=True
    )
    return {
        rival: Comparison("class", (0, winner), (0, rival), 1, n, margin, error, n == n_bank, doubt)
        for rival, margin, error, doubt in values
    }
