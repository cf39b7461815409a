"""The folder of all runs: one folder for each thing that was measured, named by the digest of all that decides it.

`runs/<task>/<model>/<digest>/`. A folder is a run as soon as run.json is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import ALL_SCORES, Classes, Task
from compbench.core.printable import say as say_to_stderr
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Schedule, schedule_in
from compbench.store import _damage, addresses, provenance, run_file
from compbench.store._retagged import refresh_tags
from compbench.store.key import RunKey
from compbench.store.lock import WAIT_SECONDS, Guard
from compbench.store.run import Run
from compbench.store.run_file import COMPACTED, FORMAT, DamagedRun
from compbench.store.shards import Shard

if TYPE_CHECKING:
    from compbench.store.writer import RunWriter

__all__ = ["Store"]


class Store:
    """The folder of all runs: `root`, else COMPBENCH_RUNS, else ./runs.

    >>> import compbench
    >>> _ = compbench.run("shapes", model="chance", limit=6)
    >>> print(*(run.key.model for run in compbench.Store().runs()))
    chance
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        say: Callable[[str], None] = say_to_stderr,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.root = disk.expanded(root or os.environ.get("COMPBENCH_RUNS") or "runs")
        self._say, self._wait = say, wait
        self._told: set[str] = set()  # what is wrong with runs, each said once
        self._left_out: dict[Path, str] = {}  # folders of runs that cannot be read, and why

    def has(self, key: RunKey) -> bool:
        """Whether anything of the run with this key is stored, be it damaged."""
        return addresses.is_run(self.root / key.folder)

    def get(self, key: RunKey) -> Run | None:
        """The run with this key, if there is one."""
        run = self.run_in(self.root / key.folder)
        with disk.writing(run.path):
            if not _exists(run.path / run_file.NAME):
                return None
        if run.key.to_json() != json.loads(json.dumps(key.to_json())):
            raise RunError(f"folder {str(run.path)!r} holds another run of the same digest; move it away and run again")
        return run

    def known(self, key: RunKey) -> Run | None:
        """The run with this key where its files can be believed; None where `open` would rewrite some of them."""
        try:
            run = self.get(key)
        except DamagedRun:
            return None
        return run if run is not None and run.has_examples() else None

    def open(
        self,
        key: RunKey,
        task: Task,
        *,
        view: Mapping[str, Json] | None = None,
        model: Mapping[str, Json] | None = None,
    ) -> Run:
        """The run with this key, made if there is none; `view` and `model` describe a new one.

        A damaged run.json is set aside and rewritten, since all that it says is known here; the parts stay.
        """
        from compbench.store import _parquet
        from compbench.store.stored_examples import examples_table
        from compbench.store.writer import RunWriter

        path = self.root / key.folder
        run = self._whole(key)
        if run is None or not run.has_examples():
            with disk.writing(path):
                path.mkdir(parents=True, exist_ok=True)
            with Guard(path, self._say, self._wait)():
                run = self._whole(key)  # another shard may have made it
                if run is None:
                    with disk.writing(path):
                        self._create(path, key, task, view or {}, model or {})
        run = run or self.run_in(path)
        if not run.has_examples():
            self._say(_damage.rewritten(path, ["examples.parquet"], "from the task's data"))
            RunWriter(run).write_examples(_parquet.encode(examples_table(task.examples)))
        refresh_tags(run, task, _told_of(task, key), self._say)
        return run

    def writer(
        self,
        key: RunKey,
        task: Task,
        *,
        view: Mapping[str, Json] | None = None,
        model: Mapping[str, Json] | None = None,
        shard: Shard | None = None,
        asked: Mapping[str, Json] | None = None,
    ) -> RunWriter:
        """A context in which to measure the run that `open` gives; see RunWriter."""
        from compbench.store.writer import RunWriter

        return RunWriter(self.open(key, task, view=view, model=model), shard, asked)

    def runs(self) -> list[Run]:
        """All runs, sorted by task and model, the latest last; one that cannot be read is named and left out."""
        return self.scanned()[0]

    def has_runs(self, task: str, model: str) -> bool:
        """Whether anything is stored of a task and a model."""
        folder = self.root / RunKey(task, "", model, None, {}).folder
        return any(folder.parent.glob("*/run.json"))

    def of_model(self, key: RunKey) -> list[Run]:
        """The runs of the key's task and model, whatever else differs; `tell_damaged` tells of those left out."""
        found: list[Run] = []
        folder = (self.root / key.folder).parent
        with disk.writing(folder):  # before Python 3.13 glob raises for a name that is too long
            paths = sorted(folder.glob(f"*/{run_file.NAME}"))
        for path in paths:
            run = self.run_in(path.parent)
            try:
                is_its = (run.key.task, run.key.model) == (key.task, key.model)
            except RunError as error:
                self._left_out[run.path] = str(error)
                continue
            found += [run] * is_its
        return found

    def tell_damaged(self, key: RunKey) -> None:
        """Say, once, what is wrong with the runs that `of_model` left out; of the key's own run `open` tells."""
        for folder, message in self._left_out.items():
            if folder != self.root / key.folder:
                self.say_once(message)

    def find(self, reference: str | Path) -> Run:
        """The one run that a folder, `task/model` (its latest whole run), or a digest's first letters stand for."""
        found = addresses.find(self, reference)
        if len(found) > 1:
            names = ", ".join(f"{run.key.task}/{run.key.model}" for run in found)
            raise UsageError(f"{str(reference)!r} matches {len(found)} runs: {names}; expected one")
        return found[0]

    def find_all(self, reference: str | Path) -> list[Run]:
        """The runs that `find` finds, and of a task (its name or its folder) the run of each of its models."""
        return addresses.find(self, reference)

    def run_in(self, folder: Path) -> Run:
        """The run in a folder, wherever that is."""
        return Run(folder, say=self._say, wait=self._wait)

    def _whole(self, key: RunKey) -> Run | None:
        """The run with this key where its run.json can be believed."""
        try:
            return self.get(key)
        except DamagedRun as error:
            self.say_once(f"{error}. This command does so")
            return None

    def scanned(self, folders: Iterable[Path] | None = None) -> tuple[list[Run], dict[Path, RunError]]:
        """The runs in `folders` (None: all) in their order, and what is wrong with the others."""
        found: list[tuple[tuple[str, str, str], Run]] = []
        unreadable: dict[Path, RunError] = {}
        for path in self._folders() if folders is None else folders:
            run = self.run_in(path)
            try:
                found.append(((run.key.task, run.key.model, run.info.updated), run))
            except RunError as error:
                unreadable[path] = error
                self.say_once(str(error))
        return [run for _, run in sorted(found, key=lambda each: each[0])], unreadable

    def _folders(self) -> list[Path]:
        """The folders of runs, also of those that have lost their run.json."""
        try:
            is_file = _exists(self.root) and not self.root.is_dir()
        except OSError as error:
            raise UsageError(
                f"{str(self.root)!r} cannot be the folder of runs ({error.strerror or error}): choose another with "
                "--runs DIR"
            ) from error
        if is_file:
            raise UsageError(
                f"{str(self.root)!r} is a file; expected the folder of runs: choose another with --runs DIR"
            )
        return sorted({path.parent for name in addresses.SIGNS for path in self.root.glob(f"*/*/*/{name}")})

    def _create(
        self,
        path: Path,
        key: RunKey,
        task: Task,
        view: Mapping[str, Json],
        model: Mapping[str, Json],
    ) -> None:
        from compbench.store import _parquet
        from compbench.store._parts import Parts
        from compbench.store.stored_examples import examples_table

        parts = Parts(path, self._say)
        records = parts.records()
        lost = [name for name in (run_file.NAME, "examples.parquet") if not (path / name).exists()]
        disk.write(path / "examples.parquet", _parquet.encode(examples_table(task.examples)))
        files = {"examples.parquet": _parquet.digest(path / "examples.parquet")}
        number = COMPACTED if parts.compacted() else FORMAT
        first: dict[str, Json] = {
            **_first_info(key, task, view, model),
            **_known(records),
            "format": number,
            "files": files,
        }
        with suppress(FileNotFoundError):
            _damage.set_aside(path / run_file.NAME)
        run_file.write(path, first)  # last: its presence makes the folder a run
        if records and lost:
            self._say(_damage.rewritten(path, lost, "from this command and what the parts say"))

    def say_once(self, message: str) -> None:
        """Say what has not been said before."""
        if message not in self._told:
            self._told.add(message)
            self._say(message)


def _known(records: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """The entries of run.json that the parts still tell: since when, and by which version."""
    times = [str(record["time"]) for record in records if "time" in record]
    versions = [str(record["compbench"]) for record in records if "compbench" in record]
    known: dict[str, Json] = {"status": "interrupted"} if records else {}
    return known | ({"created": min(times)} if times else {}) | ({"compbench": versions[0]} if versions else {})


def _exists(path: Path) -> bool:
    """`path.exists()`, which for names that are too long raises what the disk says."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _described(classes: Classes) -> dict[str, Json]:
    labels = None if classes.labels is None else list(classes.labels)
    return {
        "names": list(classes.names),
        "of_caption": list(classes.of_caption),
        "label_space": classes.label_space,
        "labels": labels,
    }


def _asked_for(task: Task, schedule: Schedule) -> list[Json]:
    """The metrics that the run can tell: a race for text alone leaves the others open."""
    if not isinstance(schedule, Racing):
        return list(task.metrics)
    is_open = {*OUTCOMES, ALL_SCORES} - set(schedule.outcomes)
    return [name for name, metric in task.metrics.items() if (metric.hangs_on or name) not in is_open]


def _first_info(key: RunKey, task: Task, view: Mapping[str, Json], model: Mapping[str, Json]) -> dict[str, Json]:
    now = provenance.now()
    return {
        "key": key.to_json(),
        "status": "running",
        "view": dict(view),
        "n_task_examples": len(task.examples),
        "limit": None,
        "created": now,
        "updated": now,
        "compbench": provenance.version(),
        "task": _told_of(task, key),
        "model": dict(model),
    }


def _told_of(task: Task, key: RunKey) -> dict[str, Json]:
    return {
        "description": task.description,
        "citation": task.citation,
        **({"origin": task.origin} if task.origin else {}),
        "is_gated": task.is_gated,
        "tag_order": {name: list(values) for name, values in task.tag_order.items()},
        "metrics": _asked_for(task, schedule_in(key.measurement)),
        "classes": None if task.classes is None else _described(task.classes),
    }
