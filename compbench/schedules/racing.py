"""Racing as a run stores it: until the sign of every comparison that still matters is decided at a risk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.core.rules import Rule
from compbench.schedules.pairs import OUTCOMES, Comparisons
from compbench.schedules.policies import Unfinished, Weighted, checked_risk, checked_tolerance
from compbench.schedules.strata import N_STRATA, looks, strata, strata_of
from compbench.schedules.wave import N_WAVE, Lesson, Wave, compared, learned

if TYPE_CHECKING:
    from compbench.schedules._bounds import Bound
    from compbench.schedules._expected import Expected
    from compbench.schedules.policies import Policy, Verdict

__all__ = ["BOUNDS", "N_DECISIVE", "RISK", "Racing", "n_wave"]

BOUNDS = ("asymptotic", "anytime", "pooled", "guaranteed")
_LEARNED = ("pooled", "guaranteed")  # from a first wave
N_DECISIVE = 10
RISK = 0.05
_WIDE = 2.0  # with a tolerance: a limit, in largest differences of the wave


def n_wave(bound: str) -> int:
    """The number of examples a bound learns from; 0 where it does not learn."""
    return N_WAVE if bound in _LEARNED else 0


@dataclass(frozen=True, slots=True)
class Racing:
    """A race over the first `draws` draws of the bank, weighed by target and loss."""

    draws: int
    target: str = "native"
    loss: str = "l2"
    risk: float = RISK  # for each outcome, how probable it may be that the full budget says otherwise, if `bound` holds
    bound: str = "asymptotic"  # one of BOUNDS; the README of this room says when each holds
    max_difference: float | None = None  # anytime: no two weighted errors differ by more under one draw
    outcomes: tuple[str, ...] = OUTCOMES  # that are raced for, of a matching task
    seed: int = 0  # of the examples' own orders
    n_strata: int = N_STRATA
    allocation: tuple[float, ...] | None = None  # from a frozen pilot: `compbench.schedules.strata.allocation_from`
    together: int = 1  # neighbouring draws of the bank that are raced as one: 2 for antithetic pairs
    n_wave: int = 0  # pooled, guaranteed: examples that are measured first, in full, and teach how to race the others
    decisive: int = N_DECISIVE  # guaranteed: of draws beyond the wave's limits an example has none or as many at least
    tolerance: float | None = None  # pooled: in place of `risk`, the share of a score's outcomes expected to change
    wave: Wave | None = field(default=None, metadata={"stored": False})  # what a run has of its first wave

    name = "racing"

    def __post_init__(self) -> None:
        checked_risk(self.risk)
        if self.bound not in BOUNDS:
            raise UsageError(f"no bound named {self.bound!r}; expected one of {', '.join(BOUNDS)}")
        if (self.bound == "anytime") != (self.max_difference is not None and self.max_difference > 0):
            raise UsageError(
                f"bound={self.bound} with max_difference={self.max_difference}; max_difference, a positive bound "
                f"on the difference of two errors under one draw, is for the anytime bound only"
            )
        if self.bound == "anytime" and self.allocation is not None:
            raise UsageError("the anytime bound needs a plain random order; expected no allocation to strata with it")
        if (self.bound in _LEARNED) != (self.n_wave > 0) or (self.bound in _LEARNED and self.allocation is not None):
            raise UsageError(
                f"bound={self.bound} with n_wave={self.n_wave}; {' and '.join(_LEARNED)} are the only bounds that "
                f"learn from a first wave of examples; expected no pilot with them"
            )
        checked_tolerance(self.tolerance, self.bound)
        if self.tolerance is not None and self.risk != RISK:
            raise UsageError(f"tolerance={self.tolerance:g} with risk={self.risk:g}; expected one of them")
        if self.decisive < 1 or (self.decisive != N_DECISIVE and self.bound != "guaranteed"):
            raise UsageError(f"decisive={self.decisive} with bound={self.bound}; expected 1 or more, with guaranteed")
        if self.draws % self.together:
            raise UsageError(
                f"draws={self.draws} cannot be raced in antithetic pairs; expected an even number of draws"
            )
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """The one way in which the errors can be read."""
        return Rule(self.target, self.draws, self.loss)

    @property
    def is_waiting(self) -> bool:
        """Whether a first wave has to be measured before any other example can be raced."""
        return self.n_wave > 0 and (self.wave is None or self.wave.lesson is None)

    @property
    def least_draws(self) -> int:
        """The fewest draws after which an example can be decided, outside a first wave and had no draw been heavy."""
        n_units = self.draws // self.together
        at = looks(n_units)
        if self.bound == "guaranteed":
            from compbench.schedules._bets import missed

            at = at[(missed(n_units, at, self.decisive) <= self.risk) | (at == n_units)]
        return int(at[0]) * self.together if self.risk > 0 else self.draws

    def units(self, timesteps: Floats) -> Floats:
        """[D], the timesteps of the draws that are raced: antithetic pairs are one."""
        return timesteps[: self.draws].reshape(-1, self.together).mean(-1)

    def lesson(
        self, wave: Mapping[str, Floats], matches: Mapping[str, Bools], draws: DrawTable, classes: Classes | None
    ) -> Lesson:
        """The lesson of a first wave, from its errors [I, C, D] as they are stored."""
        weights = self.rule.weights(draws)[: self.draws]
        of_caption = None if classes is None else np.array(classes.of_caption)
        units = [(errors * weights).reshape(*errors.shape[:-1], -1, self.together).mean(-1) for errors in wave.values()]
        found = [compared(own, matches[name], of_caption, self.outcomes) for name, own in zip(wave, units, strict=True)]
        n_strata = 1 if self.bound == "guaranteed" else self.n_strata
        timesteps = self.units(draws.timesteps)
        if self.tolerance is None:
            return learned(found, timesteps, n_strata)
        taught = learned(found, timesteps, n_strata, _WIDE)
        # these need scipy, which a reader of full runs does not
        from compbench.schedules._held_out import trusted
        from compbench.schedules._pattern import learned_pattern

        names = list(wave)

        def raced(number: int, bound: Expected) -> Verdict:
            race = self._race(bound, self.risk, matches[names[number]], of_caption)
            return race.verdict(units[number], np.ones(units[number].shape, bool))

        def heavy(some: Sequence[Floats]) -> Sequence[int]:
            return learned(some, timesteps, n_strata).certain

        pattern = learned_pattern(found, taught.certain, self.seed)
        members = [Comparisons.of(matches[name], self.outcomes).members for name in names]
        is_same = classes is None and all(_are_same(members[0], own) for own in members)
        alike = members[0] if is_same else None
        return replace(taught, pattern=trusted(pattern, found, heavy, self.seed, self.tolerance, raced, alike))

    def policy(self, example_id: str, matches: Bools, draws: DrawTable, classes: Classes | None) -> Weighted:
        """The policy of one example."""
        # this needs scipy, which a reader of full runs does not
        from compbench.schedules._bounds import Asymptotic

        units = self.units(draws.timesteps)
        is_raced = self.wave is None or example_id not in self.wave.ids
        way = strata(units, seed=self.seed, example_id=example_id)
        bound = self._bound(example_id, units) if is_raced else Asymptotic(way, "wave")
        allowed = self.risk if self.tolerance is None else self.tolerance
        of_caption = None if classes is None else np.asarray(classes.of_caption)
        race = self._race(bound, allowed if is_raced else 0.0, matches, of_caption)  # the wave is measured in full
        return Weighted(race, self.rule.weights(draws)[: self.draws], self.together)

    def _race(self, bound: Bound, risk: float, matches: Bools, of_caption: Ints | None) -> Policy:
        from compbench.schedules._race_captions import CaptionRace
        from compbench.schedules._race_classes import Elimination

        if of_caption is None:
            return CaptionRace(matches, bound, risk, self.outcomes)
        return Elimination(matches, of_caption, bound, risk)

    def _bound(self, example_id: str, units: Floats) -> Bound:
        from compbench.schedules._bets import Anytime, Guaranteed
        from compbench.schedules._bounds import Asymptotic, Pooled

        lesson = None if self.wave is None else self.wave.lesson
        if self.n_wave and lesson is None:
            raise Unfinished(f"example {example_id!r} is raced once the first wave of its run has been measured")
        if lesson is not None and self.tolerance is not None:
            return self._expected(example_id, units, lesson)
        certain, learned_shares = ((), self.allocation) if lesson is None else (lesson.certain, lesson.allocation)
        way = strata(
            units,
            seed=self.seed,
            example_id=example_id,
            n_strata=1 if self.bound in ("anytime", "guaranteed") else self.n_strata,
            allocation=learned_shares,
            certain=certain,
        )
        if self.max_difference is not None:
            return Anytime(way, self.max_difference)
        if lesson is None:
            return Asymptotic(way)
        if self.bound == "pooled":
            return Pooled(way, limits=lesson.limits)
        return Guaranteed(way, lesson.limits[0], self.decisive)

    def _expected(self, example_id: str, units: Floats, lesson: Lesson) -> Expected:
        from compbench.schedules._expected import Expected
        from compbench.schedules._learned_way import learned_way

        if lesson.pattern is None:
            raise DataError("the first wave of a race with a tolerance has no pattern of draws: run.json is damaged")
        number = int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:4], "big") % lesson.pattern.n_orders
        way = learned_way(lesson.pattern, number, len(lesson.certain))
        limits = np.append(lesson.limits, np.inf)[strata_of(units, self.n_strata, lesson.certain)]
        return Expected(way, lesson.pattern.level, limits)


def _are_same(members: Mapping[str, Bools], others: Mapping[str, Bools]) -> bool:
    return members.keys() == others.keys() and all(np.array_equal(own, others[name]) for name, own in members.items())
