"""An adaptive schedule as a run stores it: all that decides which errors are measured, and how they are read.

`racing` stops a comparison when its sign is decided at a risk; `paper` is the published staged pruning. Either is part
of a run's identity, for another one measures other errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compbench.core.aliases import Bools, Floats, Json
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.core.rules import Rule
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.policies import Policy, Verdict
from compbench.schedules.staged import Schedule, Staged
from compbench.schedules.strata import N_STRATA

if TYPE_CHECKING:
    from compbench.schedules._race import Race

__all__ = ["Adaptive", "Weighted"]

_STORED = {
    "draws": "n_draws",
    "loss": "reduction",
    "max_difference": "limit",
}  # the words of a run's key, which stay as they are
_FIELDS: Mapping[str, str] = {stored: field for field, stored in _STORED.items()}


@dataclass(frozen=True, slots=True)
class Adaptive:
    """What makes a policy of an example, over the first `draws` draws of the bank weighed by target and loss."""

    kind: str  # racing or paper
    draws: int
    target: str = "native"
    loss: str = "l2"
    risk: float = 0.05  # of an outcome to differ from the full budget's, as far as the bound holds
    bound: str = "asymptotic"  # or anytime, which is valid whatever the errors are like if max_difference is true
    max_difference: float | None = None  # anytime: the largest difference of two errors under one draw
    outcomes: tuple[str, ...] = OUTCOMES  # that are raced for, of a matching task
    seed: int = 0  # of the examples' own orders
    n_strata: int = N_STRATA
    allocation: tuple[float, ...] | None = None  # learned from a pilot, frozen here
    together: int = 1  # neighbouring draws of the bank that are raced as one: 2 for antithetic pairs
    to_keep: tuple[int, ...] = ()  # paper
    n_samples: tuple[int, ...] = ()

    @classmethod
    def of_identity(cls, measurement: Mapping[str, Any]) -> Adaptive | None:
        """The schedule in a run's key; None where all draws are measured."""
        stored = measurement.get("schedule")
        if stored is None:
            return None
        if unknown := sorted(stored.keys() - {_STORED.get(name, name) for name in cls.__slots__}):
            known = ", ".join(_STORED.get(name, name) for name in cls.__slots__)
            raise DataError(
                f"a stored schedule has the unknown entry {unknown[0]!r}; expected some of {known}: it may "
                "be of a newer compbench"
            )
        fields: dict[str, Any] = {
            _FIELDS.get(str(name), name): tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        return cls(**fields)

    def to_json(self) -> dict[str, Json]:
        """What the identity holds of it: what differs from the defaults, and what it is."""
        plain = Adaptive(self.kind, self.draws)
        differs = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) != getattr(plain, name)}
        kept = {"kind": self.kind, "draws": self.draws} | differs
        return {
            _STORED.get(name, name): list(value) if isinstance(value, tuple) else value for name, value in kept.items()
        }

    @property
    def rule(self) -> Rule:
        """The one way in which the errors can be read."""
        return Rule(self.target, self.draws, self.loss)

    def policy(self, example_id: str, matches: Bools, draws: DrawTable, classes: Classes | None) -> Weighted:
        """The policy of one example."""
        weights = self.rule.weights(draws)[: self.draws]
        timesteps = draws.timesteps[: self.draws]
        if self.kind == "paper":
            return Weighted(Staged(timesteps, Schedule(self.to_keep, self.n_samples)), weights)
        race = self.race
        units = timesteps.reshape(-1, self.together).mean(-1)
        of_caption = None if classes is None else classes.of_caption
        policy = race.policy(example_id, matches, units, of_caption)
        return Weighted(policy if self.together == 1 else Together(policy, self.together), weights)

    @property
    def race(self) -> Race:
        """The rules of racing; UsageError where they do not fit together."""
        from compbench.schedules._race import Race  # needs scipy, which a reader of full runs does not

        if self.draws % self.together:
            raise UsageError(
                f"draws={self.draws} cannot be raced in antithetic pairs; expected an even number of draws"
            )
        return Race(
            risk=self.risk,
            bound=self.bound,
            max_difference=self.max_difference,
            n_strata=self.n_strata,
            allocation=self.allocation,
            seed=self.seed,
            asked=self.outcomes,
        )


@dataclass(frozen=True, slots=True)
class Weighted:
    """A policy that is given errors as they are stored, [I, C, D]."""

    policy: Policy
    weights: Floats  # [D]

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        return self.policy.wanted(errors * self.weights, measured)

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        return self.policy.verdict(errors * self.weights, measured)

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        return self.policy.scores(errors * self.weights, measured)


@dataclass(frozen=True, slots=True)
class Together:
    """A policy over the means of `size` neighbouring draws, measured together."""

    policy: Policy
    size: int

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        return np.repeat(self.policy.wanted(*self._units(errors, measured)), self.size, axis=-1)

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        return self.policy.scores(*self._units(errors, measured))

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        its = self.policy.verdict(*self._units(errors, measured))
        compared = tuple(each._replace(n_draws=each.n_draws * self.size) for each in its.comparisons)
        return replace(its, n_draws=its.n_draws * self.size, n_bank=its.n_bank * self.size, comparisons=compared)

    def _units(self, errors: Floats, measured: Bools) -> tuple[Floats, Bools]:
        shape = *errors.shape[:-1], -1, self.size
        return errors.reshape(shape).mean(-1), np.all(measured.reshape(shape), axis=-1, keepdims=True)[..., 0]
