"""Processes of their own that score, for tests that stop them or let several work on one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import fakes
from compbench.store.run import Run
from compbench.store.store import Store

__all__ = ["assert_equal", "begun", "ended", "environment", "only_run", "scoring", "started"]


def scoring(shard: str = "None") -> str:
    """Code that scores 60 examples. argv: the store, seconds an example.

    It says when scoring begins, and ends with 130 when it is interrupted, with 1 when the run cannot go on.
    """
    return f"""
import sys, fakes
from compbench.runs import harness
from compbench.runs.reporter import QuietReporter
from compbench.core import RunError

class Telling(QuietReporter):
    def start(self, *counts):
        print("scoring", flush=True)

try:
    spec = fakes.HashSpec(seconds=float(sys.argv[2]))
    harness.run(fakes.task(60), model=spec, runs=sys.argv[1], reporter=Telling(), shard={shard})
except KeyboardInterrupt:
    sys.exit(130)
except RunError as error:
    sys.exit(str(error))
"""


def environment(runs: Path) -> dict[str, str]:
    """Of a process that finds the tests' own modules."""
    paths = [str(Path(fakes.__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COMPBENCH_RUNS": str(runs)}


def begun(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(Path("runs")),
    )


def started(code: str, *arguments: object, says: str = "scoring") -> subprocess.Popen[str]:
    """A process that has said that it begins, to score for instance."""
    process = begun(code, *arguments)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"{says}\n", process.communicate()
    return process


def ended(process: subprocess.Popen[str]) -> int:
    """The code a process ends with."""
    process.communicate()
    return process.returncode


def only_run(root: Path) -> Run:
    (run,) = Store(root).runs()
    return run


def assert_equal(one: Run, other: Run) -> None:
    """Bit for bit, whatever the parts are."""
    ones, others = one.measurements(), other.measurements()
    assert ones.keys() == others.keys()
    for entry in ones:
        np.testing.assert_array_equal(ones[entry].errors["l2"], others[entry].errors["l2"])
        np.testing.assert_array_equal(ones[entry].draw_ids, others[entry].draw_ids)
    assert one.table().ids == other.table().ids
    np.testing.assert_array_equal(one.table().scores, other.table().scores)
    assert pd.read_parquet(one.path / "scores").equals(pd.read_parquet(other.path / "scores"))
    assert one.info.status == other.info.status == "done"
