"""What one reads to follow a stored error to a table cell: `python -m tests.benchmarks.steps`.

The way is traced, not typed. Two runs are stored that differ in their errors alone, and each is shown. A function of
ours whose result is another one is on the way of the errors, from the parts to the printed line. It is a step where it
calls others on the way and hands on what comes of them, as is what stands between two steps and fills an array; what
calls none computes or formats and is read by its name, and so is the vocabulary that all pages share (VOCABULARY). Left
out is what makes the sentences around the table and the names of its rows (BESIDE).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from compbench.cli.app import main as command
from compbench.core.examples import Task
from compbench.core.measurements import Measurement
from compbench.core.metrics import TEXT
from compbench.store.key import RunKey
from compbench.store.store import Store
from tests.benchmarks.growth import MadeUpScorer, pairs

OWN = ("compbench.", "compbench_analysis.")
VOCABULARY = (
    "compbench.core.",
    "compbench.cli.",
    "compbench_analysis.statistics.",
    "compbench_analysis.text.format.",
)
# of the core, what makes scores of errors and judges them is read
READ = ("compbench.core.rules.", "compbench.core._outcomes.", "compbench.core.metrics.")
BESIDE = (
    "compbench.store.run_file.",
    "compbench.store._lines.",
    "compbench.store.run.Run.parts",
    "compbench_analysis.frames.seeds.",
    "compbench_analysis.text.verdict.",
    "compbench_analysis.text._brief._marks",
    "compbench_analysis.text._brief._ties",
    "compbench_analysis.text._notes.",
    "compbench_analysis.text._compact.Scores.tag_name",
    "compbench_analysis.text._compact.Scores.model_name",
    "compbench_analysis.text._fitted.sentences",
    "compbench_analysis.text._fitted.natural_width",
)
N_EXAMPLES, PER_PART = 40, 10


def steps() -> list[str]:
    """The functions from a stored error to a table cell, each where it first hands on a result."""
    with tempfile.TemporaryDirectory() as folder:
        right, wrong, again = (
            traced_show(Path(folder) / name, name == "wrong") for name in ("right", "wrong", "again")
        )
    own = [
        name
        for name, results in right.results.items()
        if results != wrong.results.get(name) and results == again.results.get(name)
    ]
    calling = [name for name in right.results if right.callees.get(name, set()).intersection(own)]
    called = set().union(*(right.callees.get(name, ()) for name in own))
    silent = {name for name in called if set(right.results.get(name, ())) == {digest_of([None])}}
    return [name for name in calling if name in own or name in silent]


def traced_show(folder: Path, is_wrong: bool) -> Trace:
    """`compbench show` of a run, all right or some wrong, once everything is imported."""
    path = stored(folder, is_wrong)
    trace = Trace()
    with contextlib.redirect_stdout(io.StringIO()):
        assert command(["show", str(path)]) == 0
        with trace.running():
            assert command(["show", str(path)]) == 0
    return trace


def stored(folder: Path, is_wrong: bool) -> Path:
    """A run of 2x2 examples that has one metric, in parts of a few examples."""
    task = Task("steps", pairs(N_EXAMPLES).examples, {"text": TEXT})
    scorer, key = MadeUpScorer(np.random.default_rng(0)), RunKey(task.name, task.revision, "model", None, {})
    n_draws = len(scorer.draw_table().timesteps)
    with Store(folder).writer(key, task, view={"n_draws": n_draws, "target": "native"}) as writer:
        writer.write_draws(scorer.draw_table())
        for start in range(0, N_EXAMPLES, PER_PART):
            own = enumerate(task.examples[start : start + PER_PART], start)
            writer.append([scored(scorer, example.id, is_wrong and n % 3 == 0) for n, example in own])
        writer.settle(None)
    return writer.run.path


def scored(scorer: MadeUpScorer, name: str, is_wrong: bool) -> Measurement:
    """An example that is clearly right, or clearly wrong."""
    made = scorer.measured(name)
    sign = np.eye(2, dtype=np.float32) if is_wrong else 1 - np.eye(2, dtype=np.float32)
    return Measurement(name, made.draw_ids, {"l2": made.errors["l2"] + 2 * sign[:, :, None]}, made.measured)


class Trace:
    """Our functions that ran: what each gave, in the order of their first results, and which others each called."""

    def __init__(self) -> None:
        self.results: dict[str, list[str]] = {}
        self.callees: dict[str, set[str]] = {}

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        """Watch what is called within."""
        sys.setprofile(self._heard)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _heard(self, frame: FrameType, event: str, given: Any) -> None:
        name = name_of(frame)
        if not name or event not in ("call", "return"):
            return
        if event == "call":
            caller = next((known for known in map(name_of, callers(frame)) if known), "")
            self.callees.setdefault(caller, set()).add(name)
            return
        if is_beside(name) or any(is_beside(known) for known in map(name_of, callers(frame)) if known):
            return
        sys.setprofile(None)
        filled = list(frame.f_locals.values()) if name.endswith((".fill_errors", ".fill_scores")) else []
        self.results.setdefault(name, []).append(digest_of([given, *filled]))
        sys.setprofile(self._heard)


def name_of(frame: FrameType) -> str:
    """module.Class.function of ours; "" of what is not ours, of comprehensions, and of the shared vocabulary."""
    module, function = str(frame.f_globals.get("__name__", "")), frame.f_code.co_qualname.replace("<locals>", "")
    name = f"{module}.{function}"
    if not f"{module}.".startswith(OWN) or "<" in function:
        return ""
    return "" if name.startswith(VOCABULARY) and not name.startswith(READ) else name


def callers(frame: FrameType) -> Iterator[FrameType]:
    """Of a frame, the nearest first."""
    while (before := frame.f_back) is not None:
        frame = before
        yield frame


def is_beside(name: str) -> bool:
    return name.startswith(BESIDE)


def digest_of(values: list[Any]) -> str:
    return hashlib.sha256(repr(told_of(values)).encode()).hexdigest()


def told_of(value: Any, depth: int = 0) -> Any:
    """Whatever a value says, but for places and times, as something to compare."""
    if depth > 12:
        return ""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, pa.Table | pa.RecordBatch):
        value = value.to_pydict()
    elif isinstance(value, pd.DataFrame):
        value = value.to_dict("list")
    elif is_dataclass(value) and not isinstance(value, type):
        value = {own.name: getattr(value, own.name) for own in fields(value) if own.name not in _PLACES}
    if isinstance(value, Mapping):
        return {repr(name): told_of(own, depth + 1) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [told_of(own, depth + 1) for own in value]
    return value if isinstance(value, str | bytes | int | float | bool | None) else type(value).__name__


_PLACES = ("path", "name", "stamp", "record", "members", "folder", "say", "runs", "run")


def module_of(name: str) -> str:
    """The module of a function."""
    words = name.split(".")
    return ".".join(words[: next((n for n, word in enumerate(words) if word[:1].isupper()), len(words) - 1)])


if __name__ == "__main__":
    found = steps()
    print(f"Steps from a stored error to a table cell: {len(found)}, in {len(set(map(module_of, found)))} files")
    print(*(f"{number:3}. {name}" for number, name in enumerate(found, 1)), sep="\n")
