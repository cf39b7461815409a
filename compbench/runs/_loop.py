"""evaluate(): the one loop. A scorer's results are checked and stored as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from compbench.core import image_files, stages
from compbench.core.aliases import Json
from compbench.core.crowding import Crowding
from compbench.core.errors import RunError, UnreadableImage, UnreadableImages
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.models import MeasuresErrors, Overlooks, PricesLearning, Scorer
from compbench.core.rules import Rule, n_known
from compbench.registry.plugins import blamed, each_of
from compbench.runs import _wave
from compbench.runs._online import OnlineScorer
from compbench.runs._result_checks import checked_result
from compbench.runs._storing import Led, StoredParts, check_lesson
from compbench.runs.interrupts import Interrupts
from compbench.runs.reporter import QuietReporter, Reporter
from compbench.schedules.schedule import Schedule
from compbench.store.run import Run
from compbench.store.writer import RunWriter

__all__ = ["evaluate", "n_lacking"]

_MAX_DECODERS = 8
_TRAITS = {"orientation": "an EXIF orientation", "transparency": "transparent parts"}


def evaluate(
    task: Task,
    scorer: Scorer,
    writer: RunWriter,
    ids: Sequence[str],
    *,
    reporter: Reporter | None = None,
    interrupts: Interrupts | None = None,
    device: str | None = None,
    rule: Rule | None = None,
    spent: Callable[[], int] | None = None,
    left_out: Collection[str] = (),
    led: Led | None = None,
) -> None:
    """Measure what the run lacks of the examples `ids`, storing results as they come; the caller has entered `writer`.

    They are measured as far as `rule` reads them (None: the run's own).

    RunError names the example when the scorer gives NaN, a wrong shape, or nothing; what was stored stays.
    UnreadableImages names the images that could not be read, once all other examples are measured.
    A race with a first wave begins with that, but for the examples `left_out`, which cannot be read.
    `spent` tells how many network evaluations this process has made so far; what a model of scores makes of them, to
    learn above all, is recorded with its parts. `led` is of a process that is given one block of `ids` after another:
    whoever leads it sees to the first wave.
    """
    reporter, interrupts = reporter or QuietReporter(), interrupts or Interrupts()
    run = writer.run if rule is None else writer.run.under(rule)
    with image_files.noticing() as traits:
        notes = _Notes(task, run, scorer, traits, None if spent is None else _Counted(spent, scorer))

        def measure(some: Sequence[str]) -> None:
            _evaluate(task, scorer, run, writer, some, reporter, interrupts, device, notes, led)

        try:
            if led is None:
                _wave.measure_first(task, writer, measure, reporter.say, left_out)
            measure(ids)
        finally:
            for note in notes.said():
                reporter.say(note)


def _evaluate(
    task: Task,
    scorer: Scorer,
    run: Run,
    writer: RunWriter,
    ids: Sequence[str],
    reporter: Reporter,
    interrupts: Interrupts,
    device: str | None,
    notes: _Notes,
    led: Led | None,
) -> None:
    draws = _prepared(task, scorer, run, writer.run.schedule, led)
    online = _online(run, task, draws)
    if draws is not None and online is None:
        writer.write_draws(draws)
    done = run.done_of(ids)
    lacking = {example_id for example_id in ids if example_id not in done}
    examples: Sequence[Example] = [example for example in task.examples if example.id in lacking]
    known = run.known([example.id for example in examples])
    n_pairs = sum(len(example.images) * len(example.captions) for example in examples)
    reporter.start(
        f"{run.key.task} · {run.key.model}",
        len(ids),
        len(ids) - len(examples),
        n_pairs,
        n_lacking(run.rule, examples, known),
    )
    faulty: dict[str, UnreadableImage] = {}
    try:
        while examples:
            parts = StoredParts(run, writer, interrupts, device, online, notes, scorer, reporter.say, led)
            try:
                n_draws = None if draws is None else len(draws.timesteps)
                dtype = run.key.measurement.get("dtype")
                _score(scorer, examples, known, n_draws, dtype, parts, reporter, interrupts)
                break
            except UnreadableImage as error:
                own = {image.name for example in examples for image in example.images}
                if error.name not in own:  # one to learn from, say: nothing can be measured without it
                    raise
                done = run.done_of(ids)
                left = [example for example in examples if example.id not in done]
                # looked at all at once: the scorer starts again, and should do so once
                faulty |= {error.name: error, **_unreadable(left, error.name)}
                examples = [example for example in left if not any(image.name in faulty for image in example.images)]
                known = run.known([example.id for example in examples])
                online = _online(run, task, draws)
    finally:
        reporter.stop()
    lost = {example.id for example in task.examples if any(image.name in faulty for image in example.images)}
    if unmeasured := lacking - run.done_of(ids) - lost:
        raise RunError(
            f"model {run.key.model!r} left {len(unmeasured)} of {len(lacking)} examples without all their scores or "
            f"draws, {min(unmeasured)!r} the first; expected a result for each"
        )
    if faulty:
        raise UnreadableImages(list(faulty.values()), len(lost & lacking))


def _prepared(task: Task, scorer: Scorer, run: Run, schedule: Schedule, led: Led | None) -> DrawTable | None:
    """Prepare the scorer for the task, unless it is; its draws, where it measures errors."""
    _wave.tell(scorer, schedule)
    if led is None or led.prepared_for != schedule:
        stages.tell(f"preparing {run.key.model} for {run.key.task}")
        with blamed(scorer, "while it prepared for the task"):
            scorer.prepare(task)
        check_lesson(scorer, run)
    if led is not None:
        led.prepared_for = schedule
    with blamed(scorer, "while it prepared for the task"):
        return scorer.draw_table() if isinstance(scorer, MeasuresErrors) else None


def _score(
    scorer: Scorer,
    examples: Sequence[Example],
    known: Mapping[str, Measurement],
    n_draws: int | None,
    dtype: object,
    parts: StoredParts,
    reporter: Reporter,
    interrupts: Interrupts,
) -> None:
    """Everything the scorer gives of `examples`, stored, also where it ends with an error."""
    waiting, crowding = _Waiting(examples), Crowding()
    measured = _measured(scorer, examples, known, n_draws, dtype)
    try:
        for result in measured if parts.online is None else parts.online.scores(measured):
            is_finished = waiting.take(result)
            parts.add(result)
            if is_finished:
                reporter.advance(examples=1, pairs=int(np.prod(_shape(result))))
            if (slowed := crowding.told()) is not None:
                reporter.say(slowed)
            interrupts.check()
    finally:
        parts.flush()


def _unreadable(examples: Sequence[Example], known: str) -> dict[str, UnreadableImage]:
    """The images of `examples` that cannot be decoded, by name, but for the `known` one."""
    images = {image.name: image for example in examples for image in example.images if image.name != known}

    def error_of(image: Image) -> UnreadableImage | None:
        try:
            image.decode()
        except UnreadableImage as error:
            return error
        return None

    pool = ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1))
    try:
        found = dict(zip(images, pool.map(error_of, images.values()), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)
    return {name: error for name, error in found.items() if error is not None}


def _measured(
    scorer: Scorer, examples: Sequence[Example], known: Mapping[str, Measurement], n_bank: int | None, dtype: object
) -> Iterator[ScoreMatrix | Measurement]:
    """The scorer's results, checked; what goes wrong in a plugin's code is reported as the plugin's."""
    by_id = {example.id: example for example in examples}
    with blamed(scorer, "while it scored"):
        results = iter(scorer.score(examples, known))
    for result in each_of(results, scorer, "while it scored"):
        yield checked_result(result, by_id, n_bank, dtype)


def _online(run: Run, task: Task, draws: DrawTable | None) -> OnlineScorer | None:
    """The reducer of errors to scores as they come, for a run that keeps only scores."""
    if "kept" not in run.key.measurement or draws is None:
        return None
    return OnlineScorer(run.rule, run.schedule, draws, task)


def n_lacking(rule: Rule, examples: Sequence[Example], known: Mapping[str, Measurement]) -> int | None:
    """Network evaluations still to do, at most, where the number of draws is set."""
    if rule.draws is None:
        return None
    n_all = rule.draws * sum(len(example.images) * (len(example.captions) + rule.unconditional) for example in examples)
    return n_all - sum(n_known(measurement, rule) for measurement in known.values())


def _shape(result: Measurement | ScoreMatrix) -> tuple[int, ...]:
    return result.shape if isinstance(result, Measurement) else result.scores.shape


class _Waiting:
    """The examples that lack something: a score matrix finishes one, errors may come in several pieces."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = {example.id: example for example in examples}
        self._has_without: bool | None = None  # whether the score matrices so far had scores without a caption

    def take(self, result: Measurement | ScoreMatrix) -> bool:
        """Whether the example is finished with this; RunError when the result cannot be right."""
        if result.example_id not in self._examples:
            raise RunError(
                f"the model gave a result for example {result.example_id!r} that was not asked for, or gave two"
            )
        if isinstance(result, ScoreMatrix):
            has_without = result.unconditional is not None
            if self._has_without is (not has_without):
                raise RunError(
                    f"the model gave a score without a caption for some examples and none for others, of which "
                    f"{result.example_id!r} is the first to differ; expected it for all or for none"
                )
            self._has_without = has_without
        is_finished = isinstance(result, ScoreMatrix) or result.is_last
        if is_finished:
            del self._examples[result.example_id]
        return is_finished


class _Counted:
    """The network evaluations of a model of scores, from one part to the next.

    Those of a model that learns are told also where there are none: what was to be made is kept from an earlier run.
    """

    def __init__(self, spent: Callable[[], int], scorer: Scorer) -> None:
        self._spent, self._n_recorded = spent, spent()
        self._is_told = isinstance(scorer, PricesLearning) and scorer.uses_network
        self._is_stored = isinstance(scorer, MeasuresErrors)  # as errors, one for each

    def record(self) -> dict[str, Json]:
        """The record of what was seen since the previous part."""
        n_all = self._spent()
        n_new, self._n_recorded = n_all - self._n_recorded, n_all
        return {"n_evaluations": n_new} if not self._is_stored and (n_new or self._is_told) else {}


class _Notes:
    """Notes on the images that were decoded: some are said at the end, some stored with each part."""

    def __init__(
        self, task: Task, run: Run, scorer: Scorer, traits: image_files.Traits, counted: _Counted | None
    ) -> None:
        shown = {id(example.images): example.images for example in task.examples}  # many may share one tuple
        names = {place: frozenset(image.name for image in images) for place, images in shown.items()}
        self._images = {example.id: names[id(example.images)] for example in task.examples}
        self._model, self._traits, self._counted = run.key.model, traits, counted
        with blamed(scorer, "when asked what it overlooks"):
            self._overlooked = scorer.overlooked() if isinstance(scorer, Overlooks) else frozenset[str]()
        self._measured: set[str] = set()  # names of images

    def record(self, results: Iterable[Measurement | ScoreMatrix]) -> dict[str, Json]:
        """Counts of images in these results, not counted before, with traits that the scorer ignores.

        And the network evaluations since the part before, where the results do not hold one error for each.
        """
        names = {name for result in results for name in self._images.get(result.example_id, ())} - self._measured
        self._measured |= names
        counts: dict[str, Json] = {
            trait: n for trait in sorted(self._overlooked) if (n := len(names & self._traits.of(trait)))
        }
        evaluated = {} if self._counted is None else self._counted.record()
        return {"overlooked": counts, **evaluated} if counts else {**evaluated}

    def said(self) -> Iterator[str]:
        """A sentence for each trait that changes what is measured."""
        of_model = f"{self._model} ignores (it takes the pixels as stored in the file)"
        words = {
            "frames": "several frames; the first is measured",
            "scaled": "16 bits of grey, scaled to 8 bits",
            "damaged-exif": "a damaged EXIF block, which is ignored",
            **{trait: f"{_TRAITS[trait]} that {of_model}" for trait in sorted(self._overlooked)},
        }
        for trait, what in words.items():
            if n := len(self._measured & self._traits.of(trait)):
                has = "has" if n == 1 else "have"
                yield f"{self._model}: {n:,} of {len(self._measured):,} images {has} {what}"
