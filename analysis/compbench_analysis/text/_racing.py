"""The savings of a schedule, and the number of outcomes that may differ from the full budget's because of it."""

from __future__ import annotations

from collections.abc import Sequence

from compbench.schedules.policies import Verdict, allowed_changed, expected_changed
from compbench.schedules.racing import Racing
from compbench.schedules.wave import Lesson
from compbench.store.run import Run

__all__ = ["saved"]

_MUCH = 2.0  # times the standard errors: with the same heavy draws for all examples it is less than 1.5


def saved(run: Run, label: str) -> str:
    """A sentence about a run whose schedule leaves draws out; '' for any other, or where nothing is done."""
    verdicts = list(run.verdicts(comparisons=False).values())
    if not verdicts:
        return ""
    n_used = sum(int(verdict.n_draws.sum()) for verdict in verdicts)
    n_full = sum(verdict.n_draws.size * verdict.n_bank for verdict in verdicts)
    start = f"{label} made {n_used:,} of the {n_full:,} evaluations of its full budget ({100 * n_used / n_full:.0f} %)"
    schedule = run.schedule
    if not isinstance(schedule, Racing):
        return f"{start}: pruned in the published stages, which give no bound on the risk of dropping the best."
    changed = ", ".join(
        f"{name} {expected_changed(verdicts, name):.1f} ({allowed_changed(verdicts, name):.1f})"
        for name in verdicts[0].outcomes
    )
    at = f"risk {schedule.risk:g} per outcome" if schedule.tolerance is None else f"tolerance {schedule.tolerance:g}"
    by = "risk" if schedule.tolerance is None else "tolerance"
    n_exact = sum(verdict.is_full for verdict in verdicts)
    return (
        f"{start}: raced at {at}, {schedule.bound} bound; {n_exact} of {len(verdicts)} "
        "examples used every draw. Outcomes that may differ from the full budget's, estimated (and allowed by the "
        f"{by}): {changed}. {_of_wave(schedule, verdicts)}{_assumption(schedule)}{_of_pilot(run)}"
    )


def _of_wave(schedule: Racing, verdicts: Sequence[Verdict]) -> str:
    """A sentence on a race's first wave; '' without one."""
    if schedule.wave is None or (lesson := schedule.wave.lesson) is None:
        return ""
    n_first, n_few, n_beyond = (
        sum(verdict.bound in names for verdict in verdicts)
        for names in (("wave",), ("violated",), ("beyond", "violated"))
    )
    first = f"A first wave of {len(schedule.wave.ids)} examples was measured in full"
    if not (n_raced := len(verdicts) - n_first):
        return f"{first}, and no other is here. "
    n_certain, n_draws = len(lesson.certain) * schedule.together, schedule.draws
    heavy = (
        f"the {n_certain} of {n_draws} draws that are heavy there were measured for every example"
        if n_certain
        else "no draw is heavy there"
    )
    return (
        f"{first}; {heavy}, and {n_beyond} of the {n_raced} others ({100 * n_beyond / n_raced:.0f} %) had a draw "
        "beyond the wave's limits and were measured in full. "
        + (
            f"{n_few} of these had fewer than {schedule.decisive} such draws. "
            if schedule.bound == "guaranteed"
            else ""
        )
    )


def _assumption(schedule: Racing) -> str:
    """A sentence on the assumption under which the risk is kept."""
    if schedule.risk == 0:
        return "At risk 0, no outcome differs."
    if schedule.tolerance is not None:
        return (
            "The tolerance is kept as an estimate: the doubts rest on how the draws went together in the first wave, "
            f"and {_held_out(schedule)}. Examples unlike the wave, or with a few heavy draws of their own, may differ "
            f"without being counted.{_unlike(schedule)}"
        )
    if schedule.bound == "anytime":
        return (
            f"The risk is kept if no two errors of an example differ by more than {schedule.max_difference:g} under "
            "one draw; the estimate takes the differences to be about normal."
        )
    if schedule.bound == "guaranteed":
        return (
            f"The risk is kept if each example has either no draw beyond the wave's limits or {schedule.decisive} of "
            "them at least: fewer may be missed, and one draw against all others always is."
        )
    if schedule.bound == "pooled":
        return (
            "Estimate and risk hold approximately where the heavy draws are heavy for all examples, which "
            "share them. A few heavy draws of an example's own may be missed; bound=guaranteed covers "
            f"{schedule.decisive} or more, and one draw against all others is never covered."
        )
    return (
        "Estimate and risk rest on a studentised test: they hold approximately, where the differences between errors "
        "have no rare, large, one-sided part. Where they have, many more outcomes may differ; bound=pooled holds if "
        "the same draws are heavy for all examples, and bound=guaranteed if each has 10 or more of its own."
    )


def _held_out(schedule: Racing) -> str:
    """A clause on what examples held out of the wave did to the doubts."""
    if (times := _largest_inflation(schedule)) == 0:
        return "no example was held out of it to try them"
    if times < 1.005:
        return "examples held out of it did not make them larger"
    return f"were made larger by what examples held out of it showed (standard errors times up to {times:.2f})"


def _unlike(schedule: Racing) -> str:
    """A warning where a first wave's examples have little in common; '' elsewhere."""
    lesson = _lesson(schedule)
    if lesson is not None and (pattern := lesson.pattern) is not None and pattern.decisive:
        n_all = schedule.draws // schedule.together
        then = (
            "every example was measured in full"
            if pattern.floor >= n_all
            else f"none was decided before {pattern.floor * schedule.together} of its {schedule.draws} draws"
        )
        return (
            f" The wave's examples have heavy draws of their own, about {pattern.decisive * schedule.together} of "
            f"which decide an example, so {then}."
        )
    if _largest_inflation(schedule) <= _MUCH:
        return ""
    return (
        f" Errors more than {_MUCH:g} times as large as expected say that the wave's examples are unlike each other: "
        "several times the tolerance may differ. Where a statement has to hold, use bound=guaranteed."
    )


def _largest_inflation(schedule: Racing) -> float:
    """0 where nothing was held out of a wave."""
    lesson = _lesson(schedule)
    return 0.0 if lesson is None or lesson.pattern is None else max(lesson.pattern.inflation, default=0.0)


def _lesson(schedule: Racing) -> Lesson | None:
    return None if schedule.wave is None else schedule.wave.lesson


def _of_pilot(run: Run) -> str:
    """A sentence on the cost of the pilot; '' without one, or where it is not stored."""
    pilot = run.info.model.pilot
    if pilot is None:
        return ""
    own = f", {pilot.n_raced} of which were also raced" if pilot.n_raced else ""
    return f" Its pilot {pilot.run} took {pilot.n_evaluations:,} more, on {pilot.n_examples} examples{own}."
