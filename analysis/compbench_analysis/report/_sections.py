"""Runs sorted into what one section of the page can show: one task at one revision, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from compbench.core.errors import RunError
from compbench.core.rules import Rule
from compbench.store.run import Run
from compbench.store.run_info import TaskInfo
from compbench_analysis.frames.signature import labels, partial

__all__ = ["Section", "sections"]


@dataclass(frozen=True)
class Section:
    """The runs of one task at one revision, in the order given."""

    key: str  # of links into it
    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    rule: Rule | None
    said: list[str] = field(default_factory=list[str])  # by the runs while they were read: damaged parts

    @property
    def name(self) -> str:
        return self.runs[0].key.task

    @property
    def described(self) -> TaskInfo:
        """The task, as its runs tell of it."""
        return self.runs[0].info.task

    @property
    def n_examples(self) -> int:
        return self.runs[0].info.n_task_examples

    def n_done(self, run: Run) -> int:
        """Examples that can be read."""
        return len(run.done((self.rule or run.rule).draws))

    def notes(self) -> list[str]:
        """Notes on incomplete runs, each once."""
        return list(dict.fromkeys([*self._states(), *map(self.without_paths, self.said)]))

    def without_paths(self, message: str) -> str:
        """A page that is passed on does not tell where its runs lay."""
        for run in self.runs:
            message = message.replace(str(run.path), run.key.folder.as_posix())
        return message

    def _states(self) -> Iterator[str]:
        for run, label in zip(self.runs, self.labels, strict=True):
            what = partial(run, self.rule)
            if not self.n_done(run):
                yield f"{label}: nothing measured yet; rerun its command"
            elif what:
                limit = run.limit or run.info.limit
                why = f", the subset of --limit {limit}" if limit and limit == self.n_done(run) else ""
                yield f"{label}: {what}{why}"


def sections(runs: Sequence[Run], rule: Rule | None) -> tuple[list[Section], list[str]]:
    """The sections in the order of their first runs, and a message for each run that cannot be read at all."""
    by_task: dict[tuple[str, str], list[Run]] = {}
    said: dict[str, list[str]] = {}
    unreadable: list[str] = []
    for run in {run.path.resolve(): run for run in runs}.values():
        heard: list[str] = []
        heard_run = run.heard(heard.append)
        try:
            heard_run.examples()
            heard_run.done()  # looks at every part
        except RunError as error:
            unreadable.append(str(error))
            continue
        by_task.setdefault((run.key.task, run.key.task_revision), []).append(heard_run)
        said[str(run.path)] = heard
    names = [task for task, _ in by_task]
    made = [
        Section(
            key=task if names.count(task) == 1 else f"{task}@{revision}",
            runs=tuple(members),
            labels=tuple(labels(members)),
            rule=rule,
            said=[message for run in members for message in said[str(run.path)]],
        )
        for (task, revision), members in by_task.items()
    ]
    return made, unreadable
