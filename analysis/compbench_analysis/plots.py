"""Tidy frames as figures: nothing is shown or saved here, so a notebook and a script use them alike."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from compbench.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["per_tag_bars"]

_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")  # tells models apart where a page is printed grey
_GREY = "0.25"
_CHANCE_LINE: dict[str, Any] = {"color": _GREY, "linestyle": (0, (4, 2)), "linewidth": 1.2}
_WIDEST = 14.0  # inches; wider than this the panels stand one below the other
_GROUP_WIDTH = 0.82  # of the distance between two tags


class _Picture(Figure):
    """A figure that a notebook shows by itself, whether or not it has turned pyplot's inline mode on."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


def per_tag_bars(frame: pd.DataFrame) -> Figure:
    """Grouped bars of a tidy frame of one task: a panel for each metric, a group for each tag, a bar for each model.

    Error bars are the frame's own intervals; the dashed line is chance. A model has one colour and hatch throughout.
    """
    frame = frame.assign(model=frame["model"].where(~frame["is_partial"], frame["model"] + " (partial)"))
    models, metrics, labels = _unlike(frame, "model"), _unlike(frame, "metric"), _tag_labels(frame)
    width = 0.5 + len(labels) * max(0.72, 0.22 * len(models))
    is_side_by_side = width * len(metrics) <= _WIDEST
    shape = (1, len(metrics)) if is_side_by_side else (len(metrics), 1)
    figure = _Picture(figsize=(max(6.5, width * shape[1]), 0.9 + 2.9 * shape[0]), layout="constrained")
    with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
        axes = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, _where(frame, "metric", metric), models, labels)
        axis.set_title(f"{metric} score", fontsize=11)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))  # the panels share the axis
    _legend(figure, models)
    figure.supxlabel(_footnote(frame), fontsize=8, color="0.35")
    return figure


def _panel(axis: Axes, part: pd.DataFrame, models: Sequence[str], labels: Mapping[tuple[str, str], str]) -> None:
    bar_width = _GROUP_WIDTH / len(models)
    places = np.arange(len(labels))
    for number, model in enumerate(models):
        value, low, high = _columns(_where(part, "model", model), ["value", "low", "high"], labels)
        centres = places + (number - (len(models) - 1) / 2) * bar_width
        axis.bar(centres, value, 0.94 * bar_width, color=_colour(number), hatch=_hatch(number), edgecolor="white")
        reach = np.maximum([value - low, high - value], 0)
        axis.errorbar(centres, value, yerr=reach, fmt="none", ecolor=_GREY, elinewidth=1.1, capsize=2.2)
    (chance,) = _columns(part.drop_duplicates(["column", "tag"]), ["chance"], labels)
    axis.stairs(chance, np.arange(len(labels) + 1) - 0.5, baseline=None, zorder=3, **_CHANCE_LINE)
    axis.set_xticks(places, list(labels.values()), fontsize=9)
    axis.set(xlim=(-0.55, len(labels) - 0.45), ylim=(0, 1.04))
    axis.grid(visible=False, axis="x")
    axis.set_axisbelow(True)
    sns.despine(ax=axis, left=True)


def _legend(figure: Figure, models: Sequence[str]) -> None:
    handles = [*map(_key, range(len(models)), models), Line2D([], [], **_CHANCE_LINE, label="random chance")]
    widest_inches = 0.75 + 0.09 * max(map(len, [*models, "random chance"]))
    n_across = min(len(handles), max(1, int(figure.get_figwidth() / widest_inches)))
    figure.legend(handles=handles, loc="outside upper center", ncols=n_across, frameon=False)


def _columns(rows: pd.DataFrame, names: Sequence[str], labels: Mapping[tuple[str, str], str]) -> list[Floats]:
    """The named columns, one value for each label; NaN where a model lacks a tag."""
    ordered = rows.set_index(["column", "tag"]).reindex(pd.MultiIndex.from_tuples(list(labels)))
    return [ordered[name].to_numpy(dtype=float) for name in names]


def _tag_labels(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(column, tag) to what stands under the bars, with n where the models share it."""
    n_of: dict[tuple[str, str], set[int]] = {}
    for column, tag, n in zip(frame["column"], frame["tag"], frame["n"], strict=True):
        n_of.setdefault((column, tag), set()).add(n)
    return {key: f"{key[1]}\n(n = {min(n)})" if len(n) == 1 else key[1] for key, n in n_of.items()}


def _where(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    return frame.iloc[np.flatnonzero(frame[column] == value)]


def _unlike(frame: pd.DataFrame, column: str) -> list[str]:
    return list(dict.fromkeys(frame[column].astype(str)))


def _footnote(frame: pd.DataFrame) -> str:
    return f"{', '.join(_unlike(frame, 'task'))}; error bars are Wilson 95 % intervals"


def _key(number: int, model: str) -> Patch:
    return Patch(facecolor=_colour(number), hatch=_hatch(number), edgecolor="white", label=model)


def _colour(number: int) -> tuple[float, float, float]:
    palette = sns.color_palette("colorblind")
    return palette[number % len(palette)]


def _hatch(number: int) -> str:
    return _HATCHES[number % len(_HATCHES)]
