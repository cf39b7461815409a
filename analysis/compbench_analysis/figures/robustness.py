"""Effective robustness: how much more accurate a model is under a shift than its accuracy without one foretells.

Taori et al., "Measuring Robustness to Natural Distribution Shifts in Image Classification", NeurIPS 2020, section 3.1:
over many models, accuracy under a shift is close to a line in accuracy without it, when both are taken as logits. With
the line beta fitted through models that have nothing special about them, rho(f) = acc_shifted(f) - beta(acc_plain(f)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from scipy.special import expit, logit

from compbench.core.aliases import Bools, Floats
from compbench.core.errors import UsageError
from compbench_analysis.figures.style import GREY, Picture, colour, unlike, where
from compbench_analysis.frames.tables import OVERALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["effective_robustness", "plot"]

_COLUMNS = ["task", "plain_task", "metric", "model", "plain", "shifted", "shifted_low", "shifted_high", "expected"]
_RHO = ["rho", "rho_low", "rho_high", "is_fitted", "slope", "intercept", "n"]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_TICKS = (0.01, 0.02, *(k / 20 for k in range(1, 20)), 0.98, 0.99, 0.995)


def effective_robustness(
    frame: pd.DataFrame, plain: str, fitted: Sequence[str], *, metric: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """One row for each shifted task and model of a tidy frame (`tables.tidy`): accuracies, the line, rho.

    `plain` is the task without a shift; `fitted` are the models that the line goes through, at least two. `metric` is
    needed where the frame has several. `rho_low` to `rho_high` holds 95 % of 2,000 worlds in which every accuracy was
    counted anew, each for itself, and the line fitted anew: models that share their examples differ by less.
    An accuracy of 0 or 1, which has no logit, is moved inwards by half an example.
    """
    rows = _overall(frame, metric)
    known = where(rows, "task", plain).set_index("model")
    _check(known, rows, plain, fitted)
    before = known[["value", "n"]].add_suffix("_plain")
    frames: list[dict[str, Any]] = []
    for number, task in enumerate(each for each in dict.fromkeys(rows["task"]) if each != plain):
        both = where(rows, "task", task).set_index("model").join(before, how="inner")
        frames += _of_task(task, plain, both, fitted, np.random.default_rng([seed, number]))
    return pd.DataFrame(frames, columns=pd.Index([*_COLUMNS, *_RHO]))


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
    """One shifted task: a mark and its interval for each model, the fitted line, and the line of no loss."""
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
    """Where an axis begins and ends: all values, with some room, and never at 0 or 1."""
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


def _of_task(
    task: str, plain: str, both: pd.DataFrame, fitted: Sequence[str], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    n = both[["n_plain", "n"]].to_numpy(float)  # [M, 2]: without the shift and with it
    accuracy = both[["value_plain", "value"]].to_numpy(float)  # [M, 2]
    is_fitted = np.isin(both.index.to_numpy(str), list(fitted))
    expected, slope, intercept = _foretold(accuracy, n, is_fitted)
    counted = rng.binomial(n.astype(int), accuracy, (2000, *n.shape)) / n  # [W, M, 2]
    rhos = counted[..., 1] - _foretold(counted, n, is_fitted)[0]
    low, high = np.nanpercentile(rhos, [2.5, 97.5], axis=0)
    described = zip(both["metric"], both["low"], both["high"], strict=True)
    for m, (model, (metric, low_end, high_end)) in enumerate(zip(both.index, described, strict=True)):
        yield {
            "task": task,
            "plain_task": plain,
            "metric": metric,
            "model": model,
            "plain": accuracy[m, 0],
            "shifted": accuracy[m, 1],
            "shifted_low": low_end,
            "shifted_high": high_end,
            "expected": expected[m],
            "rho": accuracy[m, 1] - expected[m],
            "rho_low": low[m],
            "rho_high": high[m],
            "is_fitted": is_fitted[m],
            "slope": float(slope),
            "intercept": float(intercept),
            "n": int(n[m, 1]),
        }


def _foretold(accuracy: Floats, n: Floats, is_fitted: Bools) -> tuple[Floats, Floats, Floats]:
    """beta of accuracies [..., M, 2]: what each model's accuracy without the shift foretells [..., M], and the line.

    NaN where the fitted models are equally accurate without the shift.
    """
    logits = logit(np.clip(accuracy, 0.5 / n, 1 - 0.5 / n))
    x, y = np.moveaxis(logits[..., is_fitted, :], -1, 0)  # [..., fitted]
    from_mean = x - x.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        slope = (from_mean * y).sum(-1) / (from_mean**2).sum(-1)
    intercept = y.mean(-1) - slope * x.mean(-1)
    return expit(slope[..., None] * logits[..., 0] + intercept[..., None]), slope, intercept


def _overall(frame: pd.DataFrame, metric: str | None) -> pd.DataFrame:
    """The rows of whole tasks, of one metric; those that are told as percentages by others are left out by n."""
    rows = where(frame, "tag", OVERALL) if "tag" in frame else frame
    metrics = list(dict.fromkeys(rows["metric"]))
    if metric is None and len(metrics) > 1:
        raise UsageError(f"the frame has the metrics {', '.join(metrics)}; expected one, or metric=...")
    if metric is not None and metric not in metrics:
        raise UsageError(f"no metric {metric!r} in the frame; it has {', '.join(metrics)}")
    return where(rows, "metric", metric or metrics[0])


def _check(known: pd.DataFrame, rows: pd.DataFrame, plain: str, fitted: Sequence[str]) -> None:
    tasks = list(dict.fromkeys(rows["task"]))
    if plain not in tasks or len(tasks) < 2:
        raise UsageError(f"the frame has the tasks {', '.join(tasks)}; expected {plain!r} and at least one other")
    if known.index.has_duplicates:
        twice = known.index[known.index.duplicated()][0]
        raise UsageError(f"model {twice!r} has two results on {plain!r}; expected one of each model and task")
    if lacking := [model for model in fitted if model not in known.index]:
        raise UsageError(f"model {lacking[0]!r} has no result on {plain!r}; the frame has {', '.join(known.index)}")
    if known.loc[list(fitted), "value"].nunique() < 2:
        raise UsageError(f"a line needs two models of unlike accuracy on {plain!r}; got {', '.join(fitted) or 'none'}")
