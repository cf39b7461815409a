"""A race with a tolerance: what the wave teaches of the draws, and a decision that a slow one agrees with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from compbench.core.errors import UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.schedules._learned_way import LearnedWay, learned_way
from compbench.schedules._pattern import Pattern, learned_pattern
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of, schedule_in
from compbench.schedules.wave import Lesson, Wave

N, N_WAVE = 60, 8
DRAWS = DrawTable(np.arange(float(N)), np.full(N, 0.6), np.full(N, 0.8), "eps")
TWO = np.eye(2, dtype=bool)
RACE = Racing(N, bound="pooled", n_wave=N_WAVE, tolerance=0.02)


def examples(n: int, *, seed: int = 0, margin: float = 0.15, certain: int | None = None) -> Iterator[np.ndarray]:
    """[2, 2, D] errors, whose differences share two factors over the draws; one draw may be heavy for all."""
    rng = np.random.default_rng(seed)
    shared = np.stack([np.sin(np.arange(N) / 9), np.linspace(-1, 1, N) ** 2])
    for _ in range(n):
        errors = rng.normal(size=(2, 2, 2)) @ shared + 0.3 * rng.normal(size=(2, 2, N))
        if certain is not None:
            errors[..., certain] += 12 * rng.normal(size=(2, 2))
        errors += margin * rng.normal(size=(2, 2, 1))
        errors -= 1.5 * margin * TWO[..., None]
        yield errors * rng.lognormal(0, 0.5)


def taught(race: Racing = RACE, *, seed: int = 0, certain: int | None = None) -> Racing:
    """The race once its wave is measured."""
    wave = {f"wave {k}": errors for k, errors in enumerate(examples(N_WAVE, seed=seed, certain=certain))}
    lesson = race.lesson(wave, dict.fromkeys(wave, TWO), DRAWS, None)
    return replace(race, wave=Wave(frozenset(wave), lesson))


@pytest.fixture(scope="module")
def known() -> Racing:
    return taught()


def pattern_of(race: Racing) -> Pattern:
    assert race.wave is not None
    assert race.wave.lesson is not None
    assert race.wave.lesson.pattern is not None
    return race.wave.lesson.pattern


class Slow:
    """The decision written out anew, one comparison and look after the other, by inverses and tails."""

    COMPARED: Mapping[str, tuple[tuple[int, int], ...]] = {"text": ((1, 0), (2, 3)), "image": ((2, 0), (1, 3))}

    def __init__(self, lesson: Lesson, order: list[int], limits: np.ndarray, asked: tuple[str, ...]) -> None:
        assert lesson.pattern is not None
        self.level, self.inflation = lesson.pattern.level, lesson.pattern.inflation
        self.margins = lesson.pattern.margins
        own = np.frombuffer(lesson.pattern.own, np.float16).astype(float)
        factors = np.frombuffer(lesson.pattern.factors, np.float16).astype(float).reshape(-1, len(own))
        centre = np.eye(len(own)) - 1 / len(own)
        whole = np.diag(own)
        for factor in factors:
            whole = whole + np.outer(factor, factor)
        self.covariance = centre @ whole @ centre
        self.order, self.limits, self.asked = order, limits, asked
        n_certain = len(lesson.certain)
        look, self.looks = 16, list[int]()
        while look < len(order) - n_certain:
            self.looks.append(look + n_certain)
            look += max(1, look // 6)
        members = {"text": [0, 1], "image": [2, 3], "group": [0, 1, 2, 3]}
        self.members = {name: members[name] for name in asked}
        self.pairs = [*self.COMPARED["text"], *self.COMPARED["image"]]
        self.used = sorted({place for places in self.members.values() for place in places})

    def n_draws(self, errors: np.ndarray) -> tuple[list[int], dict[str, bool]]:
        """Draws of each of the four pairs, and the outcomes."""
        flat = errors.reshape(4, -1)
        to_the_end: set[int] = set()
        while True:
            n_draws, signs = self.once(flat, to_the_end)
            against = self.contradicted(flat, n_draws, signs)
            if not against:
                return n_draws, {
                    name: all(signs[place] > 0 for place in places) for name, places in self.members.items()
                }
            to_the_end = to_the_end | against if against - to_the_end else set(self.used)

    def once(self, flat: np.ndarray, to_the_end: set[int]) -> tuple[list[int], dict[int, int]]:
        bank = flat.shape[1]
        n_draws, signs = [0] * 4, dict.fromkeys(self.used, 0)
        for place in to_the_end:
            signs[place] = self.exact(flat, place)
            for pair in self.pairs[place]:
                n_draws[pair] = bank
        for look in [*self.looks, bank]:
            live = self.live(signs)
            if not live:
                break
            for pair in {pair for place in live for pair in self.pairs[place]}:
                n_draws[pair] = max(n_draws[pair], look)
            if look == bank:
                return n_draws, signs | {place: self.exact(flat, place) for place in live}
            if any(self.is_beyond(flat, place, look) for place in live):
                return self.once(flat, set(self.used))
            signs |= {place: self.found(flat, place, look) for place in live}
        return n_draws, signs

    def is_beyond(self, flat: np.ndarray, place: int, look: int) -> bool:
        seen = self.order[:look]
        return bool((np.abs(self.difference(flat, place)[seen]) > self.limits[seen] * (1 + 1e-9)).any())

    def found(self, flat: np.ndarray, place: int, look: int) -> int:
        mean, doubt = self.estimate(self.difference(flat, place)[self.order[:look]], self.order[:look])
        return 0 if doubt > self.level else 1 if mean > 0 else -1

    def estimate(self, seen: np.ndarray, draws: list[int]) -> tuple[float, float]:
        inverse = np.linalg.inv(self.covariance[np.ix_(draws, draws)])
        information = inverse.sum()
        mean = inverse.sum(0) @ seen / information
        variance = (seen - mean) @ inverse @ (seen - mean) / (len(draws) - 1) / information
        inflation = self.inflation[self.looks.index(len(draws))]
        tail = stats.t.sf(abs(mean) / (inflation * np.sqrt(variance)), len(draws) - 1)
        return float(mean), self.doubt(float(stats.norm.isf(tail)), float(np.sqrt(information)) / inflation)

    def doubt(self, z: float, precision: float) -> float:
        """The other sign's share of the posterior, added up over margins like the wave's, or the normal tail."""
        likely, against = 0.0, 0.0
        for centre in (sign * max(margin * precision, 1e-9) for margin in self.margins for sign in (1, -1)):
            width = abs(centre) / 2
            weight = stats.norm.pdf(z, centre, np.sqrt(1 + width**2))
            mean, spread = (z * width**2 + centre) / (1 + width**2), width / np.sqrt(1 + width**2)
            likely, against = likely + weight, against + weight * stats.norm.cdf(0, mean, spread)
        return max(float(against / likely), float(stats.norm.sf(z)))

    def live(self, signs: dict[int, int]) -> list[int]:
        open_ = [places for places in self.members.values() if all(signs[place] >= 0 for place in places)]
        return [place for place in self.used if signs[place] == 0 and any(place in places for places in open_)]

    def difference(self, flat: np.ndarray, place: int) -> np.ndarray:
        worse, better = self.pairs[place]
        return flat[worse] - flat[better]

    def exact(self, flat: np.ndarray, place: int) -> int:
        worse, better = self.pairs[place]
        return 1 if -flat[better].mean() > -flat[worse].mean() else -1

    def contradicted(self, flat: np.ndarray, n_draws: list[int], signs: dict[int, int]) -> set[int]:
        scores = self.scores(flat, n_draws)
        read = {place: 1 if scores[pair[1]] > scores[pair[0]] else -1 for place, pair in enumerate(self.pairs)}
        against: set[int] = set()
        for places in self.members.values():
            if all(read[place] > 0 for place in places) != all(signs[place] > 0 for place in places):
                against |= {place for place in places if signs[place] not in (0, read[place])}
        return against

    def scores(self, flat: np.ndarray, n_draws: list[int]) -> np.ndarray:
        """Of pairs on nested budgets: those that went further are set apart among themselves on what they share."""
        first, *further = sorted(set(n_draws))
        scores = -self.mean(flat, first)
        for budget in further:
            on = [pair for pair in range(4) if n_draws[pair] >= budget]
            means = self.mean(flat, budget)[on]
            scores[on] = scores[on].mean() - (means - means.mean())
        return scores

    def mean(self, flat: np.ndarray, n: int) -> np.ndarray:
        if n == flat.shape[1]:
            return flat.mean(1)
        seen = self.order[:n]
        weights = np.linalg.inv(self.covariance[np.ix_(seen, seen)]).sum(0)
        return flat[:, seen] @ weights / weights.sum()


@pytest.mark.parametrize("asked", [OUTCOMES, ("text",)], ids=["all", "text"])
@pytest.mark.parametrize("certain", [None, 17], ids=["plain", "one heavy draw"])
def test_a_slow_decision_agrees_draw_for_draw(asked: tuple[str, ...], certain: int | None) -> None:
    race = taught(replace(RACE, outcomes=asked), certain=certain)
    assert race.wave is not None
    lesson = race.wave.lesson
    assert lesson is not None
    assert lesson.certain == (() if certain is None else (certain,))
    stopped: list[int] = []
    for k, errors in enumerate(examples(60, seed=1, margin=0.3, certain=certain)):
        policy = race.policy(f"example {k}", TWO, DRAWS, None)
        bound = policy.policy.bound  # pyright: ignore[reportAttributeAccessIssue]
        assert len(lesson.allocation) == 6
        slow = Slow(lesson, bound.strata.order.tolist(), limits_of(lesson), asked)
        measured = np.zeros(errors.shape, bool)
        while (wanted := policy.wanted(errors, measured)).any():  # draw for draw, as an engine does
            measured |= wanted
        n_draws, outcomes = slow.n_draws(errors)
        assert measured.sum(-1).ravel().tolist() == n_draws
        verdict = policy.verdict(errors, measured)
        assert {name: outcome.is_right for name, outcome in verdict.outcomes.items()} == outcomes
        stopped.append(max(n_draws))
    assert len(set(stopped)) > 5  # at many looks, so that agreement says something
    assert min(stopped) < N // 2


def limits_of(lesson: Lesson) -> np.ndarray:
    """[D], the limit of each draw: six equal ranges of the draws that are not certain."""
    rest = [draw for draw in range(N) if draw not in lesson.certain]
    limits = np.full(N, np.inf)
    for place, draw in enumerate(rest):
        limits[draw] = lesson.limits[place * 6 // len(rest)]
    return limits


def test_the_weights_are_those_of_least_variance_and_of_the_whole_bank_its_mean(known: Racing) -> None:
    way = learned_way(pattern_of(known), 0, 0)
    covariance, rng = pattern_of(known).covariance(), np.random.default_rng(0)
    np.testing.assert_allclose(way.weights.sum(1), 1)
    np.testing.assert_allclose(way.weights[-1], 1 / N)
    for n, row in zip(way.looks[:-1].tolist(), way.weights, strict=False):
        assert not row[n:].any()
        own = np.zeros(N)
        own[way.order] = row
        least = own @ covariance @ own
        for _ in range(20):
            other = own.copy()
            other[way.order[:n]] += (change := 0.01 * rng.normal(size=n)) - change.mean()
            assert other @ covariance @ other > least


def test_what_goes_together_makes_the_mean_surer_than_a_plain_one(known: Racing) -> None:
    way = learned_way(pattern_of(known), 0, 0)
    learned_errors, plain_errors, rng = list[float](), list[float](), np.random.default_rng(0)
    for errors in examples(100, seed=2):
        difference = errors[0, 1] - errors[0, 0]
        mean, _ = way.means(difference[None, way.order], np.array([16]))
        learned_errors.append((mean[0, 0] - difference.mean()) / difference.std())
        plain_errors.append((difference[rng.permutation(N)[:16]].mean() - difference.mean()) / difference.std())
    assert np.std(learned_errors) < 0.7 * np.std(plain_errors)


def test_a_shift_of_all_draws_shifts_the_mean_alone_and_no_variation_decides_nothing(known: Racing) -> None:
    way = learned_way(pattern_of(known), 1, 0)
    difference, at = np.random.default_rng(0).normal(size=(3, 40)), np.array([16, 40])
    mean, error = way.means(difference, at)
    shifted, same = way.means(difference + 7, at)
    np.testing.assert_allclose(shifted, mean + 7)
    np.testing.assert_allclose(same, error)
    assert np.isinf(way.means(np.full((1, 40), 0.3), at)[1]).all()


def test_held_out_examples_are_expected_to_change_as_often_as_the_tolerance_allows() -> None:
    levels = [pattern_of(taught(replace(RACE, tolerance=tolerance))).level for tolerance in (0.002, 0.1)]
    assert levels == sorted(levels)
    assert levels[0] < 0.01 < levels[1]
    assert min(pattern_of(taught()).inflation) >= 1


def test_a_wave_of_few_examples_decides_nothing_before_the_end() -> None:
    wave = dict(zip("abc", examples(3), strict=True))
    lesson = RACE.lesson(wave, dict.fromkeys(wave, TWO), DRAWS, None)
    policy = replace(RACE, wave=Wave(frozenset(wave), lesson)).policy("x", TWO, DRAWS, None)
    (errors,) = examples(1, margin=50)
    assert policy.verdict(errors, np.ones(errors.shape, bool)).is_full


def test_an_example_with_a_draw_beyond_the_wave_s_limits_is_measured_in_full(known: Racing) -> None:
    errors = 0.1 * next(examples(1, seed=3, margin=2))  # well within the limits
    policy = known.policy("x", TWO, DRAWS, None)
    before = policy.verdict(errors, np.ones(errors.shape, bool))
    assert (before.bound, before.is_full, before.risk) == ("pooled", False, 0.02)
    errors[0, 0, policy.policy.bound.strata.order[3]] += 1000  # pyright: ignore[reportAttributeAccessIssue]
    after = policy.verdict(errors, np.ones(errors.shape, bool))
    assert (after.bound, after.is_full) == ("beyond", True)


def test_classes_are_raced_with_a_tolerance_too() -> None:
    rng, classes = np.random.default_rng(0), Classes(("a", "b", "c", "d"), (0, 1, 2, 3))
    matches = np.array([[True, False, False, False]])
    images = [rng.normal(size=(1, 4, 1)) + 0.3 * rng.normal(size=(1, 4, N)) - 2 * matches[..., None] for _ in range(20)]
    wave = {str(k): errors for k, errors in enumerate(images[:N_WAVE])}
    lesson = RACE.lesson(wave, dict.fromkeys(wave, matches), DRAWS, classes)
    race = replace(RACE, wave=Wave(frozenset(wave), lesson))
    for k, errors in enumerate(images[N_WAVE:]):
        verdict = race.policy(f"x{k}", matches, DRAWS, classes).verdict(errors, np.ones(errors.shape, bool))
        assert verdict.predictions == (int(errors[0].mean(-1).argmin()),)
        assert verdict.n_draws.sum() < 0.8 * 4 * N


def test_every_order_is_a_permutation_that_begins_with_the_certain_draws() -> None:
    wave = [errors.reshape(4, N) for errors in examples(4)]
    for order in learned_pattern(wave, (5, 9), 0).permutations:
        assert order[:2].tolist() == [5, 9]
        assert sorted(order.tolist()) == list(range(N))


def test_the_pattern_is_read_back_as_it_was_and_a_torn_one_is_refused(known: Racing) -> None:
    assert known.wave is not None
    again = Wave.of_json(known.wave.to_json())
    assert again == known.wave
    torn = pattern_of(known).to_json() | {"orders": pattern_of(known).to_json()["own"]}
    with pytest.raises(ValueError, match=r"not permutations|cannot reshape"):
        Pattern.of_json(torn)
    assert LearnedWay(pattern_of(again_in(known)), 0).order.tolist() == LearnedWay(pattern_of(known), 0).order.tolist()


def again_in(race: Racing) -> Racing:
    assert race.wave is not None
    return replace(race, wave=Wave.of_json(race.wave.to_json()))


def test_a_tolerance_is_part_of_the_identity_and_its_absence_leaves_no_trace() -> None:
    assert schedule_in(entry_of(RACE)) == RACE
    assert entry_of(RACE)["schedule"]["tolerance"] == 0.02  # pyright: ignore
    assert "tolerance" not in entry_of(replace(RACE, tolerance=None))["schedule"]  # pyright: ignore


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "above 0 and at most 0.1, got 0; .* At risk=0 none does"),
        ({"tolerance": 0.2}, "above 0 and at most 0.1, got 0.2"),
        ({"tolerance": 0.01, "risk": 0.1}, "tolerance=0.01 with risk=0.1; expected one of them"),
        ({"tolerance": 0.01, "bound": "guaranteed"}, "with bound=guaranteed; a tolerance learns from a first wave"),
        ({"tolerance": 0.01, "bound": "asymptotic", "n_wave": 0}, "with bound=asymptotic"),
    ],
)
def test_what_does_not_go_with_a_tolerance_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(RACE, **options)
