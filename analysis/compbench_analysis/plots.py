"""Tidy frames as figures: nothing is shown or saved here, so a notebook and a script use them alike."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from compbench.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["accuracy_by_draws", "difference_by_timestep", "margin_histogram", "model_colours", "per_tag_bars"]

_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")  # tells models apart where a page is printed grey
_GREY = "0.25"
_CHANCE_LINE: dict[str, Any] = {"color": _GREY, "linestyle": (0, (4, 2)), "linewidth": 1.2}
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_FURTHEST = 15.0  # standard errors from 0; there is no telling certain from more certain
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


def accuracy_by_draws(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """Scores against the number of draws, from `curves.by_draws`: a row for each metric, a column for each tag.

    The line is the bank's own order, the band 95 % of balanced random subsets. `models` names the models of a figure
    whose colours are kept.
    """
    order = _ordered(frame, models)
    metrics, tags = _unlike(frame, "metric"), _tag_labels(frame)
    figure, axes = _matrix(len(metrics), len(tags))
    for (metric_number, metric), (number, (column, tag)) in _product(metrics, tags):
        axis = axes[metric_number, number]
        part = _tagged(_where(frame, "metric", metric), column, tag)
        for model, rows in _by_model(part):
            _line(axis, rows, ("n_draws", "value"), order.index(model))
        axis.axhline(float(part["chance"].iloc[0]), **_CHANCE_LINE)
        axis.set_xscale("log", base=2)
        counts = sorted(set(part["n_draws"]))
        ticks = ([each for each in counts if each & (each - 1) == 0] or counts)[::-2]  # every second, so that they fit
        axis.set_xticks(ticks, [str(each) for each in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(0, 1.04)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _titled(axis, tags[column, tag] if metric_number == 0 else "", f"{metric} score" if number == 0 else "")
    _caption(figure, frame, "number of draws", "bands hold 95 % of balanced random subsets of the draws")
    _line_legend(figure, order, frame, has_chance=True)
    return figure


def difference_by_timestep(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """The paired difference of errors against the timestep, from `curves.differences`: a panel for each tag.

    Above 0 a bin of timesteps speaks for the right pairs. `models` as in `accuracy_by_draws`.
    """
    order, tags = _ordered(frame, models), _tag_labels(frame)
    figure, axes = _matrix(1, len(tags))
    for axis, (column, tag) in zip(axes[0], tags, strict=True):
        for model, rows in _by_model(_tagged(frame, column, tag)):
            _line(axis, rows, ("timestep", "difference"), order.index(model))
        axis.axhline(0, color=_GREY, linewidth=1)
        _titled(axis, tags[column, tag], "wrong minus right error" if axis is axes[0, 0] else "")
    _caption(figure, frame, "timestep, from clean to noise", "bands are normal 95 % intervals over examples")
    _line_legend(figure, order, frame, has_chance=False)
    return figure


def margin_histogram(frame: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """How far examples are from the other decision, from `margins.margins`: a row a model, a column a metric.

    Margins are shown in standard errors over draws; between the dotted lines, at 2 of them, lie the examples that
    another bank of draws could decide otherwise.
    """
    order = _ordered(frame, models)
    shown, metrics = _unlike(frame, "model"), _unlike(frame, "metric")
    figure, axes = _matrix(len(shown), len(metrics))
    ratio = _in_errors(frame)
    known = np.clip([*ratio[np.isfinite(ratio)], -3, 3], -_FURTHEST, _FURTHEST)
    first, last = np.floor(known.min()), np.ceil(known.max())
    edges = np.arange(first, last + 0.25, 0.5 if last - first < 20 else 1.0)
    for (row, model), (number, metric) in _product(shown, metrics):
        axis = axes[row, number]
        part = _where(_where(frame.assign(ratio=ratio), "model", model), "metric", metric)
        inside = part["ratio"].dropna().clip(first, last).to_numpy()  # what lies further out is in the last bar
        axis.hist(inside, edges, color=_colour(order.index(model)), edgecolor="white", linewidth=0.6)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.axvline(0, color=_GREY, linewidth=1.2)
        for side in (-2, 2):
            axis.axvline(side, color=_GREY, linewidth=1, linestyle=":")
        flips = f"{part['p_flip'].sum():.1f} of {len(part)} expected to flip"
        _titled(axis, f"{model}, {metric}\n{flips}", "examples" if number == 0 else "")
    _caption(
        figure,
        frame,
        "decision margin in standard errors over draws",
        f"right of 0 is right; the last bars hold all beyond {_FURTHEST:g}",
    )
    return figure


def model_colours(n_models: int) -> list[str]:
    """The colours of the first models of every figure, as "#rrggbb"."""
    return [to_hex(_colour(number)) for number in range(n_models)]


def _in_errors(frame: pd.DataFrame) -> Floats:
    """Margins in standard errors; 0 for a tie, infinite where the draws all agree, NaN where the error is not known."""
    margin, se = frame["margin"].to_numpy(dtype=float), frame["se"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((margin == 0) & ~np.isnan(se), 0.0, margin / se)


def _matrix(n_rows: int, n_columns: int) -> tuple[Figure, Any]:
    """A figure and its axes [rows, columns], which share their scales by row."""
    figure = _Picture(figsize=(max(5.5, 2.7 * n_columns), 1.3 + 2.3 * n_rows), layout="constrained")
    with sns.axes_style("whitegrid", {"grid.color": "0.9", "axes.edgecolor": "0.6"}):
        return figure, figure.subplots(n_rows, n_columns, sharex=True, sharey="row", squeeze=False)


def _caption(figure: Figure, frame: pd.DataFrame, x_label: str, note: str) -> None:
    figure.supxlabel(f"{x_label}\n{', '.join(_unlike(frame, 'task'))}; {note}", fontsize=9, color="0.25")


def _line(axis: Axes, rows: pd.DataFrame, names: tuple[str, str], number: int) -> None:
    """A line of the two named columns within its band from low to high."""
    x, y, low, high = (rows[name].to_numpy(dtype=float) for name in (*names, "low", "high"))
    colour, marker = _colour(number), _MARKERS[number % len(_MARKERS)]
    axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(x, y, color=colour, linestyle=_LINES[number % len(_LINES)], marker=marker, markersize=3.5, linewidth=1.6)


def _titled(axis: Axes, title: str, y_label: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_ylabel(y_label)
    axis.tick_params(labelsize=8)
    sns.despine(ax=axis, left=True)


def _line_legend(figure: Figure, order: Sequence[str], frame: pd.DataFrame, *, has_chance: bool) -> None:
    partial = set(frame["model"][frame["is_partial"]])
    handles = [
        Line2D(
            [],
            [],
            color=_colour(number),
            linestyle=_LINES[number % len(_LINES)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            label=f"{model} (partial)" if model in partial else model,
        )
        for number, model in enumerate(order)
        if model in set(frame["model"])
    ]
    chance = [Line2D([], [], **_CHANCE_LINE, label="random chance")] if has_chance else []
    _place(figure, [*handles, *chance])


def _ordered(frame: pd.DataFrame, models: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*models, *_unlike(frame, "model")]))


def _by_model(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(model, _where(frame, "model", model)) for model in _unlike(frame, "model")]


def _tagged(frame: pd.DataFrame, column: str, tag: str) -> pd.DataFrame:
    return _where(_where(frame, "column", column), "tag", tag)


def _product(rows: Iterable[Any], columns: Iterable[Any]) -> Iterator[tuple[tuple[int, Any], tuple[int, Any]]]:
    return itertools.product(enumerate(rows), enumerate(columns))


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
    _place(figure, handles)


def _place(figure: Figure, handles: Sequence[Patch | Line2D]) -> None:
    """The legend above the panels, in as many lines as it needs."""
    widest_inches = 0.75 + 0.09 * max(len(str(each.get_label())) for each in handles)
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
