"""All scores of some runs as one tidy table, with what says how each was measured; no caption and no picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from compbench_analysis.frames import tables
from compbench_analysis.frames.signature import signature

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["results", "small_columns"]

_MOST_TAGS = 80  # of a column that is broken down
_HOW = ["revision", "weights", "status", "updated", "signature"]


def results(runs: Sequence[Run], rule: Rule | None = None) -> pd.DataFrame:
    """`tables.tidy` of every run by all tag columns of its task, and its revision, weights, status and signature.

    A column of more than 80 tags is left out, as names of single examples are. Shares are fractions of 1.
    """
    of_task: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        of_task.setdefault((run.key.task, run.key.task_revision), []).append(run)
    frames = [_of_task(members, rule) for members in of_task.values()]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def small_columns(run: Run, most: int = _MOST_TAGS) -> list[str]:
    """The tag columns of a run's task that have no more than so many tags."""
    values: dict[str, set[str]] = {}
    for tags in run.task_examples.tags:
        for name, own in tags.items():
            values.setdefault(name, set()).update(own)
    return [name for name, own in values.items() if 0 < len(own) <= most]


def _of_task(runs: Sequence[Run], rule: Rule | None) -> pd.DataFrame:
    frame = tables.tidy(runs, small_columns(runs[0]) or None, rule)
    how = {
        run.key.digest: [
            run.key.task_revision,
            run.key.weights or "",
            run.status,
            str(run.info.updated),
            signature(run, rule),
        ]
        for run in runs
    }
    own = pd.DataFrame([how[digest] for digest in frame["run"]], columns=pd.Index(_HOW), index=frame.index)
    return pd.concat([frame, own], axis=1)
