"""Figures that are tables: models by tags in shades, and how often two models agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from compbench.core.aliases import Floats
from compbench_analysis.figures import style
from compbench_analysis.figures.style import tag_labels, unlike, where
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.frames.tables import CHANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["agreement", "tag_heat_map"]

_SHADES = "cividis"  # of one order for every eye, and on grey paper
_BOTH, _NEITHER = "0.45", "0.93"
_NARROW = 0.045  # of a bar; a count does not fit in less


def tag_heat_map(frame: pd.DataFrame) -> Figure:
    """A tidy frame of one task as models by tags: a panel for each metric, chance in the last row."""
    metrics, labels = unlike(frame, "metric"), tag_labels(frame)
    shown = pd.concat([frame, _chance(frame)], ignore_index=True)
    names = _names(shown)
    size = (2.2 + 0.95 * len(labels) * len(metrics), 1.6 + 0.36 * len(names))
    figure = style.Picture(figsize=(max(6.0, size[0]), size[1]), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=True):
        _shades(axis, _grid(where(shown, "metric", metric), list(names), labels))
        axis.set_title(f"{metric} score", fontsize=11)
        axis.set_xticks(np.arange(len(labels)) + 0.5, list(labels.values()), fontsize=8, rotation=0)
        axis.set_yticks(np.arange(len(names)) + 0.5, list(names.values()), fontsize=9, rotation=0)
        axis.tick_params(length=0)
        if CHANCE in names:
            axis.axhline(len(names) - 1, color="white", linewidth=5)
    style.caption(figure, frame, "", "percent right")
    return figure


def agreement(outcomes: pd.DataFrame, *, models: Sequence[str] = ()) -> Figure:
    """How often two models are right together, alone and not at all, from the outcomes of `compare.compare`.

    A row for each pair, a column for each metric, a bar for each tag; what one alone has right is in its own colour.
    """
    pairs = list(dict.fromkeys(zip(outcomes["a"], outcomes["b"], strict=True)))
    order = list(dict.fromkeys([*models, *(model for pair in pairs for model in pair)]))
    metrics, labels = unlike(outcomes, "metric"), tag_labels(outcomes)
    height = 1.1 + len(pairs) * (0.65 + 0.4 * len(labels))
    figure = style.Picture(figsize=(max(6.5, 1.2 + 2.9 * len(metrics)), height), layout="constrained")
    axes = figure.subplots(len(pairs), len(metrics), sharex=True, sharey=True, squeeze=False)
    for row, (a, b) in enumerate(pairs):
        part = where(where(outcomes, "a", a), "b", b)
        for axis, metric in zip(axes[row], metrics, strict=True):
            _stack(axis, where(part, "metric", metric), (order.index(a), order.index(b)), labels)
            axis.set_title(f"{metric} score" + (f"\n{a} and {b}" if len(pairs) > 1 else ""), fontsize=10)
    style.legend(figure, _keys(order, models=[model for pair in pairs for model in pair]))
    style.caption(figure, outcomes, "", "numbers are examples")
    return figure


def _names(frame: pd.DataFrame) -> dict[str, str]:
    partial = set(frame["model"][frame["is_partial"]])
    return {model: f"{model} (partial)" if model in partial else model for model in unlike(frame, "model")}


def _chance(frame: pd.DataFrame) -> pd.DataFrame:
    """Random chance as the rows of a model, where it is known."""
    known = frame.dropna(subset=["chance"]).drop_duplicates(["column", "tag", "metric"])
    return known.assign(model=CHANCE, value=known["chance"].astype(float), is_partial=False)


def _grid(part: pd.DataFrame, models: Sequence[str], labels: Mapping[tuple[str, str], str]) -> Floats:
    """[models, tags], NaN where a model lacks the metric or the tag."""
    rows = part[["model", "column", "tag", "value"]].itertuples(index=False)
    cells = pivot(rows, lambda row: str(row[0]), lambda row: (row[1], row[2]), lambda row: float(row[3]))
    return np.array(cells.lines(np.nan, down=models, across=list(labels)), dtype=float)


def _shades(axis: Axes, values: Floats) -> None:
    written = np.array([["" if np.isnan(value) else f"{100 * value:.1f}" for value in row] for row in values])
    look: dict[str, Any] = {
        "annot": written,
        "fmt": "",
        "annot_kws": {"fontsize": 8.5},
        "linewidths": 0.8,
        "linecolor": "white",
    }
    sns.heatmap(values, ax=axis, vmin=0, vmax=1, cmap=_SHADES, cbar=False, **look)
    for row, column in np.argwhere(np.isnan(values)):
        axis.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color="0.5")


def _stack(axis: Axes, part: pd.DataFrame, numbers: tuple[int, int], labels: Mapping[tuple[str, str], str]) -> None:
    rows = part.set_index(["column", "tag"]).reindex(pd.MultiIndex.from_tuples(list(labels)))
    total = rows["n"].to_numpy(dtype=float)
    places, left = np.arange(len(labels))[::-1], np.zeros(len(labels))
    shades = {"both": (_BOTH, ""), "only_a": _look(numbers[0]), "only_b": _look(numbers[1]), "neither": (_NEITHER, "")}
    for cell, (shade, hatch) in shades.items():
        counts = rows[cell].to_numpy(dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.nan_to_num(counts / total)
        axis.barh(places, share, 0.74, left=left, color=shade, hatch=hatch, edgecolor="white", linewidth=0.8)
        for place, start, width, count in zip(places, left, share, counts, strict=True):
            if width >= _NARROW:
                box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
                axis.text(start + width / 2, place, f"{count:.0f}", ha="center", va="center", fontsize=7.5, bbox=box)
        left = left + share
    axis.set_yticks(places, [label.replace("\n", " ") for label in labels.values()], fontsize=9)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.tick_params(labelsize=8, length=0)
    sns.despine(ax=axis, left=True, bottom=True)


def _look(number: int) -> tuple[tuple[float, float, float], str]:
    return style.colour(number), style.hatch(number)


def _keys(order: Sequence[str], models: Sequence[str]) -> list[Patch]:
    alone = [
        Patch(facecolor=style.colour(number), hatch=style.hatch(number), edgecolor="white", label=f"only {model} right")
        for number, model in enumerate(order)
        if model in models
    ]
    return [Patch(facecolor=_BOTH, label="both right"), *alone, Patch(facecolor=_NEITHER, label="neither right")]
