"""Effective robustness: how much more accurate a model is under a shift than its accuracy without one foretells.

Taori et al., "Measuring Robustness to Natural Distribution Shifts in Image Classification", NeurIPS 2020, section 3.1:
over many models, accuracy under a shift is close to a line in accuracy without it, when both are taken as logits. With
the line beta fitted through models that have nothing special about them, rho(f) = acc_shifted(f) - beta(acc_plain(f)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from compbench.core.aliases import Bools, Floats
from compbench.core.errors import UsageError
from compbench_analysis.frames.tables import OVERALL

__all__ = ["effective_robustness"]

_COLUMNS = ["task", "plain_task", "metric", "model", "plain", "shifted", "shifted_low", "shifted_high", "expected"]
_RHO = ["rho", "rho_low", "rho_high", "is_fitted", "slope", "intercept", "n"]


def effective_robustness(
    frame: pd.DataFrame, plain: str, fitted: Sequence[str], *, metric: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """A row per shifted task and model of a tidy frame (`tables.tidy`): accuracies, the line, rho.

    `plain` is the task without a shift; `fitted` are the models that the line goes through, at least two. `metric` is
    needed where the frame has several. `rho_low` to `rho_high` holds 95 % of 2,000 worlds in which every accuracy was
    counted again, each for itself, and the line refitted: models that share their examples differ by less.
    An accuracy of 0 or 1, which has no logit, is moved inwards by half an example.
    """
    rows = _overall(frame, metric)
    known = rows.loc[rows["task"] == plain].set_index("model")
    _check(known, rows, plain, fitted)
    before = known[["value", "n"]].add_suffix("_plain")
    frames: list[dict[str, Any]] = []
    for number, task in enumerate(name for name in dict.fromkeys(rows["task"]) if name != plain):
        both = rows.loc[rows["task"] == task].set_index("model").join(before, how="inner")
        frames += _of_task(task, plain, both, fitted, np.random.default_rng([seed, number]))
    return pd.DataFrame(frames, columns=pd.Index([*_COLUMNS, *_RHO]))


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
    rows = frame.loc[frame["tag"] == OVERALL] if "tag" in frame else frame
    metrics = list(dict.fromkeys(rows["metric"]))
    if metric is None and len(metrics) > 1:
        raise UsageError(f"the frame has the metrics {', '.join(metrics)}; expected one, or metric=...")
    if metric is not None and metric not in metrics:
        raise UsageError(f"no metric {metric!r} in the frame; it has {', '.join(metrics)}")
    return rows.loc[rows["metric"] == (metric or metrics[0])]


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
