"""The published schedule: stages of ever more timesteps, each keeping the classes with the lowest mean error so far.

Li, Prabhudesai, Duggal, Brown & Pathak, "Your Diffusion Model is Secretly a Zero-Shot Classifier" (ICCV 2023). The
timesteps of a stage are spread over a grid of the last stage's; those of successive stages do not nest, so a class
that survives has been measured on more than the stage's own number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.core.rules import Rule
from compbench.schedules.policies import Unfinished, Verdict, Weighted, nested_scores

__all__ = ["PUBLISHED", "Pruning", "Staged", "published"]

_N_TIMESTEPS = 1000


@dataclass(frozen=True, slots=True)
class Staged:
    """A schedule in stages: the captions each keeps, and the timesteps it spreads over the grid, for one loss."""

    draws: int = field(default=_N_TIMESTEPS, kw_only=True)
    target: str = field(default="native", kw_only=True)
    loss: str = field(default="l2", kw_only=True)
    to_keep: tuple[int, ...]
    n_samples: tuple[int, ...]

    name = "paper"

    def __post_init__(self) -> None:
        if len(self.to_keep) != len(self.n_samples) or not self.to_keep or min(*self.to_keep, *self.n_samples) < 1:
            raise UsageError(
                f"a schedule keeps {self.to_keep} captions after {self.n_samples} timesteps; expected as many "
                "positive numbers in both, e.g. (5, 1) and (50, 500)"
            )
        if max(self.n_samples) > _N_TIMESTEPS:
            raise UsageError(f"a stage of {max(self.n_samples)} timesteps; the noise schedule has {_N_TIMESTEPS}")
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """The one way in which the errors can be read."""
        return Rule(self.target, self.draws, self.loss)

    def policy(self, example_id: str, matches: Bools, draws: DrawTable, classes: Classes | None) -> Weighted:
        """The policy of any example: it is the same for all."""
        return Weighted(Pruning(draws.timesteps[: self.draws], self), self.rule.weights(draws)[: self.draws])

    def stages(self) -> tuple[tuple[int, ...], ...]:
        """The timesteps that each stage adds, ascending.

        >>> [len(added) for added in Staged((20, 10, 5, 1), (20, 50, 100, 500)).stages()]
        [20, 50, 80, 350]
        """
        step = _N_TIMESTEPS // max(self.n_samples)
        grid = range(step // 2, _N_TIMESTEPS, step)
        done: set[int] = set()
        stages: list[tuple[int, ...]] = []
        for n in self.n_samples:
            every = len(grid) // n
            stages.append(tuple(t for t in grid[every // 2 :: every] if t not in done))
            done.update(stages[-1])
        return tuple(stages)

    def n_evaluations(self, n_captions: int) -> int:
        """The evaluations that an image takes.

        >>> PUBLISHED["imagenet"].n_evaluations(1000)
        124500
        """
        alive = (n_captions, *(min(kept, n_captions) for kept in self.to_keep))
        return sum(n * len(added) for n, added in zip(alive, self.stages(), strict=False))


_FOUR_STAGES = (20, 10, 5, 1), (20, 50, 100, 500)
PUBLISHED: Mapping[str, Staged] = {
    "food101": Staged(*_FOUR_STAGES),
    "cifar10": Staged((5, 1), (50, 500), loss="l1"),
    "fgvc-aircraft": Staged(*_FOUR_STAGES),
    "pets": Staged((5, 1), (25, 250), loss="l1"),
    "flowers102": Staged(*_FOUR_STAGES, loss="l1"),
    "stl10": Staged((5, 1), (100, 500), loss="l1"),
    "imagenet": Staged((500, 50, 10, 1), (50, 100, 500, 1000)),
    "objectnet": Staged((25, 10, 5, 1), (50, 100, 500, 1000)),
}


def published(task: str, n_captions: int | None) -> Staged:
    """The published stages of a task; of another classification task those of the next larger number of captions.

    >>> published("mine", 12).n_samples, published("mine", 100).n_samples, published("mine", 600).to_keep
    ((25, 250), (20, 50, 100, 500), (300, 50, 10, 1))
    """
    if task in PUBLISHED:
        return PUBLISHED[task]
    if n_captions is None:
        raise UsageError(f"task {task!r} has no published schedule: schedule=paper is for classification")
    for most, name in ((10, "cifar10"), (37, "pets"), (102, "food101"), (113, "objectnet")):
        if n_captions <= most:
            return replace(PUBLISHED[name], loss="l2")
    return replace(PUBLISHED["imagenet"], to_keep=(n_captions // 2, 50, 10, 1))


@dataclass(frozen=True, eq=False)
class Pruning:
    """Each image's captions through the stages of a schedule; the bank holds every timestep, in any order.

    Of captions with equal means the earlier ones are kept. It bounds no risk: what was dropped may have been best.
    """

    timesteps: Floats | Ints  # [D] of the bank
    schedule: Staged

    def wanted(self, errors: Floats, measured: Bools) -> Bools:
        _, stages = self._run(errors, measured)
        return stages & ~measured

    def scores(self, errors: Floats, measured: Bools) -> Floats:
        """[I, C]: a caption that was kept scores higher than one that was not, but for ties."""
        return self._scored(errors, measured, self._over(errors, measured))

    def verdict(self, errors: Floats, measured: Bools) -> Verdict:
        return self.concluded(errors, measured)[1]

    def concluded(self, errors: Floats, measured: Bools) -> tuple[Floats, Verdict]:
        n_draws = self._over(errors, measured)
        scores = self._scored(errors, measured, n_draws)
        predictions = tuple(scores.argmax(1).tolist())
        return scores, Verdict("staged", 1.0, n_draws, errors.shape[-1], predictions=predictions)

    def _scored(self, errors: Floats, measured: Bools, n_draws: Ints) -> Floats:
        budgets = np.cumsum([len(stage) for stage in self._stages])
        draws = [self._draws(stage) for stage in range(len(self._stages))]
        known = np.where(measured, errors, 0)
        means = np.stack([known[..., draw].mean(-1) for draw in draws], -1)  # [I, C, stages]
        return np.stack([nested_scores(row, budgets, n_of_row) for row, n_of_row in zip(means, n_draws, strict=True)])

    @cached_property
    def _stages(self) -> tuple[Ints, ...]:
        """The draws that each stage adds."""
        draw_of = {int(t): draw for draw, t in reversed(list(enumerate(self.timesteps)))}
        lacking = [t for stage in self.schedule.stages() for t in stage if t not in draw_of]
        if lacking:
            raise UsageError(
                f"the bank of {len(self.timesteps)} draws lacks timestep {lacking[0]} and {len(lacking) - 1} more of "
                f"the published schedule; it needs all {_N_TIMESTEPS}: -o draws={_N_TIMESTEPS}"
            )
        return tuple(np.array([draw_of[t] for t in stage]) for stage in self.schedule.stages())

    def _draws(self, stage: int) -> Ints:
        """All draws up to a stage."""
        return np.concatenate(self._stages[: stage + 1])

    def _over(self, errors: Floats, measured: Bools) -> Ints:
        """[I, C], the draws of each pair."""
        n_draws, stages = self._run(errors, measured)
        if (stages & ~measured).any():
            raise Unfinished(f"the stages are not over: {int((stages & ~measured).sum())} more errors are wanted")
        return n_draws

    def _run(self, errors: Floats, measured: Bools) -> tuple[Ints, Bools]:
        """[I, C] draws of each pair, and [I, C, D] the part of the stages that each image has come to."""
        n_draws, reached = np.zeros(errors.shape[:2], np.int64), np.zeros(errors.shape, bool)
        for i, (row, measured_row) in enumerate(zip(errors, measured, strict=True)):
            kept = np.arange(errors.shape[1])
            for stage, n_kept in enumerate(self.schedule.to_keep):
                draws = self._draws(stage)
                here = np.ix_(kept, draws)
                reached[i][here] = True
                n_draws[i, kept] = len(draws)
                if not measured_row[here].all():
                    break
                order = np.argsort(row[here].mean(-1), kind="stable")
                kept = np.sort(kept[order[:n_kept]])
        return n_draws, reached
