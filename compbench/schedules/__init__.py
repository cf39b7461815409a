"""Which draws may be left out, and at what risk: full, staged and racing schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.schedules.adaptive import Adaptive, Weighted
    from compbench.schedules.pairs import OUTCOMES
    from compbench.schedules.policies import Policy, Verdict, allowed_changed, expected_changed
    from compbench.schedules.staged import SCHEDULES, Schedule, schedule_of
    from compbench.schedules.strata import allocation_from

__all__ = [
    "Adaptive",
    "OUTCOMES",
    "Policy",
    "SCHEDULES",
    "Schedule",
    "Verdict",
    "Weighted",
    "allocation_from",
    "allowed_changed",
    "expected_changed",
    "schedule_of",
]

__getattr__ = lazily(
    __name__,
    {
        ".adaptive": ["Adaptive", "Weighted"],
        ".pairs": ["OUTCOMES"],
        ".policies": ["Policy", "Verdict", "allowed_changed", "expected_changed"],
        ".staged": ["SCHEDULES", "Schedule", "schedule_of"],
        ".strata": ["allocation_from"],
    },
)
