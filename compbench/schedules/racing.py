"""Racing as a run stores it: until the sign of every comparison that still matters is decided at a risk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.aliases import Bools, Floats
from compbench.core.errors import UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.core.rules import Rule
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.policies import Unfinished, Weighted, checked_risk
from compbench.schedules.strata import N_STRATA, strata
from compbench.schedules.wave import N_WAVE, Lesson, Wave, compared, learned

if TYPE_CHECKING:
    from compbench.schedules._bounds import Bound

__all__ = ["BOUNDS", "N_DECISIVE", "Racing", "n_wave"]

BOUNDS = ("asymptotic", "anytime", "pooled", "guaranteed")
_LEARNED = ("pooled", "guaranteed")  # from a first wave
N_DECISIVE = 10


def n_wave(bound: str) -> int:
    """The number of examples a bound learns from; 0 where it does not learn."""
    return N_WAVE if bound in _LEARNED else 0


@dataclass(frozen=True, slots=True)
class Racing:
    """A race over the first `draws` draws of the bank, weighed by target and loss."""

    draws: int
    target: str = "native"
    loss: str = "l2"
    risk: float = 0.05  # for each outcome, how probable it may be that the full budget says otherwise, if `bound` holds
    bound: str = "asymptotic"  # one of BOUNDS; the README of this room says when each holds
    max_difference: float | None = None  # anytime: no two weighted errors differ by more under one draw
    outcomes: tuple[str, ...] = OUTCOMES  # that are raced for, of a matching task
    seed: int = 0  # of the examples' own orders
    n_strata: int = N_STRATA
    allocation: tuple[float, ...] | None = None  # from a frozen pilot: `compbench.schedules.strata.allocation_from`
    together: int = 1  # neighbouring draws of the bank that are raced as one: 2 for antithetic pairs
    n_wave: int = 0  # pooled, guaranteed: examples that are measured first, in full, and teach how to race the others
    decisive: int = N_DECISIVE  # guaranteed: of draws beyond the wave's limits an example has none or as many at least
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

    def units(self, timesteps: Floats) -> Floats:
        """[D], the timesteps of the draws that are raced: antithetic pairs are one."""
        return timesteps[: self.draws].reshape(-1, self.together).mean(-1)

    def lesson(
        self, wave: Mapping[str, Floats], matches: Mapping[str, Bools], draws: DrawTable, classes: Classes | None
    ) -> Lesson:
        """The lesson of a first wave, from its errors [I, C, D] as they are stored."""
        weights = self.rule.weights(draws)[: self.draws]
        of_caption = None if classes is None else np.array(classes.of_caption)
        found: list[Floats] = []
        for name, errors in wave.items():
            units = (errors * weights).reshape(*errors.shape[:-1], -1, self.together).mean(-1)
            found.append(compared(units, matches[name], of_caption, self.outcomes))
        return learned(found, self.units(draws.timesteps), 1 if self.bound == "guaranteed" else self.n_strata)

    def policy(self, example_id: str, matches: Bools, draws: DrawTable, classes: Classes | None) -> Weighted:
        """The policy of one example."""
        # these need scipy, which a reader of full runs does not
        from compbench.schedules._bounds import Asymptotic
        from compbench.schedules._race_captions import CaptionRace
        from compbench.schedules._race_classes import Elimination

        units = self.units(draws.timesteps)
        is_raced = self.wave is None or example_id not in self.wave.ids
        way = strata(units, seed=self.seed, example_id=example_id)
        bound = self._bound(example_id, units) if is_raced else Asymptotic(way, "wave")
        risk = self.risk if is_raced else 0.0  # the wave is measured in full
        race = (
            CaptionRace(matches, bound, risk, self.outcomes)
            if classes is None
            else Elimination(matches, np.asarray(classes.of_caption), bound, risk)
        )
        return Weighted(race, self.rule.weights(draws)[: self.draws], self.together)

    def _bound(self, example_id: str, units: Floats) -> Bound:
        from compbench.schedules._bounds import Anytime, Asymptotic, Guaranteed, Pooled

        lesson = None if self.wave is None else self.wave.lesson
        if self.n_wave and lesson is None:
            raise Unfinished(f"example {example_id!r} is raced once the first wave of its run has been measured")
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
