"""The bounds of a first wave written out anew, a draw and a stratum at a time: a race stops at the very same draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from compbench.core.measurements import DrawTable
from compbench.schedules.racing import Racing
from compbench.schedules.wave import Lesson, Wave

N, N_WAVE, N_STRATA, RISK, DECISIVE, CERTAIN = 200, 8, 6, 0.05, 10, 31
DRAWS = DrawTable(np.arange(float(N)), np.full(N, 0.6), np.full(N, 0.8), "eps")
TRUE_FIRST = np.array([[True, False]])


def examples(n: int, *, seed: int, has_heavy: bool) -> Iterator[np.ndarray]:
    """[1, 2, D] errors of unlike spread over the draws, skewed; one draw may be heavy for all."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        difference = rng.normal(scale=1.5) * 0.3 + np.linspace(0.3, 2, N) * (rng.gamma(4, 0.5, N) - 2)
        if has_heavy:
            difference[CERTAIN] += 40 * rng.normal()
        yield np.stack([np.zeros(N), difference])[None] + rng.normal(size=N)


@cache
def slow_boundary(information: tuple[float, ...]) -> list[float]:
    """Of the paths of a Brownian motion that have crossed nothing yet, at each look as many cross as may be."""
    bounds: list[float] = []
    paths, weights, before, spent = np.zeros(1), np.ones(1), 0.0, 0.0
    nodes, shares = np.polynomial.legendre.leggauss(300)
    for now in information:
        step, goal = np.sqrt(now - before), RISK * now / (1 + now)
        level = optimize.brentq(too_many, -50, 50, args=(paths, weights, step, goal - spent))
        bounds.append(level / np.sqrt(now))
        low = -9 * np.sqrt(now)
        ends = low + (level - low) * (nodes + 1) / 2
        density = stats.norm.pdf((ends[:, None] - paths) / step) @ weights / step
        paths, weights, before, spent = ends, density * shares * (level - low) / 2, now, goal
    return bounds


def too_many(level: float, paths: np.ndarray, weights: np.ndarray, step: float, share: float) -> float:
    return float(stats.norm.sf((level - paths) / step) @ weights) - share


class SlowPooled:
    """A t of the stratified mean against that boundary."""

    def __init__(self, lesson: Lesson) -> None:
        rest = [draw for draw in range(N) if draw not in lesson.certain]
        self.of_draw = {draw: place * N_STRATA // len(rest) for place, draw in enumerate(rest)}
        self.limits = {draw: lesson.limits[stratum] for draw, stratum in self.of_draw.items()}
        self.of_draw |= dict.fromkeys(lesson.certain, N_STRATA)
        self.allocation = lesson.allocation

    def sizes(self) -> list[int]:
        strata = range(max(self.of_draw.values()) + 1)
        return [sum(found == stratum for found in self.of_draw.values()) for stratum in strata]

    def information(self, seen: list[int]) -> float:
        """1 / variance in units of the whole bank's, if strata spread as they were allotted draws."""
        variance = whole = 0.0
        for stratum, size in enumerate(self.sizes()[:N_STRATA]):
            n = sum(self.of_draw[draw] == stratum for draw in seen)
            spread = (self.allocation[stratum] * N / size) ** 2
            variance += (size / N) ** 2 * spread * (1 / n - 1 / size)
            whole += (size / N) ** 2 * spread / size
        return whole / variance

    def z(self, difference: np.ndarray, seen: list[int]) -> float:
        mean = variance = unseen = cumulant = covariance = squares = 0.0
        for stratum, size in enumerate(self.sizes()):
            x = np.array([difference[draw] for draw in seen if self.of_draw[draw] == stratum])
            part, left, n = size / N, 1 - len(x) / size, len(x)
            mean += part * x.mean()
            if not left:
                continue
            own = part**2 * left * x.var(ddof=1) / n
            variance, squares = variance + own, squares + own**2 / (n - 1)
            unseen = max(unseen, part * np.abs(x - x.mean()).max() / np.sqrt(n * (n - 1)))
            third = stats.kstat(x, 3) if n > 2 else 0.0
            cumulant += part**3 * left * (2 * left - 1) / n**2 * third
            covariance += part**3 * left**2 / n**2 * third
        cumulant, covariance = cumulant / variance**1.5, covariance / variance**1.5
        t = np.sign(mean) * max(abs(mean) - unseen, 0) / np.sqrt(variance + unseen**2)
        slope = (3 * covariance - cumulant) / 6
        cubic = t + slope * t**2 + slope**2 * t**3 / 3 + covariance / 2 - slope
        t = np.sign(t) * (min(abs(cubic), abs(t)) if np.sign(cubic) == np.sign(t) else 0)
        return float(np.sign(t) * stats.norm.isf(stats.t.sf(abs(t), variance**2 / squares)))

    def signs(self, difference: np.ndarray, order: list[int], looks: list[int]) -> list[int]:
        bounds = slow_boundary(tuple(self.information(order[:look]) for look in looks))
        found = [self.z(difference, order[:look]) for look in looks]
        return [int(np.sign(z)) if abs(z) >= bound else 0 for z, bound in zip(found, bounds, strict=True)]


class SlowGuaranteed:
    """Bets against either sign on the draws after those of certainty, and none is decided before the floor."""

    def __init__(self, lesson: Lesson) -> None:
        self.certain, self.limit = lesson.certain, lesson.limits[0]
        self.limits = {draw: self.limit for draw in range(N) if draw not in lesson.certain}

    def signs(self, difference: np.ndarray, order: list[int], looks: list[int]) -> list[int]:
        n_certain = len(self.certain)
        rest, known = N - n_certain, sum(difference[draw] for draw in self.certain)
        winners: list[dict[int, bool]] = []
        for side in (1, -1):
            bets = [side * (difference[draw] + known / rest) for draw in order[n_certain:]]
            limit = self.limit - side * known / rest
            wealth, richest, won = 1.0, 1.0, dict[int, bool]()
            seen = squares = 0.0
            for n, bet in enumerate(bets):
                expected = -seen / (rest - n)
                spread = (0.01 * limit**2 + squares) / (n + 1)
                ahead = max(seen / (n + 1) - expected, 0)
                if expected > -limit:
                    stake = min(ahead / (spread + ahead**2), 0.9 / (expected + limit))
                    wealth *= 1 + stake * (bet - expected)
                seen += bet
                squares += (bet - seen / (n + 1)) ** 2
                is_certain = seen > (rest - n - 1) * limit * (1 + 1e-9)
                richest = np.inf if is_certain else max(richest, wealth)
                won[n + 1] = richest >= 1 / RISK
            winners.append(won)
        found: list[int] = []
        for look in looks:
            n = look - n_certain
            is_floor = stats.hypergeom.pmf(0, rest, DECISIVE, n) <= RISK
            found.append(0 if not is_floor else 1 if winners[0][n] else -1 if winners[1][n] else 0)
        return found


def stops(slow: SlowPooled | SlowGuaranteed, difference: np.ndarray, order: list[int], n_certain: int) -> int:
    """The first look with a sign; the whole bank where a draw beyond its limit comes first."""
    look, looks = 16, list[int]()
    while look < N - n_certain:
        looks.append(look + n_certain)
        look += max(1, look // 6)
    for look, sign in zip(looks, slow.signs(difference, order, looks), strict=True):
        if any(abs(difference[draw]) > slow.limits[draw] for draw in order[:look] if draw in slow.limits):
            return N
        if sign:
            return look
    return N


@pytest.mark.parametrize("has_heavy", [False, True], ids=["plain", "one heavy draw"])
@pytest.mark.parametrize("bound", ["pooled", "guaranteed"])
def test_a_race_stops_where_a_slow_one_does(bound: str, has_heavy: bool) -> None:
    race = Racing(N, risk=RISK, bound=bound, n_wave=N_WAVE, outcomes=("text",), decisive=DECISIVE)
    wave = {f"wave {k}": errors for k, errors in enumerate(examples(N_WAVE, seed=0, has_heavy=has_heavy))}
    lesson = race.lesson(wave, dict.fromkeys(wave, TRUE_FIRST), DRAWS, None)
    assert (CERTAIN in lesson.certain) == has_heavy
    race = replace(race, wave=Wave(frozenset(wave), lesson))
    slow = SlowPooled(lesson) if bound == "pooled" else SlowGuaranteed(lesson)
    stopped: list[int] = []
    for k, errors in enumerate(examples(25, seed=1, has_heavy=has_heavy)):
        policy = race.policy(f"example {k}", TRUE_FIRST, DRAWS, None)
        order = policy.policy.bound.strata.order.tolist()  # pyright: ignore[reportAttributeAccessIssue]
        measured = np.zeros(errors.shape, bool)
        while (wanted := policy.wanted(errors, measured)).any():
            measured |= wanted
        n_draws = stops(slow, errors[0, 1] - errors[0, 0], order, len(lesson.certain))
        assert measured.sum(-1).tolist() == [[n_draws, n_draws]], k
        stopped.append(n_draws)
    assert len(set(stopped)) > 5  # at many looks, so that agreement says something
    assert N in stopped
    assert min(stopped) < N // 2
