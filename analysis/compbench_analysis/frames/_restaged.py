"""A staged run under other draws: its stages replayed on resampled errors.

The published stages leave a class out of the later ones, so that its mean over other draws cannot be read off what is
stored: under other draws another class might have stayed. Here each stage's means are redrawn around those measured,
and the stages run again. A class without errors in a stage has the distance to the predicted class there that it had
when it was given up, and scatters about it as much per draw as it did before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.measurements import Measurement
from compbench.core.rules import Rule
from compbench.schedules.staged import Staged
from compbench_analysis.frames._outcomes import Outcomes, metrics_of
from compbench_analysis.frames.stored_errors import units_of
from compbench_analysis.statistics.resampling import contrasts

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["Stage", "outcomes", "stages_again", "stages_of"]

Read = Callable[[Ints, Ints], Floats]  # captions [k], draws [n] -> their errors [k, n] of one image
_AT_ONCE = 64  # examples whose errors are in memory


@dataclass(frozen=True)
class Stage:
    """The draws that a stage adds, and R ways in which other draws would move a mean."""

    draws: Ints  # [n]
    n_kept: int
    moves: Floats  # [R, n]: weights of what is added to the mean over these draws
    moves_of: Mapping[int, Floats]  # [R, N]: of the mean over all draws of the first 1, 2 ... stages, for who left then


def outcomes(run: Run, n_resamples: int, seed: int) -> dict[str, Outcomes]:
    """Each metric's outcomes of a run with schedule=paper, R = n_resamples; UsageError for another run."""
    schedule, classes = run.schedule, run.classes
    if not isinstance(schedule, Staged) or classes is None:
        raise UsageError(f"run {str(run.path)!r} was not pruned in stages; expected one with schedule=paper")
    done = run.done()
    ids = [example_id for example_id in run.ids() if example_id in done]
    draws = run.draws()
    stages = stages_of(draws.timesteps, schedule, n_resamples, seed, units_of(run, np.arange(len(draws.timesteps))))
    of_caption = np.array(classes.of_caption)
    pairs = zip(run.task_examples.ids, run.task_examples.matches, strict=True)
    truths = {name: of_caption[int(np.argmax(matches[0]))] for name, matches in pairs}
    is_right = np.zeros((len(ids), n_resamples), bool)
    for row, (name, read, measured, winner) in enumerate(_examples(run, ids)):
        is_right[row] = of_caption[stages_again(read, measured, winner, stages)] == truths[name]
    rows = {example_id: row for row, example_id in enumerate(ids)}
    return {metric.name: Outcomes(metric, rows, is_right) for metric in metrics_of(run, schedule.rule)}


def stages_of(
    timesteps: Floats | Ints, schedule: Staged, n_resamples: int, seed: int, units: Ints | None = None
) -> list[Stage]:
    """The stages of `schedule` in a bank with these `timesteps` [D], which may hold antithetic `units` [D]."""
    rng = np.random.default_rng(seed)
    draw_of = {int(t): draw for draw, t in reversed(list(enumerate(timesteps)))}
    added = [np.array([draw_of[t] for t in stage], np.int64) for stage in schedule.stages()]

    def moves(draws: Ints) -> Floats:
        found = contrasts(np.asarray(timesteps, np.float64)[draws], None if units is None else units[draws])
        return rng.standard_normal((n_resamples, len(found))) @ found

    stages: list[Stage] = []
    for number, (draws, n_kept) in enumerate(zip(added, schedule.to_keep, strict=True)):
        earlier = {n: moves(np.concatenate(added[:n])) for n in range(1, number + 1)}
        stages.append(Stage(draws, n_kept, moves(draws), earlier))
    return stages


def stages_again(read: Read, measured: Bools, winner: int, stages: Sequence[Stage]) -> Ints:
    """[R], the caption predicted in each resample of one image's errors, of which `measured` [C, D] are there."""
    n_stages = _n_stages(measured, stages)
    left = np.arange(len(measured))  # captions that are in some resample
    total = np.zeros((len(stages[0].moves), len(left)))  # [R, left] sums over all draws so far; inf for who is out
    for number, stage in enumerate(stages):
        total += len(stage.draws) * _means(read, left, winner, n_stages, stages[: number + 1])
        best = np.argpartition(total, min(stage.n_kept, len(left)) - 1, axis=1)[:, : stage.n_kept]
        is_in = np.zeros(total.shape, bool)
        np.put_along_axis(is_in, best, True, axis=1)
        is_left = is_in.any(0)
        left, total = left[is_left], np.where(is_in, total, np.inf)[:, is_left]
    return left[total.argmin(1)]


def _n_stages(measured: Bools, stages: Sequence[Stage]) -> Ints:
    """[C], the stages that each caption came to: whoever was given up came to no later one."""
    n_stages, there = np.zeros(len(measured), np.int64), np.arange(len(measured))
    for stage in stages:
        there = there[measured[np.ix_(there, stage.draws)].all(1)]
        n_stages[there] += 1
    return n_stages


def _means(read: Read, left: Ints, winner: int, n_stages: Ints, stages: Sequence[Stage]) -> Floats:
    """[R, left]: what the captions that are left might have as their means over the draws that the last stage adds."""
    stage = stages[-1]
    means = np.zeros((len(stage.moves), len(left)))
    has_it = n_stages[left] >= len(stages)
    own = read(left[has_it], stage.draws)
    means[:, has_it] = own.mean(1) + stage.moves @ own.T
    (best,) = read(np.array([winner]), stage.draws)
    of_winner = best.mean() + stage.moves @ best  # [R]
    for n_seen in np.unique(n_stages[left[~has_it]]).tolist():
        some = n_stages[left] == n_seen
        seen = np.concatenate([stage.draws for stage in stages[:n_seen]])
        behind = read(left[some], seen) - read(np.array([winner]), seen)
        scatter = stage.moves_of[n_seen] @ behind.T * np.sqrt(len(seen) / len(stage.draws))
        means[:, some] = of_winner[:, None] + behind.mean(1) + scatter
    return means


def _examples(run: Run, ids: Sequence[str]) -> Iterator[tuple[str, Read, Bools, int]]:
    """Each example: its errors, what of them is measured [C, D], and the caption predicted."""
    schedule, draws = run.schedule, run.draws()
    assert isinstance(schedule, Staged)  # the caller has looked
    weights = schedule.rule.weights(draws)
    for start in range(0, len(ids), _AT_ONCE):
        chunk = list(ids[start : start + _AT_ONCE])
        known, verdicts = run.measurements(chunk), run.verdicts(chunk, comparisons=False)
        for example in chunk:
            measured = np.zeros((known[example].shape[1], len(weights)), bool)
            measured[:, known[example].draw_ids] = known[example].measured[0]
            read = partial(_weighted, known[example], schedule.rule, weights)
            yield example, read, measured, verdicts[example].predictions[0]


def _weighted(measurement: Measurement, rule: Rule, weights: Floats, captions: Ints, draws: Ints) -> Floats:
    """[k, n] float64: the errors of some captions under some draws, as `rule` reads them. Of a thousand classes few
    errors are measured, and only these are touched."""
    stored = np.ix_(captions, np.searchsorted(measurement.draw_ids, draws))
    return rule.of_stored([measurement.errors[loss][0][stored] for loss in rule.losses]) * weights[draws]
