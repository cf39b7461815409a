"""Several tasks and several models on one page: tasks down, models across."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compbench_analysis.frames.tables import OVERALL
from compbench_analysis.text.format import metric_heading, percent, percent_aligned
from compbench_analysis.text.render import Grid, count

__all__ = ["summary"]


def summary(found: Iterable[Mapping[str, Any]]) -> Grid:
    """A row for each task and metric of plain rows, over all examples; a dash where a model has no run."""
    rows = [row for row in found if row["tag"] == OVERALL]
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    lines = list(dict.fromkeys((str(row["task"]), str(row["metric"])) for row in rows))
    cells: list[tuple[str, ...]] = []
    for task, metric in lines:
        its = {str(row["model"]): row for row in rows if (row["task"], row["metric"]) == (task, metric)}
        values = (
            percent_aligned(*((row["value"], row["low"], row["high"]) if (row := its.get(model)) else (None,)))
            for model in models
        )
        cells.append((task, metric_heading(metric), _n(list(its.values())), _chance(list(its.values())), *values))
    header = ("task", "score, %", "n", "random", *models)
    return Grid(header, tuple(cells), title="Summary: all examples of each task", align="llrr" + "l" * len(models))


def _n(rows: Sequence[Mapping[str, Any]]) -> str:
    """The number of measured examples, or the fewest and the most where the models differ."""
    counts = sorted({int(row["n"]) for row in rows})
    return count(counts[0]) if len(counts) == 1 else f"{count(counts[0])}–{count(counts[-1])}"


def _chance(rows: Sequence[Mapping[str, Any]]) -> str:
    known = [row["chance"] for row in rows if row["chance"] is not None]
    return percent(known[0] if known else None)
