"""run(): what the command calls. A resolved run is measured, as far as something lacks, and settled."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from compbench.core import image_files
from compbench.core.aliases import Json
from compbench.core.errors import DataError, MissingPackage, RunError, UnreadableImages, UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, TellsDevice
from compbench.core.packages import named
from compbench.runs import _repaired
from compbench.runs._import_scores import import_scores
from compbench.runs._loading import LoadedModel, load_model, score_pairs
from compbench.runs._loop import evaluate
from compbench.runs._scorer_cache import ScorerCache
from compbench.runs._workers import Measures, tell_idle, workers_of
from compbench.runs.interrupts import Interrupts
from compbench.runs.plan import Plan, plan, warn_if_long
from compbench.runs.reporter import QuietReporter, Reporter
from compbench.runs.request import RunRequest, takes_settings
from compbench.runs.resolve import ResolvedRun, resolve
from compbench.store import unreadable
from compbench.store.lock import HeldRun, left_behind
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter

__all__ = [
    "Finished",
    "LoadedModel",
    "Plan",
    "QuietReporter",
    "Reporter",
    "by_itself",
    "evaluate",
    "finish",
    "import_scores",
    "load_model",
    "load_run",
    "plan",
    "run",
    "score_pairs",
]

_N_NAMED = 3  # of the images that are skipped


@named()
@takes_settings
def run(
    task: str | Path | Task, *, model: str | ModelSpec | Any, reporter: Reporter | None = None, **settings: Any
) -> Run:
    """Score `task` with `model` and return the stored run; what is stored already is not measured again.

    `task` is a name, a Task, or a folder with a manifest of your own pictures and captions. `model` is a name, a spec,
    a StableDiffusionPipeline, or a function (images, captions) -> scores, which is measured every time: see
    `from_function`. `name` is what such an object is called in tables.
    Options of the model are keywords (`draws=100`) or in `options`. Ctrl-C or SIGTERM raises KeyboardInterrupt after
    what was measured is stored; the same call goes on from there. `refresh` takes the newest commit of a model that
    is not pinned to one. `shard` "k/n" measures every n-th example only, and so does a process that torchrun,
    accelerate or srun started among others: the run is whole when all of them have been there, in any order.
    `keep` "scores" stores no errors, for sets where they would be large: such a run cannot be read another way later.
    `prompts` are files with other captions of a classification task.
    `workers` "ray" has Ray actors measure, one per GPU, on this machine or on the cluster at `ray_address`; "none" has
    this process measure. By default a model and a task given by name use all GPUs of this machine, if Ray is installed.
    `wait` is for how many seconds another process that is writing to the run is waited for (None: an hour).

    UnreadableImages names the images that cannot be read once all else is measured and stored; `skip_unreadable` leaves
    their examples out instead, which the signature says. `max_pixels` allows larger images than Pillow's 178,956,970
    pixels; without `follow_links`, links among the data's files are refused.

    >>> import compbench
    >>> run = compbench.run("shapes", model="chance", limit=6)
    >>> len(run.done())
    6
    """
    request = RunRequest.of_keywords(task, model, settings)
    cache = ScorerCache(request, reporter or QuietReporter())
    measure = by_itself(cache)
    with request.reading_images(), workers_of(request) as workers:
        if workers is None:
            asked = resolve(request, cache.reporter.say)
        else:
            asked = resolve(request, cache.reporter.say, settled=workers.settled)
            measure = workers.measuring(request, cache.reporter, measure)
        finished = finish(asked, cache.reporter, measure)
    if finished.unreadable is not None:
        raise finished.unreadable
    return finished.run


@dataclass(frozen=True, slots=True)
class Finished:
    """A run as this process leaves it."""

    run: Run
    asked: ResolvedRun
    how: Literal["found", "completed", "shared"]  # nothing was left to do; this process did the last; others have to
    unreadable: UnreadableImages | None = None  # what could not be measured, and was not to be skipped

    @property
    def is_whole(self) -> bool:
        """Whether all that is asked for and can be read is there by now, whoever measured it."""
        return (
            self.how == "found"
            or self.asked.is_settled(self.run)
            or (self.unreadable is not None and self.how == "completed")
        )


def finish(asked: ResolvedRun, reporter: Reporter, measure: Measures) -> Finished:
    """Have measured what this process is to measure of what is asked, and settle the run where that completes it.

    A process that has done its shard also does those whose processes were killed.
    """
    finished = _finish(asked, reporter, measure)
    if asked.shard is None or finished.how != "shared":
        return finished
    for shard, dead in left_behind(finished.run.path, asked.shard, asked.shared_words):
        left = replace(asked, shard=shard)
        if not left.missing(asked.open()):
            continue
        reporter.say(f"shard {shard} was left unfinished by {dead}: this process measures it too")
        try:
            done = _finish(left, reporter, measure)
        except HeldRun:  # another process was sooner
            continue
        finished = replace(done, asked=asked, unreadable=finished.unreadable or done.unreadable)
        if finished.how != "shared":
            break
    return finished


def _finish(asked: ResolvedRun, reporter: Reporter, measure: Measures) -> Finished:
    _repaired.take_over(asked, reporter.say)
    stored = asked.open()
    read = asked.narrowed(stored)
    if not asked.missing(stored) and not asked.is_complete(stored):
        return Finished(read, asked, "shared")
    if asked.is_settled(stored):
        _sign_skipped(asked, stored, reporter)
        return Finished(read, asked, "found")
    is_complete = asked.is_complete(stored)
    try:
        with RunWriter(stored, asked.shard, asked.shared_words) as writer:
            try:
                is_last, error = _measure(asked, writer, reporter, measure)
            except (DataError, MissingPackage, UsageError):  # a model or data that cannot be used leave nothing behind
                writer.discard()
                raise
    except RunError as fault:  # an older run in a folder that cannot be written, say
        if not is_complete:
            raise
        reporter.say(f"{fault}. Everything is measured; the derived scores are correct but cannot be stored")
        return Finished(read, asked, "found")
    return Finished(read, asked, "completed" if is_last else "shared", error)


@named()
def load_run(reference: str | Path, runs: Path | str | None = None) -> Run:
    """The run that a folder, `task/model` (the latest) or the first letters of a digest stand for.

    >>> import compbench
    >>> stored = compbench.run("shapes", model="chance", limit=6)
    >>> compbench.load_run("shapes/chance").path == stored.path
    True
    """
    return Store(runs).find(reference)


def by_itself(cache: ScorerCache) -> Measures:
    """This process measures."""

    def measure(asked: ResolvedRun, writer: RunWriter, interrupts: Interrupts, skipped: set[str]) -> None:
        scorer = cache.scorer(asked)
        warn_if_long(scorer, asked, writer.run, cache.reporter.say)
        if asked.shard is None and not cache.is_told_where and isinstance(scorer, TellsDevice):
            tell_idle(cache.reporter.say)
        evaluate(
            asked.task,
            scorer,
            writer,
            [example_id for example_id in asked.own_ids if example_id not in skipped],
            reporter=cache.reporter,
            interrupts=interrupts,
            device=cache.device_of(scorer),
            rule=asked.rule,
            spent=lambda: cache.n_evaluations,
            left_out=skipped,
        )

    return measure


def _measure(
    asked: ResolvedRun, writer: RunWriter, reporter: Reporter, measure: Measures
) -> tuple[bool, UnreadableImages | None]:
    """Whether this process was the last to be needed, and what it could not read; the caller has entered `writer`."""
    stored = writer.run
    interrupts, error = Interrupts(), None
    was_whole = stored.info.status == "done"  # by its own rule, and so it stays when this command is not
    with interrupts.watched():
        try:
            if not _begin(asked, writer, reporter.say):
                return False, None
            if asked.missing(stored):
                try:
                    measure(asked, writer, interrupts, asked.skipped(stored))
                except UnreadableImages as found:
                    error = found
            with interrupts.held():
                _keep_unreadable(asked, writer, error)
                _sign_skipped(asked, stored, reporter)
                return _end(asked, writer), None if asked.skip_unreadable else error
        except BaseException as fault:
            with suppress(RunError):  # a full disk must not hide what went wrong
                reason = "interrupted" if isinstance(fault, KeyboardInterrupt) else "failed"
                writer.mark("done" if was_whole and not stored.is_partial else reason)
            raise


def _keep_unreadable(asked: ResolvedRun, writer: RunWriter, error: UnreadableImages | None) -> None:
    """Write down which images could not be read, and forget those that could be by now."""
    stored = writer.run
    if error is None and not stored.unreadable().examples:
        return
    with writer.guarded():
        before, done = stored.unreadable(), stored.done()
        names = {*before.images, *(unread.name for unread in (error.errors if error else ()))}
        lost = [example for example in asked.task.examples if example.id not in done]
        images = {image.name: image.identity() for example in lost for image in example.images if image.name in names}
        ids = tuple(example.id for example in lost if any(image.name in images for image in example.images))
        unreadable.write(
            stored.path, unreadable.Unreadable(images, ids, asked.skip_unreadable, image_files.limits().max_pixels)
        )


def _sign_skipped(asked: ResolvedRun, stored: Run, reporter: Reporter) -> None:
    """Say what is skipped, and let the run say so."""
    if not asked.skip_unreadable or not (skipped := asked.skipped(stored) & set(asked.ids)):
        return
    found = stored.unreadable()
    if not found.is_skipped:
        with RunWriter(stored).guarded():
            unreadable.write(stored.path, replace(found, is_skipped=True))
    names = ", ".join(map(repr, list(found.images)[:_N_NAMED])) + (", ..." if len(found.images) > _N_NAMED else "")
    what = "1 example is" if len(skipped) == 1 else f"{len(skipped):,} examples are"
    reporter.say(f"{asked.task.name} · {asked.label}: {what} skipped, whose images cannot be read: {names}")


def _begin(asked: ResolvedRun, writer: RunWriter, say: Callable[[str], None]) -> bool:
    """Whether there is something to do: another shard may have ended the run before this one had its lock."""
    stored = writer.run
    asked.is_complete(stored)  # what a schedule concludes is derived before the guard is taken
    with writer.guarded():
        if asked.is_settled(stored):
            return False
        writer.repair()
        writer.mark("running", limit=_n_asked(asked, stored), sharded=_sharded(asked, stored, say))
    return True


def _n_asked(asked: ResolvedRun, stored: Run) -> int | None:
    """The number of examples that this command and earlier ones asked for; None for all of the task's."""
    before = stored.info.limit if stored.parts() else 0
    return None if before is None or asked.n_asked is None else max(before, asked.n_asked)


def _sharded(asked: ResolvedRun, stored: Run, say: Callable[[str], None]) -> dict[str, Json] | None:
    """The settings of the shards of a run, kept until it is settled; a difference from earlier shards is said."""
    if asked.shard is None:
        return None
    words: dict[str, Json] = json.loads(json.dumps({"count": asked.shard.count, **asked.shared_words}))
    before = stored.info.sharded or words
    if unlike := [name for name in words if before.get(name) != words[name]]:
        then, now = (", ".join(f"{name}={known.get(name)}" for name in unlike) for known in (before, words))
        say(
            f"shard {asked.shard} of run {str(stored.path)!r} has {now}, but earlier shards had {then}: give all "
            f"shards of a run the same options and limits"
        )
    return words


def _end(asked: ResolvedRun, writer: RunWriter) -> bool:
    """Whether the run is settled by this; one process at a time looks, so one of several finds that it is the last.

    What takes long is done before the guard is taken: each process stores what the schedule concludes of its own
    examples, and the last one derives the scores.
    """
    stored = writer.run
    writer.conclude(asked.own_ids)
    if asked.shard is None or asked.is_complete(stored):
        writer.derive(asked.view)
    with writer.guarded():
        if asked.shard is not None and not asked.is_complete(stored):
            writer.leave()
            return False
        if asked.shard is not None and asked.is_settled(stored):
            return False
        writer.settle(stored.info.limit, asked.view)
    return True
