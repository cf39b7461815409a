"""By what rules a run's examples are raced: plain data, part of the run's identity, and the policy of each example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.schedules._bounds import Anytime, Asymptotic, Bound
from compbench.schedules._race_captions import Racing
from compbench.schedules._race_classes import Elimination
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.policies import Policy, checked_risk
from compbench.schedules.strata import N_STRATA, strata

__all__ = ["BOUNDS", "Race"]

BOUNDS = ("asymptotic", "anytime")


@dataclass(frozen=True, slots=True)
class Race:
    """What is asked, at what risk, by which bound, in what order of draws."""

    risk: float = 0.05  # for each outcome, how probable it may be that the full budget says otherwise, if `bound` holds
    bound: str = "asymptotic"  # holds where the differences have no rare, large, one-sided part; anytime: always
    max_difference: float | None = None  # anytime: no two weighted errors differ by more under one draw
    n_strata: int = N_STRATA
    allocation: tuple[float, ...] | None = None  # from a frozen pilot: `compbench.schedules.strata.allocation_from`
    seed: int = 0
    asked: tuple[str, ...] = OUTCOMES  # of matching

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

    def policy(
        self, example_id: str, matches: Bools, timesteps: Floats | Ints, of_caption: Sequence[int] | None = None
    ) -> Policy:
        """For one example and a budget with these `timesteps` [D]; `of_caption` [C] are the classes where there are."""
        bound = self._bound(example_id, timesteps)
        if of_caption is not None:
            return Elimination(matches, np.asarray(of_caption), bound, self.risk)
        return Racing(matches, bound, self.risk, self.asked)

    def _bound(self, example_id: str, timesteps: Floats | Ints) -> Bound:
        n_strata = 1 if self.bound == "anytime" else self.n_strata
        its = strata(timesteps, seed=self.seed, example_id=example_id, n_strata=n_strata, allocation=self.allocation)
        return Asymptotic(its) if self.max_difference is None else Anytime(its, self.max_difference)
