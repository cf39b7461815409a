"""The tables of Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier" (ICCV 2023), beside stored runs.

paper.csv holds the percentages as printed: Table 1 (zero-shot classification), Table 2 (Winoground's text score by tag)
and Table 3 (class-conditional classification). The paper does not say whether its top-1 is over images or the mean
over classes; ours is over images. Its ImageNet cells are of a subset that was not published.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import pandas as pd

from compbench.store import Run
from compbench.types import UsageError
from compbench_analysis import tables
from compbench_analysis.intervals import wilson
from compbench_analysis.render import Grid

__all__ = ["TABLES", "beside", "cells", "grid"]

TABLES = ("table1", "table2", "table3")
_TITLES = {
    "table1": "Table 1: zero-shot classification, top-1 accuracy in %",
    "table2": "Table 2: Winoground, text score in % by tag",
    "table3": "Table 3: class-conditional classification, top-1 accuracy in %",
}
_SOURCE = (
    "paper: Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, ICCV 2023; its interval from the size "
    "of the standard test split, where that is known"
)


def cells(name: str) -> list[dict[str, str]]:
    """The lines of paper.csv of one table: row, model (as `--model` takes it), task, metric, tag, percent, n."""
    if name not in TABLES:
        raise UsageError(f"the paper has no {name!r} here; expected one of {', '.join(TABLES)}")
    text = (resources.files("compbench_analysis") / "paper.csv").read_text(encoding="utf-8")
    return [line for line in csv.DictReader(text.splitlines()) if line["table"] == name]


def beside(name: str, runs: Sequence[Run]) -> pd.DataFrame:
    """One row a cell of the table: the paper's value, ours with its interval, and the difference, in fractions of 1.

    row, model, task, tag, metric; paper, paper_low, paper_high (NaN where the number of images is not known); n, value,
    low, high, is_partial (NaN and False without a run); difference, ours less the paper's; is_apart, whether the
    paper's value lies outside our interval.
    """
    measured = tables.tidy(runs) if runs else pd.DataFrame(columns=["task", "model", "metric", "tag"])
    ours = {(row["task"], row["model"], row["metric"], row["tag"]): row for row in measured.to_dict("records")}
    return pd.DataFrame([_row(cell, ours) for cell in cells(name)])


def grid(name: str, runs: Sequence[Run], reasons: Mapping[tuple[str, str], str] | None = None) -> Grid:
    """`beside` to be read; `reasons` says why a cell (task, model) was not run."""
    frame = beside(name, runs)
    rows = [
        (
            row["row"],
            row["task"] + (f", {row['tag']}" if name == "table2" else ""),
            _percent(row["paper"], row["paper_low"], row["paper_high"]),
            _percent(row["value"], row["low"], row["high"]),
            "" if pd.isna(row["n"]) else f"{int(row['n']):,}",
            "" if pd.isna(row["difference"]) else f"{100 * row['difference']:+.1f}",
            _remark(row, reasons or {}),
        )
        for row in frame.to_dict("records")
    ]
    header = ("model", "task", "paper", "ours [95 %]", "n", "difference", "")
    return Grid(header, tuple(rows), title=_TITLES[name], notes=(_SOURCE,), align="llrrrrl")


def _row(cell: Mapping[str, str], ours: Mapping[tuple[Any, ...], Mapping[Any, Any]]) -> dict[str, Any]:
    paper, n = float(cell["percent"]) / 100, int(cell["n"]) if cell["n"] else None
    low, high = (float("nan"),) * 2 if n is None else wilson(round(paper * n), n)
    its = ours.get((cell["task"], cell["model"], cell["metric"], cell["tag"] or tables.OVERALL), {})
    value = float(its.get("value", float("nan")))
    is_known = not pd.isna(value)
    return {
        "row": cell["row"],
        "model": cell["model"],
        "task": cell["task"],
        "tag": cell["tag"] or tables.OVERALL,
        "metric": cell["metric"],
        "paper": paper,
        "paper_low": low,
        "paper_high": high,
        "n": its.get("n", float("nan")),
        "value": value,
        "low": its.get("low", float("nan")),
        "high": its.get("high", float("nan")),
        "is_partial": bool(its.get("is_partial", False)),
        "difference": value - paper,
        "is_apart": is_known and not its["low"] <= paper <= its["high"],
    }


def _percent(value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{100 * value:.1f}" + ("" if pd.isna(low) else f" [{100 * low:.1f}, {100 * high:.1f}]")


def _remark(row: Mapping[Any, Any], reasons: Mapping[tuple[str, str], str]) -> str:
    if pd.isna(row["value"]):
        return reasons.get((row["task"], row["model"]), "not run")
    return ", ".join(
        words
        for words, holds in (("a subset", row["is_partial"]), ("the paper's is outside", row["is_apart"]))
        if holds
    )
