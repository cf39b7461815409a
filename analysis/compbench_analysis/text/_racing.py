"""What a schedule saved, and how many outcomes may differ from the full budget's because of it."""

from __future__ import annotations

from compbench.schedules.policies import Verdict, allowed_changed, expected_changed
from compbench.schedules.racing import Racing
from compbench.store.run import Run

__all__ = ["saved"]


def saved(run: Run, label: str) -> str:
    """One sentence about a run whose schedule leaves draws out; '' for another, or where nothing is done."""
    verdicts = list(run.verdicts(comparisons=False).values())
    if not verdicts:
        return ""
    n_used = sum(int(each.n_draws.sum()) for each in verdicts)
    n_full = sum(each.n_draws.size * each.n_bank for each in verdicts)
    start = f"{label} made {n_used:,} of the {n_full:,} evaluations of its full budget ({n_used / n_full:.0%})"
    first = verdicts[0]
    if first.bound == "staged":
        return f"{start}: pruned in the published stages, which bound no risk of dropping what would have been best."
    changed = ", ".join(
        f"{name} {expected_changed(verdicts, name):.1f} ({allowed_changed(verdicts, name):.1f})"
        for name in first.outcomes
    )
    n_exact = sum(each.is_full for each in verdicts)
    return (
        f"{start}: raced at risk {first.risk:g} per outcome, {first.bound} bound; {n_exact} of {len(verdicts)} "
        "examples went to the end. Outcomes that differ from the full budget's, as estimated (and as allowed by the "
        "risk): "
        f"{changed}. {_assumption(run, first)}{_of_pilot(run)}"
    )


def _assumption(run: Run, verdict: Verdict) -> str:
    """When the risk is kept."""
    if verdict.risk == 0:
        return "At risk 0 no outcome differs."
    if verdict.bound == "anytime":
        limit = run.schedule.max_difference if isinstance(run.schedule, Racing) else None
        return (
            f"The risk is kept if no two errors of an example differ by more than {limit:g} under one draw; "
            "the estimate takes the differences to be about normal."
        )
    return (
        "Estimate and risk rest on a studentised test: they hold approximately, where the differences between errors "
        "have no rare, large, one-sided part. Where they have, many more outcomes may differ; bound=anytime holds then "
        "too."
    )


def _of_pilot(run: Run) -> str:
    """A sentence on the cost of the pilot; '' without one, or where it is not stored."""
    pilot = run.info.model.pilot
    if pilot is None:
        return ""
    own = f", {pilot.n_raced} of which were raced as well" if pilot.n_raced else ""
    return f" Its pilot {pilot.run} took {pilot.n_evaluations:,} more, on {pilot.n_examples} examples{own}."
