"""Stored runs for the tests of the report: their outcomes are chosen, so what the page must say is known."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import PIL.Image

import fakes
from compbench.core.aliases import Json
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.report import Look, write

NASTY = "<script>window.hit = 1; alert(1)</script><img src=x onerror='window.hit = 2'>"
RIGHT, WRONG, TIED = np.eye(2), 1 - np.eye(2), np.ones((2, 2))
N_DRAWS = 8


def photo(seed: int) -> PIL.Image.Image:
    """Light that changes slowly, with grain on it: as hard to compress as a photograph."""
    rng = np.random.default_rng(seed)
    slow = PIL.Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((240, 180))
    return PIL.Image.fromarray(np.asarray(slow) // 2 + rng.integers(0, 128, (180, 240, 3), dtype=np.uint8))


def example(number: int, *, captions: Sequence[str] = (), tag: str = "") -> Example:
    """A 2x2 example of two photographs."""
    images = tuple(
        Image(f"{number}-{side}.png", partial(photo, 2 * number + side), sha256=f"{number}-{side}") for side in (0, 1)
    )
    texts = tuple(captions) or (f"a dog beside cat {number}", f"a cat beside dog {number}")
    tags = {"tag": (tag or fakes.TAGS[number % 3],), "parity": ("odd" if number % 2 else "even",)}
    return Example(f"{number:04d}", images, texts, np.eye(2, dtype=bool), tags)


def task(n: int, name: str = "photos", *, is_gated: bool = False, nasty: Mapping[int, str] | None = None) -> Task:
    """`n` examples of `example`; `nasty` are first captions by number."""
    first = nasty or {}
    examples = tuple(
        example(number, captions=(first[number], f"plain {number}") if number in first else ()) for number in range(n)
    )
    return Task(name, examples, MATCHING, is_gated=is_gated, tag_order={"tag": fakes.TAGS})


def pictures(*tasks: Task) -> dict[tuple[str, str], Mapping[str, Sequence[Image]]]:
    """What Look takes."""
    return {(task.name, task.revision): {example.id: example.images for example in task.examples} for task in tasks}


def scored(
    root: Path, task: Task, model: str, scores: Callable[[int], np.ndarray], *, n: int | None = None, limit: int = 0
) -> Run:
    """A run of scores: `scores` of an example's number, for the first `n` examples."""
    run = Store(root).open(RunKey(task.name, task.revision, model, None, {"kind": "given"}), task)
    results = [ScoreMatrix(example.id, scores(i) * (1 + i % 5)) for i, example in enumerate(task.examples[:n])]
    if results:
        RunWriter(run).append(results, seconds=1.5, device="cpu")
    RunWriter(run).settle(limit or None)
    return run


def measured(
    root: Path,
    task: Task,
    model: str,
    right: Callable[[int], bool],
    measurement: Mapping[str, Json] = MappingProxyType({"kind": "errors"}),
) -> Run:
    """A run of errors on N_DRAWS draws: an example's wrong pairs have the larger ones, unless it is not `right`."""
    view = {"n_draws": N_DRAWS, "target": "native"}
    run = Store(root).open(RunKey(task.name, task.revision, model, None, measurement), task, view=view)
    ramp = np.linspace(0.1, 0.9, N_DRAWS, dtype=np.float32)
    RunWriter(run).write_draws(DrawTable(np.arange(N_DRAWS) * 100.0, np.sqrt(1 - ramp**2), ramp, "v"))
    results = [_errors(example, right(i)) for i, example in enumerate(task.examples)]
    RunWriter(run).append(results, seconds=2.5, device="cpu")
    RunWriter(run).settle(None)
    return run


def _errors(example: Example, is_right: bool) -> Measurement:
    noise = np.random.default_rng(zlib.crc32(example.id.encode())).random((2, 2, N_DRAWS)) / 2
    higher = ~example.matches if is_right else example.matches
    errors = (higher[..., None] + noise).astype(np.float32)
    return Measurement(example.id, np.arange(N_DRAWS, dtype=np.int32), {"l2": errors}, np.ones(errors.shape, bool))


@dataclass(frozen=True)
class Written:
    """A page on disk and what it is of."""

    task: Task
    runs: tuple[Run, ...]
    path: Path
    text: str


def of_400(root: Path) -> Written:
    """Two runs on 400 examples: `errors` is right but for every third, `scores` but for every fourth; it ties on 5.

    The first caption of example 7 is a script.
    """
    asked = task(400, nasty={7: NASTY})
    runs = (
        measured(root / "runs", asked, "errors", lambda i: i % 3 != 0),
        scored(root / "runs", asked, "scores", lambda i: TIED if i == 5 else RIGHT if i % 4 else WRONG),
    )
    path = write(runs, root / "page.html", Look(pictures=pictures(asked), n_resamples=99))
    return Written(asked, runs, path, path.read_text(encoding="utf-8"))


def of_eight(root: Path) -> Written:
    """Eight runs on 60 examples, the first right on nearly all of them, each next one on fewer; three store errors."""
    asked, n = task(60), 60
    runs: list[Run] = []
    for number, share in enumerate((0.95, 0.92, 0.9, 0.75, 0.72, 0.5, 0.45, 0.15)):
        right = np.random.default_rng(number).permutation(n) < share * n

        def is_right(i: int, right: np.ndarray = right) -> bool:
            return bool(right[i])

        def scores(i: int, right: np.ndarray = right) -> np.ndarray:
            return RIGHT if right[i] else WRONG

        name = f"model-{number + 1}"
        runs.append(
            measured(root / "runs", asked, name, is_right)
            if number % 3 == 0
            else scored(root / "runs", asked, name, scores)
        )
    path = write(runs, root / "page.html", Look(pictures=pictures(asked), n_resamples=99))
    return Written(asked, tuple(runs), path, path.read_text(encoding="utf-8"))
