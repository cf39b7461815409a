"""The stated risks, simulated with the product's own decision code over populations that try them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compbench.schedules.racing import Racing
from compbench.schedules.wave import Lesson
from compbench_analysis.statistics.intervals import wilson
from tests.benchmarks.populations import POPULATIONS, Population, bounds, races

RISK = 0.05
BY_NAME = {population.name: population for population in POPULATIONS}
SHARED = [(population.name, form) for population in POPULATIONS for form in population.forms if form != "private"]
COVERED = [
    (name, form)
    for name, population in BY_NAME.items()
    for form in population.forms
    if name != "one draw against all others"
]


def broken(
    population: Population, form: str, race: Racing, n: int, allowed: float | None = None, **options: object
) -> list[str]:
    """The margins at which significantly more outcomes change than the risk, the tolerance or `allowed` allows."""
    allowed = allowed or race.tolerance or RISK
    told: list[str] = []
    for margin in population.margins:
        found = races(population, form, race, n, margin, **options)  # pyright: ignore[reportArgumentType]
        assert np.isfinite(found.evaluations).all()
        assert found.n >= n - 4
        n_changed = int(found.of_worst.sum())
        if wilson(n_changed, found.n)[0] > allowed:
            told.append(f"{margin:g}: {n_changed} of {found.n}")
    return told


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), SHARED)
def test_the_pooled_bound_keeps_its_risk_where_the_same_draws_are_heavy_for_all(name: str, form: str) -> None:
    assert not broken(BY_NAME[name], form, bounds(RISK)["pooled"], 400)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), COVERED)
def test_the_guaranteed_bound_keeps_its_risk_in_both_forms(name: str, form: str) -> None:
    assert not broken(BY_NAME[name], form, bounds(RISK)["guaranteed"], 400)


@pytest.mark.slow
def test_one_private_draw_against_all_others_is_covered_by_neither() -> None:
    for name in ("pooled", "guaranteed"):
        assert broken(BY_NAME["one draw against all others"], "private", bounds(RISK)[name], 200)


def test_a_bound_that_is_broken_on_purpose_is_caught() -> None:
    def forget(lesson: Lesson) -> Lesson:
        n_strata = len(lesson.allocation)
        return Lesson((), (1 / n_strata,) * n_strata, (np.inf,) * n_strata)

    def forget_limits(lesson: Lesson) -> Lesson:
        return replace(lesson, certain=(), limits=(3.0,))

    heavy = BY_NAME["1 % one-sided x 50"]
    assert broken(heavy, "shared", bounds(RISK)["asymptotic"], 60)
    assert broken(heavy, "shared", bounds(RISK)["pooled"], 60, taught=forget)
    assert not broken(heavy, "shared", bounds(RISK)["pooled"], 60)
    guaranteed = replace(bounds(RISK)["guaranteed"], decisive=1000)
    assert broken(heavy, "shared", guaranteed, 60, taught=forget_limits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Gaussian", "either"),
        ("Gaussian, small and large margins", "either"),
        ("sd like exp(-t/20)", "either"),
        ("log-normal sizes, s = 2", "shared"),
        ("1 % one-sided x 50", "shared"),
        ("heavy tails, t1.5", "private"),
        ("log-normal sizes, s = 2", "private"),
        ("2 % one-sided x 20", "private"),
        ("1 % one-sided x 50", "private"),
        ("one draw against all others", "private"),
    ],
)
def test_a_tolerance_is_kept_whether_heavy_draws_are_shared_or_examples_own(name: str, form: str) -> None:
    """Not so if a held-out example has a say in which draws are heavy, nor without a floor where they are its own."""
    assert not broken(BY_NAME[name], form, bounds()["tolerance"], 200, banks=2)


@pytest.mark.slow
def test_doubts_that_are_too_small_are_caught() -> None:
    def trusting(lesson: Lesson) -> Lesson:
        assert lesson.pattern is not None
        sure = replace(lesson.pattern, inflation=(0.2,) * len(lesson.pattern.inflation))
        return replace(lesson, pattern=sure)

    few = replace(BY_NAME["sd like exp(-t/20)"], margins=(1.0,))
    race = bounds()["tolerance"]
    assert broken(few, "shared", race, 60, banks=1, taught=trusting)
    assert not broken(few, "shared", race, 60, banks=1)
