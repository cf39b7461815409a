"""What the report page costs as it grows: `python -m tests.benchmarks.page [--examples N ...] [--json]`.

Two runs of 2x2 examples with a photograph for each caption are stored by the product's own writer and written as one
page, pictures included, which real Chromium then opens from the disk: seconds until the first example is on the screen,
and until the page has answered a search for the last one.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rich.console
import rich.table
from playwright.sync_api import Browser, sync_playwright

from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.report import Look, write

N_SCENERIES, PER_PART = 7, 500
TAGS = ("Object", "Relation", "Both")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
HEADINGS = ("written, s", "CPU, s", "MB", "first card, s", "first answer, s")


@cache
def scenery(number: int) -> bytes:
    """A JPEG file of light that changes slowly, with grain on it."""
    rng = np.random.default_rng(number)
    slow = PIL.Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((640, 480))
    grain = rng.integers(0, 64, (480, 640, 3), dtype=np.uint8)
    out = io.BytesIO()
    PIL.Image.fromarray(np.asarray(slow) // 4 * 3 + grain).save(out, "JPEG", quality=90)
    return out.getvalue()


def photo(number: int) -> PIL.Image.Image:
    """A part of one of the sceneries, decoded anew and like no other."""
    left, top = number % 120, number // 120 % 120
    return PIL.Image.open(io.BytesIO(scenery(number % N_SCENERIES))).crop((left, top, left + 500, top + 350))


def pairs(n: int) -> Task:
    """`n` examples of two photographs and two captions."""
    return Task(f"pairs-{n}", tuple(pair(k) for k in range(n)), MATCHING, tag_order={"tag": TAGS})


def pair(number: int) -> Example:
    """Two photographs, and captions that exchange two words."""
    numbers = (2 * number, 2 * number + 1)
    images = [Image(f"{one}.jpg", partial(photo, one), sha256=f"{one:064d}") for one in numbers]
    captions = (f"a dog beside cat {number}", f"a cat beside dog {number}")
    return Example(f"{number:06d}", tuple(images), captions, np.eye(2, dtype=bool), {"tag": (TAGS[number % 3],)})


def stored(root: Path, task: Task, model: str, seed: int) -> Run:
    """A run of random scores, right on most examples."""
    rng = np.random.default_rng(seed)
    run = Store(root).open(RunKey(task.name, task.revision, model, None, {"seed": seed}), task)
    writer = RunWriter(run)
    for start in range(0, len(task.examples), PER_PART):
        some = task.examples[start : start + PER_PART]
        writer.append([ScoreMatrix(one.id, one.matches + rng.normal(0, 0.6, one.shape)) for one in some], seconds=1.0)
    writer.settle(None)
    return run


def measured(n: int, chromium: Browser) -> dict[str, float]:
    """The row of a page of `n` examples."""
    task = pairs(n)
    with tempfile.TemporaryDirectory() as folder:
        runs = [stored(Path(folder), task, model, seed) for seed, model in enumerate(("one", "other"))]
        pictures = {(task.name, task.revision): {one.id: one.images for one in task.examples}}
        began, began_cpu = time.monotonic(), time.process_time()
        path = write(runs, Path(folder) / "page.html", Look(pictures=pictures))
        written, cpu = time.monotonic() - began, time.process_time() - began_cpu
        first, answered = opened(path, n, chromium)
        return dict(zip(HEADINGS, (written, cpu, path.stat().st_size / 1e6, first, answered), strict=True))


def opened(path: Path, n: int, chromium: Browser) -> tuple[float, float]:
    """Seconds from opening the page to its first example, and to the answer to a search for the last one."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(600_000)
    began = time.monotonic()
    page.goto(path.as_uri(), wait_until="commit")
    page.locator(".card img").first.wait_for(state="attached")
    first = time.monotonic() - began
    page.get_by_label("search").fill(f"cat {n - 1}")
    page.locator(f".card[data-id='{n - 1:06d}']").wait_for()
    answered = time.monotonic() - began
    page.close()
    return first, answered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, nargs="+", default=[400, 5_000, 20_000])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (program := shutil.which("chromium")) is None:
        sys.exit("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        measured(20, chromium)  # what the libraries load is not the page's
        rows: dict[int, Any] = {n: measured(n, chromium) for n in arguments.examples}
        chromium.close()
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    table = rich.table.Table(title="a page of two models, with pictures")
    for heading in ("examples", *HEADINGS):
        table.add_column(heading, justify="right")
    for n, row in rows.items():
        table.add_row(f"{n:,}", *(f"{row[heading]:.1f}" for heading in HEADINGS))
    rich.console.Console(width=100).print(table)


if __name__ == "__main__":
    main()
