"""The tables of Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier" (ICCV 2023), beside stored runs.

paper.csv holds the percentages as printed: Table 1 (zero-shot classification), Table 2 (Winoground's text score by tag)
and Table 3 (class-conditional classification). The paper does not say whether its top-1 is over images or the mean
over classes; ours is over images. Its ImageNet cells are of a subset that was not published.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench.store.told_apart import in_words
from compbench_analysis.frames import tables
from compbench_analysis.frames.signature import partial, signature
from compbench_analysis.statistics.intervals import wilson

__all__ = ["TABLES", "apart", "beside", "cells"]

TABLES = ("table1", "table2", "table3")
_TOLD = ("protocol", "base", "n_per_class", "train_per_class", "architecture", "steps", "templates")


def cells(name: str) -> list[dict[str, str]]:
    """The lines of paper.csv of one table: row, model (as `--model` takes it), task, metric, tag, percent, n."""
    if name not in TABLES:
        raise UsageError(f"the paper has no {name!r} here; expected one of {', '.join(TABLES)}")
    text = (resources.files("compbench_analysis") / "paper.csv").read_text(encoding="utf-8")
    return [line for line in csv.DictReader(text.splitlines()) if line["table"] == name]


def beside(name: str, runs: Sequence[Run], reasons: Mapping[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """A row per cell of the table: the paper's value, ours with its interval, and the difference, as fractions.

    row, model, task, tag, metric; paper, paper_low, paper_high (NaN where the number of images is not known); n, value,
    low, high, is_partial (NaN and False without a run); difference, ours less the paper's, with its interval
    difference_low to difference_high, which counts the sampling of both (Newcombe, 1998, method 10, for independent
    samples: ours is often part of the paper's, so that the interval is on the safe side), or ours alone where the
    paper's number of images is not known; how ours was measured; its signature; reason, why a cell is empty.
    """
    measured = tables.tidy(runs) if runs else pd.DataFrame(columns=["task", "model", "metric", "tag"])
    ours = {(row["task"], row["model"], row["metric"], row["tag"]): row for row in measured.to_dict("records")}
    run_of = {(run.key.task, run.key.model): run for run in runs}
    rows = [_row(cell, ours, run_of, reasons or {}) for cell in cells(name)]
    counts = pd.Series([row["n"] for row in rows], dtype=object)  # None where there is no run, else whole
    return pd.DataFrame(rows).assign(n=counts)


def _row(
    cell: Mapping[str, str],
    ours: Mapping[tuple[Any, ...], Mapping[Any, Any]],
    run_of: Mapping[tuple[str, str], Run],
    reasons: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    paper, n = round(float(cell["percent"]) / 100, 6), int(cell["n"]) if cell["n"] else None
    low, high = (float("nan"),) * 2 if n is None else wilson(round(paper * n), n)
    key = cell["task"], cell["model"]
    measured = ours.get((*key, cell["metric"], cell["tag"] or tables.OVERALL), {})
    value = float(measured.get("value", float("nan")))
    run = None if pd.isna(value) else run_of[key]
    row = {
        "row": cell["row"],
        "model": cell["model"],
        "task": cell["task"],
        "tag": cell["tag"] or tables.OVERALL,
        "metric": cell["metric"],
        "paper": paper,
        "paper_low": low,
        "paper_high": high,
        "n": int(measured["n"]) if measured else None,
        "value": value,
        "low": measured.get("low", float("nan")),
        "high": measured.get("high", float("nan")),
        "is_partial": bool(measured.get("is_partial", False)),
    }
    return {
        **row,
        **apart(row),
        "how": "" if run is None else _how(run),
        "signature": "" if run is None else signature(run),
        "reason": "" if run is not None else reasons.get(key, "not run"),
    }


def apart(row: Mapping[str, Any]) -> dict[str, float]:
    """The difference of two independent shares with Newcombe's interval; the paper's share alone is taken as exact."""
    value, paper = row["value"], row["paper"]
    of_paper = (paper, paper) if math.isnan(row["paper_low"]) else (row["paper_low"], row["paper_high"])
    return {
        "difference": value - paper,
        "difference_low": value - paper - math.hypot(value - row["low"], of_paper[1] - paper),
        "difference_high": value - paper + math.hypot(row["high"] - value, paper - of_paper[0]),
    }


def _how(run: Run) -> str:
    """A few words on how a run was measured: images, draws, training pictures, whose weights."""
    measurement, n_draws = run.key.measurement, run.rule.draws
    schedule: Any = measurement.get("schedule")
    kinds = {"paper": "staged", "racing": "raced"}
    words = [words_of_part] if (words_of_part := partial(run)) else []
    if n_draws:
        words.append(f"{n_draws} draws" + (f", {kinds.get(schedule['kind'], schedule['kind'])}" if schedule else ""))
    words += [in_words(name, measurement[name]) for name in _TOLD if measurement.get(name) is not None]
    if str(run.key.weights or "").startswith("sha256:"):
        words.append("weights from a local folder")
    return ", ".join(words) or "all images"
