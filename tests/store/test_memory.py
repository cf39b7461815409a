"""All analysis of a run of errors, without torch, in memory that hardly grows with the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_curves
from processes import environment

import fakes
from compbench.core.examples import Task
from compbench.core.measurements import Measurement
from compbench.core.metrics import MATCHING
from compbench.runs.request import RunRequest
from compbench.runs.resolve import resolve
from compbench.store.key import RunKey
from compbench.store.store import Store
from compbench.store.writer import RunWriter

N_DRAWS = 1000
ANALYSIS = """
import sys
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import stored_errors
from compbench_analysis.text import curves, show
from compbench_analysis.frames.margins import margins

(run,) = Store(sys.argv[1]).runs()
run.contents.bytes_at_once = stored_errors._BYTES_AT_ONCE = 4_000_000  # few examples have to stand for many
show.to_text([run], by=["tag", "caption_length", "margin"])
show.to_text([run])
curves.to_text([run])
margins(run)
assert "torch" not in sys.modules
# ru_maxrss would be at least that of the process that started this one
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

# argv: the store, examples; raises the draws of a run that is there, and says how much memory that took
RAISE = """
import sys
import fakes
from compbench.runs import harness
from compbench.store._parts import Parts
from compbench.store._reader import Contents

def sparing(made, limit):
    make = made.__init__

    def __init__(self, *arguments, **more):
        make(self, *arguments, **more)
        setattr(self, limit, 4_000_000)  # few examples have to stand for many

    made.__init__ = __init__

sparing(Contents, "bytes_at_once")
sparing(Parts, "bytes_to_keep")
spec = fakes.HashSpec(draws=1001, n_bank=1001)
assert harness.run(fakes.task(int(sys.argv[2])), model=spec, runs=sys.argv[1]).status == "done"
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def _write(root: Path, n: int) -> None:
    task = Task("fake", tuple(fakes.example(number) for number in range(n)), MATCHING)
    key = RunKey("fake", "0123456789ab", "model", None, {})
    run = Store(root).open(key, task, view={"n_draws": N_DRAWS, "target": "native"})
    RunWriter(run).write_draws(test_curves._bank(N_DRAWS))
    rng, draws, every = np.random.default_rng(0), np.arange(N_DRAWS, dtype=np.int32), np.ones((2, 2, N_DRAWS), bool)
    for start in range(0, n, 250):
        errors = rng.random((250, 2, 2, N_DRAWS), np.float32)
        part = zip(task.examples[start : start + 250], errors, strict=True)
        RunWriter(run).append([Measurement(example.id, draws, {"l2": errors}, every) for example, errors in part])


def _peak_kb(root: Path, n: int) -> int:
    _write(root, n)
    command = [sys.executable, "-c", ANALYSIS, str(root)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_twenty_thousand_examples_would_fit_in_a_laptop(tmp_path: Path) -> None:
    sizes = 250, 1000
    few, many = (_peak_kb(tmp_path / str(n), n) for n in sizes)
    kb_an_example = max(0.0, (many - few) / (sizes[1] - sizes[0]))
    assert few + 20_000 * kb_an_example < 1_500_000  # their errors alone, all at once, as float64, are 640,000


def _raising_kb(root: Path, n: int) -> int:
    task, spec = fakes.task(n), fakes.HashSpec(draws=1000, n_bank=1001)
    asked = resolve(RunRequest(task=task, model=spec, runs=root), lambda message: None)
    scorer, writer = fakes.HashScorer(1000, 1001), RunWriter(asked.open())
    writer.write_draws(scorer.draw_table())
    for start in range(0, n, 50):
        writer.append(list(scorer.score(task.examples[start : start + 50], {})))
    command = [sys.executable, "-c", RAISE, str(root), str(n)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment(root)).stdout)


@pytest.mark.slow
def test_raising_the_draws_of_fifty_thousand_examples_takes_less_than_a_gigabyte(tmp_path: Path) -> None:
    sizes = 500, 2000
    few, many = (_raising_kb(tmp_path / str(n), n) for n in sizes)
    kb_an_example = max(0.0, (many - few) / (sizes[1] - sizes[0]))
    print(f"\n{few:,} kB, and {kb_an_example:.2f} kB an example")
    assert few + 50_000 * kb_an_example < 1_000_000  # the errors alone, all at once, are 800,000
