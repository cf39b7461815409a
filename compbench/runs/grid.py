"""What one `compbench run` asks for: every model on every task, all of it checked before anything is measured."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core.errors import DataError, RunError, UsageError
from compbench.runs.reporter import SpansGrid

if TYPE_CHECKING:
    from compbench.core.examples import Task
    from compbench.runs._scorer_cache import Builder
    from compbench.runs.grid_file import GridFile
    from compbench.runs.harness import Finished
    from compbench.runs.plan import Plan
    from compbench.runs.reporter import Reporter
    from compbench.runs.request import Asked, Request
    from compbench.store.run import Run
    from compbench.store.shards import Shard

__all__ = ["Failure", "Job", "Outcome", "Settings", "measure", "ordered", "planned", "planned_each"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all jobs of a command."""

    data: Path | None = None
    data_root: Path | None = None  # a folder with one folder for each task
    data_folders: Mapping[str, Path] = field(default_factory=dict[str, Path])  # of single tasks; they go before it
    prompts: Sequence[Path] = ()
    limit: int | None = None
    images_per_class: int | None = None
    seed: int | None = None
    dtype: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    runs: Path | None = None
    is_offline: bool = False
    refresh: bool = False
    shard: Shard | None = None
    keep: str = "errors"
    skip_unreadable: bool = False
    wait: float | None = None

    def request(self, job: Job, task: str | Task) -> Request:
        """What is asked of one job."""
        from compbench.runs.request import Request

        return Request(
            task,
            job.model,
            job.options,
            limit=self.limit if job.limit is None else job.limit,
            seed=self.seed,
            dtype=self.dtype,
            runs=self.runs,
            is_offline=self.is_offline,
            refresh=self.refresh,
            shard=self.shard,
            keep=self.keep,
            images_per_class=self.images_per_class,
            skip_unreadable=self.skip_unreadable,
            device=self.device,
            wait=self.wait,
        )

    def data_of(self, task: str) -> Path | None:
        """The local copy of a task's data, where one is named or lies under the root."""
        if task in self.data_folders:
            return self.data_folders[task]
        if self.data_root is None:
            return self.data
        return self.data_root / task if (self.data_root / task).exists() else None

    def builder(self, reporter: Reporter) -> Builder:
        """Of the scorers of a model."""
        from compbench.runs._scorer_cache import Builder

        return Builder(self.device, self.batch_size, self.is_offline, reporter)


@dataclass(frozen=True, slots=True)
class Job:
    """One model on one task."""

    task: str
    model: str
    options: Mapping[str, str]
    limit: int | None = None  # its own, where it has one

    def __str__(self) -> str:
        return f"{self.task} · {self.model}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that gave no run, or not all of it, and why."""

    job: Job
    error: str
    images: tuple[str, ...] = ()  # a line on the images that cannot be read, and one for each; the rest is measured

    def __str__(self) -> str:
        return f"{self.job}: {self.error}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of the jobs."""

    finished: list[Finished]  # in the order in which they were measured
    runs: list[Run]  # in the order in which they were asked for
    failures: list[Failure] = field(default_factory=list["Failure"])

    def told(self) -> list[str]:
        """The failures, a line each; images that several models cannot read are named once."""
        shared: dict[tuple[str, ...], list[Job]] = {}
        for failure in self.failures:
            if failure.images:
                shared.setdefault(failure.images, []).append(failure.job)
        told = [str(failure) for failure in self.failures if not failure.images]
        for (summary, *named), jobs in shared.items():
            told += [f"{', '.join(map(str, jobs))}: {summary}", *named]
        return told

    def is_told_here(self, shard: Shard | None) -> bool:
        """Whether this process prints the result: of several, the one that came last and left nothing to do.

        All of them take the jobs in one order, so who completes the last job has seen the others end theirs.
        """
        if not all(each.is_whole for each in self.finished):
            return False
        worked = [each.how for each in self.finished if each.how != "found"]
        return worked[-1] == "completed" if worked else shard is None or shard.number == 1


def ordered(
    tasks: Sequence[str],
    models: Sequence[str],
    options: Sequence[str],
    settings: Settings,
    say: Callable[[str], None],
    grid: GridFile | None = None,
) -> list[Job]:
    """The jobs, task by task; UsageError for anything that does not exist or does not fit, within a second.

    What `grid` says holds where the command line says nothing; an option of the command line replaces the grid's.
    """
    from compbench import registry
    from compbench.runs.request import model_spec

    tasks = _names("task", tasks, grid.tasks if grid else ())
    models = _names("model", models, grid.models if grid else ())
    _check_tasks(tasks, settings)
    if settings.data is not None and len(tasks) > 1:
        raise UsageError(f"--data is the data of one task, and {len(tasks)} are asked for; give a command for each")
    if settings.prompts and len(tasks) > 1:
        raise UsageError(f"--prompts are those of one task, and {len(tasks)} are asked for; give a command for each")
    options_of = registry.parse_options(options, models, say)
    if grid is not None:  # of its own models too, which the command line may have left out
        below = registry.parse_options(grid.options, list(dict.fromkeys([*models, *grid.models])))
        options_of = {name: {**below[name], **its} for name, its in options_of.items()}
    for name in models:  # what it says is said when the model's turn comes
        model_spec(settings.request(Job(tasks[0], name, options_of[name]), tasks[0]), _unheard)
    return [Job(task, model, options_of[model]) for task in tasks for model in models]


def _names(what: str, given: Sequence[str], below: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name for each in given or below for name in _apart(each)))
    if not names:
        raise UsageError(f"no {what} is asked for; name one, or a --config that does (see compbench run --help)")
    return names


def _check_tasks(tasks: Sequence[str], settings: Settings) -> None:
    """UsageError for a task that nobody offers, and for two that would be called alike."""
    from compbench import registry

    asked: dict[str, str] = {}
    for given in tasks:
        name = registry.find_task(given, settings.data_of(given)).name
        if (other := asked.setdefault(name, given)) != given:
            raise UsageError(f"{other!r} and {given!r} are both called {name!r}; run one as NAME --data FOLDER")


def _apart(names: str) -> list[str]:
    """Names with commas between them; a path that holds commas is one name."""
    return [names] if os.path.exists(names) else names.split(",")


def planned(jobs: Sequence[Job], settings: Settings, reporter: Reporter) -> list[Plan]:
    """The plan of each job: its work and its cost; neither weights nor data are fetched for it."""
    return planned_each(jobs, settings, reporter)[0]


def planned_each(jobs: Sequence[Job], settings: Settings, reporter: Reporter) -> tuple[list[Plan], list[Failure]]:
    """`planned`; of several jobs, one that cannot be run does not hide what the others cost."""
    from compbench.runs import plan
    from compbench.runs.request import settle

    attempts = _Attempts(len(jobs), reporter)
    tasks, plans = _tasks_here(jobs, settings, reporter.say), dict[int, "Plan"]()
    for of_model in _by_model(jobs):
        builder = settings.builder(reporter)
        for n in of_model:
            task = tasks[jobs[n].task]
            request = settings.request(jobs[n], task or jobs[n].task)
            with attempts.of(jobs[n]):
                if task is None:
                    plans[n] = plan.unread(request, jobs[n].task, builder)
                else:
                    plans[n] = plan.planned(settle(request, reporter.say, is_price=True), builder)
        builder.forget()
    if not plans and attempts.misuse is not None:
        raise attempts.misuse
    return [plans[n] for n in sorted(plans)], attempts.failures


def measure(
    jobs: Sequence[Job], settings: Settings, reporter: Reporter, check: Callable[[Task], object] | None = None
) -> Outcome:
    """Measure model by model, each loaded once; where there are several jobs, one that fails does not stop the others.

    What `check` raises for a task, or that nothing at all can be measured, is told before anything is.
    """
    from compbench.runs.harness import finish

    attempts = _Attempts(len(jobs), reporter)
    settled = _settled(jobs, settings, attempts, reporter, check)
    in_turn = [[n for n in of_model if n in settled] for of_model in _by_model(jobs)]
    if isinstance(reporter, SpansGrid) and len(jobs) > 1:
        reporter.begin_grid([len(settled[n].own_ids) for of_model in in_turn for n in of_model])
    finished: dict[int, Finished] = {}
    for of_model in in_turn:
        builder = settings.builder(reporter)
        for n in of_model:
            if isinstance(reporter, SpansGrid):
                reporter.next_cell()
            with attempts.of(jobs[n]):
                finished[n] = finish(settled[n], builder)
                if (error := finished[n].unreadable) is not None:
                    attempts.failures.append(Failure(jobs[n], str(error), error.lines))
        builder.forget()
    # a run of which nothing could be read has no table
    runs = [each.run for _, each in sorted(finished.items()) if each.unreadable is None or each.run.done()]
    return Outcome(list(finished.values()), runs, attempts.failures)


def _unheard(message: str) -> None: ...


class _Attempts:
    """Tries jobs. Where there are several, whatever goes wrong with one is said, kept for the end, and no more."""

    def __init__(self, n_jobs: int, reporter: Reporter) -> None:
        self._is_only, self._say = n_jobs == 1, reporter.say
        self.failures: list[Failure] = []
        self.misuse: UsageError | None = None  # the first

    @contextmanager
    def of(self, job: Job) -> Generator[None]:
        """What is done inside is the job's."""
        try:
            yield
        except (DataError, RunError) as error:
            self.fail(job, str(error))
        except UsageError as error:
            if self._is_only:
                raise
            self.misuse = self.misuse or error
            self.fail(job, str(error))
        except Exception as error:  # a fault of a library, say: it must not cost the rest of the grid
            if self._is_only:
                raise
            self.fail(job, f"{type(error).__name__}: {error}", traceback.format_exc())

    def fail(self, job: Job, error: str, details: str = "") -> None:
        """Write a failure down."""
        self.failures.append(Failure(job, error))
        if not self._is_only:
            for line in details.splitlines():
                self._say(line)
            self._say(f"{job} failed, the others go on: {error}")


def _settled(
    jobs: Sequence[Job],
    settings: Settings,
    attempts: _Attempts,
    reporter: Reporter,
    check: Callable[[Task], object] | None,
) -> dict[int, Asked]:
    """What is asked of each job that can be asked for, by its number; UsageError where that is none of them."""
    from compbench.runs.request import settle

    say = reporter.say if settings.shard is None or settings.shard.number == 1 else _unheard
    tasks = _tasks(jobs, settings, say, attempts)
    for task in tasks.values():
        if check is not None:
            check(task)
    settled: dict[int, Asked] = {}
    for n, job in enumerate(jobs):
        if job.task in tasks:
            with attempts.of(job):
                settled[n] = settle(settings.request(job, tasks[job.task]), say)
    if not settled and attempts.misuse is not None:
        raise attempts.misuse
    return settled


def _tasks(
    jobs: Sequence[Job], settings: Settings, say: Callable[[str], None], attempts: _Attempts | None = None
) -> dict[str, Task]:
    """The tasks by name, each read once; one that cannot be read fails its jobs, where there are other tasks."""
    from compbench import registry
    from compbench.runs import _links

    tasks: dict[str, Task] = {}
    names = dict.fromkeys(job.task for job in jobs)
    for name in names:
        try:
            task = registry.task(
                name,
                data=settings.data_of(name),
                is_offline=settings.is_offline,
                prompts=settings.prompts,
                skip_unreadable=settings.skip_unreadable,
            )
            tasks[name] = _with_imagenet(task, settings)
            _links.tell(tasks[name], settings.data_of(name), say)
        except DataError as error:
            if attempts is None or len(names) == 1:
                raise
            for job in jobs:
                if job.task == name:
                    attempts.fail(job, str(error))
    return tasks


def _tasks_here(jobs: Sequence[Job], settings: Settings, say: Callable[[str], None]) -> dict[str, Task | None]:
    """The tasks by name; None for one whose data have to be fetched first."""
    from compbench.runs import _links, plan

    tasks: dict[str, Task | None] = {}
    for name in dict.fromkeys(job.task for job in jobs):
        data = settings.data_of(name)
        task = plan.task_here(name, data=data, is_offline=settings.is_offline, prompts=settings.prompts)
        if task is not None:
            _links.tell(task, data, say)
        tasks[name] = None if task is None else _with_imagenet(task, settings)
    return tasks


def _with_imagenet(task: Task, settings: Settings) -> Task:
    """The task; ImageNet's training split, where models learn from that for it, is sought in ImageNet's folder too."""
    from compbench.tasks.classification.imagenet_training import FromImageNet

    if not isinstance(task.training, FromImageNet):
        return task
    return replace(task, training=replace(task.training, imagenet=settings.data_of("imagenet")))


def _by_model(jobs: Sequence[Job]) -> list[list[int]]:
    """The numbers of the jobs of each model."""
    models = dict.fromkeys(job.model for job in jobs)
    return [[n for n, job in enumerate(jobs) if job.model == model] for model in models]
