"""Stored runs as text: who leads, a small table of each task, or everything that they have to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from compbench_analysis.frames import tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.signature import signature
from compbench_analysis.text import _brief, _full
from compbench_analysis.text._cost import Cost, cost, cost_of
from compbench_analysis.text._look import Look, members_of, published_rows, too_few_draws, with_draws
from compbench_analysis.text._summary import summary
from compbench_analysis.text.render import records, render

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["Cost", "cost", "to_text", "too_few_draws"]


def to_text(
    runs: Sequence[Run],
    style: str = "table",
    by: By = None,
    rule: Rule | None = None,
    *,
    with_published: bool = False,
    each_seed: bool = False,
    draws: bool = True,
    full: bool = False,
    n_columns: int | None = None,
) -> str:
    """The runs in one of render.FORMATS: a verdict and a table for each task, and a summary of all.

    `full` shows a block for each metric with cost, ties, what other draws would change, and signatures.

    csv and json are `tables.over_seeds` with the signature, the cost and the folder of its run on each row.
    with_published adds what others have published of the task, each row with its source and protocol; each_seed shows
    runs apart that differ by their seed alone; draws adds what other draws would change, where errors are stored.
    """
    look = Look(by, rule, each_seed, draws, with_published)
    parts = _by_task(runs)
    if style in ("csv", "json"):
        return records((row for part in parts for row in _rows(part, look)), style)
    if full:
        shown = [render(_full.full(part, look), style, n_columns) for part in parts]
    else:
        shown = [_brief.brief(part, look, style, n_columns) for part in parts]
    if len(parts) > 1:
        members = [member for part in parts for member in members_of(part, look)]
        overall = tables.plain(row for member in members for row in tables.rows(member, None, rule))
        shown.append(render([summary(overall)], style, n_columns))
    return "\n\n\n".join(shown)


def _by_task(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that can stand in one table: of the same task at the same revision."""
    runs = list({run.path: run for run in runs}.values())
    order = list(dict.fromkeys((run.key.task, run.key.task_revision) for run in runs))
    return [[run for run in runs if (run.key.task, run.key.task_revision) == task] for task in order]


def _rows(runs: Sequence[Run], look: Look) -> Iterator[dict[str, Any]]:
    members = members_of(runs, look)
    own = [row for member in members for row in tables.rows(member, look.by, look.rule)]
    rows, _ = with_draws(tables.plain(own), members, look)
    more = {
        member.digest: {
            **asdict(cost_of(member.runs)),
            "signature": " ".join(signature(run, look.rule) for run in member.runs),
            "folder": ";".join(str(run.path) for run in member.runs),
        }
        for member in members
    }
    for row in rows:
        yield {**row, **more[row["run"]]}
    yield from published_rows(runs, look)
