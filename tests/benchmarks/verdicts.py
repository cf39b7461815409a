"""What stored verdicts save a reader: `python -m tests.benchmarks.verdicts [--classes 1000] [--images 20]`.

A staged and a raced run of made-up errors are stored by the product's own writer. Prints the seconds in which the
writer settles each, and those of `compbench show` with what it stored and without.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compbench.core.examples import Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Schedule, entry_of
from compbench.schedules.staged import Staged, published
from compbench.store.key import RunKey
from compbench.store.store import Store
from tests.benchmarks.classes import task as task_of_classes

_MARGIN = 0.5  # of the true class, in standard deviations of an error


def _schedule(kind: str, n_classes: int) -> Staged | Racing:
    if kind == "raced":
        return Racing(256)
    return published("", n_classes)


def _measured(task: Task, schedule: Schedule, draws: DrawTable) -> Iterator[Measurement]:
    """What the schedule wants of each example, until it wants nothing more."""
    rng, numbers = np.random.default_rng(0), np.arange(schedule.draws, dtype=np.int32)
    for example in task.examples:
        errors = rng.normal(10, 1, (*example.shape, schedule.draws)).astype(np.float32)
        errors[example.matches] -= _MARGIN
        policy, measured = schedule.policy(example.id, example.matches, draws, task.classes), errors > np.inf
        while (wanted := policy.wanted(errors, measured) & ~measured).any():
            measured |= wanted
        yield Measurement(example.id, numbers, {"l2": errors}, measured)


def _seconds_of_show(path: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "compbench", "show", str(path)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20)
    arguments = parser.parse_args()
    task = task_of_classes(arguments.classes, arguments.images)
    for kind in ("staged", "raced"):
        schedule, level = _schedule(kind, arguments.classes), np.sqrt(0.5)
        levels = np.full(schedule.draws, level, np.float32)
        timesteps = np.random.default_rng(0).permutation(1000)[: schedule.draws].astype(np.float32)
        draws = DrawTable(timesteps, levels, levels, "eps")
        key = RunKey(task.name, task.revision, kind, None, entry_of(schedule))
        with tempfile.TemporaryDirectory() as folder:
            view = {"n_draws": schedule.draws, "target": "native"}
            with Store(folder).writer(key, task, view=view) as writer:
                writer.write_draws(draws)
                for result in _measured(task, schedule, draws):
                    writer.append([result])
                began = time.perf_counter()
                writer.settle(None)
            settled, path = time.perf_counter() - began, writer.run.path
            size = sum(file.stat().st_size for file in (path / "verdicts").iterdir())
            stored = _seconds_of_show(path)
            shutil.rmtree(path / "verdicts")
            print(
                f"{kind}, {arguments.images} images of {arguments.classes} classes: settled in {settled:.2f} s "
                f"({size / 1e6:.1f} MB); show {stored:.2f} s, without what is stored {_seconds_of_show(path):.2f} s"
            )


if __name__ == "__main__":
    main()
