"""Schedules, which say which draws may be left out and at what risk: full, staged and racing schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.schedules.pairs import OUTCOMES
    from compbench.schedules.policies import Policy, Verdict, allowed_changed, expected_changed
    from compbench.schedules.racing import Racing
    from compbench.schedules.schedule import Full, Schedule, entry_of, schedule_in
    from compbench.schedules.staged import PUBLISHED, Staged, published
    from compbench.schedules.strata import allocation_from

__all__ = [
    "Full",
    "OUTCOMES",
    "PUBLISHED",
    "Policy",
    "Racing",
    "Schedule",
    "Staged",
    "Verdict",
    "allocation_from",
    "allowed_changed",
    "entry_of",
    "expected_changed",
    "published",
    "schedule_in",
]

__getattr__ = lazily(
    __name__,
    {
        ".pairs": ["OUTCOMES"],
        ".policies": ["Policy", "Verdict", "allowed_changed", "expected_changed"],
        ".racing": ["Racing"],
        ".schedule": ["Full", "Schedule", "entry_of", "schedule_in"],
        ".staged": ["PUBLISHED", "Staged", "published"],
        ".strata": ["allocation_from"],
    },
)
