"""The paper's tables beside stored runs, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from compbench.core.errors import UsageError
from compbench.core.metrics import MATCHING
from compbench.store.run import Run
from compbench_analysis.frames import tables
from compbench_analysis.frames.paper import beside
from compbench_analysis.frames.robustness import effective_robustness
from compbench_analysis.text import robustness
from compbench_analysis.text.format import MISSING, percent, points
from compbench_analysis.text.render import Grid, records, render

__all__ = ["grid", "to_text"]

_TITLES = {
    "table1": "Table 1: zero-shot classification, top-1 accuracy in %",
    "table2": "Table 2: Winoground, text score in % by tag",
    "table3": "Table 3: class-conditional classification, top-1 accuracy in %",
}
_SOURCES = (
    "paper: Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, ICCV 2023; its interval is from the",
    "  size of the standard test split, where that is known.",
    "difference: ours minus the paper's; the interval covers the sampling of both, or of ours alone where the "
    "size of the",
    "  paper's set is not known.",
)
_PLAIN = "imagenet"
_NOTHING = pd.DataFrame()
_LACKING = "No effective robustness: no model was run on imagenet and on a shifted set."


def to_text(
    name: str, runs: Sequence[Run], style: str = "table", reasons: Mapping[tuple[str, str], str] | None = None
) -> str:
    """The table in one of render.FORMATS; csv and json hold the numbers of `beside` and the effective robustness."""
    frame = beside(name, runs, reasons)
    if style in ("csv", "json"):
        rows = [
            *tables.plain_rows(frame),
            *tables.plain_rows(_robustness_of(runs)[0] if name == "table3" else _NOTHING),
        ]
        return records(rows, style)
    return render([grid(name, runs, reasons), *([_robustness_grid(runs)] if name == "table3" else [])], style)


def grid(name: str, runs: Sequence[Run], reasons: Mapping[tuple[str, str], str] | None = None) -> Grid:
    """`beside` to be read; `reasons` says why a cell (task, model) was not run."""
    frame = beside(name, runs, reasons)
    rows = [
        (
            row["row"],
            row["task"] + (f", {row['tag']}" if name == "table2" else ""),
            percent(row["paper"], row["paper_low"], row["paper_high"]),
            percent(row["value"], row["low"], row["high"]),
            "" if pd.isna(row["n"]) else f"{int(row['n']):,}",
            _difference(row),
            row["how"] or row["reason"],
        )
        for row in frame.to_dict("records")
    ]
    if name == "table2":
        chance = percent(_chance())
        rows += [("random chance", f"winoground, {tag}", chance, "", "", "", "in closed form") for tag in _tags(frame)]
    signatures = [signature for signature in dict.fromkeys(frame["signature"]) if signature]
    header = ("model", "task", "paper", "ours [95 %]", "n", "difference [95 %]", "how ours was measured")
    return Grid(header, tuple(rows), title=_TITLES[name], notes=(*_SOURCES, *signatures), align="llrrrrl")


def _robustness_of(runs: Sequence[Run]) -> tuple[pd.DataFrame, str]:
    """Effective robustness over the line through the ResNets that were run, and why there is none."""
    fitted = [run.key.model for run in runs if run.key.task == _PLAIN and run.key.model.startswith("resnet")]
    on_plain = {run.key.model for run in runs if run.key.task == _PLAIN}
    both = [run for run in runs if run.key.model in on_plain]
    try:
        return effective_robustness(tables.tidy(both), _PLAIN, fitted, metric="top1") if both else _NOTHING, _LACKING
    except UsageError as error:
        return _NOTHING, f"No effective robustness: {error}."


def _robustness_grid(runs: Sequence[Run]) -> Grid:
    frame, reason = _robustness_of(runs)
    note = (
        "above the line predicted from ImageNet accuracy, fitted to the ResNets in logits (Taori et al., 2020)"
        if len(frame)
        else reason
    )
    return robustness.grid(frame, "Effective robustness, points", (note,), plain=_PLAIN)


def _difference(row: Mapping[Any, Any]) -> str:
    found = points(row["difference"], row["difference_low"], row["difference_high"])
    return "" if found == MISSING else found


def _tags(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["tag"]))


def _chance() -> float:
    value = MATCHING["text"].chance(np.eye(2, dtype=bool))
    return float("nan") if value is None else value
