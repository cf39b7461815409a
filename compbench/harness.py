"""run(): what the command calls. evaluate(): the one loop. Neither imports torch; a model's build() does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from compbench import provenance
from compbench.asked import Asked, Request, settle
from compbench.built import Builder
from compbench.imported import import_scores
from compbench.interrupts import Interrupts
from compbench.loaded import LoadedModel, load_model
from compbench.plan import Plan, plan, warn_if_long
from compbench.plugins import blamed, each_of
from compbench.reduced import Reduction
from compbench.reporter import QuietReporter, Reporter
from compbench.result_checks import check_result
from compbench.rules import Rule, n_known
from compbench.shards import shard_here
from compbench.store import Run, Store
from compbench.types import (
    DataError,
    DrawTable,
    Example,
    Measurement,
    MeasuresErrors,
    ModelSpec,
    PricesLearning,
    RunError,
    ScoreMatrix,
    Scorer,
    Task,
    UsageError,
)

__all__ = [
    "Finished",
    "LoadedModel",
    "Plan",
    "QuietReporter",
    "Reporter",
    "evaluate",
    "finish",
    "import_scores",
    "load_model",
    "load_run",
    "plan",
    "run",
]

# results wait in memory for a hundredth of the time so far, within these bounds, and are then written as one part
_SECONDS_BETWEEN_PARTS = (0.5, 60.0)


def run(
    task: str | Task,
    *,
    model: str | ModelSpec,
    options: Mapping[str, object] | None = None,
    data: Path | str | None = None,
    limit: int | None = None,
    images_per_class: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    runs: Path | str | None = None,
    is_offline: bool = False,
    refresh: bool = False,
    shard: str | None = None,
    keep: Literal["errors", "scores"] = "errors",
    reporter: Reporter | None = None,
    **model_options: object,
) -> Run:
    """Score `task` with `model` and return the stored run; what is stored already is not measured again.

    Options of the model are keywords (`draws=100`) or in `options`. Ctrl-C or SIGTERM raises KeyboardInterrupt after
    what was measured is stored; the same call goes on from there. `refresh` takes the newest commit of a model that
    is not pinned to one. `shard` "k/n" measures every n-th example only, and so does a process that torchrun,
    accelerate or srun started among others: the run is whole when all of them have been there, in any order.
    `keep` "scores" stores no errors, for sets where they would be large: such a run cannot be read another way later.
    """
    builder = Builder(device, batch_size, is_offline, reporter or QuietReporter())
    given = {**(options or {}), **model_options}
    shared = shard_here(shard)
    request = Request(
        task, model, given, data, limit, seed, dtype, runs, is_offline, refresh, shared, keep, images_per_class
    )
    return finish(settle(request, builder.reporter.say), builder).run


@dataclass(frozen=True, slots=True)
class Finished:
    """A run as this process leaves it."""

    run: Run
    asked: Asked
    how: Literal["found", "completed", "shared"]  # nothing was left to do; this process did the last; others have to

    @property
    def is_whole(self) -> bool:
        """Whether all that is asked for is there by now, whoever measured it."""
        return self.asked.is_settled(self.run)


def finish(asked: Asked, builder: Builder) -> Finished:
    """Measure what this process is to measure of what is asked, and settle the run where that completes it."""
    stored = asked.open()
    read = asked.narrowed(stored)
    if not asked.missing(stored) and not asked.is_complete(stored):
        return Finished(read, asked, "shared")
    if asked.is_settled(stored):
        return Finished(read, asked, "found")
    with stored.locked(asked.shard):
        try:
            return Finished(read, asked, "completed" if _measure(asked, stored, builder) else "shared")
        except (DataError, UsageError):  # a model or data that cannot be used leave nothing behind
            stored.discard(asked.shard)
            raise


def load_run(reference: str | Path, runs: Path | str | None = None) -> Run:
    """The run that a folder, `task/model` (the latest) or the first letters of a digest stand for."""
    return Store(runs).find(reference)


def evaluate(
    task: Task,
    scorer: Scorer,
    run: Run,
    ids: Sequence[str],
    *,
    reporter: Reporter | None = None,
    interrupts: Interrupts | None = None,
    device: str | None = None,
    spent: Callable[[], int] | None = None,
) -> None:
    """Measure what `run` lacks of the examples `ids`, storing results as they come; the caller holds the lock.

    RunError names the example when the scorer gives NaN, a wrong shape, or nothing; what was stored stays.
    `spent` tells how many network evaluations this process has made so far; what a model of scores makes of them, to
    learn above all, is recorded with its parts.
    """
    reporter, interrupts = reporter or QuietReporter(), interrupts or Interrupts()
    counted = (
        None if spent is None else _Counted(spent, is_told=isinstance(scorer, PricesLearning) and scorer.uses_network)
    )
    with blamed(scorer, "while it prepared for the task"):
        scorer.prepare(task)
        draws = scorer.draw_table() if isinstance(scorer, MeasuresErrors) else None
    reduction = _reduction(run, task, draws)
    if draws is not None and reduction is None:
        run.write_draws(draws)
    done = run.done()
    lacking = {each for each in ids if each not in done}
    examples = [each for each in task.examples if each.id in lacking]
    known = run.measurements([each.id for each in examples])
    n_pairs = sum(len(each.images) * len(each.captions) for each in examples)
    reporter.start(
        f"{run.key.task} · {run.key.model}",
        len(ids),
        len(ids) - len(examples),
        n_pairs,
        _n_lacking(run.rule, examples, known),
    )
    waiting = _Waiting(examples)
    writer = _Writer(run, interrupts, device, reduction, None if draws is not None else counted)
    measured = _measured(scorer, examples, known, None if draws is None else len(draws.timesteps))
    try:
        for result in measured if reduction is None else reduction.scores(measured):
            is_finished = waiting.take(result)
            writer.add(result)
            if is_finished:
                reporter.advance(examples=1, pairs=int(np.prod(_shape(result))))
            interrupts.check()
    finally:
        try:
            writer.flush()
        finally:
            reporter.stop()
    if unmeasured := lacking - run.done():
        raise RunError(
            f"model {run.key.model!r} left {len(unmeasured)} of {len(examples)} examples without all their scores or "
            f"draws, {min(unmeasured)!r} the first; expected a result for each"
        )


def _measure(asked: Asked, stored: Run, builder: Builder) -> bool:
    """Whether this process was the last to be needed; the caller holds the lock."""
    interrupts = Interrupts()
    with interrupts.watched():
        try:
            if not _begin(asked, stored):
                return False
            if asked.missing(stored):
                scorer = builder.scorer(asked)
                warn_if_long(scorer, asked, stored, builder.reporter.say)
                evaluate(
                    asked.task,
                    scorer,
                    stored,
                    asked.own_ids,
                    reporter=builder.reporter,
                    interrupts=interrupts,
                    device=builder.device_of(scorer),
                    spent=lambda: builder.n_evaluations,
                )
            with interrupts.held():
                return _end(asked, stored)
        except BaseException as error:
            with suppress(RunError):  # a full disk must not hide what went wrong
                stored.mark("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise


def _begin(asked: Asked, stored: Run) -> bool:
    """Whether there is something to do: another shard may have ended the run before this one had its lock."""
    with stored.guarded():
        if asked.is_settled(stored):
            return False
        stored.repair()
        stored.mark("running", view=asked.view, limit=asked.n_asked)
    return True


def _end(asked: Asked, stored: Run) -> bool:
    """Whether the run is settled by this; one process at a time looks, so one of several finds that it is the last."""
    with stored.guarded():
        if asked.shard is not None and not asked.is_complete(stored):
            stored.leave(asked.shard)
            return False
        if asked.shard is not None and asked.is_settled(stored):
            return False
        stored.settle(asked.n_asked)
    return True


def _measured(
    scorer: Scorer, examples: Sequence[Example], known: Mapping[str, Measurement], n_bank: int | None
) -> Iterator[ScoreMatrix | Measurement]:
    """The scorer's results, checked; what goes wrong in a plugin's code is reported as the plugin's."""
    by_id = {each.id: each for each in examples}
    with blamed(scorer, "while it scored"):
        results = iter(scorer.score(examples, known))
    for result in each_of(results, scorer, "while it scored"):
        check_result(result, by_id, n_bank)
        yield result


def _reduction(run: Run, task: Task, draws: DrawTable | None) -> Reduction | None:
    """What makes scores of errors as they come, where a run keeps no more than those."""
    if "kept" not in run.key.measurement or draws is None:
        return None
    return Reduction(run.rule, run.adaptive, draws, task)


class _Waiting:
    """The examples that lack something: a score matrix finishes one, errors may come in several pieces."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = {each.id: each for each in examples}

    def take(self, result: Measurement | ScoreMatrix) -> bool:
        """Whether the example is finished with this; RunError when the result cannot be right."""
        if result.example_id not in self._examples:
            raise RunError(
                f"the model gave a result for example {result.example_id!r} that was not asked for, or gave two"
            )
        is_finished = isinstance(result, ScoreMatrix) or result.is_last
        if is_finished:
            del self._examples[result.example_id]
        return is_finished


class _Counted:
    """The network evaluations of a model of scores, from one part to the next.

    `is_told`: also when there are none, as where everything that was to be made is kept from an earlier run.
    """

    def __init__(self, spent: Callable[[], int], *, is_told: bool) -> None:
        self._spent, self._is_told, self._n_recorded = spent, is_told, spent()

    def record(self) -> dict[str, int]:
        """What a part says of those since the part before."""
        n_all = self._spent()
        n_new, self._n_recorded = n_all - self._n_recorded, n_all
        return {"n_evaluations": n_new} if n_new or self._is_told else {}


class _Writer:
    """Results in memory, written as one part when the time has come and at the end."""

    def __init__(
        self,
        run: Run,
        interrupts: Interrupts,
        device: str | None,
        reduction: Reduction | None,
        counted: _Counted | None,
    ) -> None:
        self._run, self._interrupts, self._device = run, interrupts, device
        self._reduction, self._n_counted, self._counted = reduction, 0, counted
        self._results: list[Measurement | ScoreMatrix] = []
        self._began = self._flushed = time.monotonic()

    def add(self, result: Measurement | ScoreMatrix) -> None:
        self._results.append(result)
        now = time.monotonic()
        shortest, longest = _SECONDS_BETWEEN_PARTS
        if now - self._flushed >= min(max((now - self._began) / 100, shortest), longest):
            self.flush()

    def flush(self) -> None:
        if not self._results:
            return
        with self._interrupts.held():
            seconds = time.monotonic() - self._flushed
            self._run.append(
                self._results, seconds=round(seconds, 3), **self._evaluations(), **provenance.here(self._device)
            )
            self._results, self._flushed = [], time.monotonic()

    def _evaluations(self) -> dict[str, int]:
        """How many errors the scores of this part are made of, or evaluations, which are not there to be counted."""
        if self._reduction is None:
            return {} if self._counted is None else self._counted.record()
        n_errors = self._reduction.n_evaluations - self._n_counted
        self._n_counted = self._reduction.n_evaluations
        return {"n_errors": n_errors}


def _n_lacking(rule: Rule, examples: Sequence[Example], known: Mapping[str, Measurement]) -> int | None:
    """Network evaluations still to do, at most, where the number of draws is set."""
    if rule.n_draws is None:
        return None
    n_all = rule.n_draws * sum(len(each.images) * (len(each.captions) + rule.unconditional) for each in examples)
    return n_all - sum(n_known(each, rule) for each in known.values())


def _shape(result: Measurement | ScoreMatrix) -> tuple[int, ...]:
    return result.errors.shape[:2] if isinstance(result, Measurement) else result.scores.shape
