"""What a run costs as it grows: `python -m tests.benchmarks.growth [--examples N ...] [--json]`.

Two runs of 2x2 examples and 16 draws are stored by the product's own writer, 25 examples per part. One is shown while
all its parts still lie as they were written, which is the dearest reading there is; both are continued, which joins
their small parts, and read. Each step has a process of its own, which first does the same to a run of 50 examples: CPU
seconds and memory are those of the step alone, without what Python and the libraries cost. Wall seconds of `compbench
show` are those of the command as a user types it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rich.console
import rich.table

import compbench
from compbench.cli.app import main as command
from compbench.core.aliases import Json
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.metrics import MATCHING
from compbench.core.models import ModelSpec, Runtime, Source
from compbench.store.run import Run
from compbench.store.writer import RunWriter

PER_PART, N_DRAWS, N_WARM = 25, 16, 50
STEPS = ("append", "show of all parts", "continue", "done", "show", "compare", "report")
_SHOWN = ("show", "show of all parts")
_DRAW_IDS, _EVERY = np.arange(N_DRAWS, dtype=np.int32), np.ones((2, 2, N_DRAWS), bool)


@dataclass(frozen=True)
class MadeUp(ModelSpec):
    """A model whose errors are random numbers, which cost nothing."""

    seed: int

    def identity(self) -> Mapping[str, Json]:
        return {"kind": "made up", "seed": self.seed}

    def view(self) -> Mapping[str, Json]:
        return {"n_draws": N_DRAWS, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> MadeUpScorer:
        return MadeUpScorer(np.random.default_rng(self.seed))


@dataclass
class MadeUpScorer:
    """Gives random errors."""

    rng: np.random.Generator

    def prepare(self, task: Task) -> None: ...

    def draw_table(self) -> DrawTable:
        level = np.full(N_DRAWS, np.sqrt(0.5), np.float32)
        return DrawTable(np.arange(N_DRAWS, dtype=np.float32) * 60, level, level, "v")

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        return (self.measured(example.id) for example in examples)

    def measured(self, name: str) -> Measurement:
        return Measurement(name, _DRAW_IDS, {"l2": self.rng.random(_EVERY.shape, dtype=np.float32)}, _EVERY)


def pairs(n: int) -> Task:
    """`n` examples of two pictures and two captions, all different."""
    eye = np.eye(2, dtype=bool)
    examples = [
        Example(f"{k:06d}", (grey(2 * k), grey(2 * k + 1)), (f"caption {2 * k}", f"caption {2 * k + 1}"), eye)
        for k in range(n)
    ]
    return Task(f"growth-{n}", examples, MATCHING)


def grey(number: int) -> Image:
    """A picture of one pixel."""
    return Image(f"{number}.png", lambda: PIL.Image.new("L", (1, 1), number % 251), sha256=f"{number:064d}")


def done_by(step: str, root: Path, n: int) -> None:
    """Do one step to the runs of `n` examples below `root`."""
    if step == "append":
        _append(_run(root, n, 0))
    elif step == "continue":
        compbench.run(pairs(n), model=MadeUp(0), runs=root)
    elif step == "done":
        _run(root, n, 0).done()
    elif step in _SHOWN:
        assert command(["show", str(_run(root, n, 0).path)]) == 0
    elif step == "compare":
        assert command(["compare", *(str(_run(root, n, seed).path) for seed in (0, 1))]) == 0
    else:
        words = ["report", str(_run(root, n, 0).path), "--no-images", "--output", str(root / "report.html")]
        assert command(words) == 0


def _run(root: Path, n: int, seed: int) -> Run:
    """The stored run of a seed."""
    runs = (Run(path) for path in root.glob(f"growth-{n}/*/*"))
    return next(run for run in runs if run.key.measurement["seed"] == seed)


def _append(run: Run) -> None:
    """Store all parts that the run lacks but the last."""
    writer, scorer, done = RunWriter(run), MadeUp(1).build(None, None), run.done()  # pyright: ignore[reportArgumentType]
    lacking = [name for name in run.ids() if name not in done][:-PER_PART]
    for start in range(0, len(lacking), PER_PART):
        writer.append([scorer.measured(name) for name in lacking[start : start + PER_PART]], seconds=1.0)


def _begin(root: Path, n: int, seed: int) -> Run:
    """The first part of a run."""
    with contextlib.redirect_stderr(io.StringIO()):  # that the examples are limited
        return compbench.run(pairs(n), model=MadeUp(seed), runs=root, limit=PER_PART)


def _whole(root: Path, n: int, seed: int) -> None:
    """A run with all its parts."""
    _append(_begin(root, n, seed))
    compbench.run(pairs(n), model=MadeUp(seed), runs=root)


def measured_step(step: str, root: Path, n: int) -> tuple[float, float]:
    """CPU seconds and MiB of one step in this process."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        warm = Path(folder)
        _begin(warm, N_WARM, 0)
        if step == "show of all parts":
            _append(_run(warm, N_WARM, 0))
        elif step not in ("append", "continue"):
            _whole(warm, N_WARM, 0)
            _whole(warm, N_WARM, 1)
        done_by(step, warm, N_WARM)
        _forget_peak()
        resident, began = _status("VmRSS"), time.process_time()
        done_by(step, root, n)
        return time.process_time() - began, (_status("VmHWM") - resident) / 1024


def _forget_peak() -> None:
    """The peak so far, that of the warm-up among others, counts no more; only Linux can do so."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """A number of KiB that the system knows of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measured(n: int) -> dict[str, Any]:
    """CPU seconds and MiB by step, and the wall seconds of `compbench show` of all parts and of joined ones."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _begin(root, n, 0)
        found: dict[str, Any] = {}
        for step in STEPS:
            if step == "compare":
                _child("whole", root, n)
            found[step] = _child(step, root, n)
            if step in _SHOWN:
                found[f"wall seconds of {step}"] = _seconds_of_show(root, n)
        return found


def _seconds_of_show(root: Path, n: int) -> float:
    """Of the command, as a user types it."""
    began = time.monotonic()
    words = [sys.executable, "-m", "compbench", "show", str(_run(root, n, 0).path)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def _child(step: str, root: Path, n: int) -> Any:
    """The answer of a process that does one step."""
    words = [sys.executable, "-m", "tests.benchmarks.growth", "--step", step, str(root), str(n)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, root, n = arguments.step
        print(json.dumps(_whole(Path(root), int(n), 1) if step == "whole" else measured_step(step, Path(root), int(n))))
        return
    began = time.monotonic()
    rows = {n: measured(n) for n in arguments.examples}
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    table = rich.table.Table(title=f"CPU seconds (own MiB); {time.monotonic() - began:.0f} s in all")
    for heading in ("examples", "parts", *STEPS, *(f"{step}, wall" for step in _SHOWN)):
        table.add_column(heading, justify="right")
    for n, found in rows.items():
        cells = (f"{found[step][0]:.2f} ({found[step][1]:,.0f})" for step in STEPS)
        walls = (f"{found[f'wall seconds of {step}']:.1f} s" for step in _SHOWN)
        table.add_row(f"{n:,}", f"{n // PER_PART:,}", *cells, *walls)
    rich.console.Console(width=150).print(table)


if __name__ == "__main__":
    main()
