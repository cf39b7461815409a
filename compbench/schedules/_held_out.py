"""Trust in the pattern that a first wave taught, from examples held out of it.

The wave is cut into four. Each quarter is raced by the pattern of the others, in some orders. How much larger the
errors of their estimated means are than expected is the pattern's inflation; and the level is the largest at which, of
any score, no more than the tolerance of their outcomes is expected to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from compbench.core.aliases import Floats
from compbench.schedules._expected import Expected
from compbench.schedules._learned_way import LearnedWay
from compbench.schedules._pattern import Pattern, learned_pattern, varies
from compbench.schedules.policies import Verdict

__all__ = ["trusted"]

_PARTS = 4
_ORDERS = 3  # in which a held-out example is raced
_LOWEST = 1e-7  # of levels
_HIGHEST = 4  # times the tolerance: a wave cannot tell how easy all examples are
_STEPS = 10  # of the search between them

Raced = Callable[[int, Expected], Verdict]  # of the wave's example with this number, on its whole errors


def trusted(
    pattern: Pattern, wave: Sequence[Floats], certain: Sequence[int], seed: int, tolerance: float, raced: Raced
) -> Pattern:
    """The pattern with its inflation and level; a wave of fewer than four examples leaves nothing to be decided."""
    if len(wave) < _PARTS:
        return replace(pattern, inflation=(), level=0.0)
    ways: list[tuple[int, LearnedWay]] = []
    for part in range(_PARTS):
        others = [differences for number, differences in enumerate(wave) if number % _PARTS != part]
        taught = learned_pattern(others, certain, seed + 1 + part, _ORDERS)
        for number, order in product(range(part, len(wave), _PARTS), range(_ORDERS)):
            ways.append((number, LearnedWay(taught, order, len(certain))))
    inflation = _inflation([(wave[number], way) for number, way in ways])
    ways = [(number, replace(way, pattern=replace(way.pattern, inflation=inflation))) for number, way in ways]
    limits = np.full(pattern.n_draws, np.inf)

    def share(level: float) -> float:
        verdicts = [raced(number, Expected(way, level, limits)) for number, way in ways]
        doubts = [[outcome.doubt for outcome in verdict.outcomes.values()] for verdict in verdicts]
        return float(np.mean(doubts, axis=0).max(initial=0))

    low, high = np.log(_LOWEST), np.log(_HIGHEST * tolerance)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if share(float(np.exp(middle))) <= tolerance else (low, middle)
    return replace(pattern, inflation=inflation, level=float(f"{np.exp(low):.4g}"))


def _inflation(held_out: Sequence[tuple[Floats, LearnedWay]]) -> tuple[float, ...]:
    """At each look the root mean square of errors of the mean over their standard errors there and beside it."""
    squares: list[Floats] = []
    for differences, way in held_out:
        varying = differences[varies(differences)]
        mean, error = way.means(varying[:, way.order], way.looks[:-1])
        squares.append(((mean - varying.mean(1, keepdims=True)) / error) ** 2)
    together = np.concatenate(squares)  # [comparisons, looks]
    if not len(together):
        return ()
    at_look = np.pad(together.mean(0), 1, mode="edge")
    return tuple(float(f"{max(1.0, size):.4g}") for size in np.sqrt((at_look[:-2] + at_look[1:-1] + at_look[2:]) / 3))
