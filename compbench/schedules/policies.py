"""Which errors of an example are still needed, and what follows from those that are there.

A policy is a pure function of what is measured so far and holds no state, so a continued run is an uninterrupted one.
`errors` [I, C, D] are the stored errors times the rule's weight of each draw of a finite bank: the full budget's score
is minus their plain mean over D. `measured` [I, C, D] says which are there; more than was wanted changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.schedules.strata import Strata

if TYPE_CHECKING:
    from compbench.schedules._learned_way import LearnedWay  # which needs scipy

__all__ = [
    "Comparison",
    "Outcome",
    "Policy",
    "Unfinished",
    "Verdict",
    "Weighted",
    "allowed_changed",
    "checked_risk",
    "checked_tolerance",
    "expected_changed",
    "full_scores",
    "nested_scores",
    "raced_scores",
    "estimated_means",
]


class Unfinished(ValueError):
    """Something is asked of an example whose errors are not all there."""


class Comparison(NamedTuple):
    """Two (image, caption) pairs, of which one should have the lower mean error over the bank."""

    kind: str  # text, image or class
    better: tuple[int, int]  # the true pair; in a race of classes, the one that put the other out
    worse: tuple[int, int]
    sign: int  # 1: as the names say; -1: not so, a tie included; 0: nothing hangs on it any more
    n_draws: int  # that both pairs share
    margin: float  # mean error of `worse` less that of `better`, estimated from those draws
    standard_error: float  # 0 where the bank is exhausted
    is_exact: bool  # every draw of the bank was compared
    doubt: float  # about how probable the other sign is, had all margins been equally probable; 0 where exact


class Outcome(NamedTuple):
    """An outcome of an example under one metric."""

    is_right: bool
    is_exact: bool  # it rests on nothing but the full bank
    doubt: float  # about how probable it is that the full bank says otherwise


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The conclusions on one example, and how sure they are."""

    # of racing.BOUNDS; staged, which bounds nothing; wave; beyond: a draw was beyond the wave's limits; violated: so
    # few were that `guaranteed` does not hold
    bound: str
    risk: float  # that was taken, before the first draw, of an outcome that differs from the full bank's; see `bound`
    n_draws: Ints  # [I, C], draws of each pair that count
    n_bank: int
    outcomes: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])  # of matching: those asked for
    comparisons: tuple[Comparison, ...] = ()
    predictions: tuple[int, ...] = ()  # of classification: the caption that each image goes with

    @property
    def is_full(self) -> bool:
        """Whether every draw of every pair was measured."""
        return bool((self.n_draws == self.n_bank).all())


class Policy(Protocol):
    """The policy that decides how much of one example is measured."""

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        """[I, C, D], what to measure next; all False when the example is finished."""
        ...

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        """The verdict on the example; Unfinished while more errors are wanted."""
        ...

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        """[I, C] float64, from which the metrics read exactly the verdict; Unfinished while anything is wanted."""
        ...

    def concluded(self, errors: Floats, measured: Bools) -> tuple[Floats, Verdict]:
        """The scores and the verdict, for the price of one: what was measured is gone through once."""
        ...


@dataclass(frozen=True, slots=True)
class Weighted:
    """A policy that is given errors as they are stored, [I, C, D]; `together` neighbouring draws are one of its own."""

    policy: Policy
    weights: Floats  # [D]
    together: int = 1

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        return np.repeat(self.policy.wanted(*self._units(errors, measured)), self.together, axis=-1)

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        return self.policy.scores(*self._units(errors, measured))

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        return self._in_draws(self.policy.verdict(*self._units(errors, measured)))

    def concluded(self, errors: Floats, measured: Bools) -> tuple[Floats, Verdict]:
        scores, verdict = self.policy.concluded(*self._units(errors, measured))
        return scores, self._in_draws(verdict)

    def _in_draws(self, found: Verdict) -> Verdict:
        size = self.together
        compared = tuple(comparison._replace(n_draws=comparison.n_draws * size) for comparison in found.comparisons)
        return replace(found, n_draws=found.n_draws * size, n_bank=found.n_bank * size, comparisons=compared)

    def _units(self, errors: Floats, measured: Bools) -> tuple[Floats, Bools]:
        weighted = errors * self.weights
        if self.together == 1:
            return weighted, measured
        shape = *errors.shape[:-1], -1, self.together
        return weighted.reshape(shape).mean(-1), np.all(measured.reshape(shape), axis=-1, keepdims=True)[..., 0]


def full_scores(errors: Floats) -> Floats:
    """[...], the score of the full budget: minus the mean error over the bank."""
    return -errors.mean(-1)


def expected_changed(verdicts: Iterable[Verdict], outcome: str) -> float:
    """About how many of a table's outcomes differ from the full bank's: the sum of their doubts. An estimate."""
    return sum(verdict.outcomes[outcome].doubt for verdict in verdicts if outcome in verdict.outcomes)


def allowed_changed(verdicts: Iterable[Verdict], outcome: str) -> float:
    """The sum of the risks taken: how many of a table's outcomes may differ from the full bank's, on average.

    As far as the bound holds, no more do: always for `anytime` with a true limit, about so for `asymptotic`
    where the differences have no rare, large, one-sided part. Of a race with a tolerance it is that share of them. An
    outcome that ended exact counts too: that it would was not known when the risk was taken.
    """
    return sum(verdict.risk for verdict in verdicts if outcome in verdict.outcomes)


def estimated_means(in_order: Floats, way: Strata | LearnedWay) -> Floats:
    """[..., looks up to n and before the bank's end], estimates of the mean over the bank from the order's first n."""
    n_draws = in_order.shape[-1]
    n_looks = int((way.looks[:-1] <= n_draws).sum())
    return in_order @ way.weights[:n_looks, :n_draws].T


def raced_scores(errors: Floats, way: Strata | LearnedWay, n_draws: Ints) -> Floats:
    """[P], the scores of pairs with `errors` [P, D], each measured on a prefix of the order of `n_draws` [P]."""
    if (n_draws == errors.shape[-1]).all():
        return full_scores(errors)
    estimated = estimated_means(errors[:, way.order], way)
    return nested_scores(np.column_stack([estimated, errors.mean(-1)]), way.looks, n_draws)


def nested_scores(means: Floats, budgets: Ints, n_draws: Ints) -> Floats:
    """[P], scores of pairs that were measured on `n_draws` [P] each, some of `budgets` [B]; `means` [P, B] there.

    All start from their mean errors on the smallest budget that any had. Those that went further are set apart by
    their means on the draws they share, around the mean score that they had; so no pair gains or loses because it met
    other draws than the rest.
    """
    first, *further = np.searchsorted(budgets, np.unique(n_draws)).tolist()
    scores = -means[:, first]
    for budget in further:
        went_on = n_draws >= budgets[budget]
        its = means[went_on, budget]
        scores[went_on] = scores[went_on].mean() - (its - its.mean())
    return scores


def checked_risk(risk: float) -> float:
    """The same; UsageError when it is none that a decision can be held to."""
    if not 0 <= risk <= 0.5:
        raise UsageError(f"risk must be between 0 and 0.5, got {risk}")
    return risk


def checked_tolerance(tolerance: float | None, bound: str) -> None:
    """UsageError for a tolerance that is not a share of outcomes that may change, or of another bound."""
    if tolerance is None:
        return
    if not 0 < tolerance <= 0.1:
        raise UsageError(
            f"tolerance must be above 0 and at most 0.1, got {tolerance:g}; it is the share of a score's outcomes that "
            "are expected to differ from the full budget's. At risk=0 none does"
        )
    if bound != "pooled":
        raise UsageError(
            f"tolerance={tolerance:g} with bound={bound}; a tolerance learns from a first wave as pooled does"
        )
