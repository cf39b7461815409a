"""What one `compbench run` asks for: every model on every task, all of it checked before anything is measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compbench.errors import DataError, RunError, UsageError

if TYPE_CHECKING:
    from compbench.plan import Plan
    from compbench.reporter import Reporter
    from compbench.store import Run
    from compbench.types import Task

__all__ = ["Job", "Settings", "measure", "ordered", "planned"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all jobs of a command: the keywords of `compbench.run`."""

    data: Path | None = None
    prompts: Sequence[Path] = ()
    limit: int | None = None
    seed: int | None = None
    dtype: str | None = None
    device: str = "auto"
    batch_size: int | None = None
    runs: Path | None = None
    is_offline: bool = False
    refresh: bool = False

    def keywords(self) -> dict[str, Any]:
        """All of them but `data` and `prompts`, which are the task's own."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("data", "prompts")}


@dataclass(frozen=True, slots=True)
class Job:
    """One model on one task."""

    task: str
    model: str
    options: dict[str, str]


def ordered(
    tasks: Sequence[str], models: Sequence[str], options: Sequence[str], settings: Settings, say: Callable[[str], None]
) -> list[Job]:
    """The jobs, task by task; UsageError for anything that does not exist or does not fit, within a second."""
    from compbench import plugins, registry
    from compbench.asked import Request, model_spec

    tasks = list(dict.fromkeys(name for each in tasks for name in each.split(",")))
    models = list(dict.fromkeys(name for each in models for name in each.split(",")))
    for name in tasks:
        plugins.find("task", name)
    if settings.data is not None and len(tasks) > 1:
        raise UsageError(f"--data is the data of one task, and {len(tasks)} are asked for; give a command for each")
    if settings.prompts and len(tasks) > 1:
        raise UsageError(f"--prompts are those of one task, and {len(tasks)} are asked for; give a command for each")
    options_of = registry.parse_options(options, models, say)
    for name in models:
        request = Request(tasks[0], name, options_of[name], seed=settings.seed, dtype=settings.dtype)
        model_spec(request, lambda message: None)  # said when the model's turn comes
    return [Job(task, model, options_of[model]) for task in tasks for model in models]


def planned(jobs: Sequence[Job], settings: Settings, reporter: Reporter) -> list[Plan]:
    """What each job would do and cost."""
    from compbench.harness import plan

    tasks = _tasks(jobs, settings)
    return [
        plan(tasks[job.task], model=job.model, options=job.options, reporter=reporter, **settings.keywords())
        for job in jobs
    ]


def measure(
    jobs: Sequence[Job], settings: Settings, reporter: Reporter, by: Sequence[str] = ()
) -> tuple[list[Run], int]:
    """The finished runs and how many failed: the failure of one model is said, and the others go on.

    That a task cannot be read, or lacks a tag column of `by`, is told before anything is measured.
    """
    from compbench.harness import run
    from compbench_analysis.tables import tag_columns

    tasks = _tasks(jobs, settings)
    for task in tasks.values():
        tag_columns(by, [example.tags for example in task.examples])
    finished: list[Run] = []
    for job in jobs:
        try:
            finished.append(
                run(tasks[job.task], model=job.model, options=job.options, reporter=reporter, **settings.keywords())
            )
        except (DataError, RunError) as error:
            print(f"error: {job.task} · {job.model}: {error}", file=sys.stderr)
    return finished, len(jobs) - len(finished)


def _tasks(jobs: Sequence[Job], settings: Settings) -> dict[str, Task]:
    """The tasks by name, each read once."""
    from compbench import registry

    names = dict.fromkeys(job.task for job in jobs)
    return {
        name: registry.task(name, data=settings.data, is_offline=settings.is_offline, prompts=settings.prompts)
        for name in names
    }
