"""What reading a run costs as it grows: `python -m tests.benchmarks.reading [--examples N ...] [--json]`.

Two runs of 2x2 examples and 16 draws are stored by the product's own writer, 25 examples to a part, and then read and
continued. Each step is a process of its own: CPU seconds and peak memory, which are to grow no faster than the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich.console
import rich.table

from compbench.core.measurements import DrawTable, Measurement
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from tests.benchmarks.growth import pairs

_PER_PART, _N_DRAWS = 25, 16
STEPS = ("append", "done", "show", "compare", "report", "continue")


def append(root: Path, n: int, model: str) -> None:
    """Store a run of `n` examples, but for the last part of the second model's."""
    task, rng = pairs(n), np.random.default_rng(len(model))
    draws, every = np.arange(_N_DRAWS, dtype=np.int32), np.ones((2, 2, _N_DRAWS), bool)
    key = RunKey(task.name, task.revision, model, None, {"kind": model})
    with Store(root).writer(key, task, view={"n_draws": _N_DRAWS, "target": "native"}) as writer:
        level = np.full(_N_DRAWS, np.sqrt(0.5), np.float32)
        writer.write_draws(DrawTable(np.arange(_N_DRAWS, dtype=np.float32) * 60, level, level, "v"))
        done = writer.run.done()
        lacking = [example.id for example in task.examples if example.id not in done]
        last = len(lacking) if done or model == "one" else len(lacking) - _PER_PART
        for start in range(0, last, _PER_PART):
            writer.append(
                [
                    Measurement(name, draws, {"l2": rng.random(every.shape, dtype=np.float32)}, every)
                    for name in lacking[start : start + _PER_PART]
                ],
                seconds=1.0,
            )
        writer.settle(None)


def done(folder: Path) -> None:
    """Ask a run what it lacks."""
    print(len(Run(folder).done()))


def measured(n: int) -> dict[str, tuple[float, float]]:
    """CPU seconds and peak MiB by step."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def step(code: str) -> tuple[float, float]:
            imports = "from pathlib import Path; from tests.benchmarks import reading"
            return _spent([sys.executable, "-c", f"{imports}; {code}"])

        found = {"append": step(f"reading.append(Path({folder!r}), {n}, 'one')")}
        step(f"reading.append(Path({folder!r}), {n}, 'two')")
        one, two = (next(root.glob(f"growth/{model}/*")) for model in ("one", "two"))
        found["continue"] = step(f"reading.append(Path({folder!r}), {n}, 'two')")
        command = [sys.executable, "-m", "compbench"]
        found["done"] = step(f"reading.done(Path({str(one)!r}))")
        found["show"] = _spent([*command, "show", str(one)])
        found["compare"] = _spent([*command, "compare", str(one), str(two)])
        found["report"] = _spent([*command, "report", str(one), "-o", str(root / "report.html")])
    return found


def _spent(command: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    began = time.monotonic()
    rows = {n: measured(n) for n in arguments.examples}
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    table = rich.table.Table(title=f"CPU seconds (peak MiB); {time.monotonic() - began:.0f} s in all")
    for heading in ("examples", *STEPS):
        table.add_column(heading, justify="right")
    for n, found in rows.items():
        table.add_row(f"{n:,}", *(f"{found[step][0]:.1f} ({found[step][1]:,.0f})" for step in STEPS))
    rich.console.Console(width=120).print(table)


if __name__ == "__main__":
    main()
