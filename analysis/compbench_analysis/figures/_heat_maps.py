"""Figures that are tables: models by tags in shades, and how often two models agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from compbench.core.aliases import Floats
from compbench_analysis.figures import style
from compbench_analysis.figures.style import tag_labels, unlike, where
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.frames.tables import CHANCE
from compbench_analysis.text.format import metric_heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["agreement", "tag_heat_map"]

Look = tuple[tuple[float, float, float], str]  # colour and hatch

_SHADES = "cividis"  # of one order for every eye, and on grey paper
_BOTH, _NEITHER = "0.45", "0.93"
_NARROW = 0.045  # of a bar; a count does not fit in less


def tag_heat_map(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: str = _SHADES,
    footer: bool = False,
) -> Any:
    """A tidy frame of one task as models by tags: a panel for each metric, chance in the last row."""
    metrics, labels = unlike(frame, "metric"), tag_labels(frame)
    models = style.Models.of(frame, order)
    shown = pd.concat([frame, _chance(frame)], ignore_index=True)
    has_chance = CHANCE in set(shown["model"])
    names = {model: models.label(model) for model in models.shown} | ({CHANCE: CHANCE} if has_chance else {})
    size = (max(6.0, 2.2 + 0.95 * len(labels) * len(metrics)), 1.6 + 0.36 * len(names))
    panels = style.panels(ax, (1, len(metrics)), size, "metric", sharey=True)
    for axis, metric in zip(panels.axes[0], metrics, strict=True):
        _shades(axis, _grid(where(shown, "metric", metric), list(names), labels), palette)
        if panels.is_own:
            axis.set_title(f"{metric_heading(metric)} score", fontsize=11)
        axis.set_xticks(np.arange(len(labels)) + 0.5, list(labels.values()), fontsize=8, rotation=0)
        axis.set_yticks(np.arange(len(names)) + 0.5, list(names.values()), fontsize=9, rotation=0)
        axis.tick_params(length=0)
        if has_chance:
            axis.axhline(len(names) - 1, color="white", linewidth=5)
    return panels.finish([], note=style.footer(frame, "percent right") if footer else "")


def agreement(
    outcomes: pd.DataFrame,
    *,
    ax: Axes | None = None,
    order: Sequence[str] = (),
    palette: style.Palette = None,
    footer: bool = False,
) -> Any:
    """A heat map of how often two models are right together, alone and not at all, from `compare.compare`.

    A row for each pair, a column for each metric, a bar for each tag; what one alone has right is in its own colour.
    """
    pairs = list(dict.fromkeys(zip(outcomes["a"], outcomes["b"], strict=True)))
    both = pd.DataFrame({"model": [model for pair in pairs for model in pair]})
    models = style.Models.of(both, order, palette)
    metrics, labels = unlike(outcomes, "metric"), tag_labels(outcomes)
    size = (max(6.5, 1.2 + 2.9 * len(metrics)), 1.1 + len(pairs) * (0.65 + 0.4 * len(labels)))
    panels = style.panels(ax, (len(pairs), len(metrics)), size, "pair and metric", sharex=True, sharey=True)
    for row, (a, b) in enumerate(pairs):
        part = where(where(outcomes, "a", a), "b", b)
        for axis, metric in zip(panels.axes[row], metrics, strict=True):
            _stack(axis, where(part, "metric", metric), (_look(a, models), _look(b, models)), labels)
            if panels.is_own:
                pair = f"\n{a} and {b}" if len(pairs) > 1 else ""
                axis.set_title(f"{metric_heading(metric)} score{pair}", fontsize=10)
    return panels.finish(_keys(models), note=style.footer(outcomes, "numbers are examples") if footer else "")


def _chance(frame: pd.DataFrame) -> pd.DataFrame:
    """Random chance as the rows of a model, where it is known."""
    known = frame.dropna(subset=["chance"]).drop_duplicates(["column", "tag", "metric"])
    return known.assign(model=CHANCE, value=known["chance"].astype(float), is_partial=False)


def _grid(part: pd.DataFrame, models: Sequence[str], labels: Mapping[tuple[str, str], str]) -> Floats:
    """[models, tags], NaN where a model lacks the metric or the tag."""
    rows = part[["model", "column", "tag", "value"]].itertuples(index=False)
    cells = pivot(rows, lambda row: str(row[0]), lambda row: (row[1], row[2]), lambda row: float(row[3]))
    return np.array(cells.lines(np.nan, down=models, across=list(labels)), dtype=float)


def _shades(axis: Axes, values: Floats, palette: str) -> None:
    written = np.array([["" if np.isnan(value) else f"{100 * value:.1f}" for value in row] for row in values])
    look: dict[str, Any] = {
        "annot": written,
        "fmt": "",
        "annot_kws": {"fontsize": 8.5},
        "linewidths": 0.8,
        "linecolor": "white",
    }
    sns.heatmap(values, ax=axis, vmin=0, vmax=1, cmap=palette, cbar=False, **look)
    for row, column in np.argwhere(np.isnan(values)):
        axis.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color="0.5")


def _stack(axis: Axes, part: pd.DataFrame, looks: tuple[Look, Look], labels: Mapping[tuple[str, str], str]) -> None:
    rows = part.set_index(["column", "tag"]).reindex(pd.MultiIndex.from_tuples(list(labels)))
    total = rows["n"].to_numpy(dtype=float)
    places, left = np.arange(len(labels))[::-1], np.zeros(len(labels))
    shades = {"both": (_BOTH, ""), "only_a": looks[0], "only_b": looks[1], "neither": (_NEITHER, "")}
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


def _look(model: str, models: style.Models) -> Look:
    return models.colour(model), models.hatch(model)


def _keys(models: style.Models) -> list[Patch]:
    alone = models.patches()
    for patch, model in zip(alone, models.shown, strict=True):
        patch.set_label(f"only {model} right")
    return [Patch(facecolor=_BOTH, label="both right"), *alone, Patch(facecolor=_NEITHER, label="neither right")]
