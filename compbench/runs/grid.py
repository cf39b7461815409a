"""The grid of one `compbench run`: every model on every task, all checked before anything is measured."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compbench.core.errors import DataError, MissingPackage, RunError, UsageError
from compbench.core.packages import named
from compbench.runs.reporter import SpansGrid
from compbench.runs.request import RunRequest

if TYPE_CHECKING:
    from compbench.core.examples import Task
    from compbench.runs._workers import Workers
    from compbench.runs.grid_file import GridFile
    from compbench.runs.harness import Finished
    from compbench.runs.plan import Plan
    from compbench.runs.reporter import Reporter
    from compbench.runs.resolve import ResolvedRun
    from compbench.store.run import Run
    from compbench.store.shards import Shard

__all__ = ["Cell", "Failure", "Outcome", "cells", "measure", "planned"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A model on a task, in a grid."""

    task: str
    model: str
    request: RunRequest
    imagenet: Path | None = None  # a copy of ImageNet, for models that learn from its training split

    def __str__(self) -> str:
        return f"{self.task} · {self.model}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that gave no run, or not all of it, and why."""

    cell: Cell
    error: str
    images: tuple[str, ...] = ()  # a line on the images that cannot be read, and one for each; the rest is measured

    def __str__(self) -> str:
        return f"{self.cell}: {self.error}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of the cells after a grid."""

    finished: list[Finished]  # in the order in which they were measured
    runs: list[Run]  # in the order in which they were asked for
    failures: list[Failure] = field(default_factory=list["Failure"])

    def told(self) -> list[str]:
        """The failures, a line each; images that several models cannot read are named once."""
        shared: dict[tuple[str, ...], list[Cell]] = {}
        for failure in self.failures:
            if failure.images:
                shared.setdefault(failure.images, []).append(failure.cell)
        told = [str(failure) for failure in self.failures if not failure.images]
        for (summary, *lines), failed in shared.items():
            told += [f"{', '.join(map(str, failed))}: {summary}", *lines]
        return told

    def is_told_here(self, shard: Shard | None) -> bool:
        """Whether this process prints the result: of several, the one that came last and left nothing to do.

        All of them take the cells in one order, so who completes the last cell has seen the others end theirs.
        """
        if not all(job.is_whole for job in self.finished):
            return False
        worked = [job.how for job in self.finished if job.how != "found"]
        return worked[-1] == "completed" if worked else shard is None or shard.number == 1


def cells(
    tasks: Sequence[str],
    models: Sequence[str],
    options: Sequence[str],
    settings: Mapping[str, Any],
    say: Callable[[str], None],
    grid: GridFile | None = None,
    folders: Callable[[str], Path | None] | None = None,
) -> list[Cell]:
    """The cells, task by task; UsageError for anything that does not exist or does not fit, within a second.

    `settings` are those of a RunRequest that all cells share. What `grid` says holds where the command line says
    nothing; an option of the command line replaces the grid's. `folders` tells where the data of each task are, where
    they differ.
    """
    from compbench import registry
    from compbench.runs.resolve import model_spec

    tasks = _names("task", tasks, grid.tasks if grid else ())
    models = _names("model", models, grid.models if grid else ())
    _check_tasks(tasks, settings.get("data"), folders)
    if settings.get("data") is not None and len(tasks) > 1:
        raise UsageError(f"--data is for one task, but {len(tasks)} are named; use one command for each")
    if settings.get("prompts") and len(tasks) > 1:
        raise UsageError(f"--prompts is for one task, but {len(tasks)} are named; use one command for each")
    chosen = {name: registry.model(name) for name in models}
    options_of = registry.parse_options(options, list(chosen.values()), say)
    if grid is not None and grid.options:  # of its own models too, which the command line may have left out
        listed = {name: chosen.get(name) or registry.model(name) for name in dict.fromkeys([*models, *grid.models])}
        below = registry.parse_options(grid.options, list(listed.values()))
        options_of = {name: {**below[name], **own} for name, own in options_of.items()}

    def given(task: str) -> dict[str, Any]:
        return {**settings} if folders is None else {**settings, "data": folders(task)}

    made = [
        Cell(task, name, RunRequest(task=task, model=model, options=options_of[model.label], **given(task)))
        for task in tasks
        for name, model in chosen.items()
    ]
    for cell in made[: len(models)]:  # what it says is said when the model's turn comes
        model_spec(cell.request, _unheard)
    return made


_NAMED = {"task": "name one after run", "model": "name one with --model"}


def _names(what: str, given: Sequence[str], below: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name for listed in given or below for name in _apart(listed)))
    if not names:
        raise UsageError(
            f"no {what} given; {_NAMED[what]} (compbench list {what}s shows them), or give a --config that does"
        )
    return names


def _check_tasks(tasks: Sequence[str], data: Path | None, folders: Callable[[str], Path | None] | None) -> None:
    """UsageError for a task that nobody offers, and for two that would be called alike."""
    from compbench import registry

    asked: dict[str, str] = {}
    for given in tasks:
        name = registry.find_task(given, data if folders is None else folders(given)).name
        if (other := asked.setdefault(name, given)) != given:
            raise UsageError(f"{other!r} and {given!r} are both called {name!r}; run one as NAME --data FOLDER")


def _apart(names: str) -> list[str]:
    """Names with commas between them; a path that holds commas is one name."""
    return [names] if os.path.exists(names) else names.split(",")


def planned(cells: Sequence[Cell], reporter: Reporter) -> tuple[list[Plan], list[Failure]]:
    """The plan of each cell: its work and its cost; neither weights nor data are fetched for it.

    Of several cells, one that cannot be run does not hide what the others cost.
    """
    from compbench.runs import plan
    from compbench.runs._scorer_cache import ScorerCache
    from compbench.runs.resolve import resolve

    attempts = _Attempts(len(cells), reporter)
    plans = dict[int, "Plan"]()
    with cells[0].request.reading_images():
        tasks = _tasks_here(cells, reporter.say)
        for of_model in _by_model(cells):
            cache = ScorerCache(cells[of_model[0]].request, reporter)
            for n in of_model:
                task = tasks[cells[n].task]
                with attempts.of(cells[n]):
                    if task is None:
                        plans[n] = plan.unread(cells[n].request, cells[n].task, cache)
                    else:
                        request = _with_task(cells[n].request, task)
                        plans[n] = plan.planned(resolve(request, reporter.say, is_price=True), cache)
            cache.forget()
    if not plans and attempts.misuse is not None:
        raise attempts.misuse
    return [plans[n] for n in sorted(plans)], attempts.failures


def measure(cells: Sequence[Cell], reporter: Reporter, check: Callable[[Task], object] | None = None) -> Outcome:
    """Measure model by model, each loaded once; where there are several cells, one that fails does not stop the others.

    What `check` raises for a task, or that nothing at all can be measured, is told before anything is.
    """
    from compbench.runs._scorer_cache import ScorerCache
    from compbench.runs._workers import workers_of
    from compbench.runs.harness import by_itself, finish

    attempts = _Attempts(len(cells), reporter)
    finished: dict[int, Finished] = {}
    with cells[0].request.reading_images(), workers_of(cells[0].request) as workers:
        resolved = _resolved(cells, attempts, reporter, check, workers)
        in_turn = [[n for n in of_model if n in resolved] for of_model in _by_model(cells)]
        if isinstance(reporter, SpansGrid) and len(cells) > 1:
            reporter.begin_grid([len(resolved[n].own_ids) for of_model in in_turn for n in of_model])
        for of_model in filter(None, in_turn):
            cache = ScorerCache(cells[of_model[0]].request, reporter)
            for n in of_model:
                if isinstance(reporter, SpansGrid):
                    reporter.next_cell()
                with attempts.of(cells[n]):
                    measure = by_itself(cache)
                    if workers is not None:
                        measure = workers.measuring(cells[n].request, reporter, measure)
                    finished[n] = finish(resolved[n], reporter, measure)
                    if (error := finished[n].unreadable) is not None:
                        attempts.failures.append(Failure(cells[n], str(error), error.lines))
            cache.forget()
    # a run of which nothing could be read has no table
    runs = [cell.run for _, cell in sorted(finished.items()) if cell.unreadable is None or cell.run.done()]
    return Outcome(list(finished.values()), runs, attempts.failures)


def _unheard(message: str) -> None: ...


class _Attempts:
    """Tries cells. Where there are several, whatever goes wrong with one is said, kept for the end, and no more."""

    def __init__(self, n_cells: int, reporter: Reporter) -> None:
        self._is_only, self._say = n_cells == 1, reporter.say
        self.failures: list[Failure] = []
        self.misuse: UsageError | None = None  # the first

    @contextmanager
    def of(self, cell: Cell) -> Generator[None]:
        """Attribute what happens inside to the cell."""
        try:
            with named():
                yield
        except (DataError, MissingPackage, RunError) as error:
            self.fail(cell, str(error))
        except UsageError as error:
            if self._is_only:
                raise
            self.misuse = self.misuse or error
            self.fail(cell, str(error))
        except Exception as error:  # a fault of a library, say: it must not cost the rest of the grid
            if self._is_only:
                raise
            self.fail(cell, f"{type(error).__name__}: {error}", traceback.format_exc())

    def fail(self, cell: Cell, error: str, details: str = "") -> None:
        """Write a failure down."""
        self.failures.append(Failure(cell, error))
        if not self._is_only:
            for line in details.splitlines():
                self._say(line)
            self._say(f"{cell} failed; the others continue: {error}")


def _resolved(
    cells: Sequence[Cell],
    attempts: _Attempts,
    reporter: Reporter,
    check: Callable[[Task], object] | None,
    workers: Workers | None,
) -> dict[int, ResolvedRun]:
    """The resolved request of each cell that can run, by its number; UsageError where none can."""
    from compbench.diffusion import emulation
    from compbench.runs.resolve import resolve
    from compbench.store.shards import shard_here

    settled = emulation.settled if workers is None else workers.settled
    shard = shard_here(cells[0].request.shard)
    say = reporter.say if shard is None or shard.number == 1 else _unheard
    tasks = _tasks(cells, say, attempts)
    for task in tasks.values():
        if check is not None:
            check(task)
    resolved: dict[int, ResolvedRun] = {}
    for n, cell in enumerate(cells):
        if cell.task in tasks:
            with attempts.of(cell):
                resolved[n] = resolve(_with_task(cell.request, tasks[cell.task]), say, settled=settled)
    if not resolved and attempts.misuse is not None:
        raise attempts.misuse
    return resolved


def _tasks(cells: Sequence[Cell], say: Callable[[str], None], attempts: _Attempts) -> dict[str, Task]:
    """The tasks by name, each read once; one that cannot be read fails its cells, where there are other tasks."""
    from compbench.runs import _links
    from compbench.runs.resolve import read_task

    tasks: dict[str, Task] = {}
    firsts = _first_of_each_task(cells)
    for name, cell in firsts.items():
        try:
            tasks[name] = _with_imagenet(read_task(cell.request), cell.imagenet)
            _links.tell(tasks[name], cell.request.data, say)
        except (DataError, MissingPackage) as error:
            if len(firsts) == 1:
                raise
            for other in cells:
                if other.task == name:
                    attempts.fail(other, str(error))
    return tasks


def _tasks_here(cells: Sequence[Cell], say: Callable[[str], None]) -> dict[str, Task | None]:
    """The tasks by name; None for one whose data have to be fetched first."""
    from compbench.runs import _links, plan

    tasks: dict[str, Task | None] = {}
    for name, cell in _first_of_each_task(cells).items():
        task = plan.task_here(cell.request)
        if task is not None:
            _links.tell(task, cell.request.data, say)
        tasks[name] = None if task is None else _with_imagenet(task, cell.imagenet)
    return tasks


def _first_of_each_task(cells: Sequence[Cell]) -> dict[str, Cell]:
    firsts: dict[str, Cell] = {}
    for cell in cells:
        firsts.setdefault(cell.task, cell)
    return firsts


def _with_task(request: RunRequest, task: Task) -> RunRequest:
    return replace(request, task=task, data=None, images=None, prompts=())


def _with_imagenet(task: Task, imagenet: Path | None) -> Task:
    """The task; where models learn from ImageNet's training split, it is looked for in ImageNet's folder too."""
    from compbench.tasks.classification.imagenet_training import FromImageNet

    if imagenet is None or not isinstance(task.training, FromImageNet):
        return task
    return replace(task, training=replace(task.training, imagenet=imagenet))


def _by_model(cells: Sequence[Cell]) -> list[list[int]]:
    """The numbers of the cells of each model."""
    models = dict.fromkeys(cell.model for cell in cells)
    return [[n for n, cell in enumerate(cells) if cell.model == model] for model in models]
