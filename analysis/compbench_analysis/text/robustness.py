"""Effective robustness of stored runs, as text and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from compbench_analysis.frames import tables
from compbench_analysis.frames.robustness import effective_robustness
from compbench_analysis.frames.signature import partial
from compbench_analysis.text.format import metric_heading, percent, points
from compbench_analysis.text.render import Grid, records, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from compbench.store.run import Run

__all__ = ["grid", "picture", "read", "to_text"]

_NOTES = (
    "expected: the accuracy under the shift predicted from that on {plain}, by a line fitted in logits to the models",
    "  marked *. effective robustness: the accuracy under the shift minus the expected one (Taori et al., 2020); its",
    "  interval covers the sampling of all accuracies, taken as independent.",
)


def read(runs: Sequence[Run], plain: str, fitted: Sequence[str], metric: str | None = None) -> pd.DataFrame:
    """`effective_robustness` of runs, one for each model and task; `metric` None: the first of the tasks' own."""
    metric = metric or runs[0].info.task.metrics[0]
    return effective_robustness(tables.tidy(runs), plain, fitted, metric=metric)


def to_text(frame: pd.DataFrame, runs: Sequence[Run], style: str = "table") -> str:
    """The frame of `read` in one of render.FORMATS, with what is not whole of its runs; csv and json are its rows."""
    if style in ("csv", "json"):
        return records(tables.plain_rows(frame), style)
    plain = str(frame["plain_task"].iloc[0])
    notes = [note.format(plain=plain) for note in _NOTES]
    lines = frame.drop_duplicates("task").to_dict("records")
    notes += [f"{row['task']}: logit = {row['slope']:.3f} logit({plain}) {row['intercept']:+.3f}" for row in lines]
    notes += [f"{run.key.task}/{run.key.model}: {what}" for run in runs if (what := partial(run))]
    what = metric_heading(frame["metric"].iloc[0])
    title = f"Effective robustness over {plain}, {what}, %: differences in points [95 % interval]"
    return render([grid(frame, title, notes, is_marked=True)], style)


def grid(frame: pd.DataFrame, title: str, notes: Sequence[str], *, plain: str = "", is_marked: bool = False) -> Grid:
    """A row for each model and shifted task; a star marks the models that the line goes through."""
    rows = tuple(
        (
            row["model"] + ("*" if is_marked and row["is_fitted"] else ""),
            row["task"],
            percent(row["plain"]),
            percent(row["shifted"]),
            percent(row["expected"]),
            points(row["rho"], row["rho_low"], row["rho_high"]),
        )
        for row in frame.to_dict("records")
    )
    plain = plain or str(frame["plain_task"].iloc[0])
    header = ("model", "task", plain, "shifted", "expected", "effective robustness [95 %]")
    return Grid(header, rows, title=title, notes=tuple(notes), align="llrrrr")


def picture(frame: pd.DataFrame) -> Figure:
    """The frame of `read` as a figure."""
    from compbench_analysis.figures.robustness import plot

    return plot(frame)
