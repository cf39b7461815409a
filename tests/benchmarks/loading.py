"""What pictures cost a run: `python -m tests.benchmarks.loading [--pictures N] [--listed N] [--json]`.

A folder of N photographs in JPEG and a manifest with a caption and a foil for each is measured with tiny-clip and
tiny-sd. Threads decode pictures ahead of the network: the share is the time for which the scorer's own thread waited
for them, of all the time of the run. Then a manifest of many pictures, of which nothing but a header is there, is
listed and validated; its memory is what Python allocated at most.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rich.console
import rich.table

import compbench
from compbench.tasks.matching.manifest import inspect

__all__ = ["Listed", "Waited", "listed", "waited"]

_SIZE = (640, 480)
_OPTIONS: dict[str, dict[str, object]] = {"tiny-clip": {}, "tiny-sd": {"draws": 2}}


@dataclass(frozen=True, slots=True)
class Waited:
    """One model over the folder."""

    model: str
    pictures: int
    seconds: float  # of the run, weights and storage included
    waited_seconds: float  # of the thread that scores
    share: float


@dataclass(frozen=True, slots=True)
class Listed:
    examples: int
    seconds: float
    peak_mib: float
    bytes_per_example: float


@contextmanager
def _waiting() -> Generator[list[float]]:
    """Within it the seconds add up for which this thread waits for what other threads do."""
    waited, me, result = [0.0], threading.current_thread(), Future.result

    def timed(future: Future[Any], timeout: float | None = None) -> Any:
        began = time.perf_counter()
        try:
            return result(future, timeout)
        finally:
            if threading.current_thread() is me:
                waited[0] += time.perf_counter() - began

    Future.result = timed
    try:
        yield waited
    finally:
        Future.result = result


def _photographs(folder: Path, n: int) -> Path:
    """Noise that is smooth, as photographs are, in JPEG."""
    rng, rows = np.random.default_rng(0), ["image,caption,foil\n"]
    for number in range(n):
        small = PIL.Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        small.resize(_SIZE, PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
        rows.append(f"{number}.jpg,a red circle {number},a blue circle {number}\n")
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    return folder


def waited(models: Sequence[str], n: int, folder: Path) -> list[Waited]:
    """Each model over the same pictures, warmed up on another folder of a few."""
    few, many = (_photographs(folder / name, count) for name, count in (("few", 4), ("many", n)))
    made: list[Waited] = []
    for model in models:
        settings: dict[str, Any] = {"device": "cpu", "runs": folder / "runs", **_OPTIONS.get(model, {})}
        compbench.run(few, model=model, **settings)
        with _waiting() as seconds:
            began = time.perf_counter()
            compbench.run(many, model=model, **settings)
            whole = time.perf_counter() - began
        made.append(Waited(model, n, whole, seconds[0], seconds[0] / whole))
    return made


def listed(n: int, folder: Path) -> Listed:
    """A manifest of n examples, whose pictures would fail to be decoded."""
    PIL.Image.new("RGB", (64, 64)).save(folder / "whole.png")
    header, rows = (folder / "whole.png").read_bytes()[:60], ["image,caption,foil,kind\n"]
    for number in range(n):
        (folder / f"{number}.png").write_bytes(header + number.to_bytes(4, "big"))
        rows.append(f"{number}.png,a cat {number},a dog {number},{number % 7}\n")
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    began = time.perf_counter()
    inspect(folder)
    seconds = time.perf_counter() - began
    tracemalloc.start()
    try:
        found = inspect(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(found.examples), found.n_problems) == (n, 0)
    return Listed(n, seconds, peak / 2**20, peak / n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--listed", type=int, default=30_000)
    parser.add_argument("--models", nargs="+", default=list(_OPTIONS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("run", "run/few", "run/many", "list")]
        for folder in folders:
            folder.mkdir()
        runs = waited(arguments.models, arguments.pictures, folders[0])
        of_list = listed(arguments.listed, folders[-1])
    if arguments.json:
        print(json.dumps({"runs": [asdict(row) for row in runs], "listed": asdict(of_list)}, indent=1))
        return
    table = rich.table.Table("model", "pictures", "seconds", "waited, s", "share")
    for row in runs:
        numbers = (f"{row.pictures:,}", f"{row.seconds:.2f}", f"{row.waited_seconds:.2f}", f"{row.share:.0%}")
        table.add_row(row.model, *numbers)
    rich.console.Console().print(table)
    print(
        f"{of_list.examples:,} examples listed and validated in {of_list.seconds:.1f} s; "
        f"{of_list.peak_mib:.0f} MiB at most, {of_list.bytes_per_example:,.0f} bytes each"
    )


if __name__ == "__main__":
    main()
