"""Errors made into scores as they come: what `--keep scores` stores of a set whose errors would be large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from compbench.core import rules
from compbench.core.aliases import Bools, Floats
from compbench.core.examples import Example, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix, joined
from compbench.core.rules import Rule
from compbench.schedules.schedule import Full, Schedule

__all__ = ["OnlineScorer"]


@dataclass
class OnlineScorer:
    """The scores of examples under one rule; what is unfinished waits in memory, and is lost with the process."""

    rule: Rule
    schedule: Schedule
    draws: DrawTable
    task: Task
    n_evaluations: int = 0  # in the results so far
    _pieces: dict[str, list[Measurement]] = field(default_factory=dict[str, list[Measurement]])

    def scores(self, results: Iterable[Measurement | ScoreMatrix]) -> Iterator[ScoreMatrix]:
        """The scores of each example, once its last piece has come."""
        examples = {example.id: example for example in self.task.examples}
        for result in results:
            if isinstance(result, ScoreMatrix):
                yield result
                continue
            self._pieces.setdefault(result.example_id, []).append(result)
            if result.is_last:
                (whole,) = joined(self._pieces.pop(result.example_id))
                self.n_evaluations += int(whole.measured.sum())
                yield self._scored(whole, examples[result.example_id])

    def _scored(self, whole: Measurement, example: Example) -> ScoreMatrix:
        if isinstance(self.schedule, Full):
            return rules.score(_in_order(whole), self.draws, self.rule)
        policy = self.schedule.policy(example.id, example.matches, self.draws, self.task.classes)
        return ScoreMatrix(example.id, policy.scores(*_dense(whole, self.rule, self.schedule.draws)))


def _dense(whole: Measurement, rule: Rule, n_draws: int) -> tuple[Floats, Bools]:
    """Errors and mask over the whole bank, [I, C, D]; pieces may hold parts of one draw."""
    shape = *whole.shape, n_draws
    errors, measured = np.zeros(shape), np.zeros(shape, bool)
    values = rules.errors_of(whole, rule)
    image, caption, place = np.nonzero(whole.measured[:, : shape[1]])
    draws = np.asarray(whole.draw_ids)[place]
    errors[image, caption, draws] = values[image, caption, place]
    measured[image, caption, draws] = True
    return errors, measured


def _in_order(whole: Measurement) -> Measurement:
    """The same with ascending draws, as the store would give it."""
    order = np.argsort(whole.draw_ids, kind="stable")
    return Measurement(
        whole.example_id,
        whole.draw_ids[order],
        {loss: errors[..., order] for loss, errors in whole.errors.items()},
        whole.measured[..., order],
        whole.has_null_caption,
    )
