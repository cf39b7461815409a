"""Many readings of one run at once: outcomes under any number of weightings of the same stored errors.

A reading is a weight for each draw; a score is minus the weighted sum of the errors. The errors are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.examples import ErrorTable, Metric, ScoreTable
from compbench.core.measurements import DrawTable
from compbench.core.rules import scores_under
from compbench.store.reading import settled
from compbench_analysis.frames._outcomes import Outcomes, counted, metrics_of

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["Stored", "has_own_noise", "units_of"]

_BYTES_AT_ONCE = 48_000_000  # of float64 errors and scores


def units_of(run: Run, draw_ids: Ints) -> Ints | None:
    """[D]: which antithetic pair each of these draws of a run belongs to; None where draws are independent."""
    is_paired = str(run.key.measurement.get("noise") or "").startswith("antithetic")
    return np.asarray(draw_ids) // 2 if is_paired else None


def has_own_noise(run: Run) -> bool:
    """Whether each image was measured under noise of its own, so that draws are independent from image to image."""
    return run.key.measurement.get("noise") == "per-image"


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
        rule = self.run.rule if self.asked is None else settled(self.run, self.asked)
        return rule if rule.draws is not None else replace(rule, draws=max(1, self.run.n_common_draws()))

    @property
    def n_draws(self) -> int:
        """D, the draws that are read."""
        return len(self.draw_ids)

    @cached_property
    def bank(self) -> DrawTable:
        """All draws of the run, read or not."""
        self.run.error_tables(self.rule.draws, self.rule)  # first of all says what the run lacks
        return self.run.draws()

    @cached_property
    def draw_ids(self) -> Ints:
        """[D], which draws of the bank are read: the first ones, those of the rule's window."""
        return self.rule.read_draws(self.bank)

    @cached_property
    def draws(self) -> DrawTable:
        """The draws that are read."""
        bank, ids = self.bank, self.draw_ids
        return replace(bank, timesteps=bank.timesteps[ids], alpha=bank.alpha[ids], sigma=bank.sigma[ids])

    @cached_property
    def units(self) -> Ints | None:
        """[D], the antithetic pair of each draw; None where draws are independent."""
        return units_of(self.run, self.draw_ids)

    @property
    def n_units(self) -> int:
        """The number of independent draws, or of antithetic pairs."""
        return self.n_draws if self.units is None else len(np.unique(self.units))

    @cached_property
    def weights(self) -> Floats:
        """[D], what the rule multiplies a draw's error by, for a mean over these draws."""
        weights = self.rule.weights(self.bank)[self.draw_ids]
        return weights * (self.n_draws / self._n_leading) if self.rule.timesteps else weights

    @property
    def _n_leading(self) -> int:
        return self.rule.n_leading(self.bank)

    def tables(self) -> Iterator[ErrorTable]:
        """The errors as stored, in pieces."""
        tables = self.run.error_tables(self._n_leading, self.rule)
        return map(self._narrowed, tables) if self.n_draws < self._n_leading else tables

    def _narrowed(self, table: ErrorTable) -> ErrorTable:
        without = None if table.unconditional is None else table.unconditional[..., self.draw_ids]
        return replace(table, errors=table.errors[..., self.draw_ids], unconditional=without)

    @property
    def metrics(self) -> list[Metric]:
        """The run's, as the rule reads it."""
        return metrics_of(self.run, self.rule)

    def outcomes(self, readings: Floats) -> dict[str, Outcomes]:
        """Each metric's outcomes under `readings` [R, D]; the rule's own weights are applied on top."""
        ids: dict[str, list[str]] = {metric.name: [] for metric in self.metrics}
        right: dict[str, list[Bools]] = {metric.name: [] for metric in self.metrics}
        for table in self.tables():
            applying = [metric for metric in self.metrics if metric.applies(table.matches.shape[1:])]
            for pieces in _scored(table, readings * self.weights):
                for metric in applying:
                    ids[metric.name] += pieces[0].ids
                    right[metric.name].append(np.stack([metric.outcome(piece) for piece in pieces], axis=1))
        none = np.zeros((0, len(readings)), bool)
        return {
            metric.name: counted(
                self.run, Outcomes.of(metric, ids[metric.name], np.concatenate([none, *right[metric.name]]))
            )
            for metric in self.metrics
        }


def _scored(table: ErrorTable, weights: Floats) -> Iterator[list[ScoreTable]]:
    """A table in pieces of few examples, each as its scores under each of the weights [R, D]."""
    n_pairs = table.errors.shape[1] * table.errors.shape[2]
    size = max(1, _BYTES_AT_ONCE // (8 * n_pairs * sum(weights.shape)))
    for start in range(0, len(table.ids), size):
        some = slice(start, start + size)
        ids, matches = table.ids[some], table.matches[some]
        scores = scores_under(table.errors[some], weights)  # [R, n, I, C]
        if table.unconditional is None:
            yield [ScoreTable(ids, score, matches) for score in scores]
        else:
            without = scores_under(table.unconditional[some, :, None], weights)[..., 0]  # [R, n, I]
            yield [
                ScoreTable(ids, part, matches, part_without) for part, part_without in zip(scores, without, strict=True)
            ]
