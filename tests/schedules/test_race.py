"""The rules of a race give each example its policy, or say what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from compbench.core.errors import UsageError
from compbench.schedules._race import Race
from compbench.schedules._race_captions import Racing
from compbench.schedules._race_classes import Elimination

TWO = np.eye(2, dtype=bool)


def test_matching_is_raced_by_comparisons_and_classes_by_elimination() -> None:
    race = Race(risk=0.1, asked=("text",))
    assert isinstance(race.policy("a", TWO, np.arange(100)), Racing)
    assert isinstance(race.policy("a", TWO[:1], np.arange(100), of_caption=(0, 1)), Elimination)


def test_equal_rules_give_equal_policies_and_the_example_its_order() -> None:
    wanted = [
        Race(seed=seed)
        .policy(example_id, TWO, np.arange(100))
        .wanted(np.zeros((2, 2, 100)), np.zeros((2, 2, 100), bool))
        for seed, example_id in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))
    ]
    np.testing.assert_array_equal(wanted[0], wanted[1])
    assert [each.sum() for each in wanted] == [64] * 4
    assert (wanted[0] != wanted[2]).any()
    assert (wanted[0] != wanted[3]).any()


def test_the_anytime_bound_goes_through_the_bank_at_random() -> None:
    policy = Race(bound="anytime", max_difference=0.5).policy("a", TWO, np.arange(100))
    assert isinstance(policy, Racing)
    assert policy.bound.strata.shares == (1.0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": "exact"}, "no bound named 'exact'"),
        ({"bound": "anytime"}, "on a positive largest difference"),
        ({"bound": "anytime", "max_difference": -1.0}, "on a positive largest difference"),
        ({"max_difference": 1.0}, "on a positive largest difference"),
        ({"bound": "anytime", "max_difference": 1.0, "allocation": (0.5, 0.5)}, "no allocation"),
        ({"risk": 0.9}, "risk must be between 0 and 0.5, got 0.9"),
    ],
)
def test_rules_that_do_not_fit_together_are_told(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Race(**options)
