"""Trust in the pattern that a first wave taught, from examples held out of it.

The wave is cut into four. Each quarter is raced by the pattern of the others, in some orders. How much larger the
errors of their estimated means are than expected is the pattern's inflation; and the level is the largest at which, of
any score, no more than the tolerance of their outcomes is expected to change, as far as doubts are borne out
(`_exchanged.py`), nor significantly more does. Where they show heavy draws of their own, no example is decided before
enough of such draws were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from scipy import special

from compbench.core.aliases import Bools, Floats, Ints
from compbench.schedules._exchanged import exchanged
from compbench.schedules._expected import Expected
from compbench.schedules._heavy import effective, floor_of, n_decisive
from compbench.schedules._learned_way import LearnedWay
from compbench.schedules._pattern import Pattern, learned_pattern, standardised, varies
from compbench.schedules.policies import Verdict

__all__ = ["trusted"]

_PARTS = 4
_ORDERS = 3  # in which a held-out example is raced
_LOWEST = 1e-7  # of levels
_HIGHEST = 4  # times the tolerance: a wave cannot tell how easy all examples are; 1 where draws of their own decide
_STEPS = 10  # of the search between them
_PRIOR = 0.5  # of the part of doubts that is borne out, how much is taken to be all
_CHANCE = 0.05  # of as many wrong outcomes: less is taken for more than the tolerance

Heavy = Callable[[Sequence[Floats]], Sequence[int]]  # the draws that are measured first, learned from some examples
Raced = Callable[[int, Expected], Verdict]  # of the wave's example with this number, on its whole errors


def trusted(
    pattern: Pattern,
    wave: Sequence[Floats],
    heavy: Heavy,
    seed: int,
    tolerance: float,
    raced: Raced,
    members: Mapping[str, Bools] | None = None,
) -> Pattern:
    """The pattern with its inflation, level and floor; a wave of fewer than four examples decides nothing.

    A held-out example has no say in which draws are heavy either: its own might be heavy for nobody else. `members` are
    each outcome's comparisons, where they are those of every example; None where examples differ in them.
    """
    if len(wave) < _PARTS:
        return replace(pattern, inflation=(), level=0.0)
    ways, spread = list[tuple[int, LearnedWay]](), list[Floats]()
    for part in range(_PARTS):
        others = [differences for number, differences in enumerate(wave) if number % _PARTS != part]
        certain = heavy(others)
        taught = learned_pattern(others, certain, seed + 1 + part, _ORDERS)
        orders = [_Rehearsed(taught, order, len(certain)) for order in range(_ORDERS)]
        ways += product(range(part, len(wave), _PARTS), orders)
        spread += _spread(wave[part::_PARTS], others, np.setdiff1d(np.arange(pattern.n_draws), certain))
    decisive = n_decisive(spread, pattern.n_draws)
    floor = floor_of(pattern.n_draws, decisive, tolerance)
    inflation = _inflation([(wave[number], way) for number, way in ways])
    inflated = {way: way.trusted(inflation, floor) for _, way in ways}
    ways = [(number, inflated[way]) for number, way in ways]
    limits = np.full(pattern.n_draws, np.inf)

    to_the_end = Expected(ways[0][1], 0.0, limits)
    truths = [raced(number, to_the_end).outcomes for number in range(len(wave))]

    made_up = () if members is None or decisive else exchanged(wave, ways)

    def borne_out(level: float) -> float:
        if members is None or not made_up:
            return 1.0
        wrong, doubts = np.mean([races.at(level, members) for races in made_up], axis=0).max(1)
        return float((_PRIOR * doubts + (1 - _PRIOR) * wrong) / doubts) if doubts > 0 else 1.0

    def is_allowed(level: float) -> bool:
        doubts, wrong = list[list[float]](), list[list[bool]]()
        for number, way in ways:
            found = raced(number, Expected(way, level, limits)).outcomes
            doubts.append([outcome.doubt for outcome in found.values()])
            wrong.append([outcome.is_right != truths[number][name].is_right for name, outcome in found.items()])
        n_wrong = int(np.sum(wrong, axis=0).max(initial=0))
        expected = borne_out(level) * np.mean(doubts, axis=0).max(initial=0)
        return expected <= tolerance and _is_chance(n_wrong, len(ways), tolerance)

    highest = tolerance if decisive else _HIGHEST * tolerance
    low, high = np.log(_LOWEST), np.log(highest)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_allowed(float(np.exp(middle))) else (low, middle)
    level = float(f"{np.exp(low):.4g}")
    part = float(f"{borne_out(level):.4g}")
    return replace(pattern, inflation=inflation, level=level, decisive=decisive, floor=floor, borne_out=part)


def _spread(held_out: Sequence[Floats], others: Sequence[Floats], rest: Ints) -> Iterator[Floats]:
    """Over how many draws each held-out example's squares are spread, of those that are not certain."""
    usual = np.concatenate([standardised(differences[:, rest]) for differences in others])
    return (effective(differences[:, rest], usual) for differences in held_out if len(usual))


@dataclass(frozen=True, eq=False)
class _Rehearsed(LearnedWay):
    """A way that the same examples go at level after level: their means are kept."""

    kept: dict[bytes, tuple[Floats, Floats]] = field(default_factory=dict[bytes, tuple[Floats, Floats]], init=False)

    def means(self, differences: Floats, at: Ints) -> tuple[Floats, Floats]:
        key = differences.tobytes() + at.tobytes()
        if key not in self.kept:
            self.kept[key] = LearnedWay.means(self, differences, at)
        return self.kept[key]


def _is_chance(n_wrong: int, n: int, tolerance: float) -> bool:
    """Whether so many wrong outcomes of `n` are no surprise if each is wrong with the probability `tolerance`."""
    return n_wrong == 0 or float(special.bdtrc(n_wrong - 1, n, tolerance)) > _CHANCE


def _inflation(held_out: Sequence[tuple[Floats, LearnedWay]]) -> tuple[float, ...]:
    """At each look the root mean square of errors of the mean over their standard errors there and beside it.

    The fewer draws are heavy, the more looks there are, and the last of them are not every way's.
    """
    n_looks = max(len(way.looks) - 1 for _, way in held_out)
    squares: list[Floats] = []
    for differences, way in held_out:
        varying = differences[varies(differences)]
        mean, error = way.means(varying[:, way.order], way.looks[:-1])
        found = np.full((len(varying), n_looks), np.nan)
        found[:, : len(way.looks) - 1] = ((mean - varying.mean(1, keepdims=True)) / error) ** 2
        squares.append(found)
    together = np.concatenate(squares)  # [comparisons, looks]
    if not len(together):
        return ()
    at_look = np.pad(np.nanmean(together, 0), 1, mode="edge")
    return tuple(float(f"{max(1.0, size):.4g}") for size in np.sqrt((at_look[:-2] + at_look[1:-1] + at_look[2:]) / 3))
