"""Examples on their full budget, raced by the product's own decision code as if their errors came in draw by draw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compbench.core.aliases import Bools, Floats
from compbench.core.measurements import DrawTable
from compbench.schedules.pairs import Comparisons
from compbench.schedules.policies import Verdict, full_scores
from compbench.schedules.racing import Racing
from compbench.schedules.strata import strata
from compbench.schedules.wave import Lesson, Wave

__all__ = ["N_PROBED", "Budget", "Raced", "changed_by_a_prefix", "joined", "raced"]

N_PROBED = 8  # examples whose races tell whether the decisions are still the same


@dataclass(frozen=True, eq=False)
class Budget:
    """Examples with every draw of a bank."""

    ids: Sequence[str]
    draws: DrawTable
    errors: Floats  # [N, I, C, D] float64, weighted
    matches: Bools  # [N, I, C]

    @cached_property
    def truths(self) -> Sequence[Mapping[str, bool]]:
        """The outcomes of the full budget."""
        return [_outcomes(-full_scores(errors), true) for errors, true in zip(self.errors, self.matches, strict=True)]


@dataclass(frozen=True, eq=False)
class Raced:
    """Races of the same number of examples in some orders, each with a first wave of its own."""

    is_changed: Bools  # [order, example, outcome]: not what the full budget says
    doubts: Floats  # the same shape: how probable the race takes that to be
    evaluations: Floats  # [order, example], share of the full budget
    is_full: Bools  # [order, example], raced and measured to the end
    probe: str  # a digest of the first few races of the first order, and of what its wave taught of doubts

    @property
    def n(self) -> int:
        return self.evaluations.size

    @property
    def of_worst(self) -> Bools:
        """[order, example], of the outcome that changed most often."""
        return self.is_changed[..., self.is_changed.mean((0, 1)).argmax()]


def raced(
    race: Racing,
    budget: Budget,
    wave: Sequence[int],
    *,
    counts_wave: bool = False,
    n: int | None = None,
    taught: Callable[[Lesson], Lesson] = lambda lesson: lesson,
) -> Raced:
    """One order of all examples but those of `wave`, from which a race that learns has learned first.

    With `counts_wave` these are among them, measured in full; with `n` only so many are raced. `taught` may change what
    the wave taught, to see that a wrong lesson is noticed.
    """
    own, in_wave = _after_wave(race, budget, wave, taught), frozenset(wave) if race.n_wave else frozenset[int]()
    places = [k for k in range(len(budget.ids)) if counts_wave or k not in wave][:n]
    verdicts = [_verdict(own, budget, k) for k in places]
    truths = [budget.truths[k] for k in places]
    changed = [
        [found.is_right != truth[name] for name, found in verdict.outcomes.items()]
        for verdict, truth in zip(verdicts, truths, strict=True)
    ]
    doubts = [[found.doubt for found in verdict.outcomes.values()] for verdict in verdicts]
    evaluations = [float(verdict.n_draws.mean()) / verdict.n_bank for verdict in verdicts]
    is_full = [verdict.is_full and k not in in_wave for k, verdict in zip(places, verdicts, strict=True)]
    told = [
        (verdict.n_draws.tolist(), [found.is_right for found in verdict.outcomes.values()])
        for verdict in verdicts[:N_PROBED]
    ]
    return Raced(
        np.array([changed]), np.array([doubts]), np.array([evaluations]), np.array([is_full]), _probe(told, own)
    )


def joined(orders: Iterable[Raced]) -> Raced:
    """The orders side by side."""
    found = list(orders)
    return Raced(
        np.concatenate([order.is_changed for order in found]),
        np.concatenate([order.doubts for order in found]),
        np.concatenate([order.evaluations for order in found]),
        np.concatenate([order.is_full for order in found]),
        found[0].probe,
    )


def changed_by_a_prefix(race: Racing, budget: Budget, share: float) -> Sequence[float]:
    """For each outcome the share that changes, in this order, when all examples stop after this share of the draws.

    The prefix is stratified.
    """
    units = race.units(budget.draws.timesteps)
    n, wrong = max(round(share * len(units)), 1), dict.fromkeys(race.outcomes, 0)
    for example_id, errors, true, truth in zip(budget.ids, budget.errors, budget.matches, budget.truths, strict=True):
        way = strata(units, seed=race.seed, example_id=example_id)
        counts = np.bincount(way.in_order[:n], minlength=len(way.sizes))
        known = np.where(counts > 0, way.sizes, 0)
        weights = (known / known.sum() / np.maximum(counts, 1))[way.in_order[:n]]
        together = errors.reshape(*errors.shape[:-1], -1, race.together).mean(-1)
        found = _outcomes(together[..., way.order[:n]] @ weights, true)
        for outcome in wrong:
            wrong[outcome] += found[outcome] != truth[outcome]
    return [number / len(budget.ids) for number in wrong.values()]


def _probe(told: Sequence[object], race: Racing) -> str:
    """Of a few races; and of what holds all others back or lets them go, where those few may be measured to the end."""
    pattern = None if race.wave is None or race.wave.lesson is None else race.wave.lesson.pattern
    rules = () if pattern is None else (pattern.level, pattern.floor, pattern.inflation)
    return hashlib.sha256(repr([*told, *rules]).encode()).hexdigest()[:8]


def _after_wave(race: Racing, budget: Budget, wave: Sequence[int], taught: Callable[[Lesson], Lesson]) -> Racing:
    if not race.n_wave:
        return race
    errors = {budget.ids[k]: budget.errors[k] for k in wave}
    matches = {budget.ids[k]: budget.matches[k] for k in wave}
    lesson = taught(race.lesson(errors, matches, budget.draws, None))
    return replace(race, wave=Wave(frozenset(errors), lesson))


def _verdict(race: Racing, budget: Budget, k: int) -> Verdict:
    errors = budget.errors[k]
    policy = race.policy(budget.ids[k], budget.matches[k], budget.draws, None)
    return policy.verdict(errors, np.ones(errors.shape, bool))


def _outcomes(means: Floats, matches: Bools) -> Mapping[str, bool]:
    """Those of mean errors [I, C]."""
    pairs, flat = Comparisons.of(matches), means.reshape(-1)
    return pairs.outcomes(np.where(flat[pairs.better] < flat[pairs.worse], 1, -1))
