"""Which examples of a run have the draws that are asked for, all of them, or why that cannot be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.errors import UsageError
from compbench.schedules.schedule import Full

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["complete"]


def complete(run: Run, draws: int | None, rule: Rule) -> tuple[int, list[str]]:
    """The number of draws, and the measured examples, which all have them; UsageError where that is impossible."""
    where = run.described
    run.check_errors()
    if not isinstance(run.schedule, Full):
        raise UsageError(
            f"{where} was measured with schedule={run.schedule.name}, which leaves out draws that its outcomes do "
            f"not need; anything that uses every draw (curves, other weightings, resampled draws) needs a run "
            f"with schedule=full"
        )
    if draws is not None and draws < 1:
        raise UsageError(f"draws={draws} was asked of {where}; expected at least 1")
    seen = run.contents.seen()
    ids = [example_id for example_id in run.ids() if example_id in seen]
    n_asked = draws if draws is not None else max(1, run.contents.n_common_draws(ids))
    if not ids:
        raise UsageError(f"{where} has no measured example of the subset that is read: rerun its command")
    whole = run.contents.whole(n_asked, rule.unconditional)
    if lacking := [example_id for example_id in ids if example_id not in whole]:
        n_common = run.contents.n_common_draws(ids)
        raise UsageError(
            f"{where}: {len(lacking)} of its {len(ids)} measured examples, {lacking[0]!r} the first, lack some of "
            f"the first {n_asked} draws (the run was interrupted, or has fewer); rerun its command with "
            f"draws={n_asked}" + (f", or read it with draws={n_common}" if n_common else "")
        )
    return n_asked, ids
