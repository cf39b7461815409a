"""Tidy frames as figures: nothing is shown or saved here, so a notebook and a script use them alike.

Each takes `models`: the names of the models of a figure whose colours are kept. Tags that are too small to rank models
by are marked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from compbench.core.aliases import Floats
from compbench_analysis.figures import style
from compbench_analysis.figures._heat_maps import agreement, tag_heat_map
from compbench_analysis.figures.style import model_colours, tag_labels, unlike, where

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "accuracy_by_draws",
    "accuracy_by_rule",
    "accuracy_by_timestep",
    "agreement",
    "difference_by_timestep",
    "margin_histogram",
    "model_colours",
    "per_tag_bars",
    "tag_heat_map",
]

_FURTHEST = 15.0  # standard errors from 0; there is no telling certain from more certain
_WIDEST = 14.0  # inches; wider than this the panels stand one below the other
_GROUP_WIDTH = 0.82  # of the distance between two tags


def per_tag_bars(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """Grouped bars of a tidy frame of one task: a panel for each metric, a group for each tag, a bar for each model.

    Error bars are the frame's own intervals; the dashed line is chance. A model has one colour and hatch throughout.
    """
    order, partial = style.ordered(frame, models), set(frame["model"][frame["is_partial"]])
    shown, metrics, labels = unlike(frame, "model"), unlike(frame, "metric"), tag_labels(frame)
    width = 0.5 + len(labels) * max(0.72, 0.22 * len(shown))
    is_side_by_side = width * len(metrics) <= _WIDEST
    shape = (1, len(metrics)) if is_side_by_side else (len(metrics), 1)
    figure = style.Picture(figsize=(max(6.5, width * shape[1]), 0.9 + 2.9 * shape[0]), layout="constrained")
    with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
        axes = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
    numbers = {model: order.index(model) for model in shown}
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, where(frame, "metric", metric), numbers, labels)
        axis.set_title(f"{metric} score", fontsize=11)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))  # the panels share the axis
    keys = [_key(number, f"{model} (partial)" if model in partial else model) for model, number in numbers.items()]
    style.legend(figure, [*keys, Line2D([], [], **style.CHANCE_LINE, label="random chance")])
    footnote = f"{', '.join(unlike(frame, 'task'))}; error bars are 95 % intervals over the sampling of examples"
    figure.supxlabel(footnote + style.small_note(frame), fontsize=8, color="0.35")
    return figure


def accuracy_by_draws(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """Scores against the number of draws, from `curves.by_draws`: a row for each metric, a column for each tag.

    The line is the bank's own order, the band 95 % of balanced random subsets.
    """
    figure, axes = _by_metric_and_tag(frame, "n_draws", models)
    counts = sorted(set(frame["n_draws"]))
    ticks = ([each for each in counts if each & (each - 1) == 0] or counts)[::-2]  # every second, so that they fit
    for axis in axes.ravel():
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(each) for each in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    style.caption(figure, frame, "number of draws", "bands hold 95 % of balanced random subsets of the draws")
    return figure


def accuracy_by_timestep(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """Scores from the draws of one stretch of timesteps alone, from `curves.by_timestep`."""
    figure, _ = _by_metric_and_tag(frame, "timestep", models)
    style.caption(figure, frame, "timestep, from clean to noise", "bands are 95 % intervals over examples")
    return figure


def difference_by_timestep(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """The paired difference of errors against the timestep, from `curves.differences`: a panel for each tag.

    Above 0 a bin of timesteps speaks for the right pairs.
    """
    order, tags = style.ordered(frame, models), tag_labels(frame)
    figure, axes = style.matrix(1, len(tags))
    for axis, (column, tag) in zip(axes[0], tags, strict=True):
        for model, rows in style.by_model(style.tagged(frame, column, tag)):
            style.line(axis, rows, ("timestep", "difference"), order.index(model))
        axis.axhline(0, color=style.GREY, linewidth=1)
        style.titled(axis, tags[column, tag], "wrong minus right error" if axis is axes[0, 0] else "")
    style.caption(figure, frame, "timestep, from clean to noise", "bands are 95 % intervals over examples")
    style.legend(figure, _line_keys(order, frame))
    return figure


def accuracy_by_rule(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """Scores under every scoring rule, from `curves.by_rule`: a row for each metric, a column for each tag."""
    order, rules = style.ordered(frame, models), unlike(frame, "rule")
    metrics, tags = unlike(frame, "metric"), tag_labels(frame)
    figure, axes = style.matrix(len(metrics), len(tags))
    figure.set_figheight(1.5 + len(metrics) * (0.5 + 0.24 * len(rules)))
    places = np.arange(len(rules))[::-1]  # the first rule stands above
    for (row, metric), (number, (column, tag)) in _product(metrics, tags):
        axis, part = axes[row, number], style.tagged(where(frame, "metric", metric), column, tag)
        for model, rows in style.by_model(part):
            _dots(axis, rows.set_index("rule").reindex(rules), places, order.index(model), len(order))
        axis.axvline(float(part["chance"].iloc[0]), **style.CHANCE_LINE)
        axis.set_yticks(places, rules)
        axis.set_xlim(0, 1.04)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        style.titled(axis, tags[column, tag] if row == 0 else "", f"{metric} score" if number == 0 else "")
    style.caption(figure, frame, "", "bars are 95 % intervals over examples")
    style.legend(figure, [*_line_keys(order, frame), Line2D([], [], **style.CHANCE_LINE, label="random chance")])
    return figure


def margin_histogram(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """How far examples are from the other decision, from `margins.margins`: a row a model, a column a metric.

    Margins are shown in standard errors over draws; between the dotted lines, at 2 of them, lie the examples that
    another bank of draws could decide otherwise.
    """
    order = style.ordered(frame, models)
    shown, metrics = unlike(frame, "model"), unlike(frame, "metric")
    figure, axes = style.matrix(len(shown), len(metrics))
    ratio = _in_errors(frame)
    known = np.clip([*ratio[np.isfinite(ratio)], -3, 3], -_FURTHEST, _FURTHEST)
    first, last = np.floor(known.min()), np.ceil(known.max())
    edges = np.arange(first, last + 0.25, 0.5 if last - first < 20 else 1.0)
    for (row, model), (number, metric) in _product(shown, metrics):
        axis = axes[row, number]
        part = where(where(frame.assign(ratio=ratio), "model", model), "metric", metric)
        inside = part["ratio"].dropna().clip(first, last).to_numpy()  # what lies further out is in the last bar
        axis.hist(inside, edges, color=style.colour(order.index(model)), edgecolor="white", linewidth=0.6)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.axvline(0, color=style.GREY, linewidth=1.2)
        for side in (-2, 2):
            axis.axvline(side, color=style.GREY, linewidth=1, linestyle=":")
        flips = f"{part['p_flip'].sum():.1f} of {len(part)} expected to flip"
        style.titled(axis, f"{model}, {metric}\n{flips}", "examples" if number == 0 else "")
    style.caption(
        figure,
        frame,
        "decision margin in standard errors over draws",
        f"right of 0 is right; the last bars hold all beyond {_FURTHEST:g}",
    )
    return figure


def _by_metric_and_tag(frame: pd.DataFrame, along: str, models: Sequence[str]) -> tuple[Figure, Any]:
    """Lines of `value` along a column: a row for each metric, a column for each tag."""
    order = style.ordered(frame, models)
    metrics, tags = unlike(frame, "metric"), tag_labels(frame)
    figure, axes = style.matrix(len(metrics), len(tags))
    for (row, metric), (number, (column, tag)) in _product(metrics, tags):
        axis, part = axes[row, number], style.tagged(where(frame, "metric", metric), column, tag)
        for model, rows in style.by_model(part):
            style.line(axis, rows, (along, "value"), order.index(model))
        if len(part):  # a metric need not exist for a tag's examples
            axis.axhline(float(part["chance"].iloc[0]), **style.CHANCE_LINE)
        axis.set_ylim(0, 1.04)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        style.titled(axis, tags[column, tag] if row == 0 else "", f"{metric} score" if number == 0 else "")
    style.legend(figure, [*_line_keys(order, frame), Line2D([], [], **style.CHANCE_LINE, label="random chance")])
    return figure, axes


def _dots(axis: Axes, rows: pd.DataFrame, places: np.ndarray, number: int, n_models: int) -> None:
    """A model's scores with their intervals, one at each of the places."""
    value, low, high = (rows[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
    key, offset = style.line_key(number, ""), (number - (n_models - 1) / 2) * 0.6 / n_models
    axis.errorbar(
        value,
        places - offset,
        xerr=np.maximum([value - low, high - value], 0),
        fmt=str(key.get_marker()),
        color=style.colour(number),
        markersize=4,
        elinewidth=1.1,
    )


def _line_keys(order: Sequence[str], frame: pd.DataFrame) -> list[Line2D]:
    partial, shown = set(frame["model"][frame["is_partial"]]), set(frame["model"])
    return [
        style.line_key(number, f"{model} (partial)" if model in partial else model)
        for number, model in enumerate(order)
        if model in shown
    ]


def _in_errors(frame: pd.DataFrame) -> Floats:
    """Margins in standard errors; 0 for a tie, infinite where the draws all agree, NaN where the error is not known."""
    margin, se = frame["margin"].to_numpy(dtype=float), frame["se"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((margin == 0) & ~np.isnan(se), 0.0, margin / se)


def _product(rows: Iterable[Any], columns: Iterable[Any]) -> Iterator[tuple[tuple[int, Any], tuple[int, Any]]]:
    return itertools.product(enumerate(rows), enumerate(columns))


def _panel(axis: Axes, part: pd.DataFrame, numbers: Mapping[str, int], labels: Mapping[tuple[str, str], str]) -> None:
    bar_width = _GROUP_WIDTH / len(numbers)
    places = np.arange(len(labels))
    for place, (model, number) in enumerate(numbers.items()):
        value, low, high = _columns(where(part, "model", model), ["value", "low", "high"], labels)
        centres = places + (place - (len(numbers) - 1) / 2) * bar_width
        look: dict[str, Any] = {"color": style.colour(number), "hatch": style.hatch(number), "edgecolor": "white"}
        axis.bar(centres, value, 0.94 * bar_width, **look)
        reach = np.maximum([value - low, high - value], 0)
        axis.errorbar(centres, value, yerr=reach, fmt="none", ecolor=style.GREY, elinewidth=1.1, capsize=2.2)
    (chance,) = _columns(part.drop_duplicates(["column", "tag"]), ["chance"], labels)
    axis.stairs(chance, np.arange(len(labels) + 1) - 0.5, baseline=None, zorder=3, **style.CHANCE_LINE)
    axis.set_xticks(places, list(labels.values()), fontsize=9)
    axis.set(xlim=(-0.55, len(labels) - 0.45), ylim=(0, 1.04))
    axis.grid(visible=False, axis="x")
    axis.set_axisbelow(True)
    sns.despine(ax=axis, left=True)


def _columns(rows: pd.DataFrame, names: Sequence[str], labels: Mapping[tuple[str, str], str]) -> list[Floats]:
    """The named columns, one value for each label; NaN where a model lacks a tag."""
    ordered = rows.set_index(["column", "tag"]).reindex(pd.MultiIndex.from_tuples(list(labels)))
    return [ordered[name].to_numpy(dtype=float) for name in names]


def _key(number: int, label: str) -> Patch:
    return Patch(facecolor=style.colour(number), hatch=style.hatch(number), edgecolor="white", label=label)
