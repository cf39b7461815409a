"""A classification at size: `python tests/benchmarks/classes.py --classes 1000 --images 50000`.

Counts what a task of a thousand shared captions costs before any network is asked: its revision, its examples on disk
and read back, its table and frame. `task` makes the examples for other benchmarks.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from compbench.core.examples import Classes, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import CLASSIFYING
from compbench.store.key import RunKey
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench.tasks.classification._data_sets import examples_of
from compbench.tasks.classification._prompt_files import Prompts
from compbench.tasks.classification._splits import Picture, Split

__all__ = ["task"]


def task(n_classes: int = 1000, n_images: int = 200) -> Task:
    """Grey pictures, picture n of class n modulo the number of classes; the prompt of class k is "caption k"."""
    names = tuple(f"class {k}" for k in range(n_classes))
    prompts = Prompts(names, tuple(f"caption {k}" for k in range(n_classes)), tuple(range(n_classes)))
    pictures = tuple(Picture(f"{n:06d}", n % n_classes, partial(_grey, n)) for n in range(n_images))
    examples = examples_of(Split(pictures, None, ()), [f"test/{picture.name}" for picture in pictures], prompts)
    classes = Classes(names, prompts.of_caption, "fake", prompts.of_caption)
    return Task("classes", examples, CLASSIFYING, tag_order={"class": names}, classes=classes)


def _grey(number: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (8, 8), (number % 256,) * 3)


def _timed(what: str, act: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = act()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:42s} {time.perf_counter() - began:8.2f} s   peak {peak_mb:,.0f} MB")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=4000)
    arguments = parser.parse_args()
    made = _timed("make the task", lambda: task(arguments.classes, arguments.images))
    _timed("its revision", lambda: made.revision)
    with tempfile.TemporaryDirectory() as folder:
        key = RunKey(made.name, made.revision, "fake", None, {})
        run = _timed("write the examples", lambda: Store(folder).open(key, made))
        print(f"{'examples.parquet':42s} {(Path(run.path) / 'examples.parquet').stat().st_size:10,d} bytes")
        _timed("read them", run.examples)
        rng = np.random.default_rng(0)
        scores = [ScoreMatrix(example.id, rng.random((1, arguments.classes))) for example in made.examples]
        _timed("write the scores", lambda: RunWriter(run).append(scores))
        _timed("table", run.table)
        _timed("frame", run.to_frame)


if __name__ == "__main__":
    main()
