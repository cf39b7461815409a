"""Tidy frames as figures: nothing is shown or saved here, so a notebook and a script use them alike.

Each takes `ax`, an axis of your own figure for a frame of one panel; `order`, the models in their order, which keeps
the colours of another figure; `palette`, what seaborn takes, or a colour for each model; and `footer`, whether a line
below says how to read it. With `ax` it returns that axis, else a figure. Tags that are too small to rank models by are
marked.

>>> import compbench
>>> frame = compbench.tidy(compbench.run("shapes", model="chance", limit=6))
>>> len(per_tag_bars(frame).axes)  # a panel for each metric
3
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from compbench.core.aliases import Floats
from compbench_analysis.figures import style
from compbench_analysis.figures._heat_maps import agreement, tag_heat_map
from compbench_analysis.figures.style import model_colours, tag_labels, unlike, where
from compbench_analysis.text.format import metric_heading, metric_words

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
_WRONG = "0.6"
_MARGIN = "decision margin in standard errors over draws"
_GROUP_WIDTH = 0.82  # of the distance between two tags


def per_tag_bars(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """Grouped bars of a tidy frame of one task: a panel for each metric, a group for each tag, a bar for each model.

    Error bars are the frame's own intervals; the dashed line is chance. A model has one colour and hatch throughout.
    """
    models = style.Models.of(frame, order, palette)
    metrics, labels = unlike(frame, "metric"), tag_labels(frame)
    width = 0.5 + len(labels) * max(0.72, 0.22 * len(models.shown))
    is_side_by_side = width * len(metrics) <= _WIDEST
    shape = (1, len(metrics)) if is_side_by_side else (len(metrics), 1)
    size = (max(6.5, width * shape[1]), 0.9 + 2.9 * shape[0])
    panels = style.panels(ax, shape, size, "metric", sharey=True)
    for axis, metric in zip(panels.axes.ravel(), metrics, strict=True):
        _panel(axis, where(frame, "metric", metric), models, labels)
        _named(axis, metric_words(metric), panels)
    panels.axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))  # the panels share the axis
    note = style.footer(frame, "error bars are 95 % intervals over the sampling of examples") if footer else ""
    return panels.finish([*models.patches(), _chance_key()], note=note)


def accuracy_by_draws(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """Scores against the number of draws, from `curves.by_draws`: a row for each metric, a column for each tag.

    The line is the bank's own order, the band 95 % of balanced random subsets.
    """
    models = style.Models.of(frame, order, palette)
    panels = _by_metric_and_tag(frame, "n_draws", models, ax)
    counts = sorted(set(frame["n_draws"]))
    ticks = ([count for count in counts if count & (count - 1) == 0] or counts)[::-2]  # every second, so that they fit
    for axis in panels.axes.ravel():
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    note = style.footer(frame, "bands hold 95 % of balanced random subsets of the draws") if footer else ""
    return panels.finish([*models.lines(), _chance_key()], "number of draws", note)


def accuracy_by_timestep(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """Scores from the draws of one stretch of timesteps alone, from `curves.by_timestep`."""
    models = style.Models.of(frame, order, palette)
    panels = _by_metric_and_tag(frame, "timestep", models, ax)
    note = style.footer(frame, "bands are 95 % intervals over examples") if footer else ""
    return panels.finish([*models.lines(), _chance_key()], "timestep, from clean to noise", note)


def difference_by_timestep(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """The paired difference of errors against the timestep, from `curves.differences`: a panel for each tag.

    Above 0 a bin of timesteps speaks for the right pairs.
    """
    models, tags = style.Models.of(frame, order, palette), tag_labels(frame)
    panels = style.grid(ax, 1, len(tags))
    for axis, (column, tag) in zip(panels.axes[0], tags, strict=True):
        for model, rows in style.by_model(style.tagged(frame, column, tag)):
            style.line(axis, rows, ("timestep", "difference"), models.stroke(model))
        axis.axhline(0, color=style.GREY, linewidth=1)
        _titled(axis, tags[column, tag], "wrong minus right error" if axis is panels.axes[0, 0] else "", panels)
    note = style.footer(frame, "bands are 95 % intervals over examples") if footer else ""
    return panels.finish(models.lines(), "timestep, from clean to noise", note)


def accuracy_by_rule(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """Scores under every scoring rule, from `curves.by_rule`: a row for each metric, a column for each tag.

    The rule of the target that a network was trained on is its native one, and is drawn once.
    """
    frame = _drawn_once(frame)
    models, rules = style.Models.of(frame, order, palette), unlike(frame, "rule")
    metrics, tags = unlike(frame, "metric"), tag_labels(frame)
    panels = style.grid(ax, len(metrics), len(tags), 1.5 + len(metrics) * (0.5 + 0.24 * len(rules)))
    places = np.arange(len(rules))[::-1]  # the first rule stands above
    for (row, metric), (number, (column, tag)) in _product(metrics, tags):
        axis, part = panels.axes[row, number], style.tagged(where(frame, "metric", metric), column, tag)
        for model, rows in style.by_model(part):
            _dots(axis, rows.set_index("rule").reindex(rules), places, model, models)
        axis.axvline(float(part["chance"].iloc[0]), **style.CHANCE_LINE)
        axis.set_yticks(places, rules)
        axis.set_xlim(0, 1.04)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        side = metric_words(metric) if number == 0 else ""
        _titled(axis, tags[column, tag] if row == 0 else "", side, panels)
    note = style.footer(frame, "bars are 95 % intervals over examples") if footer else ""
    return panels.finish([*models.lines(), _chance_key()], note=note)


def margin_histogram(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """Histograms of decision margins, from `margins.margins`: one row per model, one column per metric.

    Margins are shown in standard errors over draws; between the dotted lines, at 2 of them, lie the examples that
    another bank of draws could decide otherwise.
    """
    models, metrics = style.Models.of(frame, order, palette), unlike(frame, "metric")
    size = (max(5.5, 2.7 * len(metrics)), 1.3 + 2.3 * len(models.shown))
    panels = style.panels(ax, (len(models.shown), len(metrics)), size, "model and metric", sharex=True, sharey="row")
    ratio = _in_errors(frame)
    known = np.clip([*ratio[np.isfinite(ratio)], -3, 3], -_FURTHEST, _FURTHEST)
    first, last = np.floor(known.min()), np.ceil(known.max())
    edges = np.arange(first, last + 0.25, 0.5 if last - first < 20 else 1.0)
    ticks = np.arange(5 * np.ceil(first / 5), last + 1, 5) + 0.0  # no minus before 0
    for (row, model), (number, metric) in _product(models.shown, metrics):
        axis = panels.axes[row, number]
        axis.set_xticks(ticks, [_beyond(tick) for tick in ticks])
        part = where(where(frame.assign(ratio=ratio), "model", model), "metric", metric)
        inside = part["ratio"].clip(first, last).to_numpy()  # what lies further out is in the last bar
        is_right = part["is_right"].to_numpy(dtype=bool)
        kinds = [inside[is_right & ~np.isnan(inside)], inside[~is_right & ~np.isnan(inside)]]
        look: dict[str, Any] = {"stacked": True, "edgecolor": "white", "linewidth": 0.6}
        axis.hist(kinds, edges, color=[models.colour(model), _WRONG], label=["right", "wrong"], **look)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.axvline(0, color=style.GREY, linewidth=1.2)
        for side in (-2, 2):
            axis.axvline(side, color=style.GREY, linewidth=1, linestyle=":")
        flips = f"{part['p_flip'].sum():.1f} of {len(part)} expected to flip"
        _titled(axis, f"{model}, {metric_heading(metric)}\n{flips}", "examples" if number == 0 else "", panels)
    note = (
        style.footer(frame, f"wrong decisions are grey; the last bars include all beyond {_FURTHEST:g}")
        if footer
        else ""
    )
    right = [Patch(facecolor=models.colour(model), label=f"{model} right") for model in models.shown]
    return panels.finish([*right, Patch(facecolor=_WRONG, label="wrong")], _MARGIN, note)


def _beyond(tick: float) -> str:
    """The number below a tick; at the last bars, which hold all that lies further out, that they do."""
    sign = {_FURTHEST: "≥ ", -_FURTHEST: "≤ "}.get(tick, "")
    return f"{sign}{tick:g}".replace("-", "−")


def _by_metric_and_tag(frame: pd.DataFrame, along: str, models: style.Models, ax: Axes | None) -> style.Panels:
    """Lines of `value` along a column: a row for each metric, a column for each tag."""
    metrics, tags = unlike(frame, "metric"), tag_labels(frame)
    panels = style.grid(ax, len(metrics), len(tags))
    for (row, metric), (number, (column, tag)) in _product(metrics, tags):
        axis, part = panels.axes[row, number], style.tagged(where(frame, "metric", metric), column, tag)
        for model, rows in style.by_model(part):
            style.line(axis, rows, (along, "value"), models.stroke(model))
        if len(part):  # a metric need not exist for a tag's examples
            axis.axhline(float(part["chance"].iloc[0]), **style.CHANCE_LINE)
        axis.set_ylim(0, 1.04)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        side = metric_words(metric) if number == 0 else ""
        _titled(axis, tags[column, tag] if row == 0 else "", side, panels)
    return panels


def _titled(axis: Axes, title: str, y_label: str, panels: style.Panels) -> None:
    """The label of a panel's side, and its title where it is one of several; in your own figure the title is yours."""
    style.titled(axis, title if panels.is_own else "", y_label)


def _named(axis: Axes, name: str, panels: style.Panels) -> None:
    """The name of a panel above it; in your own figure along its side."""
    if panels.is_own:
        axis.set_title(name, fontsize=11)
    else:
        axis.set_ylabel(name)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _chance_key() -> Line2D:
    return Line2D([], [], **style.CHANCE_LINE, label="random chance")


def _drawn_once(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the rules that are a network's native one under another name, which then says which that is."""
    if "target" not in frame:
        return frame
    trained_on = set(frame["target"])
    name = f"native ({trained_on.pop()})" if len(trained_on) == 1 else "native"
    once = frame.loc[frame["rule"] != frame["target"], :]
    return once.assign(rule=once["rule"].replace("native", name))


def _dots(axis: Axes, rows: pd.DataFrame, places: np.ndarray, model: str, models: style.Models) -> None:
    """A model's scores with their intervals, one at each of the places."""
    value, low, high = (rows[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
    number, n_models = models.names.index(model), len(models.names)
    offset = (number - (n_models - 1) / 2) * 0.6 / n_models
    axis.errorbar(
        value,
        places - offset,
        xerr=np.maximum([value - low, high - value], 0),
        fmt=str(models.stroke(model)["marker"]),
        color=models.colour(model),
        markersize=4,
        elinewidth=1.1,
    )


def _in_errors(frame: pd.DataFrame) -> Floats:
    """Margins in standard errors; 0 for a tie, infinite where the draws all agree, NaN where the error is not known."""
    margin, se = frame["margin"].to_numpy(dtype=float), frame["se"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((margin == 0) & ~np.isnan(se), 0.0, margin / se)


def _product(rows: Iterable[Any], columns: Iterable[Any]) -> Iterator[tuple[tuple[int, Any], tuple[int, Any]]]:
    return itertools.product(enumerate(rows), enumerate(columns))


def _panel(axis: Axes, part: pd.DataFrame, models: style.Models, labels: Mapping[tuple[str, str], str]) -> None:
    bar_width = _GROUP_WIDTH / len(models.shown)
    places = np.arange(len(labels))
    for place, model in enumerate(models.shown):
        value, low, high = _columns(where(part, "model", model), ["value", "low", "high"], labels)
        centres = places + (place - (len(models.shown) - 1) / 2) * bar_width
        look: dict[str, Any] = {"color": models.colour(model), "hatch": models.hatch(model), "edgecolor": "white"}
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
