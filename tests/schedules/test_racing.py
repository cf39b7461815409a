"""The rules of a race give each example its policy, or say what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from compbench.core.errors import UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.schedules._race_captions import CaptionRace
from compbench.schedules._race_classes import Elimination
from compbench.schedules.racing import Racing

TWO = np.eye(2, dtype=bool)
DRAWS = DrawTable(np.arange(100.0), np.full(100, 0.6), np.full(100, 0.8), "eps")


def test_matching_is_raced_by_comparisons_and_classes_by_elimination() -> None:
    race = Racing(100, risk=0.1, outcomes=("text",))
    assert isinstance(race.policy("a", TWO, DRAWS, None).policy, CaptionRace)
    classes = Classes(("cat", "dog"), (0, 1))
    assert isinstance(race.policy("a", TWO[:1], DRAWS, classes).policy, Elimination)


def test_equal_rules_give_equal_policies_and_the_example_its_order() -> None:
    wanted = [
        Racing(100, seed=seed)
        .policy(example_id, TWO, DRAWS, None)
        .wanted(np.zeros((2, 2, 100)), np.zeros((2, 2, 100), bool))
        for seed, example_id in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))
    ]
    np.testing.assert_array_equal(wanted[0], wanted[1])
    assert [example.sum() for example in wanted] == [64] * 4
    assert (wanted[0] != wanted[2]).any()
    assert (wanted[0] != wanted[3]).any()


def test_the_anytime_bound_goes_through_the_bank_at_random() -> None:
    policy = Racing(100, bound="anytime", max_difference=0.5).policy("a", TWO, DRAWS, None).policy
    assert isinstance(policy, CaptionRace)
    assert policy.bound.strata.shares == (1.0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": "exact"}, "no bound named 'exact'"),
        ({"bound": "anytime"}, "a positive bound on the difference"),
        ({"bound": "anytime", "max_difference": -1.0}, "a positive bound on the difference"),
        ({"max_difference": 1.0}, "a positive bound on the difference"),
        ({"bound": "anytime", "max_difference": 1.0, "allocation": (0.5, 0.5)}, "no allocation"),
        ({"risk": 0.9}, "risk must be between 0 and 0.5, got 0.9"),
    ],
)
def test_rules_that_do_not_fit_together_are_told(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Racing(100, **options)
