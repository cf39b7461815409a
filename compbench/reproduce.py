"""The paper's tables again: which cells to run, on how many images, and what stood in the way of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compbench.errors import DataError, RunError, UsageError
from compbench.jobs import Failure, Job, Settings, measure, ordered
from compbench.jobs import planned as plans_of

if TYPE_CHECKING:
    from compbench.jobs import Outcome
    from compbench.plan import Plan
    from compbench.reporter import Reporter
    from compbench_analysis.render import Grid

__all__ = ["LIMITS", "Asked", "asked_for", "planned", "reproduce"]

# a seeded subset of each data set that one H200 measures in a night at 1 to 2 ms an evaluation of a U-Net: 163,000
# evaluations an image over Table 1's eight data sets, 250,000 for an ImageNet image in Table 3, each DiT
LIMITS: dict[str, int | None] = {"table1": 100, "table2": None, "table3": 20}


@dataclass(frozen=True, slots=True)
class Asked:
    """A table of the paper, cell by cell."""

    table: str
    jobs: list[Job]
    settings: Settings


def asked_for(
    table: str, models: Sequence[str], tasks: Sequence[str], options: Sequence[str], settings: Settings, say: Reporter
) -> Asked:
    """The cells of `table`, of all its models and tasks or of those named; UsageError for one that it does not have.

    Without a limit of the user's the table's own is set, and said; `data` is a folder with one folder a task.
    """
    from compbench_analysis.paper import cells

    known = cells(table)
    chosen = {
        what: _chosen(what, names, list(dict.fromkeys(cell[what] for cell in known)), table)
        for what, names in (("model", models), ("task", tasks))
    }
    if settings.limit is None and settings.images_per_class is None and LIMITS[table] is not None:
        settings = replace(settings, limit=LIMITS[table])
        say.say(f"{table}: {LIMITS[table]} images of each data set, a night on one GPU; --limit N takes others")
    settings = replace(settings, data=None, data_root=settings.data)
    return Asked(table, ordered(chosen["task"], chosen["model"], options, settings, say.say), settings)


def planned(asked: Asked, reporter: Reporter) -> tuple[list[Plan], list[Failure]]:
    """What each cell would do and cost; a cell of which that cannot be told fails alone."""
    plans: list[Plan] = []
    failures: list[Failure] = []
    for job in asked.jobs:
        try:
            plans += plans_of([job], asked.settings, reporter)
        except (DataError, RunError, UsageError) as error:
            failures.append(Failure(job, str(error)))
    return plans, failures


def reproduce(asked: Asked, reporter: Reporter) -> tuple[Outcome, Grid]:
    """Run what can be run; the paper's numbers beside ours, with the reason for each cell that is empty."""
    from compbench_analysis.paper import grid

    outcome = measure(asked.jobs, asked.settings, reporter)
    reasons = {(failure.job.task, failure.job.model): failure.error for failure in outcome.failures}
    return outcome, grid(asked.table, outcome.runs, reasons)


def _chosen(what: str, names: Sequence[str], known: Sequence[str], table: str) -> list[str]:
    named = list(dict.fromkeys(name for each in names for name in each.split(",")))
    if strange := [name for name in named if name not in known]:
        raise UsageError(f"{table} has no {what} {strange[0]!r}; expected some of {', '.join(known)}")
    return named or list(known)
