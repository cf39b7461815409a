"""What a first wave teaches: draws of certainty, how the others are shared out, and limits; the bounds that use it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable
from compbench.schedules._bets import Guaranteed, missed
from compbench.schedules._bounds import Pooled
from compbench.schedules.policies import Unfinished, Weighted
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of, schedule_in
from compbench.schedules.strata import strata
from compbench.schedules.wave import Lesson, Wave, learned, wave_ids

N = 100
DRAWS = DrawTable(np.arange(float(N)), np.full(N, 0.6), np.full(N, 0.8), "eps")
TWO = np.eye(2, dtype=bool)
POOLED = Racing(N, bound="pooled", n_wave=4)
LESSON = Lesson((3, 50), (0.25, 0.75), (1.0, 2.0))


def race(**changes: object) -> Racing:
    return replace(POOLED, n_strata=2, wave=Wave(frozenset("ab"), LESSON), **changes)  # pyright: ignore[reportArgumentType]


def test_draws_that_are_heavy_for_all_become_certain_and_the_rest_is_limited_by_stratum() -> None:
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(N) < 50, 1.0, 2.0)
    sizes[[7, 60]] = 40
    wave = [rng.normal(size=(4, N)) * sizes for _ in range(8)]
    lesson = learned(wave, np.arange(N), 2)
    assert lesson.certain == (7, 60)
    rest = np.delete(np.arange(N), [7, 60])
    largest = [max(np.abs(image[:, part]).max() for image in wave) for part in (rest[:49], rest[49:])]
    np.testing.assert_allclose(lesson.limits, np.multiply(1.5, largest), rtol=1e-3)
    assert lesson.allocation[1] == pytest.approx(0.9 * 2 / 3 + 0.1 / 2, abs=0.03)  # Neyman's, a tenth spread evenly


def test_one_example_s_own_heavy_draw_is_not_taken_for_everyone_s() -> None:
    wave = list(np.random.default_rng(0).normal(size=(16, 4, N)))
    wave[3][:, 11] = 30
    assert learned(wave, np.arange(N), 2).certain == ()


def test_draws_without_any_difference_teach_an_even_share() -> None:
    assert learned([np.zeros((2, N))], np.arange(N), 4) == Lesson((), (0.25,) * 4, (0.0,) * 4)


def test_certain_draws_come_first_for_every_example_and_carry_their_own_weight() -> None:
    way = strata(np.arange(N), seed=0, example_id="x", n_strata=2, allocation=(0.25, 0.75), certain=(3, 50))
    assert way.order[:2].tolist() == [3, 50]
    assert sorted(way.order.tolist()) == list(range(N))
    assert way.looks[0] == 18
    np.testing.assert_allclose(way.weights[:, :2], 1 / N)
    np.testing.assert_allclose(way.weights.sum(1), 1)
    information = np.array(Pooled(way).information)
    plain = strata(np.delete(np.arange(N), [3, 50]), seed=0, example_id="x", n_strata=2, allocation=(0.25, 0.75))
    np.testing.assert_allclose(information, Pooled(plain).information)


def test_a_draw_beyond_its_stratum_s_limit_sends_the_example_to_the_full_budget() -> None:
    policy = race().policy("x", TWO[:1], DRAWS, None)
    errors = np.zeros((1, 2, N))
    errors[0, 1] = 0.9 + 0.05 * np.sin(np.arange(N))
    assert policy.wanted(errors, np.zeros(errors.shape, bool)).sum() < errors.size
    verdict = policy.verdict(errors, np.ones(errors.shape, bool))
    assert (verdict.bound, verdict.is_full) == ("pooled", False)
    errors[0, 1, strata_of_first(policy)] = 5.0
    verdict = policy.verdict(errors, np.ones(errors.shape, bool))
    assert (verdict.bound, verdict.is_full) == ("beyond", True)
    errors[0, 1, strata_of_first(policy)] = 0.9
    errors[0, 1, 3] = 50.0  # a draw of certainty may be as large as it likes
    assert policy.verdict(errors, np.ones(errors.shape, bool)).bound == "pooled"


def strata_of_first(policy: Weighted) -> int:
    """The first draw of the order that is not certain."""
    return int(policy.policy.bound.strata.order[2])  # pyright: ignore[reportAttributeAccessIssue]


def test_the_wave_is_seeded_measured_in_full_and_all_others_wait_for_it() -> None:
    ids = [f"{k:03d}" for k in range(50)]
    assert wave_ids(ids, 4, 0) == wave_ids(ids[::-1], 4, 0)
    assert wave_ids(ids, 4, 0) != wave_ids(ids, 4, 1)
    assert wave_ids(ids, 4, 0) == wave_ids(ids, 6, 0)[:4]
    waiting = replace(POOLED, wave=Wave(frozenset("ab")))
    assert waiting.is_waiting
    assert not race().is_waiting
    errors = np.zeros((2, 2, N))
    errors[0, 0] = -100.0
    verdict = waiting.policy("a", TWO, DRAWS, None).verdict(errors, np.ones(errors.shape, bool))
    assert (verdict.bound, verdict.risk, verdict.is_full) == ("wave", 0.0, True)
    with pytest.raises(Unfinished, match="once the first wave"):
        waiting.policy("x", TWO, DRAWS, None)


def test_what_a_wave_taught_is_no_part_of_the_identity_and_is_read_back_as_it_was() -> None:
    assert entry_of(race()) == entry_of(replace(POOLED, n_strata=2))
    assert schedule_in(entry_of(POOLED)) == POOLED
    for wave in (Wave(frozenset("ab")), Wave(frozenset("ab"), LESSON, "0123")):
        assert Wave.of_json(wave.to_json()) == wave


@pytest.mark.parametrize(
    "options", [{"bound": "pooled"}, {"n_wave": 4}, {"bound": "pooled", "n_wave": 4, "decisive": 3}]
)
def test_a_wave_and_the_bounds_that_learn_from_it_come_together(options: dict) -> None:
    with pytest.raises(UsageError, match=r"learn from a first wave|expected 1 or more, with guaranteed"):
        Racing(N, **options)


def test_the_floor_is_the_hypergeometric_one() -> None:
    for n in (0, 50, 140, 260, 999, 1000):
        exact = stats.hypergeom.pmf(0, 1000, 10, n)
        assert missed(1000, np.array([n]), 10)[0] == pytest.approx(exact, abs=1e-12)


def test_the_guaranteed_bound_decides_nothing_before_its_floor_and_nothing_certain_after_it() -> None:
    way = strata(np.arange(1000), seed=0, example_id="x", n_strata=1)
    signs = Guaranteed(way, 1.0, 10).signs(np.full((1, 1000), 0.9)[:, way.order], 0.05, 0.05)
    first = int(way.looks[np.flatnonzero(signs[0])[0]])
    assert missed(1000, np.array([first]), 10)[0] <= 0.05
    before = way.looks[way.looks < first]
    assert (missed(1000, before, 10) > 0.05).all()


def test_the_known_draws_of_certainty_count_as_they_are() -> None:
    # the certain draws alone outweigh whatever the others may be: decided as soon as the floor allows
    way = strata(np.arange(1000), seed=0, example_id="x", n_strata=1, certain=(0, 1))
    differences = np.zeros((2, 1000))
    differences[0, :2], differences[1, :2] = 1000.0, -1000.0
    signs = Guaranteed(way, 0.5, 10).signs(differences, 0.05, 0.05)
    assert signs[:, -1].tolist() == [1, -1]


@pytest.mark.parametrize(("n_beyond", "name"), [(0, "guaranteed"), (3, "violated"), (9, "violated"), (10, "beyond")])
def test_fewer_draws_beyond_the_limit_than_the_guarantee_covers_are_named(n_beyond: int, name: str) -> None:
    bound = Guaranteed(strata(np.arange(100), seed=0, example_id="x", n_strata=1, certain=(7,)), 1.0, 10)
    differences = np.full((2, 100), 0.5)
    differences[:, 0] = 50.0  # the certain draw may be as large as it likes
    differences[1, 1 : 1 + n_beyond] = 2.0
    assert bound.named(differences) == name
