"""Racing: an example's pairs are measured until the sign of every comparison that still matters is decided at a risk.

A comparison matters while it is undecided and an outcome hangs on it: one caption that is found to lose settles text,
and its other comparisons are dropped. A race is rerun from the first draw whenever it is asked for, on prefixes of
the example's own order, so that it does not matter how its draws came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from compbench.core.aliases import Bools, Floats, Ints
from compbench.schedules._bounds import Bound
from compbench.schedules.pairs import OUTCOMES, Comparisons
from compbench.schedules.policies import (
    Comparison,
    Outcome,
    Unfinished,
    Verdict,
    checked_risk,
    full_scores,
    raced_scores,
)

__all__ = ["CaptionRace"]


@dataclass(frozen=True, eq=False)
class _Race:
    """The state of a race."""

    missing: Bools  # [P, D], what it waits for; all False when it is over
    signs: Ints  # [m]
    n_draws: Ints  # [P]


@dataclass(frozen=True, eq=False)
class CaptionRace:
    """Each outcome differs from the full bank's with probability `risk` at most, as far as the bound keeps its levels.

    `Anytime` does with a true limit; `Asymptotic` about does where the differences have no rare, large, one-sided part,
    and does not where they have. A comparison is found positive at level `risk`: an outcome that is wrong has one that
    is not, and is called right only if that one is found positive too. It is found negative at `risk` / m, for an
    outcome that is right is called wrong if one of its m comparisons is. What the bank's last draw decides is exact;
    there a tie is wrong.
    """

    matches: Bools  # [I, C]
    bound: Bound
    risk: float = 0.05
    asked: Sequence[str] = OUTCOMES

    def __post_init__(self) -> None:
        checked_risk(self.risk)

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        return self._run(*_flat(errors, measured)).missing.reshape(errors.shape)

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        return self._scored(*self._over(errors, measured))

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        return self._judged(*self._over(errors, measured))

    def concluded(self, errors: Floats, measured: Bools) -> tuple[Floats, Verdict]:
        flat, race = self._over(errors, measured)
        return self._scored(flat, race), self._judged(flat, race)

    def _scored(self, flat: Floats, race: _Race) -> Floats:
        return raced_scores(flat, self.bound.strata, race.n_draws).reshape(self.matches.shape)

    def _judged(self, flat: Floats, race: _Race) -> Verdict:
        found = self._described(flat, race)
        outcomes = {
            name: _outcome(is_right, [found[n] for n in np.flatnonzero(self._pairs.members[name])])
            for name, is_right in self._pairs.outcomes(race.signs).items()
        }
        n_bank = flat.shape[-1]
        risk = self.risk if len(self.bound.strata.looks) > 1 else 0.0
        return Verdict(
            self._bound_of(flat, race), risk, race.n_draws.reshape(self.matches.shape), n_bank, outcomes, tuple(found)
        )

    def _bound_of(self, errors: Floats, race: _Race) -> str:
        """The bound's name, or what it is called where a comparison on the full bank contradicts it."""
        pairs, n_bank = self._pairs, errors.shape[-1]
        whole = (race.n_draws[pairs.better] == n_bank) & (race.n_draws[pairs.worse] == n_bank)
        differences = (errors[pairs.worse[whole]] - errors[pairs.better[whole]])[:, self.bound.strata.order]
        return self.bound.named(differences)

    @cached_property
    def _pairs(self) -> Comparisons:
        return Comparisons.of(self.matches, self.asked)

    def _over(self, errors: Floats, measured: Bools) -> tuple[Floats, _Race]:
        flat, its = _flat(errors, measured)
        race = self._run(flat, its)
        if race.missing.any():
            raise Unfinished(f"the race is not over: {int(race.missing.sum())} more errors are wanted")
        return flat, race

    def _run(self, errors: Floats, measured: Bools) -> _Race:
        """The race, with what its scores contradict measured to the end and put right.

        The scores weigh draws that the decision did not have; where they say otherwise, the full bank is asked.
        """
        to_the_end = np.zeros(len(self._pairs.better), bool)
        while True:
            race = self._replay(errors, measured, to_the_end)
            if race.missing.any():
                return race
            contradicted = self._contradicted(raced_scores(errors, self.bound.strata, race.n_draws), race.signs)
            if not contradicted.any():
                return race
            to_the_end = to_the_end | contradicted if (contradicted & ~to_the_end).any() else np.ones_like(to_the_end)

    def _replay(self, errors: Floats, measured: Bools, to_the_end: Bools) -> _Race:
        strata, pairs = self.bound.strata, self._pairs
        n_bank = errors.shape[-1]
        ended = self._taking_part(to_the_end)
        signs, n_draws = np.zeros(len(to_the_end), np.int64), np.where(ended, n_bank, 0)
        missing = ended[:, None] & ~measured
        if missing.any():
            return _Race(missing, signs, n_draws)
        signs[to_the_end] = self._exact(errors, to_the_end)
        differences = (errors[pairs.worse] - errors[pairs.better])[:, strata.order]
        decided = self.bound.signs(differences, self.risk, self.risk / max(pairs.widest, 1))
        n_sound = self.bound.n_sound(differences)
        n_there = _leading(measured[:, strata.order])
        active, live = np.ones(len(errors), bool), pairs.live(signs)
        for number, look in enumerate(strata.looks.tolist()):
            n_draws[active] = np.maximum(n_draws[active], look)
            if (n_there[active] < look).any():
                draws = strata.order[:look]
                missing[:, draws] = active[:, None] & ~measured[:, draws]
                break
            if look == n_bank:
                signs[live] = self._exact(errors, live)
                break
            if (n_sound[live] < look).any():
                return self._replay(errors, measured, np.ones_like(to_the_end))
            if number and not decided[live, number].any():
                continue  # nobody drops out, at most looks
            signs[live] = decided[live, number]
            live = pairs.live(signs)
            active = self._taking_part(live)
            if not active.any():
                break
        return _Race(missing, signs, n_draws)

    def _taking_part(self, comparisons: Bools) -> Bools:
        """[P], the pairs of some comparisons [m]."""
        taking_part = np.zeros(self.matches.size, bool)
        taking_part[self._pairs.better[comparisons]] = True
        taking_part[self._pairs.worse[comparisons]] = True
        return taking_part

    def _exact(self, errors: Floats, comparisons: Bools) -> Ints:
        """The signs that the full bank gives; a tie is negative."""
        scores = full_scores(errors)
        return _signs(scores, self._pairs, comparisons)

    def _contradicted(self, scores: Floats, signs: Ints) -> Bools:
        """[m], the decisions because of which an outcome is not what the scores say."""
        read = _signs(scores, self._pairs, np.ones(len(signs), bool))
        contradicted = np.zeros(len(signs), bool)
        for name, is_right in self._pairs.outcomes(read).items():
            members = self._pairs.members[name]
            if is_right != (signs[members] > 0).all():
                contradicted |= members & (signs != 0) & (signs != read)
        return contradicted

    def _described(self, errors: Floats, race: _Race) -> list[Comparison]:
        pairs, strata = self._pairs, self.bound.strata
        n_captions, n_bank = self.matches.shape[1], errors.shape[-1]
        found: list[Comparison] = []
        for better, worse, sign in zip(pairs.better.tolist(), pairs.worse.tolist(), race.signs.tolist(), strict=True):
            n = int(min(race.n_draws[better], race.n_draws[worse]))
            differences = (errors[worse] - errors[better])[None, strata.order[:n]]
            about = self.bound.estimate(differences)
            first, second = divmod(better, n_captions), divmod(worse, n_captions)
            found.append(
                Comparison(
                    kind="text" if first[0] == second[0] else "image",
                    better=first,
                    worse=second,
                    sign=sign,
                    n_draws=n,
                    margin=float(about.mean[0, 0]),
                    standard_error=float(about.standard_error[0, 0]),
                    is_exact=n == n_bank,
                    doubt=0.0 if n == n_bank else float(special.ndtr(-abs(about.z[0, 0]))),
                )
            )
        return found


def _flat(errors: Floats, measured: Bools) -> tuple[Floats, Bools]:
    """[I, C, D] -> [P, D]; 0 where nothing is measured, whatever stands there."""
    n_bank = errors.shape[-1]
    return np.where(measured, errors, 0).reshape(-1, n_bank), measured.reshape(-1, n_bank)


def _leading(measured: Bools) -> Ints:
    """[P], how many draws in order [P, D] are there before the first that is not."""
    return np.where(measured.all(1), measured.shape[1], measured.argmin(1))


def _signs(scores: Floats, pairs: Comparisons, comparisons: Bools) -> Ints:
    return np.where(scores[pairs.better[comparisons]] > scores[pairs.worse[comparisons]], 1, -1)


def _outcome(is_right: bool, its: Sequence[Comparison]) -> Outcome:
    """Right hangs on all of its comparisons, wrong on the surest of those that say so."""
    if is_right:
        return Outcome(
            True, all(comparison.is_exact for comparison in its), min(1.0, sum(comparison.doubt for comparison in its))
        )
    against = [comparison for comparison in its if comparison.sign < 0]
    return Outcome(
        False, any(comparison.is_exact for comparison in against), min(comparison.doubt for comparison in against)
    )
