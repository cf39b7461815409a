"""The figures of the page, as pictures that scale: each drawn by plots.py, or the reason why there is none."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench_analysis.figures import plots
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.leaders import headline
from compbench_analysis.frames.margins import margins
from compbench_analysis.report._sections import Section
from compbench_analysis.report._thumbnails import data_uri

__all__ = ["Chart", "by_draws", "by_rule", "by_timestep", "margin_chart", "without_repeats"]


@dataclass(frozen=True, slots=True)
class Chart:
    """`src` is empty where there is nothing to draw; then `reasons` say why."""

    title: str
    about: str
    src: str = ""
    width_px: int = 0
    reasons: tuple[str, ...] = ()


def by_draws(section: Section, by: By) -> Chart:
    """Accuracy against the number of draws."""
    about = (
        "The line is the score of a smaller budget; the band holds 95 % of balanced random subsets. Where the "
        "line is flat, more draws would not help."
    )
    return _of_runs(
        section,
        ("How many draws are enough", about),
        lambda run: _headline_of(curves.by_draws(run, by, section.rule)),
        lambda frame: plots.accuracy_by_draws(frame, order=section.labels, footer=True),
    )


def by_timestep(section: Section, by: By) -> Chart:
    """The paired difference of errors by timestep."""
    about = (
        "How much larger the error of wrong pairs is than that of right ones, on the same pictures and noise. "
        "Above zero these timesteps favour the right pairs; noise grows to the right."
    )
    return _of_runs(
        section,
        ("Where in the noise the decision is made", about),
        lambda run: curves.differences(run, by, section.rule, n_bins=curves.n_bins_of(run, section.rule)),
        lambda frame: plots.difference_by_timestep(frame, order=section.labels, footer=True),
    )


def by_rule(section: Section) -> Chart:
    """Scores of the whole set under every way to weigh the stored errors."""
    about = "The same stored errors under other weightings: nothing was measured again."

    def overall(run: Run) -> pd.DataFrame:
        frame = curves.by_rule(run, None, draws=(section.rule or run.rule).draws)
        return _headline_of(frame.iloc[np.flatnonzero(frame["tag"] == tables.OVERALL)])

    return _of_runs(
        section,
        ("Scoring rules side by side", about),
        overall,
        lambda frame: plots.accuracy_by_rule(frame, order=section.labels, footer=True),
    )


def margin_chart(section: Section) -> Chart:
    """A chart of decision margins."""
    about = "Examples between the dotted lines could be decided otherwise by another set of draws."
    return _of_runs(
        section,
        ("How sure the decisions are", about),
        lambda run: margins(run, section.rule),
        lambda frame: plots.margin_histogram(frame, order=section.labels, footer=True),
    )


def without_repeats(charts: Sequence[Chart]) -> list[Chart]:
    """The charts in order; reasons that stood under the one before are not said again."""
    before: tuple[tuple[str, ...], ...] = ((), *(chart.reasons for chart in charts[:-1]))
    return [
        replace(chart, reasons=() if chart.src else ("Not available, for the same reason as above.",))
        if chart.reasons and chart.reasons == said
        else chart
        for chart, said in zip(charts, before, strict=True)
    ]


def _headline_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the metric that the page is about."""
    return frame.iloc[np.flatnonzero(frame["metric"] == headline(list(dict.fromkeys(frame["metric"]))))]


def _of_runs(
    section: Section,
    said: tuple[str, str],
    measure: Callable[[Run], pd.DataFrame],
    draw: Callable[[pd.DataFrame], Figure],
) -> Chart:
    """A chart of the runs that support it, in their own labels, and why the others do not."""
    frames: list[pd.DataFrame] = []
    of_scores = [label for run, label in zip(section.runs, section.labels, strict=True) if not run.info.has_rule]
    store = "stores" if len(of_scores) == 1 else "store"
    reasons = [f"{', '.join(of_scores)} {store} scores and no errors per draw."] if of_scores else []
    for run, label in zip(section.runs, section.labels, strict=True):
        if label in of_scores:
            continue
        try:
            frames.append(measure(run).assign(model=label))
        except UsageError as error:
            reasons.append(section.without_paths(f"{label}: {error}"))
    if not frames:
        return Chart(*said, reasons=tuple(reasons))
    return _drawn(*said, lambda: draw(pd.concat(frames, ignore_index=True)), reasons)


def _drawn(title: str, about: str, draw: Callable[[], Figure], reasons: Sequence[str] = ()) -> Chart:
    with _plain_text():
        figure = draw()
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(
        title, about, data_uri(out.getvalue(), "image/svg+xml"), round(96 * figure.get_figwidth()), tuple(reasons)
    )


@contextmanager
def _plain_text() -> Generator[None]:
    """Names are shown as they are: no formula in a $, no warning of a letter that the font lacks."""
    settings: dict[Any, Any] = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "compbench"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield
