"""What examples held out of a first wave say of the pattern that the others teach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from compbench.schedules._expected import Expected
from compbench.schedules._heavy import floor_of
from compbench.schedules._held_out import trusted
from compbench.schedules._learned_way import LearnedWay
from compbench.schedules._pattern import Pattern, learned_pattern
from compbench.schedules.policies import Outcome, Verdict
from compbench.schedules.wave import learned

N, N_WAVE = 120, 16
TOLERANCE = 0.01


def own_heavy_draws(seed: int = 0) -> list[np.ndarray]:
    """[1, D] differences of each example of a wave: three draws of its own outweigh the others."""
    rng = np.random.default_rng(seed)
    wave = [rng.normal(size=(1, N)) for _ in range(N_WAVE)]
    for differences in wave:
        differences[0, rng.choice(N, 3, replace=False)] *= 40
    return wave


def verdict(*, is_right: bool) -> Verdict:
    return Verdict("pooled", TOLERANCE, np.full((1, 2), N), N, {"text": Outcome(is_right, False, 0.0)})


def always_right(number: int, bound: Expected) -> Verdict:
    return verdict(is_right=True)


def heavy(some: Sequence[np.ndarray]) -> Sequence[int]:
    return learned(some, np.arange(float(N)), 6).certain


@pytest.fixture(scope="module")
def pattern() -> Pattern:
    return learned_pattern(own_heavy_draws(), (), 0)


def test_a_held_out_example_has_no_say_in_which_draws_are_heavy(pattern: Pattern) -> None:
    """Were its own heavy draws measured first, its errors would seem small, and those of the run to come are not."""
    wave = own_heavy_draws()
    asked = list[list[int]]()

    def of_others(some: Sequence[np.ndarray]) -> Sequence[int]:
        asked.append([number for number, own in enumerate(wave) if not any(own is other for other in some)])
        return heavy(some)

    apart = trusted(pattern, wave, of_others, 0, TOLERANCE, always_right)
    assert sorted(number for held_out in asked for number in held_out) == list(range(N_WAVE))
    of_all = sorted({int(draw) for own in wave for draw in np.abs(own[0]).argsort()[-3:]})
    together = trusted(pattern, wave, lambda some: of_all, 0, TOLERANCE, always_right)
    assert max(apart.inflation) > 2 * max(together.inflation)


@pytest.mark.parametrize(("n_wrong", "is_kept"), [(2, True), (3, False)])
def test_more_wrong_held_out_outcomes_than_the_tolerance_explains_lower_the_level(
    pattern: Pattern, n_wrong: int, is_kept: bool
) -> None:
    """Of 48 races, each wrong with probability 0.01, two or more are in 8 % of cases, three or more in 1 %."""
    n_raced: dict[float, int] = {}
    wave = [np.random.default_rng(number).normal(size=(1, N)) for number in range(N_WAVE)]

    def raced(number: int, bound: Expected) -> Verdict:
        n_raced[bound.level] = n_raced.get(bound.level, 0) + 1
        return verdict(is_right=bound.level < 0.001 or n_raced[bound.level] > n_wrong)

    found = trusted(pattern, wave, heavy, 0, TOLERANCE, raced)
    assert (found.level == pytest.approx(4 * TOLERANCE, rel=0.02)) == is_kept
    assert (found.level < 0.001) != is_kept


def test_heavy_draws_of_examples_own_hold_decisions_back_and_those_of_all_do_not(pattern: Pattern) -> None:
    """Three draws decide: of so few, five cannot be measured, and no look is early enough."""
    own = trusted(pattern, own_heavy_draws(), heavy, 0, TOLERANCE, always_right)
    assert 1 <= own.decisive <= 3
    assert own.floor == N
    rng, sizes = np.random.default_rng(1), np.where(np.arange(N) % 40 == 7, 40.0, 1.0)
    alike = [rng.normal(size=(1, N)) * sizes for _ in range(N_WAVE)]
    for wave in (alike, [differences / sizes for differences in alike]):
        found = trusted(learned_pattern(wave, heavy(wave), 0), wave, heavy, 0, TOLERANCE, always_right)
        assert (found.decisive, found.floor) == (0, 0)


def test_a_quarter_of_the_wave_with_heavy_draws_of_their_own_is_enough(pattern: Pattern) -> None:
    rng = np.random.default_rng(2)
    mixed = [own if k % 2 else rng.normal(size=(1, N)) for k, own in enumerate(own_heavy_draws())]
    found = trusted(learned_pattern(mixed, (), 0), mixed, heavy, 0, TOLERANCE, always_right)
    assert 1 <= found.decisive <= 5


def test_no_look_before_the_floor_decides(pattern: Pattern) -> None:
    way = LearnedWay(pattern, 0).trusted((1.0,), 60)
    differences = 0.01 * np.random.default_rng(0).normal(size=(2, N)) + np.array([[1.0], [-1.0]])
    signs = Expected(way, 0.01, np.full(N, np.inf)).signs(differences, 0.01, 0.01)
    assert signs.tolist() == [[sign if look >= 60 else 0 for look in way.looks[:-1]] for sign in (1, -1)]


@pytest.mark.parametrize("decisive", [5, 8, 20])
def test_the_floor_is_the_first_at_which_five_decisive_draws_are_as_good_as_seen(decisive: int) -> None:
    floor = floor_of(N, decisive, TOLERANCE)
    at, before = (stats.hypergeom.cdf(4, N, decisive, n) for n in (floor, floor - 1))
    assert at <= TOLERANCE < before


def test_a_way_with_larger_errors_has_the_same_means(pattern: Pattern) -> None:
    way = LearnedWay(pattern, 0)
    larger, differences = way.trusted((2.0,) * len(way.looks[:-1])), np.random.default_rng(0).normal(size=(3, N))
    (mean, error), (same, twice) = (found.means(differences, way.looks[:-1]) for found in (way, larger))
    np.testing.assert_array_equal(mean, same)
    np.testing.assert_allclose(twice, 2 * error)


def test_looks_without_an_inflation_of_their_own_take_the_last_one(pattern: Pattern) -> None:
    way = LearnedWay(pattern, 0).trusted((1.0, 3.0))
    assert way.inflation.tolist() == [1.0] + [3.0] * (len(way.looks) - 2)
