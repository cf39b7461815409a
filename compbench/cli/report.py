"""compbench.report and the site: pages of stored runs, with pictures from their tasks where these are at hand.

A run stores the names of its images alone. Nothing is fetched for a page: a task that is not on this machine leaves
its section without pictures, which the page says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compbench import registry
from compbench.core import disk
from compbench.core.errors import DataError, MissingPackage, RunError, UsageError
from compbench.core.examples import Image, Task
from compbench.core.packages import named
from compbench.store.run import Run
from compbench.store.store import Store

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench_analysis.frames.breakdowns import By

__all__ = ["report", "site"]


@named()
def report(
    runs: Run | str | Path | Iterable[Run | str | Path],
    output: Path | str = "report.html",
    *,
    by: By = None,
    rule: Rule | None = None,
    limit: int | None = None,
    with_images: bool | None = None,
    tasks: Iterable[Task] = (),
    data: Path | str | None = None,
    images: Path | str | None = None,
    root: Path | str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Path:
    """Write the runs, or what stands for them (`task/model`, a digest, a folder), as one HTML file and return its path.

    `by` are tag columns, or a Breakdown; `limit` reads the subset that `run(limit=...)` measures; `with_images` forces
    pictures and captions in or out (None: in, unless the data is gated); `tasks` are tasks in memory, `data` a local
    copy of the one task's data, `images` the folder of its pictures where they lie apart, `root` that of the runs.

    >>> import compbench
    >>> _ = compbench.run("shapes", model="chance", limit=6)
    >>> report("shapes/chance", "report.html").name
    'report.html'
    """
    from compbench_analysis.report import Look, write

    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{str(output)!r}: a report is an HTML page; expected a name that ends in .html")
    chosen = [run for given in ([runs] if isinstance(runs, Run | str | Path) else runs) for run in _found(given, root)]
    chosen = chosen if limit is None else [run.limited(limit) for run in chosen]
    pictures, notes = _pictures(chosen, tasks, (data, images), with_images)
    for note in notes.values():
        say(note)
    look = Look(by=by, rule=rule, with_images=with_images, pictures=pictures, notes=notes)
    return write(chosen, output, look)


@named()
def site(
    runs: Run | str | Path | Iterable[Run | str | Path],
    output: Path | str = "site",
    *,
    rule: Rule | None = None,
    with_images: bool | None = None,
    root: Path | str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Write a leaderboard of the runs and a page for each task into the folder `output`; return the files written."""
    from compbench_analysis.report import Look, write_site

    chosen = [run for given in ([runs] if isinstance(runs, Run | str | Path) else runs) for run in _found(given, root)]
    pictures, notes = _pictures(chosen, (), (None, None), with_images)
    for note in notes.values():
        say(note)
    return write_site(chosen, output, Look(rule=rule, with_images=with_images, pictures=pictures, notes=notes))


def _found(reference: Run | str | Path, root: Path | str | None) -> list[Run]:
    return [reference] if isinstance(reference, Run) else Store(root).find_all(reference)


def _pictures(
    runs: Sequence[Run],
    tasks: Iterable[Task],
    folders: tuple[Path | str | None, Path | str | None],
    with_images: bool | None,
) -> tuple[dict[tuple[str, str], Mapping[str, Sequence[Image]]], dict[str, str]]:
    """The images by example of each task and revision that is at hand, and by task why those of others are not."""
    wanted = _wanted(runs, with_images)
    data, images = map(disk.given, folders)
    if data is not None and len({task for task, _ in wanted}) > 1:
        raise UsageError("--data is for one task, but these runs are of several; write a page for each")
    given = {task.name: task for task in tasks}
    pictures: dict[tuple[str, str], Mapping[str, Sequence[Image]]] = {}
    notes: dict[str, str] = {}
    for name, revision in wanted:
        try:
            task = given.get(name) or _at_hand(name, data, images)
            if task.revision != revision:
                raise DataError(
                    f"the local data has revision {task.revision} but the runs have {revision}: pictures may differ"
                )
        except (UsageError, DataError, MissingPackage) as error:
            notes[name] = f"Pictures of {name} are not available ({error})."
            continue
        pictures[name, revision] = {example.id: example.images for example in task.examples}
    return pictures, notes


def _at_hand(name: str, data: Path | None, images: Path | None) -> Task:
    """The task, nothing fetched; UsageError in one line for a set of the user's own that lies elsewhere."""
    try:
        registry.find_task(name, data)
    except UsageError:
        raise UsageError(
            f"no task named {name!r}, and no folder of that name here; compbench report takes a folder as --data"
        ) from None
    return registry.task(name, data=data, images=images, is_offline=True, skip_unreadable=True)


def _wanted(runs: Sequence[Run], with_images: bool | None) -> list[tuple[str, str]]:
    """Task and revision of the runs whose pictures will be shown."""
    found: dict[tuple[str, str], None] = {}
    for run in runs:
        try:
            is_gated = run.info.task.is_gated
        except RunError:  # the page says so
            continue
        if with_images or (with_images is None and not is_gated):
            found[run.key.task, run.key.task_revision] = None
    return list(found)
