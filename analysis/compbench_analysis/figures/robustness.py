"""Accuracy under a shift against accuracy without one, with the line that effective robustness is measured from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from scipy.special import expit, logit

from compbench_analysis.figures.style import GREY, Picture, colour, unlike, where

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_TICKS = (0.01, 0.02, *(k / 20 for k in range(1, 20)), 0.98, 0.99, 0.995)


def plot(frame: pd.DataFrame) -> Figure:
    """Accuracy under each shift against accuracy without it, on logit axes, from `effective_robustness`.

    The dashed line is the fit, the dotted one where a shift costs nothing; filled marks were fitted, a model above the
    line is effectively robust.
    """
    tasks, models = unlike(frame, "task"), unlike(frame, "model")
    figure = Picture(figsize=(4.6 * len(tasks), 5.0), layout="constrained")
    with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(axes, tasks, strict=True):
        _panel(axis, where(frame, "task", task), models)
        axis.set_title(task, fontsize=11)
    axes[0].set_ylabel(f"{frame['metric'].iloc[0]} under the shift")
    figure.supxlabel(f"{frame['metric'].iloc[0]} on {frame['plain_task'].iloc[0]}", fontsize=10)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(4, len(names)), frameon=False, fontsize=9)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, models: Sequence[str]) -> None:
    """A panel for a shifted task: a mark and its interval for each model, the fitted line, and the line of no loss."""
    across, up = _ends(rows, "plain"), _ends(rows, "shifted", "shifted_low", "shifted_high", "expected")
    x = expit(np.linspace(float(logit(across[0])), float(logit(across[1])), 100))
    slope, intercept = rows[["slope", "intercept"]].iloc[0]
    axis.plot(x, expit(slope * logit(x) + intercept), color=GREY, linestyle="--", linewidth=1.3, label="fitted line")
    axis.plot(x, x, color="0.5", linestyle=":", linewidth=1.2, label="nothing lost")
    for row in rows.to_dict("records"):
        number = models.index(row["model"])
        own, marker = colour(number), _MARKERS[number % len(_MARKERS)]
        y = float(np.clip(row["shifted"], *up))
        reach = [[max(0.0, y - row["shifted_low"])], [max(0.0, row["shifted_high"] - y)]]
        axis.errorbar(
            float(np.clip(row["plain"], *across)),
            y,
            reach,
            color=own,
            marker=marker,
            markersize=8,
            markerfacecolor=own if row["is_fitted"] else "white",
            markeredgewidth=1.8,
            capsize=2.5,
            linestyle="none",
            label=row["model"] + (" (fitted)" if row["is_fitted"] else ""),
        )
    _scale(axis, "x", across)
    _scale(axis, "y", up)
    axis.tick_params(labelsize=8)


def _ends(rows: pd.DataFrame, *names: str) -> tuple[float, float]:
    """The ends of an axis: all values, with some room, and never at 0 or 1."""
    inside = logit(np.clip(rows[list(names)].to_numpy(float), 0.002, 0.998))
    room = 0.25 + 0.08 * np.ptp(inside)
    low, high = expit([inside.min() - room, inside.max() + room])
    return float(low), float(high)


def _scale(axis: Axes, name: str, ends: tuple[float, float]) -> None:
    """A logit axis with a few percentages on it."""
    ticks = [tick for tick in _TICKS if ends[0] <= tick <= ends[1]]
    line = axis.xaxis if name == "x" else axis.yaxis
    axis.set(**{f"{name}scale": "logit", f"{name}lim": ends})
    line.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) // 8]))
    line.set_major_formatter(PercentFormatter(1.0, decimals=0))
    line.set_minor_locator(NullLocator())
