"""The spread of the scores over other draws of noise, for the runs that store their errors."""

from __future__ import annotations

from typing import Any

from compbench.core.errors import UsageError
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.report._cells import Heading, Table, named
from compbench_analysis.report._scores import metrics_of, spread
from compbench_analysis.report._sections import Section
from compbench_analysis.text.format import metric_heading
from compbench_analysis.text.show import too_few_draws

__all__ = ["draws"]

_ABOUT = (
    "A diffusion model's score depends on the noise that was drawn. ± is one standard deviation of the score over "
    "other draws; the range holds 95 % of them. Where all examples share their draws it does not shrink with more "
    "examples, and the ranking's intervals, which are over examples, do not include it."
)


def draws(section: Section, by: By) -> Table | None:
    """A row for each run that stores errors; rows are missing, and said to be, where draws are too few to tell."""
    rows: list[tuple[Any, ...]] = []
    names: list[str] = []
    too_few: list[str] = []
    for number, (run, label) in enumerate(zip(section.runs, section.labels, strict=True)):
        try:
            n_draws, n_units, is_unsure = curves.enough_draws(run, section.rule)
            if is_unsure:
                too_few.append(too_few_draws(run, n_draws, n_units))
                continue
            frame = curves.monte_carlo(run, by, section.rule)
        except UsageError:  # the charts say why
            continue
        overall = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL]
        names = metrics_of(overall)
        rows.append((named(label, colour=number), *map(spread, overall)))
    if not rows and not too_few:
        return None
    headings = (Heading("model", is_number=False), *(Heading(f"± {metric_heading(name)}", "points") for name in names))
    return Table(headings, tuple(rows), "What other draws would change", (*([_ABOUT] if rows else []), *too_few))
