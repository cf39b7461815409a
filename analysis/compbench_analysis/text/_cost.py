"""The cost of runs so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["Cost", "cost", "cost_of"]

_COUNTS = ("n_errors", "n_evaluations")  # of a part: the latter where scores are not made of stored errors


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a run so far."""

    # of the network: one for each stored error; those for pictures and features of a model that learned; else 0
    n_evaluations: int
    seconds: float
    device: str
    is_counted: bool = True  # False: a model of scores, which evaluates no network, or did not record it


def cost(run: Run) -> Cost:
    """The sum over the run's parts, whoever measured them."""
    return cost_of([run])


def cost_of(runs: Sequence[Run]) -> Cost:
    """The sum over several runs."""
    parts = [part for run in runs for part in run.parts()]
    devices = dict.fromkeys(str(part["device"]) for part in parts if part.get("device"))
    return Cost(
        n_evaluations=sum(int(str(part.get(name) or 0)) for part in parts for name in _COUNTS),
        seconds=sum(float(str(part.get("seconds") or 0)) for part in parts),
        device=", ".join(devices),
        is_counted=any(part.get("n_errors") or "n_evaluations" in part for part in parts),
    )
