"""Racing as a run stores it: until the sign of every comparison that still matters is decided at a risk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Bools
from compbench.core.errors import UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.core.rules import Rule
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.policies import Weighted, checked_risk
from compbench.schedules.strata import N_STRATA, strata

__all__ = ["BOUNDS", "Racing"]

BOUNDS = ("asymptotic", "anytime")


@dataclass(frozen=True, slots=True)
class Racing:
    """A race over the first `draws` draws of the bank, weighed by target and loss."""

    draws: int
    target: str = "native"
    loss: str = "l2"
    risk: float = 0.05  # for each outcome, how probable it may be that the full budget says otherwise, if `bound` holds
    bound: str = "asymptotic"  # holds where the differences have no rare, large, one-sided part; anytime: always
    max_difference: float | None = None  # anytime: no two weighted errors differ by more under one draw
    outcomes: tuple[str, ...] = OUTCOMES  # that are raced for, of a matching task
    seed: int = 0  # of the examples' own orders
    n_strata: int = N_STRATA
    allocation: tuple[float, ...] | None = None  # from a frozen pilot: `compbench.schedules.strata.allocation_from`
    together: int = 1  # neighbouring draws of the bank that are raced as one: 2 for antithetic pairs

    name = "racing"

    def __post_init__(self) -> None:
        checked_risk(self.risk)
        if self.bound not in BOUNDS:
            raise UsageError(f"no bound named {self.bound!r}; expected one of {', '.join(BOUNDS)}")
        if (self.bound == "anytime") != (self.max_difference is not None and self.max_difference > 0):
            raise UsageError(
                f"bound={self.bound} with max_difference={self.max_difference}; the anytime bound, and no other, rests "
                "on a positive largest difference of two errors under one draw"
            )
        if self.bound == "anytime" and self.allocation is not None:
            raise UsageError("the anytime bound needs a plain random order; expected no allocation to strata with it")
        if self.draws % self.together:
            raise UsageError(
                f"draws={self.draws} cannot be raced in antithetic pairs; expected an even number of draws"
            )
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """The one way in which the errors can be read."""
        return Rule(self.target, self.draws, self.loss)

    def policy(self, example_id: str, matches: Bools, draws: DrawTable, classes: Classes | None) -> Weighted:
        """The policy of one example."""
        # these need scipy, which a reader of full runs does not
        from compbench.schedules._bounds import Anytime, Asymptotic
        from compbench.schedules._race_captions import CaptionRace
        from compbench.schedules._race_classes import Elimination

        way = strata(
            draws.timesteps[: self.draws].reshape(-1, self.together).mean(-1),
            seed=self.seed,
            example_id=example_id,
            n_strata=1 if self.bound == "anytime" else self.n_strata,
            allocation=self.allocation,
        )
        bound = Asymptotic(way) if self.max_difference is None else Anytime(way, self.max_difference)
        race = (
            CaptionRace(matches, bound, self.risk, self.outcomes)
            if classes is None
            else Elimination(matches, np.asarray(classes.of_caption), bound, self.risk)
        )
        return Weighted(race, self.rule.weights(draws)[: self.draws], self.together)
