"""Runs that differ by their seed singles, as one: what a table shows of them is a mean over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.errors import UsageError
from compbench_analysis.frames.signature import labels

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["SeedGroup", "singles", "same_but_seed"]


@dataclass(frozen=True)
class SeedGroup:
    """Runs of one model on the same examples under several seeds; mostly one run, of one."""

    label: str
    runs: tuple[Run, ...]

    @property
    def digest(self) -> str:
        """The digests of the runs."""
        return "+".join(run.key.digest for run in self.runs)

    def margins(self, metric: str, rule: Rule) -> dict[str, float]:
        """Each example's distance from a tie, averaged over seeds; for a two-sided metric, the nearer one."""
        per_run = [_margins(run, metric, rule) for run in self.runs]
        return {example_id: float(np.mean([of_run[example_id] for of_run in per_run])) for example_id in per_run[0]}


def singles(runs: Run | Iterable[Run]) -> list[SeedGroup]:
    """Each run by itself, once, under the label that tells it apart."""
    unique: dict[Path, Run] = {}  # a run that is given twice is one run
    for run in runs if isinstance(runs, Iterable) else [runs]:
        first = unique.setdefault(run.path, run)
        if _read_as(first) != _read_as(run):
            raise UsageError(
                f"run {str(run.path)!r} is given twice with two readings; expected one reading per run in a table"
            )
    runs = list(unique.values())
    return [SeedGroup(label, (run,)) for run, label in zip(runs, labels(runs), strict=True)]


def same_but_seed(runs: Run | Iterable[Run], rule: Rule | None = None) -> list[SeedGroup]:
    """The runs, those of one family together where its first stands; a label says how many seeds it has."""
    members: dict[tuple[object, ...], list[Run]] = {}
    for single in singles(runs):
        members.setdefault(_but_seed(single.runs[0], rule), []).append(single.runs[0])
    firsts = labels([family[0] for family in members.values()], [len(family) for family in members.values()])
    return [SeedGroup(label, tuple(family)) for label, family in zip(firsts, members.values(), strict=True)]


def _read_as(run: Run) -> tuple[object, ...]:
    return run.rule, run.limit, run.images_per_class


def _but_seed(run: Run, rule: Rule | None) -> tuple[object, ...]:
    """The settings that runs differing only in their seed share; unique for a run without a seed."""
    key, measurement = run.key, dict(run.key.measurement)
    if measurement.pop("seed", None) is None:
        return (str(run.path),)
    read_by = rule or run.rule
    done = frozenset(run.done(read_by.draws))
    same = json.dumps([key.task, key.task_revision, key.model, key.weights, measurement], sort_keys=True)
    return same, read_by, done


def _margins(run: Run, metric: str, rule: Rule) -> dict[str, float]:
    frame = run.to_frame(rule, with_posteriors=False)
    sides = {"group": ("text", "image"), "group_raw": ("text", "image_raw")}.get(metric, (metric,))
    columns = [f"{side}_margin" for side in sides]
    if not set(columns) <= set(frame):
        columns = ["text_margin"] if "text_margin" in frame else []  # a class is a caption that describes the image
    if not columns:
        return {}
    nearest = frame[columns].abs().min(axis=1)
    return dict(zip(map(str, frame["id"]), map(float, nearest), strict=True))
