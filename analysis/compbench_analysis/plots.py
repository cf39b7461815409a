"""Tidy frames as figures: nothing is shown or saved here, so a notebook and a script use them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["per_tag_bars"]

_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")  # tells models apart where a page is printed grey
_GREY = "0.25"
_WIDEST = 14.0  # inches; wider than this the panels stand one below the other
_GROUP_WIDTH = 0.82  # of the distance between two tags


def per_tag_bars(frame: pd.DataFrame) -> Figure:
    """Grouped bars of a tidy frame of one task: a panel for each metric, a group for each tag, a bar for each model.

    Error bars are the frame's own intervals; the dashed line is chance. A model has one colour and hatch throughout.
    """
    frame = frame.assign(model=frame["model"].where(~frame["is_partial"], frame["model"] + " (partial)"))
    models, metrics = list(frame["model"].unique()), list(frame["metric"].unique())
    labels = _tag_labels(frame)
    width = 0.5 + len(labels) * max(0.72, 0.22 * len(models))
    is_side_by_side = width * len(metrics) <= _WIDEST
    shape = (1, len(metrics)) if is_side_by_side else (len(metrics), 1)
    figure = Figure(figsize=(max(5.0, width * shape[1]), 0.9 + 2.9 * shape[0]), layout="constrained")
    with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
        axes = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, frame[frame["metric"] == metric], models, labels)
        axis.set_title(f"{metric} score", fontsize=11)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))  # the panels share the axis
    handles = [_key(i, model) for i, model in enumerate(models)]
    handles += [Line2D([], [], color=_GREY, linestyle=(0, (4, 2)), label="random chance")]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), frameon=False)
    figure.supxlabel(_footnote(frame), fontsize=8, color="0.35")
    return figure


def _panel(axis: Axes, part: pd.DataFrame, models: Sequence[str], labels: dict[tuple[str, str], str]) -> None:
    bar_width = _GROUP_WIDTH / len(models)
    places = np.arange(len(labels))
    for number, model in enumerate(models):
        rows = _in_order(part[part["model"] == model], labels)
        centres = places + (number - (len(models) - 1) / 2) * bar_width
        axis.bar(
            centres, rows["value"], bar_width * 0.94, color=_colour(number), hatch=_hatch(number), edgecolor="white"
        )
        reach = np.maximum(np.array([rows["value"] - rows["low"], rows["high"] - rows["value"]], dtype=float), 0)
        axis.errorbar(centres, rows["value"], yerr=reach, fmt="none", ecolor=_GREY, elinewidth=1.1, capsize=2.2)
    chance = _in_order(part.drop_duplicates(["column", "tag"]), labels)["chance"]
    axis.hlines(chance, places - 0.5, places + 0.5, colors=_GREY, linestyles=[(0, (4, 2))], linewidth=1.2, zorder=3)
    axis.set_xticks(places, list(labels.values()), fontsize=9)
    axis.set(xlim=(-0.55, len(labels) - 0.45), ylim=(0, 1.04))
    axis.grid(visible=False, axis="x")
    axis.set_axisbelow(True)
    sns.despine(ax=axis, left=True)


def _in_order(rows: pd.DataFrame, labels: dict[tuple[str, str], str]) -> pd.DataFrame:
    """One row for each label; NaN where a model lacks a tag."""
    return rows.set_index(["column", "tag"]).reindex(pd.MultiIndex.from_tuples(labels))


def _tag_labels(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(column, tag) to what stands under the bars, with n where the models share it."""
    n_of = frame.groupby(["column", "tag"], sort=False)["n"].agg(["first", "nunique"])
    return {
        (str(column), str(tag)): f"{tag}\n(n = {row['first']})" if row["nunique"] == 1 else str(tag)
        for (column, tag), row in n_of.iterrows()  # pyright: ignore[reportGeneralTypeIssues]
    }


def _footnote(frame: pd.DataFrame) -> str:
    return f"{', '.join(frame['task'].unique())}; error bars are Wilson 95 % intervals"


def _key(number: int, model: str) -> Patch:
    return Patch(facecolor=_colour(number), hatch=_hatch(number), edgecolor="white", label=model)


def _colour(number: int) -> tuple[float, float, float]:
    palette = sns.color_palette("colorblind")
    return palette[number % len(palette)]


def _hatch(number: int) -> str:
    return _HATCHES[number % len(_HATCHES)]
