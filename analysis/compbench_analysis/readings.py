"""One run read in many ways at once: outcomes under any number of weightings of the same stored errors.

A reading is a weight for each draw; a score is minus the weighted sum of the errors. The errors are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from compbench.metrics import RAW, named
from compbench.rules import scores_under
from compbench.types import Bools, DrawTable, ErrorTable, Floats, Metric, ScoreTable

if TYPE_CHECKING:
    from compbench.rules import Rule
    from compbench.store import Run

__all__ = ["Outcomes", "Stored"]

_BYTES_AT_ONCE = 48_000_000  # of float64 errors and scores


@dataclass(frozen=True)
class Outcomes:
    """What one metric says of each example under each reading."""

    rows: dict[str, int]  # example id -> row
    is_right: Bools  # [N, R]

    def share(self, ids: list[str]) -> Floats:
        """[R], the share of `ids` that are right; ids that were not measured are passed over."""
        rows = [self.rows[each] for each in ids if each in self.rows]
        return self.is_right[rows].mean(0) if rows else np.full(self.is_right.shape[1], np.nan)


@dataclass(frozen=True)
class Stored:
    """A run's errors as `rule` reads them (None: the run's view).

    UsageError where the run has none, or an example lacks draws.
    """

    run: Run
    asked: Rule | None = None

    @cached_property
    def rule(self) -> Rule:
        """The rule, its number of draws filled in."""
        rule = self.asked or self.run.rule
        return rule if rule.n_draws is not None else replace(rule, n_draws=max(1, self.run.n_common_draws()))

    @property
    def n_draws(self) -> int:
        """D, the draws that are read."""
        return len(self.draws.alpha)

    @cached_property
    def draws(self) -> DrawTable:
        """The first D draws of the bank."""
        self.run.error_tables(self.rule.n_draws)  # first of all says what the run lacks
        bank, n_draws = self.run.draws(), self.rule.n_draws
        return replace(bank, timesteps=bank.timesteps[:n_draws], alpha=bank.alpha[:n_draws], sigma=bank.sigma[:n_draws])

    @cached_property
    def weights(self) -> Floats:
        """[D], what the rule multiplies a draw's error by."""
        return self.rule.weights(self.draws)

    def tables(self) -> Iterator[ErrorTable]:
        """The errors as stored, in pieces."""
        return self.run.error_tables(self.n_draws)

    @property
    def metrics(self) -> list[Metric]:
        """The task's; the raw form of one that a score without a caption normalises, for these errors lack that."""
        known = named(self.run.info["task"]["metrics"])
        return [RAW.get(each.name, each) for each in known] if self.run.rule.unconditional else known

    def outcomes(self, readings: Floats) -> dict[str, Outcomes]:
        """Each metric's outcomes under `readings` [R, D]; the rule's own weights are applied on top."""
        ids: dict[str, list[str]] = {metric.name: [] for metric in self.metrics}
        found: dict[str, list[Bools]] = {metric.name: [] for metric in self.metrics}
        for table in self.tables():
            applying = [each for each in self.metrics if each.applies(table.matches.shape[1:])]
            for piece, scores in _scored(table, readings * self.weights):
                for metric in applying:
                    ids[metric.name] += piece.ids
                    found[metric.name].append(_judged(metric, piece, scores))
        none = np.zeros((0, len(readings)), bool)
        return {
            name: Outcomes({each: n for n, each in enumerate(ids[name])}, np.concatenate([none, *found[name]]))
            for name in ids
        }


def _scored(table: ErrorTable, weights: Floats) -> Iterator[tuple[ErrorTable, Floats]]:
    """Pieces of a table with their scores [R, n, I, C]."""
    n_pairs = table.errors.shape[1] * table.errors.shape[2]
    size = max(1, _BYTES_AT_ONCE // (8 * n_pairs * sum(weights.shape)))
    for start in range(0, len(table.ids), size):
        some = slice(start, start + size)
        piece = ErrorTable(table.ids[some], table.errors[some], table.matches[some])
        yield piece, scores_under(piece.errors, weights)


def _judged(metric: Metric, piece: ErrorTable, scores: Floats) -> Bools:
    """[n, R]."""
    return np.stack([metric.outcome(ScoreTable(piece.ids, each, piece.matches)) for each in scores], axis=1)
