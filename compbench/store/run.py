"""A run on disk: its key, its contents, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compbench.core.aliases import Json
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Classes, ErrorTable, ScoreTable
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.packages import named
from compbench.core.printable import say as say_to_stderr
from compbench.core.rules import Rule
from compbench.core.subsets import subset, subset_per_class
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full, Schedule, schedule_in
from compbench.store import run_file, unreadable
from compbench.store._fullest import fullest
from compbench.store.key import RunKey
from compbench.store.lock import WAIT_SECONDS, holder_elsewhere, is_held
from compbench.store.run_info import RunInfo
from compbench.store.unreadable import Unreadable

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd

    from compbench.schedules.policies import Verdict
    from compbench.store._reader import Contents
    from compbench.store.reading import Settings
    from compbench.store.stored_examples import StoredExamples

__all__ = ["Run"]


class Run:
    """A run on disk: its key, what it holds, and how it is read.

    `limit` and `images_per_class` narrow what is read to the same seeded subset that these options of `run` measure,
    and `rule` is how its errors are read (None: by the run's own rule); what is stored stays. `left_out` are examples
    that are not read, since the rule's weights were learned from them. A change waits up to `wait` seconds for another
    process that is in the middle of one.

    >>> import compbench
    >>> run = compbench.run("shapes", model="chance", limit=6)
    >>> run.to_frame()["id"].tolist() == sorted(run.done(), key=run.ids().index)
    True
    """

    def __init__(
        self,
        path: Path,
        *,
        say: Callable[[str], None] = say_to_stderr,
        rule: Rule | None = None,
        limit: int | None = None,
        images_per_class: int | None = None,
        left_out: frozenset[str] = frozenset(),
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.path, self.limit, self.images_per_class, self.say = path, limit, images_per_class, say
        self.left_out = left_out
        self._rule, self.wait = rule, wait
        self._schedule: Schedule | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def info(self) -> RunInfo:
        """The current contents of run.json; RunError when it is damaged, of a newer format or of another folder."""
        return run_file.read(self.path)

    @cached_property
    def key(self) -> RunKey:
        """The key of the measurement."""
        return self.info.key

    @property
    def described(self) -> str:
        """Which run it is, for a message: its folder and its model."""
        return f"run {str(self.path)!r} of {self.key.model!r}"

    @property
    def rule(self) -> Rule:
        """The rule by which the run is read: the one asked for, else its own."""
        return self._rule or self.own_rule

    @property
    def own_rule(self) -> Rule:
        """The rule by which the run is read by default: the first command's, over all stored draws.

        Where another command's rule can read more examples than the first one's, it is that rule.
        """
        return self.info.rule

    @property
    def keeps_scores(self) -> bool:
        """Whether it keeps no more of a diffusion model's errors than the scores."""
        return "kept" in self.key.measurement

    @property
    def status(self) -> str:
        """done, partial, running, interrupted or failed; a run whose process died reads as interrupted."""
        status = self.info.status
        return "interrupted" if status == "running" and not is_held(self.path) else status

    @property
    def state(self) -> str:
        """The status, and where a process of another host has the run or left it, when that was last heard of."""
        status = self.status
        holder = holder_elsewhere(self.path) if status in ("running", "interrupted") else None
        return status if holder is None else f"{status} on {holder.host}, last heard {holder.last_heard}"

    @property
    def is_partial(self) -> bool:
        """Whether some of the task's examples are missing from what is read."""
        return len(self.done()) < self.info.n_task_examples

    def limited(self, limit: int | None, images_per_class: int | None = None) -> Run:
        """The same run, of which only the subset is read."""
        return self._but(limit=limit, images_per_class=images_per_class)

    def under(self, rule: Rule | None) -> Run:
        """The same run read by `rule`, or by its own; what that cannot read is not done."""
        return self._but(rule=rule)

    def read(
        self, *, limit: int | None = None, images_per_class: int | None = None, **settings: Unpack[Settings]
    ) -> Run:
        """The same run read in another way, which changes nothing that is stored; a setting not given stays as it is.

        The settings are those of `compbench.store.reading.Settings`: draws, target, loss and others. UsageError, which
        names what is stored and the command that measures the rest, where the stored errors cannot answer.
        """
        from compbench.store.reading import answerable, check_counts

        check_counts(limit=limit, images_per_class=images_per_class)
        given = {name: value for name, value in settings.items() if value is not None}
        narrowed = self._but(
            left_out=frozenset[str]() if "weight" in given else self.left_out,
            limit=self.limit if limit is None else limit,
            images_per_class=self.images_per_class if images_per_class is None else images_per_class,
        )
        if not given:
            return narrowed
        rule, left_out = answerable(narrowed, given)
        return narrowed._but(rule=rule, left_out=left_out)

    def heard(self, say: Callable[[str], None]) -> Run:
        """The same run, which tells `say` what is wrong with it, read again."""
        return self._anew(say=say)

    def _but(self, **changes: Any) -> Run:
        narrowed = self._anew(**changes)
        narrowed.__dict__["contents"] = self.contents  # what was checked need not be checked again
        return narrowed

    def _anew(self, **changes: Any) -> Run:
        names = ("say", "limit", "images_per_class", "left_out", "wait")
        settings: dict[str, Any] = {name: getattr(self, name) for name in names} | {"rule": self._rule}
        return Run(self.path, **(settings | changes))

    def ids(self) -> list[str]:
        """The examples that are read, measured or not, in the task's order."""
        return [example_id for example_id in self._subset() if example_id not in self.left_out]

    def _subset(self) -> list[str]:
        if self.images_per_class is None:
            return subset(list(self.contents.matches), self.limit)
        examples = self.contents.examples
        tags_of = zip(examples.ids, examples.tags, strict=True)
        class_of = {example_id: tuple(tags.get("class", ())) for example_id, tags in tags_of}
        return subset(subset_per_class(class_of, self.images_per_class), self.limit)

    def examples(self) -> pd.DataFrame:
        """All examples of the task: id, captions, image_names, matches [I, C], tags (a mapping), group, order."""
        return self.contents.examples.frame()

    @property
    def task_examples(self) -> StoredExamples:
        """The same as lists, each column read when it is asked for."""
        return self.contents.examples

    def seen(self) -> frozenset[str]:
        """The examples of which anything is stored."""
        return self.contents.seen()

    def known(self, ids: Sequence[str]) -> Mapping[str, Measurement]:
        """The stored errors of those of `ids` that have any, which are read as they are asked for, in that order."""
        return self.contents.known(ids)

    def done_of(self, ids: Sequence[str], draws: int | None = None, *, unconditional: bool | None = None) -> set[str]:
        """Those of `ids` that `done` has; of a run with a schedule no others are looked at."""
        rule = self.rule
        without = rule.unconditional if unconditional is None else unconditional
        return set(self.contents.done_of(ids, draws or rule.draws, without))

    def done(self, draws: int | None = None, *, unconditional: bool | None = None) -> set[str]:
        """The examples that are measured, on at least `draws` draws of an error run (None: as many as its view).

        `unconditional`: also without a caption (None: if its view asks for that).
        """
        rule = self.rule
        without = rule.unconditional if unconditional is None else unconditional
        done = self.contents.done(draws or rule.draws, without)
        is_all = self.limit is None and self.images_per_class is None and not self.left_out
        return set(done) if is_all else set(done).intersection(self.ids())

    def measurements(self, ids: Sequence[str] | None = None) -> dict[str, Measurement]:
        """The stored errors by example, in memory all at once; empty for a run of scores."""
        return self.contents.measurements(self.ids() if ids is None else ids)

    def error_tables(self, draws: int | None = None, rule: Rule | None = None) -> Iterator[ErrorTable]:
        """The stored errors of every example that was measured, in pieces that fit in memory whatever the run's size.

        On the first `draws` draws (None: as many as all of them have), those that `rule` reads (None: the run's
        view). UsageError for a run of scores, and where an example lacks one of the draws: a mean over other draws
        than its neighbours' is not a comparison.
        """
        from compbench.store._complete import complete

        rule = rule or self.rule
        n_asked, ids = complete(self, draws, rule)
        return self.contents.error_tables(ids, n_asked, rule)

    def losses(self) -> tuple[str, ...]:
        """The names of the errors that are stored; none for a run of scores."""
        return self.contents.losses() if self.contents.has_errors else ()

    def n_common_draws(self) -> int:
        """The number of leading draws that every measured example has; 0 for a run of scores or a raced one."""
        if not isinstance(self.schedule, Full):
            return 0
        seen = self.contents.seen()
        return self.contents.n_common_draws([example_id for example_id in self.ids() if example_id in seen])

    def check_errors(self) -> None:
        """UsageError, which says why, where no errors are stored."""
        if self.losses():
            return
        where = self.described
        if self.keeps_scores:
            raise UsageError(f"{where} keeps only scores and no errors per draw; run it without --keep scores")
        if not self.info.has_rule:
            raise UsageError(
                f"{where} stores scores and no errors per draw: only a run of a diffusion model such as 'tiny-sd' does"
            )
        raise UsageError(f"{where} has no measured examples yet: rerun its command")

    def draws(self) -> DrawTable:
        """The bank of an error run."""
        return self.contents.draws()

    def table(self, rule: Rule | None = None, ids: Sequence[str] | None = None) -> ScoreTable:
        """The scores [N, I, C] of what is done, in the task's order, under `rule` (None: the run's view).

        Asked for `ids` that are not done, or of several shapes, it raises ValueError.
        """
        tables = self.tables(rule, ids)
        if len(tables) > 1:
            shapes = " and ".join(f"{n_images}x{n_captions}" for n_images, n_captions in tables)
            raise ValueError(f"run {str(self.path)!r} has examples of shapes {shapes}; ask tables() for one table each")
        return next(iter(tables.values()))

    def tables(self, rule: Rule | None = None, ids: Sequence[str] | None = None) -> dict[tuple[int, int], ScoreTable]:
        """`table` for each shape (I, C) of examples; an empty table where nothing is done."""
        from compbench.store.reading import settled

        if self.keeps_scores and rule is not None and rule != self.rule:
            raise UsageError(
                f"run {str(self.path)!r} keeps only scores and cannot be read by another rule or fewer draws than its "
                "own; run it without keep=scores"
            )
        by = self.rule if rule is None else settled(self, rule)
        done = self.done(by.draws, unconditional=by.unconditional)
        wanted = [example_id for example_id in self.ids() if example_id in done] if ids is None else list(ids)
        if lacking := [example for example in wanted if example not in done]:
            raise ValueError(
                f"{len(lacking)} of the {len(wanted)} examples asked for are not measured, {lacking[0]!r} the first; "
                "rerun the command that made the run"
            )
        return self.contents.tables(by, wanted) or self.contents.no_tables()

    @named()
    def to_frame(
        self, rule: Rule | None = None, *, temperature: float | None = None, with_posteriors: bool = True
    ) -> pd.DataFrame:
        """A row per example: outcome, tie and margin of each metric, its tags, and its scores; see frames.py.

        Of a classification also the posterior of the true class and of the predicted one, at `temperature` (None: as
        `compbench calibrate` fits it, which takes seconds where there are many classes); see `posteriors`.
        """
        from compbench.store.frames import to_frame

        frame = to_frame(self.tables(rule), self.contents.examples, self.info.task.metrics, self.classes)
        if self.classes is None or not with_posteriors:
            return frame
        found = import_module("compbench_analysis.frames.posteriors").columns(self, rule, temperature)
        found = found.loc[list(frame["id"])]
        for place, name in enumerate(found, list(frame).index("score_false") + 1):
            frame.insert(place, name, found[name].to_numpy())
        return frame

    @named()
    def posteriors(self, rule: Rule | None = None, *, temperature: float | None = None) -> pd.DataFrame:
        """The posterior of every class, Eq. 3 of the paper: a row for each example, a column for each class.

        UsageError for a run that is not a classification.
        """
        return import_module("compbench_analysis.frames.posteriors").posteriors(self, rule, temperature)

    @named()
    def summary(self, by: str | Sequence[str] | None = None, rule: Rule | None = None) -> pd.DataFrame:
        """A row per metric and tag of the columns `by` (None: "tag"): n, value, 95 % interval and chance.

        This is `compbench.tidy(run, by)`.
        """
        return import_module("compbench").tidy(self, by, rule)

    @named()
    def _repr_html_(self) -> str:
        """The run as a notebook shows it: its name, its progress and its scores."""
        return import_module("compbench_analysis.report").shown(self)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the draws that are measured; for a race with a first wave, as far as that has got."""
        if self._schedule is None or (isinstance(self._schedule, Racing) and self._schedule.is_waiting):
            self._schedule = schedule_in(self.key.measurement)
            if isinstance(self._schedule, Racing) and (wave := self.info.wave) is not None:
                self._schedule = replace(self._schedule, wave=wave)
        return self._schedule

    def verdicts(self, ids: Sequence[str] | None = None, *, comparisons: bool = True) -> dict[str, Verdict]:
        """The conclusions of staging or racing on each finished example, and how sure they are; empty for a full run.

        `comparisons`: with those of each verdict, which are as many as its classes.
        """
        if isinstance(self.schedule, Full) or not self.contents.has_errors:
            return {}
        done = self.done()
        wanted = [example_id for example_id in (self.ids() if ids is None else ids) if example_id in done]
        return dict(self.contents.verdicts.verdicts(wanted, comparisons=comparisons)) if wanted else {}

    @property
    def classes(self) -> Classes | None:
        """The classes that the captions of a classification task stand for; None for any other task."""
        return self.info.task.classes

    def unreadable(self) -> Unreadable:
        """The images that could not be read; that the list of them is damaged is said once."""
        return unreadable.read(self.path, self.say_once)

    def say_once(self, message: str) -> None:
        """Say what was not said of this run before; nothing where there is nothing to say."""
        if message:
            self.contents.parts.say_once(message)

    def parts(self) -> list[dict[str, Json]]:
        """The record of each part that can be read, oldest first.

        n_examples, n_errors, seconds, time, host, device, versions, git; n_evaluations of a model that gives scores
        and evaluates a network, to learn for instance.
        """
        return self.contents.parts.records()

    def has_examples(self) -> bool:
        """Whether the file of the task's examples is there and whole."""
        try:
            return len(self.contents.examples.ids) > 0
        except RunError:
            return False

    def is_settled(self, view: Mapping[str, Json]) -> bool:
        """Whether the files already say all that a command which reads the run by this view would make them say."""
        info = self.info
        is_said = info.status in ("done", "partial") and fullest(self, view)[0] == info.view
        is_derived = not self.contents.has_errors or self.contents.has_derived(self.own_rule)
        return is_said and is_derived and not self.contents.parts.damaged()

    @cached_property
    def contents(self) -> Contents:
        """The folder's contents as arrays; private to the room."""
        with named():
            from compbench.store._reader import Contents

        return Contents(self.path, self.say, lambda: self.schedule, self.classes, digest_of=self._digest_of)

    def _digest_of(self, name: str) -> str | None:
        return self.info.files.get(name)
