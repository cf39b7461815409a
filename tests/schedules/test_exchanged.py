"""Held-out examples with each other's margins: what they bear out of doubts, and where they have no say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.schedules._exchanged import Exchanged, exchanged
from compbench.schedules._expected import Expected, doubts_of
from compbench.schedules._learned_way import LearnedWay
from compbench.schedules._pattern import Pattern, learned_pattern
from compbench.schedules.pairs import Comparisons
from compbench.schedules.racing import Racing

N, N_WAVE = 60, 8
TWO = np.eye(2, dtype=bool)
DRAWS = DrawTable(np.arange(float(N)), np.full(N, 0.6), np.full(N, 0.8), "eps")
RACE = Racing(N, bound="pooled", n_wave=N_WAVE, tolerance=0.02)


def wave_of(shape: tuple[int, ...], margin: float = 0.2) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(*shape, N)) + margin * rng.normal(size=(*shape, 1)) for _ in range(N_WAVE)]


def pattern_of(wave: list[np.ndarray], matches: list[np.ndarray], classes: Classes | None = None) -> Pattern:
    names = [str(k) for k in range(len(wave))]
    true = dict(zip(names, matches, strict=True))
    lesson = RACE.lesson(dict(zip(names, wave, strict=True)), true, DRAWS, classes)
    assert lesson.pattern is not None
    return lesson.pattern


def test_a_slow_exchange_agrees() -> None:
    wave = wave_of((2,))
    way = LearnedWay(learned_pattern(wave[1:], (), 0), 0).trusted((1.3,))
    level, members, (races,) = 0.05, {"both": np.array([True, True])}, exchanged(wave, [(0, way)])
    own, n_wrong, doubts = wave[0], 0, list[float]()
    for other in wave[1:]:
        for side in (1, -1):
            shift = other.mean(1) / other.std(1)
            signs, found = list[bool](), list[float]()
            for k in range(2):
                sign, doubt = bool(shift[k] > 0), 0.0
                for number, look in enumerate(way.looks[:-1].tolist()):
                    mean, error = way.means(own[k : k + 1, way.order], np.array([look]))
                    about = shift[k] + side * (mean[0, 0] - own[k].mean()) / own[k].std()
                    z = -special.ndtri(special.stdtr(look - 1, -abs(about) * own[k].std() / error[0, 0]))
                    if (at := float(doubts_of(way, np.array([number]), np.array([z]))[0])) <= level:
                        sign, doubt = bool(about > 0), at
                        break
                signs.append(sign)
                found.append(doubt)
            n_wrong += all(signs) != bool((shift > 0).all())
            against = [doubt for doubt, sign in zip(found, signs, strict=True) if not sign]
            doubts.append(min(against) if against else sum(found))
    wrong, doubted = races.at(level, members)
    assert wrong[0] == pytest.approx(n_wrong / len(doubts))
    assert doubted[0] == pytest.approx(np.mean(doubts))
    assert n_wrong < len(doubts)


def test_what_is_never_decided_is_right_and_without_doubt() -> None:
    races = Exchanged(np.full((3, 2, 4), 0.2), -np.ones((3, 2, 4), int), np.ones((3, 2), int))
    text = {"text": np.array([True, False])}
    assert races.at(0.1, text).tolist() == [[0], [0]]
    np.testing.assert_allclose(races.at(0.2, text), [[1], [0.2]])


def test_an_example_never_races_on_its_own_margins_and_even_differences_exchange_nothing() -> None:
    wave = wave_of((1,))
    way = LearnedWay(learned_pattern(wave[1:], (), 0), 0)
    (races,) = exchanged(wave, [(0, way)])
    assert races.truths.shape == (2 * (N_WAVE - 1), 1)
    assert not exchanged([*wave, np.full((1, N), 0.5)], [(0, way)])


def test_doubts_that_are_not_borne_out_leave_room_for_a_higher_level() -> None:
    wave, matches = wave_of((2, 2), 0.6), [TWO] * N_WAVE
    found = pattern_of(wave, matches)
    assert 0.5 <= found.borne_out < 1
    text = np.array([[True, False], [True, False]])  # another shape of comparisons, of one example
    assert pattern_of(wave, [*matches[1:], text]).borne_out == 1


def test_of_classes_and_where_draws_of_their_own_decide_nothing_is_exchanged() -> None:
    classes, wave = Classes(("a", "b", "c"), (0, 1, 2)), wave_of((1, 3), 0.6)
    assert pattern_of(wave, [np.array([[True, False, False]])] * N_WAVE, classes).borne_out == 1
    rng = np.random.default_rng(1)
    for errors in (heavy := wave_of((2, 2))):
        errors[..., rng.choice(N, 2, replace=False)] += 60 * rng.normal(size=(2, 2, 1))
    found = pattern_of(heavy, [TWO] * N_WAVE)
    assert (found.decisive > 0, found.borne_out) == (True, 1)


def test_a_doubt_is_told_as_far_as_it_is_borne_out_and_decides_as_it_is() -> None:
    wave = wave_of((1,))
    way = LearnedWay(learned_pattern(wave, (), 0), 0)
    half = replace(way, pattern=replace(way.pattern, borne_out=0.5))
    whole_bound, half_bound = (Expected(own, 0.05, np.full(N, np.inf)) for own in (way, half))
    differences = np.random.default_rng(3).normal(0.2, 1, size=(5, N))
    of_whole, of_half = (bound.signs(differences, 0.1, 0.1) for bound in (whole_bound, half_bound))
    np.testing.assert_array_equal(of_whole, of_half)
    whole, told = (special.ndtr(-np.abs(bound.estimate(differences[:, :16]).z)) for bound in (whole_bound, half_bound))
    np.testing.assert_allclose(told, whole / 2)


def test_what_an_older_wave_does_not_have_leaves_no_trace() -> None:
    found = learned_pattern(wave_of((1,)), (), 0)
    assert not found.to_json().keys() & {"decisive", "floor", "borne_out"}
    told = replace(found, decisive=7, floor=40, borne_out=0.75)
    assert Pattern.of_json(told.to_json()) == told
    assert Pattern.of_json(found.to_json()) == found


def test_members_are_those_of_an_outcome() -> None:
    members = Comparisons.of(TWO).members
    races = Exchanged(np.zeros((1, 4, 1)), np.array([[[1], [1], [-1], [1]]]), np.ones((1, 4), int))
    assert races.at(0.1, members)[0].tolist() == [0, 1, 1]
